"""`erase`: discards everything that is kept of a contact, at every destination, and lists what it cannot reach.

Exit codes: 0 nothing is left, 1 the erasure was not confirmed or the append-only file is not rewritten, 2 wrong use,
3 records are still in flight. No output names the contact.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from contact_ingest.cli.options import JsonOption, open_engine
from contact_ingest.cli.output import EXIT_TIMED_OUT, EXIT_WRONG, ProgressBar, counted, examples, note, say, show_json
from contact_ingest.engine import Engine
from contact_ingest.errors import SettingError
from contact_ingest.operations.erase import DataSubject, Eraser, ErasureCounts
from contact_ingest.store import redis_server
from contact_ingest.store.workers import GONE_S

#: Pause between two rounds: so long, or so many times what the last round took. Waiting must not load the server.
MIN_PAUSE_S = 0.5
PAUSE_PER_ROUND = 4
#: Places with contacts that no command of this program can reach.
BEYOND_REACH = (
    "the platform itself",
    "backups and snapshots of Redis",
    "the append-only file, until it is rewritten",
    "the slow log of Redis",
    "rejects files and exports",
    "destinations that are no longer configured",
)


def register(app: typer.Typer) -> None:
    app.command(
        "erase",
        epilog=examples(
            "erase ada@example.com --dry-run",
            "erase ada@example.com --wait --timeout 900",
            "erase - --yes --json < address.txt",
            "erase --external-id 4711",
        ),
    )(erase)


def erase(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address; - reads it from standard input.")] = "",
    external_id: Annotated[
        str, typer.Option("--external-id", metavar="ID", help="Or: the contact with this external_id.")
    ] = "",
    phone_number_id: Annotated[
        str, typer.Option("--phone-number-id", metavar="NUMBER", help="Or: with this phone_number_id.")
    ] = "",
    anonymous_id: Annotated[str, typer.Option("--anonymous-id", metavar="ID", help="Or: with this anonymous_id.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until nothing of the contact is in flight.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="S", help="With --wait: give up after S seconds.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    rewrite_aof: Annotated[
        bool, typer.Option("--rewrite-aof", help="Afterwards have Redis rewrite its append-only file (BGREWRITEAOF).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Discard every record of a contact that waits, is held or has failed, at every destination.

    Records in flight cannot be called back. The command exits with 3 while there are any; --wait waits for their end.
    Stop the programs that enqueue the contact first.
    """
    address = sys.stdin.readline().strip() if email == "-" else email
    subject = DataSubject(address, external_id, phone_number_id, anonymous_id)
    engine = open_engine(writes=not dry_run)
    eraser = Eraser((runtime.eraser for runtime in engine.runtimes()), engine.broker_queue)
    if dry_run:
        _show(
            _with_progress(eraser, lambda on_progress: eraser.look(subject, on_progress)), {"dry_run": True}, json=json
        )
        return
    _confirm(engine, yes=yes)
    found, timed_out = _erase_until_clear(engine, eraser, subject, timeout if wait else 0.0)
    rewritten = redis_server.rewrite_aof(engine.client) if rewrite_aof else ""
    more = {"dry_run": False, "timed_out": wait and timed_out, **({"rewrite_aof": rewritten} if rewrite_aof else {})}
    _show(found, more, json=json)
    if not found.is_clear:
        raise typer.Exit(EXIT_TIMED_OUT)
    if rewrite_aof and rewritten != redis_server.STARTED:
        raise typer.Exit(EXIT_WRONG)


def _confirm(engine: Engine, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingError("--yes", "is needed where nobody can be asked; --dry-run counts first")
    where = ", ".join(engine.destinations)
    if not typer.confirm(f"Erase all that is held of this contact for {where}? It cannot be undone.", err=True):
        note("Nothing was erased.")
        raise typer.Exit(EXIT_WRONG)


def _erase_until_clear(
    engine: Engine, eraser: Eraser, subject: DataSubject, timeout_s: float | None
) -> tuple[ErasureCounts, bool]:
    """Erase until nothing is left or the time is up. Returns the sum of what was erased, and whether the time is up."""
    ends_s = None if timeout_s is None else time.monotonic() + timeout_s
    erased, warned = ErasureCounts(), timeout_s == 0
    while True:
        began_s = time.monotonic()
        found = _with_progress(eraser, lambda on_progress: eraser.erase(subject, on_progress))
        erased.take_erased(found)
        found.waiting, found.held, found.failed = erased.waiting, erased.held, erased.failed
        now_s = time.monotonic()
        if found.is_clear or (ends_s is not None and now_s >= ends_s):
            return found, not found.is_clear
        if not warned:
            warned = True
            note(_in_flight(found))
            _warn(engine)
        time.sleep(max(MIN_PAUSE_S, PAUSE_PER_ROUND * (now_s - began_s)))


def _with_progress(eraser: Eraser, work: Callable[[Callable[[int, str], None]], ErasureCounts]) -> ErasureCounts:
    total = eraser.size()
    with ProgressBar("erase", total) as bar:
        done = 0

        def on_progress(records: int, lane: str) -> None:
            nonlocal done
            done += records
            bar.show(min(done, total), f"looking through {lane}")

        return work(on_progress)


def _warn(engine: Engine) -> None:
    """Say what keeps records in flight from ending: no worker, or a destination that is paused or stopped."""
    if all(member.silent_s >= GONE_S for member in engine.workers.members()):
        note("warning: no worker is running")
    for runtime in engine.runtimes():
        state = runtime.state.read()
        if state.get("state"):
            note(f"warning: {runtime.name} is {state['state']}")


def _in_flight(found: ErasureCounts) -> str:
    """What of the contact is still in flight, in words."""
    parts = []
    if found.in_flight:
        bodies = "1 body" if found.bodies == 1 else f"{found.bodies} bodies"
        parts.append(f"{counted(found.in_flight, 'record')} in {bodies} being sent or followed")
    if found.queued:
        parts.append(f"{counted(found.queued, 'record')} in the broker's queue")
    if found.unknown:
        parts.append("a request of unknown fate that may still reach the platform")
    if found.met:
        parts.append("records that come in as fast as they are erased")
    return "still in flight: " + "; ".join(parts)


def _show(found: ErasureCounts, more: dict[str, Any], *, json: bool) -> None:
    names = ("waiting", "held", "failed")
    if json:
        out = {name: value for name, value in asdict(found).items() if name not in ("met", "moved")}
        show_json({**out, "erased": found.erased, "complete": found.is_clear, "beyond": BEYOND_REACH, **more})
        return
    counts = ", ".join(f"{getattr(found, name)} {name}" for name in names)
    say(f"{counted(found.erased, 'record')} {'would be erased' if more['dry_run'] else 'erased'}: {counts}.")
    if not found.is_clear and not more["dry_run"]:
        note(f"error: erase: {_in_flight(found)}; run it again, or with --wait")
    elif found.in_flight or found.queued or found.unknown:
        say(_in_flight(found).capitalize() + ".")
    if "rewrite_aof" in more:
        say(f"The append-only file: {more['rewrite_aof']}.")
    if not more["dry_run"]:
        say(f"Beyond reach: {'; '.join(BEYOND_REACH)}.")
