"""`flush`: what waits leaves now, and, with --wait, the verdict on all of it."""

import time
from typing import Annotated, Any

import typer

from contact_ingest.cli.options import Json, Lane, To, lanes_of, opened
from contact_ingest.cli.output import EXIT_TIMED_OUT, EXIT_WRONG, Bar, counted, examples, note, say, show_json
from contact_ingest.cli.status import report, statuses
from contact_ingest.engine import DestinationRuntime, Engine
from contact_ingest.operations.status import HALTED, LaneStatus, ends_well, sums

LOOK_S = 0.25
#: What was held back is flushed again after so long, since its contacts may have come free.
AGAIN_S = 1.0


def register(app: typer.Typer) -> None:
    app.command(
        "flush", epilog=examples("flush --to newsletter", "flush --wait --timeout 600 && echo 'all delivered'")
    )(flush)


def flush(
    to: To = None,
    lane: Lane = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing waits and nothing is in flight.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="S", help="With --wait: give up after so many seconds.")
    ] = None,
    json: Json = False,
) -> None:
    """Send what waits at once, however little it is.

    With --wait, exits with 0 when everything has ended well, with 1 when records of these lanes are failed or rows
    unattributed, with 3 when the time is up.
    """
    engine = opened(writes=True)
    chosen = lanes_of(engine, to, lane)
    for runtime, name in chosen:
        runtime.schedule.flush(name)
    if not wait:
        found = _look(engine, chosen)
        _show(found, {"timed_out": False}, json=json)
        return
    found, timed_out = _wait(engine, chosen, timeout)
    _show(found, {"timed_out": timed_out}, json=json)
    if timed_out:
        raise typer.Exit(EXIT_TIMED_OUT)
    if not ends_well(found):
        raise typer.Exit(EXIT_WRONG)


def _look(engine: Engine, chosen: list[tuple[DestinationRuntime, str]]) -> list[LaneStatus]:
    names = {name for _, name in chosen}
    runtimes = list(dict.fromkeys(runtime.name for runtime, _ in chosen))
    found = statuses(engine, [engine.runtime(name) for name in runtimes])
    return [status for status in found if status.view.books.lane in names]


def _wait(
    engine: Engine, chosen: list[tuple[DestinationRuntime, str]], timeout_s: float | None
) -> tuple[list[LaneStatus], bool]:
    """Look until all has ended or the time is up."""
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    again_s = time.monotonic() + AGAIN_S
    found = _look(engine, chosen)
    most = max(1, _left(found))
    for status in found:
        if status.state in HALTED:
            note(f"warning: {status.view.books.lane}: {status.why}")
    with Bar("flush", most) as bar:
        while _left(found):
            if until_s is not None and time.monotonic() >= until_s:
                return found, True
            bar.at(max(0, most - _left(found)), _words(found))
            if time.monotonic() >= again_s:
                again_s = time.monotonic() + AGAIN_S
                _flush_again(chosen, found)
            time.sleep(LOOK_S)
            found = _look(engine, chosen)
    return found, False


def _flush_again(chosen: list[tuple[DestinationRuntime, str]], found: list[LaneStatus]) -> None:
    counts = {status.view.books.lane: status.view.books.counts for status in found}
    for runtime, name in chosen:
        if counts[name]["waiting"] or counts[name]["held"]:
            runtime.schedule.flush(name)


def _left(found: list[LaneStatus]) -> int:
    return sum(status.view.left for status in found)


def _words(found: list[LaneStatus]) -> str:
    first = next(status for status in found if status.view.left)
    return f"{_left(found)} to go; {first.view.books.lane}: {first.why}"


def _show(found: list[LaneStatus], more: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json({**report(found), **more})
        return
    total = sums(found)
    names = ("waiting", "held", "batched", "delivered", "failed", "unattributed")
    say(f"{counted(len(found), 'lane')} flushed: " + ", ".join(f"{total[name]} {name}" for name in names))
    if more["timed_out"]:
        note("error: flush: the time is up; " + _words(found))
