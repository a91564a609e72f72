"""`pause` and `resume`: stop and restart a lane or a whole destination."""

from typing import Annotated

import typer

from contact_ingest.cli.options import LaneOption, ToOption, open_engine, runtime_of
from contact_ingest.cli.output import examples, say
from contact_ingest.errors import SettingError
from contact_ingest.operations.doctor.accounts import accept_living, conflicts
from contact_ingest.store.inspect import read_destination


def register(app: typer.Typer) -> None:
    app.command("pause", epilog=examples("pause --to newsletter --why 'list is being cleaned'"))(pause)
    app.command("resume", epilog=examples("resume --to newsletter", "resume --lane newsletter+1f2e3d4c"))(resume)


def pause(
    to: ToOption = None,
    lane: LaneOption = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, shown in status.")] = "",
) -> None:
    """Pause a lane, or a whole destination. Imports that have begun are still polled to their end."""
    runtime = runtime_of(open_engine(writes=True), to, lane)
    runtime.state.pause(lane, why[:500])
    say(f"{lane or runtime.name} is paused.")


def resume(
    to: ToOption = None,
    lane: LaneOption = None,
    accepts: Annotated[
        bool, typer.Option("--accept-accounts", help="The different keys of the living workers are of one account.")
    ] = False,
) -> None:
    """Resume a lane or a destination at once.

    This ends a pause, the stop of a destination or of its lanes that a refusal causes, and the wait after failures of
    the platform.
    """
    engine = open_engine(writes=True)
    runtime = runtime_of(engine, to, lane)
    if accepts:
        say(f"Accounts or keys that may work side by side: {accept_living(engine, runtime)}.")
    elif lane is None and (conflict := next(conflicts(engine, runtime), None)) is not None:
        raise SettingError(f"destinations.{runtime.name}", f"{conflict.says}: {conflict.remedy}")
    if lane is None:
        runtime.breaker.reset()
        runtime.schedule.make_due_now()
    runtime.state.resume(lane)
    say(f"{lane or runtime.name} is resumed.")
    view = read_destination(runtime.store, runtime.breaker.state())
    paused = [found.books.lane for found in view.lanes if found.paused is not None and lane in (None, found.books.lane)]
    if paused:
        say(f"Lanes with a pause of their own stay paused: {', '.join(paused)}")
    if lane is not None and view.state.get("state") in ("paused", "stopped"):
        say(f"The destination is still {view.state['state']}. To resume it: contact-ingest resume --to {runtime.name}")
