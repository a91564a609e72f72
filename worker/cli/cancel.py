"""`cancel`: discards records that still wait."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from contact_ingest.cli.options import JsonOption, open_engine, runtimes_of
from contact_ingest.cli.output import counted, examples, say, show_json
from contact_ingest.errors import SettingError
from contact_ingest.store import books
from contact_ingest.store.integrity.epochs import check_receipt
from contact_ingest.store.lanes import cancel as cancel_ranges

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")


def register(app: typer.Typer) -> None:
    app.command("cancel", epilog=examples("cancel newsletter 120-419 977", "cancel --receipt receipt.json"))(cancel)


def cancel(
    lane: Annotated[str | None, typer.Argument(metavar="LANE", help="The lane.")] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIRST-LAST", help="Sequence numbers in the lane, as a receipt has them."),
    ] = None,
    receipt: Annotated[
        str | None,
        typer.Option("--receipt", metavar="FILE", help="What enqueue --json printed; - reads standard input."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Discard records that still wait, by their sequence numbers in a lane or by the receipt of an enqueue.

    Records that are in flight are not stopped.
    """
    if receipt is not None:
        if lane is not None:
            raise SettingError("cancel", "give a lane and sequence numbers, or --receipt, not both")
        lane, wanted, epoch = _receipt(receipt)
    elif lane is None or not ranges:
        raise SettingError("cancel", "give a lane and sequence numbers such as 120-419, or --receipt FILE")
    else:
        wanted, epoch = list(map(_range, ranges)), ""
    (runtime,) = runtimes_of(open_engine(writes=True), None, lane)
    if receipt is not None and lane is not None:
        check_receipt(runtime.store, lane, wanted, epoch)
    accepted = next(found.counts["accepted"] for found in books.read(runtime.store) if found.lane == lane)
    existing = [(first, min(last, accepted - 1)) for first, last in wanted]
    discarded = cancel_ranges(runtime.store, lane, existing)
    if json:
        show_json({"lane": lane, "discarded": discarded})
        return
    named = sum(max(0, last - first + 1) for first, last in existing)
    others = "" if discarded == named else "; the others wait no longer"
    say(f"{discarded} of {counted(named, 'record')} discarded{others}.")


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if not found or int(found[2] or found[1]) < int(found[1]):
        raise SettingError("cancel", "a range is FIRST-LAST, such as 120-419, or one number")
    return int(found[1]), int(found[2] or found[1])


def _receipt(file: str) -> tuple[str, Sequence[tuple[int, int]], str]:
    """Lane, ranges and epoch of a receipt: {"lane": "newsletter", "ranges": [[120, 419]], "epoch": "1f2e...", ...}.
    Receipts of an older release have no epoch."""
    try:
        content = typer.get_binary_stream("stdin").read() if file == "-" else Path(file).read_bytes()
        found: Any = orjson.loads(content)
        if isinstance(found, Mapping) and isinstance(found["lane"], str):
            ranges = [(int(first), int(last)) for first, last in found["ranges"]]
            return found["lane"], ranges, str(found.get("epoch", ""))
    except OSError as problem:
        raise SettingError("--receipt", problem.strerror or "cannot be read") from None
    except (KeyError, TypeError, ValueError):
        pass
    raise SettingError("--receipt", "is not what enqueue --json prints")
