"""`contact-ingest demo`: the whole journey on this machine, with nothing installed and no account.

It starts a real server, the strict sandbox and a real Celery worker as processes of its own, sends made-up contacts
through them, some bad on purpose, and checks every claim against what the sandbox ended up with.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.request import ProxyHandler, Request, build_opener

import orjson
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker import enqueue
from worker.cli.demo_check import Findings, check, kinds_planted
from worker.cli.demo_data import People
from worker.cli.demo_processes import WorkerProcess
from worker.cli.terminal import examples
from worker.embedded import EmbeddedServer
from worker.errors import IngestError
from worker.sandbox.process import SandboxProcess
from worker.settings import Destination, Settings
from worker.store import books
from worker.store.keys import BOOKS
from worker.wiring import Site, Wiring, install

KEY = "SG.demo"
#: Faster than the defaults: the sandbox's imports take seconds, not minutes.
POLL_FIRST_S = 1.0
MAX_WAIT_S = 2.0
#: Without progress for so long, something is wrong.
STUCK_S = 60.0
#: What of a failure's reason fits beside the rest on 80 columns.
REASON_WIDTH = 28


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the demonstration has started."""

    parts: Wiring
    sandbox: SandboxProcess
    worker: WorkerProcess
    log: Path

    @property
    def site(self) -> Site:
        return self.parts.site("sendgrid")


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("demo", "demo --contacts 20000 --bad 10"))(demo)


def demo(
    contacts: Annotated[int, typer.Option(min=100, help="how many contacts")] = 100_000,
    bad: Annotated[int, typer.Option(min=0, help="how many of them are bad")] = 25,
    seed: Annotated[int, typer.Option(help="the same seed makes the same people")] = 1,
    json: Annotated[bool, typer.Option("--json", help="the result as one JSON object")] = False,
    log: Annotated[Path | None, typer.Option(help="keep the worker's log in this file")] = None,
) -> None:
    """Watch contacts go through real workers into a strict sandbox, and every claim being checked."""
    console = Console(stderr=json)
    people = People(contacts, min(bad, contacts), seed)
    with ExitStack() as stack:
        stage = _set_stage(stack, console, log)
        field_ids = _create_fields(stage.sandbox.url)
        started = time.monotonic()
        _run(people, stage, console)
        took_s = time.monotonic() - started
        console.print("checking every field of every contact ...")
        found = check(people, stage.sandbox, stage.site, field_ids)
        bodies = stage.sandbox.totals()
    if json:
        print(orjson.dumps(_summary(people, found, took_s)).decode())  # noqa: T201 - the command's output
    else:
        _print_result(console, people, found, took_s, bodies)
    raise typer.Exit(1 if found.wrong else 0)


def _set_stage(stack: ExitStack, console: Console, log: Path | None) -> Stage:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contact-ingest-demo-")))
    server = stack.enter_context(EmbeddedServer())
    sandbox = stack.enter_context(SandboxProcess(key=KEY))
    settings = {
        "REDIS_URL": server.url,
        "SENDGRID_API_KEY": KEY,
        "SENDGRID_BASE_URL": sandbox.url,
        "CONTACT_INGEST_POLL_FIRST_S": str(POLL_FIRST_S),
        "CONTACT_INGEST_MAX_WAIT_S": str(MAX_WAIT_S),
    }
    path = log.absolute() if log else folder / "worker.log"
    worker = stack.enter_context(WorkerProcess(settings, path))
    console.print(f"valkey  pid {server.pid}  {server.url}")
    console.print(f"sandbox pid {sandbox.pid}  {sandbox.url}")
    console.print(f"worker  pid {worker.pid}  celery -A tasks worker --concurrency 2")
    parts = Wiring(_settings(server.url, sandbox.url))
    stack.callback(parts.close)
    install(parts)
    return Stage(parts, sandbox, worker, path)


