"""The `demo` command: starts everything, enqueues made-up contacts, waits for their end, checks and reports."""

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
from contact_ingest.cli.demo.check import CheckResult, check
from contact_ingest.cli.demo.data import MadeUpPeople
from contact_ingest.cli.demo.platforms import KEY
from contact_ingest.cli.demo.processes import WorkerProcess
from contact_ingest.cli.demo.report import DemoReport
from contact_ingest.cli.demo.scenarios import SCENARIOS, Scenario
from contact_ingest.cli.output import examples
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.errors import IngestError
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books

#: Shorter than the defaults: imports of the sandbox take seconds.
POLL_FIRST_S = 1.0
MAX_WAIT_S = 2.0
#: The demonstration fails after so long without progress.
STUCK_S = 60.0


class Target(StrEnum):
    """Where the contacts go: a key of `SCENARIOS`."""

    SENDGRID = "sendgrid"
    LOOPS = "loops"
    EMARSYS = "emarsys"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """The processes and the engine of a running demonstration. `log` is the worker's."""

    engine: Engine
    sandbox: SandboxProcess
    worker: WorkerProcess
    log: Path
    scenario: Scenario

    @property
    def names(self) -> list[str]:
        return [platform.name for platform in self.scenario.platforms]

    def totals(self) -> list[dict[str, int]]:
        """The books of each destination, such as {"accepted": 100, "delivered": 98, ...}."""
        return [books.totals(books.read(self.engine.runtime(name).store)) for name in self.names]


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("demo", "demo --contacts 20000 --bad 10", "demo --to all"))(demo)


def demo(
    to: Annotated[Target, typer.Option(help="The platform; all: one stream into three at once.")] = Target.SENDGRID,
    contacts: Annotated[
        int | None, typer.Option(min=10, help="How many contacts; else what suits the platform's limits.")
    ] = None,
    bad: Annotated[int | None, typer.Option(min=0, help="How many of them are bad; else a few.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same contacts.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    log: Annotated[Path | None, typer.Option(help="Keep the worker's log in this file.")] = None,
) -> None:
    """Send made-up contacts through a real worker into the strict sandbox, and check every claim.

    Exits with 0 if every claim holds, 1 if any does not.
    """
    console = Console(stderr=json)
    scenario = SCENARIOS[to]
    people = scenario.people(contacts, bad, seed)
    with ExitStack() as stack:
        running = _start(stack, console, log, scenario)
        custom_names = {platform.name: platform.add_fields(running.sandbox) for platform in scenario.platforms}
        started = time.monotonic()
        _run(people, running, console)
        took_s = time.monotonic() - started
        console.print("checking every field of every contact ...")
        results = _check_all(people, running, custom_names)
        report = DemoReport(people, results, took_s, running.sandbox.totals())
    if json:
        print(orjson.dumps(report.summary()).decode())  # noqa: T201 - the command's output
    else:
        report.print(console)
    raise typer.Exit(1 if report.wrong else 0)


def _check_all(
    people: MadeUpPeople, running: RunningDemo, custom_names: dict[str, dict[str, str]]
) -> dict[str, CheckResult]:
    return {
        platform.name: check(
            people, platform, running.sandbox, running.engine.runtime(platform.name), custom_names[platform.name]
        )
        for platform in running.scenario.platforms
    }


def _start(stack: ExitStack, console: Console, log: Path | None, scenario: Scenario) -> RunningDemo:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contact-ingest-demo-")))
    server = stack.enter_context(EmbeddedServer())
    sandbox = stack.enter_context(SandboxProcess(key=KEY))
    settings = {
        "REDIS_URL": server.url,
        "CONTACT_INGEST_POLL_FIRST_S": str(POLL_FIRST_S),
        "CONTACT_INGEST_MAX_WAIT_S": str(MAX_WAIT_S),
    }
    for platform in scenario.platforms:
        settings |= platform.variables(sandbox.url, KEY)
    path = log.absolute() if log else folder / "contact_ingest.log"
    worker = stack.enter_context(WorkerProcess(settings, path))
    console.print(f"valkey  pid {server.pid}  {server.url}")
    console.print(f"sandbox pid {sandbox.pid}  {sandbox.url}")
    console.print(f"worker  pid {worker.pid}  celery -A contact_ingest.tasks worker --concurrency 2")
    engine = Engine(_settings(server.url, sandbox.url, scenario))
    stack.callback(engine.close)
    set_engine(engine)
    return RunningDemo(engine, sandbox, worker, path, scenario)


def _settings(redis_url: str, sandbox_url: str, scenario: Scenario) -> Settings:
    """The settings of this process, equal to the worker's. Nothing is read from the environment."""
    to = {platform.name: platform.destination(sandbox_url) for platform in scenario.platforms}
    return Settings.without_environment(redis_url=SecretStr(redis_url), max_wait_s=MAX_WAIT_S, destinations=to)


def _run(people: MadeUpPeople, running: RunningDemo, console: Console) -> None:
    """Enqueue every record, and wait until none waits or is in flight."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        enqueued = progress.add_task("enqueued", total=people.records)
        ended = progress.add_task("ended", total=people.records * len(running.names))

        def counted() -> Iterator[dict[str, Any]]:
            for number, record in enumerate(people.stream(), 1):
                yield record
                if number % 1000 == 0:
                    progress.update(enqueued, completed=number)

        enqueue(counted(), to=running.names)
        progress.update(enqueued, completed=people.records)
        _wait_for_end(running, progress, ended)


def _wait_for_end(running: RunningDemo, progress: Progress, ended: TaskID) -> None:
    """Wait until every record has ended. Raises `IngestError` if nothing moves for `STUCK_S` or the worker has died."""
    last, last_change = -1, time.monotonic()
    while True:
        totals = running.totals()
        accepted = sum(each["accepted"] for each in totals)
        done = accepted - sum(each["waiting"] + each["held"] + each["batched"] for each in totals)
        progress.update(ended, completed=done)
        if done == accepted:
            return
        if done != last:
            last, last_change = done, time.monotonic()
        if time.monotonic() - last_change > STUCK_S or not running.worker.is_alive:
            raise IngestError(f"demo: no more progress, see {running.log}: {totals}")
        time.sleep(0.1)
