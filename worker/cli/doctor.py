"""`doctor` says what is wrong and what to do, for people. `health` says yes or no, for containers.

Exit codes: 0 all is well, 1 there is a finding, 2 a setting is wrong. Secrets are never shown.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from pydantic import SecretStr
from redis.exceptions import RedisError

from contact_ingest.cli.output import examples
from contact_ingest.config.redis_url import masked
from contact_ingest.config.settings import ENV_PREFIX, Settings
from contact_ingest.engine import Engine, current_engine
from contact_ingest.errors import SettingError
from contact_ingest.operations.doctor import check_health, examine
from contact_ingest.operations.doctor.findings import Finding
from contact_ingest.operations.doctor.lost_keys import repair

_MARKS = {"ok": "ok     ", "note": "note   ", "wrong": "FINDING"}
_HIDDEN = "********"


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("doctor", "doctor --books --json"))(doctor)
    app.command(epilog=examples("health", "health --fleet"))(health)


def doctor(
    books: Annotated[
        bool, typer.Option("--books", help="Also recount every key, and compare the sums with the books.")
    ] = False,
    mends: Annotated[
        bool,
        typer.Option("--repair", help="First mend what deleted keys have left behind, where nothing is lost by it."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look for everything that can be wrong with this install, and say what to do.

    Exits with 1 if anything is wrong.
    """
    engine = _engine()
    mended = _repair(engine) if mends else {}
    findings: list[Finding] = []
    if not as_json:
        for line in _settings_lines(engine.settings):
            typer.echo(line)
        typer.echo()
        for name, count in mended.items():
            typer.echo(f"repaired {name}: keys: {count} mended")
    for finding in examine(engine, recount=books):
        findings.append(finding)
        if not as_json:
            typer.echo(_line(finding))
    wrong = sum(finding.level == "wrong" for finding in findings)
    if as_json:
        typer.echo(orjson.dumps(_report(engine.settings, findings), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(f"\n{wrong} finding{'s' * (wrong != 1)}" if wrong else "\nall is well")
    if wrong:
        raise typer.Exit(1)


def health(
    fleet: Annotated[bool, typer.Option("--fleet", help="Count the workers of all machines.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say whether Redis answers and a worker of this machine ticks, for a container's health check.

    Exits with 1 if not.
    """
    found = check_health(_engine(), fleet=fleet)
    mark = "ok" if found.healthy else "not healthy"
    typer.echo(orjson.dumps(asdict(found)).decode() if as_json else f"{mark}: {found.says}")
    if not found.healthy:
        raise typer.Exit(1)


def _repair(engine: Engine) -> dict[str, int]:
    """How much was mended at each destination."""
    try:
        engine.check_schema()
        return {one.name: repair(one, engine.settings.destination(one.name)) for one in engine.runtimes()}
    except (RedisError, SettingError) as problem:
        says = str(problem) if isinstance(problem, SettingError) else f"Redis: {type(problem).__name__}"
        typer.echo(f"nothing was repaired: {says}", err=True)
        raise typer.Exit(2) from None


def _engine() -> Engine:
    try:
        return current_engine()
    except SettingError as wrong:
        typer.echo(str(wrong), err=True)
        raise typer.Exit(2) from None


def _line(finding: Finding) -> str:
    line = f"{_MARKS[finding.level]}  {finding.about}: {finding.says}" if finding.says else finding.about
    return f"{line}\n         {finding.remedy}" if finding.remedy else line


def _report(settings: Settings, findings: list[Finding]) -> dict[str, Any]:
    return {
        "healthy": all(finding.level != "wrong" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
        "config": str(settings.file) if settings.file else None,
        "settings": dict(_in_force(settings)),
        "destinations": {
            name: {field: _shown(value) for field, value in config} for name, config in settings.destinations.items()
        },
    }


def _settings_lines(settings: Settings) -> Iterator[str]:
    yield f"configuration file: {settings.file or 'none'}"
    for name, value in _in_force(settings):
        yield f"{name}={'' if value is None else value}"
    for name, config in sorted(settings.destinations.items()):
        yield f"[destinations.{name}]"
        for field, value in config:
            if value not in (None, "", ()):
                yield f"{field} = {_shown(value)}"


def _in_force(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The settings in force: the name of the environment variable, and the value without secrets."""
    for name, field in Settings.model_fields.items():
        if name != "destinations":
            value = getattr(settings, name)
            shown = masked(value.get_secret_value()) if isinstance(value, SecretStr) else _shown(value)
            yield str(field.validation_alias or f"{ENV_PREFIX}{name.upper()}"), shown


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return _HIDDEN
    return value if isinstance(value, bool | int | float | list | tuple | None) else str(value)
