"""`contact-ingest demo`: the whole journey on this machine, with nothing installed and no account.

It starts a real server, the strict sandbox and a real Celery worker as processes of its own, sends made-up contacts
through them, some bad on purpose, and checks every claim against what the sandbox ended up with.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from contact_ingest import enqueue
from contact_ingest.cli.demo.check import Findings, check
from contact_ingest.cli.demo.data import People
from contact_ingest.cli.demo.platforms import KEY
from contact_ingest.cli.demo.processes import WorkerProcess
from contact_ingest.cli.demo.report import Report
from contact_ingest.cli.demo.scenes import SCENES, Scene
from contact_ingest.cli.output import examples
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.errors import IngestError
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books

#: Faster than the defaults: the sandbox's imports take seconds, not minutes.
POLL_FIRST_S = 1.0
MAX_WAIT_S = 2.0
#: Without progress for so long, something is wrong.
STUCK_S = 60.0


class To(StrEnum):
    """Where the contacts go: one of `SCENES`."""

    SENDGRID = "sendgrid"
    LOOPS = "loops"
    EMARSYS = "emarsys"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the demonstration has started."""

    engine: Engine
    sandbox: SandboxProcess
    worker: WorkerProcess
    log: Path
    scene: Scene

    @property
    def names(self) -> list[str]:
        return [platform.name for platform in self.scene.platforms]

    def totals(self) -> list[dict[str, int]]:
        """The books of each destination."""
        return [books.totals(books.read(self.engine.runtime(name).store)) for name in self.names]


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("demo", "demo --contacts 20000 --bad 10", "demo --to all"))(demo)


def demo(
    to: Annotated[To, typer.Option(help="the platform; all: one stream into three at once")] = To.SENDGRID,
    contacts: Annotated[
        int | None, typer.Option(min=10, help="how many contacts; else what suits the platform's limits")
    ] = None,
    bad: Annotated[int | None, typer.Option(min=0, help="how many of them are bad; else a few")] = None,
    seed: Annotated[int, typer.Option(help="the same seed makes the same people")] = 1,
    json: Annotated[bool, typer.Option("--json", help="the result as one JSON object")] = False,
    log: Annotated[Path | None, typer.Option(help="keep the worker's log in this file")] = None,
) -> None:
    """Watch contacts go through real workers into a strict sandbox, and every claim being checked."""
    console = Console(stderr=json)
    scene = SCENES[to]
    people = scene.people(contacts, bad, seed)
    with ExitStack() as stack:
        stage = _set_stage(stack, console, log, scene)
        custom_names = {platform.name: platform.add_fields(stage.sandbox) for platform in scene.platforms}
        started = time.monotonic()
        _run(people, stage, console)
        took_s = time.monotonic() - started
        console.print("checking every field of every contact ...")
        found = _found(people, stage, custom_names)
        report = Report(people, found, took_s, stage.sandbox.totals())
    if json:
        print(orjson.dumps(report.summary()).decode())  # noqa: T201 - the command's output
    else:
        report.print(console)
    raise typer.Exit(1 if report.wrong else 0)


def _found(people: People, stage: Stage, custom_names: dict[str, dict[str, str]]) -> dict[str, Findings]:
    return {
        platform.name: check(
            people, platform, stage.sandbox, stage.engine.runtime(platform.name), custom_names[platform.name]
        )
        for platform in stage.scene.platforms
    }


def _set_stage(stack: ExitStack, console: Console, log: Path | None, scene: Scene) -> Stage:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contact-ingest-demo-")))
    server = stack.enter_context(EmbeddedServer())
    sandbox = stack.enter_context(SandboxProcess(key=KEY))
    settings = {
        "REDIS_URL": server.url,
        "CONTACT_INGEST_POLL_FIRST_S": str(POLL_FIRST_S),
        "CONTACT_INGEST_MAX_WAIT_S": str(MAX_WAIT_S),
    }
    for platform in scene.platforms:
        settings |= platform.variables(sandbox.url, KEY)
    path = log.absolute() if log else folder / "contact_ingest.log"
    worker = stack.enter_context(WorkerProcess(settings, path))
    console.print(f"valkey  pid {server.pid}  {server.url}")
    console.print(f"sandbox pid {sandbox.pid}  {sandbox.url}")
    console.print(f"worker  pid {worker.pid}  celery -A contact_ingest.tasks worker --concurrency 2")
    engine = Engine(_settings(server.url, sandbox.url, scene))
    stack.callback(engine.close)
    set_engine(engine)
    return Stage(engine, sandbox, worker, path, scene)


def _settings(redis_url: str, sandbox_url: str, scene: Scene) -> Settings:
    """The same settings for this process, with nothing read from the environment."""
    to = {platform.name: platform.destination(sandbox_url) for platform in scene.platforms}
    return Settings.without_environment(redis_url=SecretStr(redis_url), max_wait_s=MAX_WAIT_S, destinations=to)


def _run(people: People, stage: Stage, console: Console) -> None:
    """Enqueue, and follow until nothing waits or is in flight."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        enqueued = progress.add_task("enqueued", total=people.records)
        ended = progress.add_task("ended", total=people.records * len(stage.names))

        def counted() -> Iterator[dict[str, Any]]:
            for number, record in enumerate(people.stream(), 1):
                yield record
                if number % 1000 == 0:
                    progress.update(enqueued, completed=number)

        enqueue(counted(), to=stage.names)
        progress.update(enqueued, completed=people.records)
        _follow(stage, progress, ended)


def _follow(stage: Stage, progress: Progress, ended: TaskID) -> None:
    """Raises `IngestError` once nothing moves any more."""
    last, last_change = -1, time.monotonic()
    while True:
        totals = stage.totals()
        accepted = sum(each["accepted"] for each in totals)
        done = accepted - sum(each["waiting"] + each["held"] + each["batched"] for each in totals)
        progress.update(ended, completed=done)
        if done == accepted:
            return
        if done != last:
            last, last_change = done, time.monotonic()
        if time.monotonic() - last_change > STUCK_S or not stage.worker.is_alive:
            raise IngestError(f"no progress any more, see {stage.log}: {totals}")
        time.sleep(0.1)
