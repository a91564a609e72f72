"""`pause` and `resume`: holding lanes, and letting them go on."""

from typing import Annotated

import typer

from contact_ingest.cli.options import Lane, To, opened, runtime_of
from contact_ingest.cli.output import examples, say
from contact_ingest.store.inspect import read_destination


def register(app: typer.Typer) -> None:
    app.command("pause", epilog=examples("pause --to newsletter --why 'list is being cleaned'"))(pause)
    app.command("resume", epilog=examples("resume --to newsletter", "resume --lane newsletter+1f2e3d4c"))(resume)


def pause(
    to: To = None,
    lane: Lane = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Shown in status.")] = "",
) -> None:
    """Hold a lane, or a whole destination. Imports under way are still followed to their end."""
    runtime = runtime_of(opened(writes=True), to, lane)
    runtime.schedule.pause(lane, why[:500])
    say(f"{lane or runtime.name} is paused.")


def resume(to: To = None, lane: Lane = None) -> None:
    """Go on at once, after a pause, after a stop, or while a platform that did not answer is left alone."""
    runtime = runtime_of(opened(writes=True), to, lane)
    if lane is None:
        runtime.rate_limiter.close()
        runtime.schedule.make_due_now()
    runtime.schedule.resume(lane)
    say(f"{lane or runtime.name} goes on.")
    view = read_destination(runtime.store, runtime.rate_limiter.standing())
    paused = [found.books.lane for found in view.lanes if found.paused is not None and lane in (None, found.books.lane)]
    if paused:
        say(f"Still paused by themselves: {', '.join(paused)}")
    if lane is not None and view.state.get("state") in ("paused", "stopped"):
        say(f"But its destination is {view.state['state']}: contact-ingest resume --to {runtime.name}")
