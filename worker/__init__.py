"""Contact ingest: raw contact records in, platform imports followed to their end. This file is the map.

enqueue, aenqueue, cancel      the door, for producers: they need Redis, not Celery
contact, lineage               pure: records, and which of two is newer, field by field
packing, items, walk, views     pure: bodies, the walk over a lane, parts of a body
outcome, wire                  what replies mean; HTTP as values
providers/                     the platforms: contacts in, request bytes out; reply in, verdict out
store/                         Redis: the keyspace (keys.py) and its scripts (lua/)
transport                      HTTP, with a deadline
intake, aggregation, delivery, tracking, replay    the journey of a contact, in order
rounds, retried, superseding, searching, probing   parts of it that have a room of their own
subject, erasure               a contact that is to be gone, and taking it out of every place
checks                         what can be wrong with an install; each subject in a room of its own
wiring                         where the parts are joined
cli/                           the command line
sandbox/, embedded             stand-ins of the platforms, and a real server, for trying it all out
"""

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from typing import Any, overload

from contact_ingest.engine import current_engine
from contact_ingest.errors import IngestError, IntakeError, LaneFull, SettingError, StoreUnavailable
from contact_ingest.model.lane import Lane, LaneName
from contact_ingest.pipeline import enqueue as intake
from contact_ingest.pipeline.enqueue import Receipt, Record, Records, RefusedRecord
from contact_ingest.store.lanes import cancel as cancel_ranges

#: Several destinations, or each with what its platform takes per request.
Several = list[str] | tuple[str, ...] | Mapping[str, Mapping[str, Any]]
OnRefused = Callable[[RefusedRecord], None]

__all__ = [
    "IngestError",
    "IntakeError",
    "LaneFull",
    "Receipt",
    "RefusedRecord",
    "SettingError",
    "StoreUnavailable",
    "aclose",
    "aenqueue",
    "cancel",
    "enqueue",
]


@overload
def enqueue(
    records: Records,
    to: str | None = None,
    *,
    list_ids: Sequence[str] = ...,
    key: str | None = ...,
    on_refused: OnRefused | None = ...,
    wait_s: float = ...,
) -> Receipt: ...


@overload
def enqueue(
    records: Records,
    to: Several,
    *,
    key: str | None = ...,
    on_refused: OnRefused | None = ...,
    wait_s: float = ...,
) -> dict[str, Receipt]: ...


def enqueue(
    records: Records,
    to: str | Several | None = None,
    *,
    list_ids: Sequence[str] = (),
    key: str | None = None,
    on_refused: OnRefused | None = None,
    wait_s: float = 0,
) -> Receipt | dict[str, Receipt]:
    """Put a record, or an iterable of any length, into the lane of a destination, or of several.

    `to` names the destination; it may be left out where there is only one. `list_ids` are lists that the contacts join.
    A list of destinations, or a mapping of each to what its platform takes per request (`{"a": {"list_ids": [...]}}`),
    puts every record into all of them, and the answer maps each to its receipt. `key` makes the call idempotent for a
    day: the same key with the same records counts nothing twice. Records that break a rule are refused and listed in
    the receipt; `on_refused` hears of each. Raises `LaneFull` or `StoreUnavailable`, which carry the receipt so far and
    the position to go on from, and `SettingError`.

    `wait_s` is how long to wait for room, or for a Redis that does not answer, in all of this call, before they are
    raised; 0 raises at once. What is waited with is the very same call, so a lost reply counts nothing twice, and no
    more records are held than one call takes.
    """
    parts = current_engine()
    lanes = parts.lanes(to, list_ids)
    doors = [(parts.enqueue_options(lane, key=key, on_refused=on_refused), parts.caller(lane)) for lane in lanes]
    return _answer(to, lanes, intake.enqueue(records, doors, wait_s))


async def aenqueue(
    records: Records | AsyncIterable[Record],
    to: str | Several | None = None,
    *,
    list_ids: Sequence[str] = (),
    key: str | None = None,
    on_refused: OnRefused | None = None,
    wait_s: float = 0,
) -> Receipt | dict[str, Receipt]:
    """`enqueue` for asyncio: never blocks the loop. Takes asynchronous iterables as well."""
    parts = current_engine()
    lanes = parts.lanes(to, list_ids)
    doors = [(parts.enqueue_options(lane, key=key, on_refused=on_refused), parts.async_caller(lane)) for lane in lanes]
    return _answer(to, lanes, await intake.aenqueue(records, doors, wait_s))


def _answer(
    to: str | Several | None, lanes: Sequence[Lane], receipts: Sequence[Receipt]
) -> Receipt | dict[str, Receipt]:
    if to is None or isinstance(to, str):
        return receipts[0]
    return {lane.destination: receipt for lane, receipt in zip(lanes, receipts, strict=True)}


async def aclose() -> None:
    """End the connection that `aenqueue` keeps for the running event loop, when the application shuts down."""
    await current_engine().aclose()


def cancel(receipt: Receipt) -> int:
    """Discard what of a receipt still waits; returns how many records that were. What is in flight goes on."""
    parts = current_engine()
    runtime = parts.runtime(LaneName(receipt.lane).destination)
    return cancel_ranges(runtime.store, receipt.lane, receipt.ranges)
