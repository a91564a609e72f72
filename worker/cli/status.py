"""`status`: shows how many records each lane has in each state, what it is doing, and why."""

import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from contact_ingest.cli.options import JsonOption, LaneOption, ToOption, open_engine, runtimes_of
from contact_ingest.cli.output import EXIT_WRONG, console, examples, show_json, table
from contact_ingest.engine import DestinationRuntime, Engine
from contact_ingest.operations.doctor.strangers import strangers_of
from contact_ingest.operations.doctor.watch import warnings
from contact_ingest.operations.status import LaneStatus, lanes, span, sums
from contact_ingest.store.inspect import DestinationView, read_destination
from contact_ingest.store.integrity.install import SCANNED_KEYS, Stranded
from contact_ingest.store.keys import BOOKS
from contact_ingest.store.workers import GONE_S

#: Pause between two readings with --watch.
WATCH_EVERY_S = 1.0
#: Counts that the table leaves out while they are zero in every lane.
_SELDOM = ("merged", "unchanged", "discarded", "unattributed")
_NUMBERS = (*BOOKS, "oldest", "rate/s", "time left")


def register(app: typer.Typer) -> None:
    app.command("status", epilog=examples("status", "status --watch", "status --json | jq '.lanes[] | {lane, why}'"))(
        status
    )


def status(
    to: ToOption = None,
    lane: LaneOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Show every lane: its books (the counts of its records), what it is doing, and why.

    Exits with 1 if the books of a lane do not balance, or if records wait under a destination that is not configured.
    """
    engine = open_engine()
    runtimes = runtimes_of(engine, to, lane)
    strangers = [] if to or lane else strangers_of(engine, most_keys=SCANNED_KEYS)
    if watch:
        _watch(engine, runtimes, lane, strangers, json=json)
    found = lane_statuses(engine, runtimes, lane)
    heard = list(warnings(engine, strangers))
    if json:
        show_json(_as_json(found, heard, strangers))
    else:
        console().print(_table(found, heard))
    if not sums(found)["balanced"] or any(one.left for one in strangers):
        raise typer.Exit(EXIT_WRONG)


def lane_statuses(engine: Engine, runtimes: list[DestinationRuntime], lane: str | None = None) -> list[LaneStatus]:
    """The status of every lane of these destinations, or of the one lane."""
    attended = any(member.silent_s < GONE_S for member in engine.workers.members())
    found = [status for runtime in runtimes for status in lanes(_read(runtime), attended=attended)]
    return [status for status in found if lane in (None, status.view.books.lane)]


def _read(runtime: DestinationRuntime) -> DestinationView:
    return read_destination(runtime.store, runtime.breaker.state())


def as_json(found: list[LaneStatus]) -> dict[str, Any]:
    return {"lanes": [status.public() for status in found], "totals": sums(found)}


def _as_json(found: list[LaneStatus], heard: list[str], strangers: list[Stranded]) -> dict[str, Any]:
    return {**as_json(found), "warnings": heard, "unconfigured": [one.public() for one in strangers]}


def _watch(
    engine: Engine, runtimes: list[DestinationRuntime], lane: str | None, strangers: list[Stranded], *, json: bool
) -> None:
    """Show the status every second. Ctrl-C ends the command with exit code 130."""
    if json:
        while True:
            found = lane_statuses(engine, runtimes, lane)
            show_json(_as_json(found, list(warnings(engine, strangers)), strangers))
            time.sleep(WATCH_EVERY_S)
    with Live(console=console(), auto_refresh=False, screen=False) as live:
        while True:
            found = lane_statuses(engine, runtimes, lane)
            live.update(_table(found, list(warnings(engine, strangers))), refresh=True)
            time.sleep(WATCH_EVERY_S)


def _table(found: list[LaneStatus], heard: list[str]) -> RenderableType:
    warned = [part for line in heard for part in (Text(), Text(line))]
    if not found:
        return Group(Text("No lane has been used yet."), *warned)
    totals = sums(found)
    counts = tuple(name for name in BOOKS if totals[name] or name not in _SELDOM)
    rows = [_row(status, counts) for status in found]
    rows.append(["total", *(totals[name] for name in counts), *[None] * 4])
    columns = ["lane", *counts, "oldest", "rate/s", "time left", "state"]
    why = table(["lane", "why"], [[status.view.books.lane, status.why] for status in found])
    shown: list[RenderableType] = [table(columns, rows, numbers=_NUMBERS), Text(), why]
    wrong = [status.view.books.lane for status in found if not status.view.books.balanced]
    if wrong:
        shown += [Text(), Text(f"The books do not balance: {', '.join(wrong)}")]
    return Group(*shown, *warned)


def _row(status: LaneStatus, counts: tuple[str, ...]) -> list[object]:
    books = status.view.books
    return [
        books.lane,
        *(books.counts[name] for name in counts),
        None if status.oldest_waiting_s is None else span(status.oldest_waiting_s),
        status.rate_per_s,
        None if status.time_left_s is None else span(status.time_left_s),
        status.state,
    ]
