"""`batches` lists the batches (request bodies) of all destinations. `batch` shows everything about one batch."""

from itertools import islice
from typing import Annotated, Any

import typer

from contact_ingest.cli.options import JsonOption, LaneOption, ToOption, open_engine, runtimes_of
from contact_ingest.cli.output import examples, say, show_json, show_table
from contact_ingest.engine import DestinationRuntime
from contact_ingest.errors import SettingError
from contact_ingest.model.batch import BatchState
from contact_ingest.operations.status import span, why_batch
from contact_ingest.store import inspect
from contact_ingest.store.inspect import BatchView

_COUNTS = ("rows", "bytes", "attempts", "claims_count")
_ENDED = ("delivered", "failed", "unattributed")
_COLUMNS = ("batch", "lane", "state", *_COUNTS, "job", "code", "age", *_ENDED, "request_id")
_NUMBERS = ("batch", "age", *_COUNTS, *_ENDED)


def register(app: typer.Typer) -> None:
    app.command("batches", epilog=examples("batches", "batches --state polling", "batches --lane newsletter --json"))(
        batches
    )
    app.command("batch", epilog=examples("batch 12", "batch 12 --to newsletter --json"))(batch)


def batches(
    to: ToOption = None,
    lane: LaneOption = None,
    state: Annotated[BatchState | None, typer.Option("--state", help="Only batches in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="List at most N.")] = 50,
    json: JsonOption = False,
) -> None:
    """List batches, newest first. A settled batch is listed for seven days."""
    shown: list[tuple[int, dict[str, Any]]] = []
    for runtime in runtimes_of(open_engine(), to, lane):
        now_ms = runtime.clock.now_ms()
        found = (b for b in inspect.newest_batches(runtime.store) if _is_meant(b, lane, state))
        shown += [(batch.count("created_ms"), batch.summary(now_ms)) for batch in islice(found, limit)]
    shown.sort(key=lambda pair: (pair[0], pair[1]["batch"]), reverse=True)
    rows = [row for _, row in shown[:limit]]
    if json:
        show_json({"batches": rows})
    elif rows:
        lines = [{**row, "age": span(row["age_s"])} for row in rows]
        show_table(_COLUMNS, [[line[name] for name in _COLUMNS] for line in lines], numbers=_NUMBERS)
    else:
        say("No such batch." if lane or state or to else "No batch has been made yet.")


def batch(
    batch_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="The number of the batch, as batches lists it.")],
    to: ToOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything about one batch: its state and why, its parents and children. Never its contents."""
    runtime, view = _one(runtimes_of(open_engine(), to), batch_id)
    now_ms = runtime.clock.now_ms()
    children = inspect.children(runtime.store, view)
    shown = {**view.detail(now_ms), "children": children, "why": why_batch(view, now_ms, children)}
    if json:
        show_json(shown)
        return
    search = shown.pop("search")
    texts = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in shown.items()}
    if view.is_search:
        texts |= {
            "rows probed": search["sending"],
            "rows suspected": search["suspects"],
            "rows set aside": search["parked"],
        }
    show_table(["", ""], [[name, value] for name, value in texts.items() if value not in (None, "")])


def _is_meant(batch: BatchView, lane: str | None, state: BatchState | None) -> bool:
    return lane in (None, batch.lane) and state in (None, batch.state)


def _one(runtimes: list[DestinationRuntime], number: int) -> tuple[DestinationRuntime, BatchView]:
    """The batch of this number. Each destination numbers its own batches."""
    found = [(runtime, view) for runtime in runtimes if (view := inspect.batch(runtime.store, number)) is not None]
    if not found:
        raise SettingError(f"batch {number}", "there is none, or it was settled too long ago to be listed")
    if len(found) > 1:
        raise SettingError("--to", f"name a destination; {' and '.join(runtime.name for runtime, _ in found)} have one")
    return found[0]
