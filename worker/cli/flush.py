"""`flush`: sends what waits now; with --wait, until every record has ended."""

import time
from itertools import groupby
from typing import Annotated, Any

import typer

from contact_ingest.cli.options import JsonOption, LaneOption, ToOption, lanes_of, open_engine
from contact_ingest.cli.output import EXIT_TIMED_OUT, EXIT_WRONG, ProgressBar, counted, examples, note, say, show_json
from contact_ingest.cli.status import as_json, lane_statuses
from contact_ingest.engine import DestinationRuntime, Engine
from contact_ingest.operations.status import HALTED, LaneStatus, ends_well, sums

#: Pause between two readings of the lanes.
READ_EVERY_S = 0.25
#: Lanes with waiting or held records are flushed again so often: held contacts may have become free.
FLUSH_EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    app.command(
        "flush", epilog=examples("flush --to newsletter", "flush --wait --timeout 600 && echo 'all delivered'")
    )(flush)


def flush(
    to: ToOption = None,
    lane: LaneOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until nothing waits and nothing is in flight.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="S", help="With --wait: give up after S seconds.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send what waits at once, without waiting for full batches.

    With --wait, exits with 0 when everything has ended well, with 1 when these lanes have failed records or
    unattributed rows, with 3 when the time is up.
    """
    engine = open_engine(writes=True)
    chosen = lanes_of(engine, to, lane)
    _flush(chosen)
    if not wait:
        found = _read(engine, chosen)
        _show(found, {"timed_out": False}, json=json)
        return
    found, timed_out = _wait(engine, chosen, timeout)
    _show(found, {"timed_out": timed_out}, json=json)
    if timed_out:
        raise typer.Exit(EXIT_TIMED_OUT)
    if not ends_well(found):
        raise typer.Exit(EXIT_WRONG)


def _read(engine: Engine, chosen: list[tuple[DestinationRuntime, str]]) -> list[LaneStatus]:
    names = {name for _, name in chosen}
    runtimes = list(dict.fromkeys(runtime.name for runtime, _ in chosen))
    found = lane_statuses(engine, [engine.runtime(name) for name in runtimes])
    return [status for status in found if status.view.books.lane in names]


def _wait(
    engine: Engine, chosen: list[tuple[DestinationRuntime, str]], timeout_s: float | None
) -> tuple[list[LaneStatus], bool]:
    """Wait until every record has ended or the time is up. Returns the lanes, and whether the time is up."""
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    next_flush_s = time.monotonic() + FLUSH_EVERY_S
    found = _read(engine, chosen)
    left_at_first = max(1, _left(found))
    warned: set[str] = set()
    with ProgressBar("flush", left_at_first) as bar:
        while _left(found):
            _warn_of_halted(found, warned)
            if until_s is not None and time.monotonic() >= until_s:
                return found, True
            bar.show(max(0, left_at_first - _left(found)), _progress(found))
            if time.monotonic() >= next_flush_s:
                next_flush_s = time.monotonic() + FLUSH_EVERY_S
                _flush_again(chosen, found)
            time.sleep(READ_EVERY_S)
            found = _read(engine, chosen)
    return found, False


def _warn_of_halted(found: list[LaneStatus], warned: set[str]) -> None:
    """Say once of each lane that nothing goes on before somebody acts, or before a trial succeeds, and why."""
    for status in found:
        lane = status.view.books.lane
        if status.state in HALTED and lane not in warned:
            warned.add(lane)
            note(f"warning: {lane}: {status.why}")


def _flush_again(chosen: list[tuple[DestinationRuntime, str]], found: list[LaneStatus]) -> None:
    counts = {status.view.books.lane: status.view.books.counts for status in found}
    _flush([(runtime, name) for runtime, name in chosen if counts[name]["waiting"] or counts[name]["held"]])


def _flush(chosen: list[tuple[DestinationRuntime, str]]) -> None:
    for _, group in groupby(chosen, key=lambda pair: pair[0].name):
        pairs = list(group)  # the lanes of a destination follow one another
        pairs[0][0].schedule.flush(*(name for _, name in pairs))


def _left(found: list[LaneStatus]) -> int:
    return sum(status.view.left for status in found)


def _progress(found: list[LaneStatus]) -> str:
    first = next(status for status in found if status.view.left)
    return f"{_left(found)} to go; {first.view.books.lane}: {first.why}"


def _show(found: list[LaneStatus], more: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json({**as_json(found), **more})
        return
    total = sums(found)
    names = ("waiting", "held", "batched", "delivered", "failed", "unattributed")
    say(f"{counted(len(found), 'lane')} flushed: " + ", ".join(f"{total[name]} {name}" for name in names))
    if more["timed_out"]:
        note("error: flush: the time is up; " + _progress(found))
