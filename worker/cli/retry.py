"""`retry`: puts failed records back in front of their lanes, each under its old id."""

from typing import Annotated

import typer

from contact_ingest.cli.options import (
    BatchOption,
    CodeOption,
    FailureOptions,
    JsonOption,
    LaneOption,
    SinceOption,
    ToOption,
    UntilOption,
    open_engine,
    runtimes_of,
)
from contact_ingest.cli.output import counted, examples, say, show_json
from contact_ingest.engine import DestinationRuntime
from contact_ingest.errors import SettingError
from contact_ingest.model.failure import Failure
from contact_ingest.model.lane import RecordId


def register(app: typer.Typer) -> None:
    app.command(
        "retry",
        epilog=examples(
            "retry newsletter:41 newsletter:977", "retry --code import_failed --since 2h", "retry --all --dry-run"
        ),
    )(retry)


def retry(
    records: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD", help="Ids of failed records, as failures lists them.")
    ] = None,
    to: ToOption = None,
    lane: LaneOption = None,
    code: CodeOption = None,
    batch: BatchOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: Annotated[bool, typer.Option("--all", help="All failed records.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Put failed records back in front of their lanes: those named, those that the options select, or --all."""
    options = FailureOptions(lane=lane, code=code, batch=batch, since=since, until=until)
    if not (records or options.any_given or to or every):
        raise SettingError("retry", "name records, select some with an option, or say --all")
    engine = open_engine(writes=not dry_run)
    moved = 0
    for runtime, wanted in _wanted(records, runtimes_of(engine, to, lane)):
        selected = options.filter_for(runtime)
        if wanted is not None:
            chosen = list(filter(selected.holds, wanted))
            moved += len(chosen) if dry_run else runtime.failures.retry(chosen)
        else:
            moved += sum(1 for _ in runtime.retrier.find(selected)) if dry_run else runtime.retrier.retry(selected)
    if json:
        show_json({"retried": moved, "dry_run": dry_run})
    else:
        say(f"{counted(moved, 'failed record')} {'would be put back' if dry_run else 'put back'}.")


def _is_of(destination: str, record_id: str) -> bool:
    try:
        return RecordId.parse(record_id).lane.destination == destination
    except ValueError:
        return False


def _wanted(
    records: list[str] | None, runtimes: list[DestinationRuntime]
) -> list[tuple[DestinationRuntime, list[Failure] | None]]:
    """Each destination with the failures that were named; None where none were named.

    Raises `SettingError` if one of the names is unknown, before anything is moved.
    """
    if not records:
        return [(runtime, None) for runtime in runtimes]
    ids = list(dict.fromkeys(records))
    found: list[tuple[DestinationRuntime, list[Failure] | None]] = []
    known: set[str] = set()
    for runtime in runtimes:
        mine = runtime.failures.get([id_ for id_ in ids if _is_of(runtime.name, id_)])
        known.update(failed.id for failed in mine)
        found.append((runtime, mine))
    if unknown := [record for record in ids if record not in known]:
        raise SettingError("retry", f"not among the failed records: {', '.join(unknown[:20])}")
    return found