def _settings(redis_url: str, sandbox_url: str) -> Settings:
    """The same settings for this process, with nothing read from the environment."""
    to = Destination(platform="sendgrid", api_key=SecretStr(KEY), base_url=sandbox_url)
    return Settings.without_environment(
        redis_url=SecretStr(redis_url), max_wait_s=MAX_WAIT_S, destinations={"sendgrid": to}
    )


def _create_fields(url: str) -> dict[str, str]:
    """The account's custom fields, made as its owner would make them; returns their ids by name."""
    ids = {}
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    for name, kind in (("plan", "Text"), ("visits", "Number")):
        body = orjson.dumps({"name": name, "field_type": kind})
        asked = Request(f"{url}/v3/marketing/field_definitions", body, headers)  # noqa: S310 - our own sandbox
        with build_opener(ProxyHandler({})).open(asked) as answer:
            ids[name] = str(orjson.loads(answer.read())["id"])
    return ids


def _run(people: People, stage: Stage, console: Console) -> None:
    """Enqueue, and follow until nothing waits or is in flight."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        enqueued = progress.add_task("enqueued", total=people.records)
        ended = progress.add_task("ended", total=people.records)

        def counted() -> Iterator[dict[str, Any]]:
            for number, record in enumerate(people.stream(), 1):
                yield record
                if number % 1000 == 0:
                    progress.update(enqueued, completed=number)

        enqueue(counted(), to="sendgrid")
        progress.update(enqueued, completed=people.records)
        last, last_change = -1, time.monotonic()
        while True:
            totals = books.totals(books.read(stage.site.store))
            done = totals["accepted"] - totals["waiting"] - totals["held"] - totals["batched"]
            progress.update(ended, completed=done)
            if done == totals["accepted"]:
                return
            if done != last:
                last, last_change = done, time.monotonic()
            if time.monotonic() - last_change > STUCK_S or not stage.worker.is_alive:
                raise IngestError(f"no progress any more, see {stage.log}: {totals}")
            time.sleep(0.1)


def _summary(people: People, found: Findings, took_s: float) -> dict[str, Any]:
    return {
        "contacts": people.contacts,
        "records": people.records,
        "delivered": found.delivered,
        "failed": dict(found.failed),
        "books": found.totals,
        "balanced": books.balanced(found.totals),
        "seconds": round(took_s, 2),
        "wrong": found.wrong,
    }


def _short(text: str) -> str:
    return text if len(text) <= REASON_WIDTH else f"{text[: REASON_WIDTH - 1]}…"


def _print_result(console: Console, people: People, found: Findings, took_s: float, journal: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading, width in (("bad on purpose", 30), ("planted", 7), ("failed", 6)):
        table.add_column(heading, min_width=width, no_wrap=True)
    table.add_column("as")
    for name, count in kinds_planted(people).items():
        table.add_row(name, str(count), str(found.failed[name]), _short(found.reasons.get(name, "-")))
    console.print(table, highlight=False)
    totals = found.totals
    ended = [name for name in BOOKS if totals[name] and name not in ("accepted", "unattributed")]
    parts = " + ".join(f"{totals[name]:,} {name}" for name in ended)
    good, bad = people.contacts - len(people.bad_ones), len(people.bad_ones)
    lines = [
        f"books     {totals['accepted']:,} accepted = {parts}",
        f"store     {found.delivered:,} of {good:,} good contacts arrived, every field as enqueued",
        f"failures  {sum(found.failed.values())} of {bad} bad ones failed alone, each for its reason",
        f"requests  {journal['requests']:,} in all, the largest body {journal['max_body_bytes']:,} bytes",
        f"time      {took_s:.1f} s for {people.records:,} records, from enqueue to verdict",
        *(f"WRONG     {problem}" for problem in found.wrong[:20]),
        "NOT AS IT SHOULD BE" if found.wrong else "balanced: books and recount agree, every record is accounted for",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
