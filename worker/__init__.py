"""Contact ingest: raw contact records in, platform imports followed to their end. This file is the map.

enqueue, aenqueue, cancel      the door, for producers: they need Redis, not Celery
contact, packing, walk, views  pure: records, bodies, the walk over a lane, parts of a body
outcome, wire                  what replies mean; HTTP as values
providers/                     the platforms: contacts in, request bytes out; reply in, verdict out
store/                         Redis: the keyspace (keys.py) and its scripts (lua/)
transport                      HTTP, with a deadline
intake, aggregation, delivery, tracking, replay    the journey of a contact, in order
wiring                         where the parts are joined
cli/                           the command line
sandbox/, embedded             stand-ins of the platforms, and a real server, for trying it all out
"""

from collections.abc import AsyncIterable, Callable, Sequence

from worker import intake
from worker.errors import IngestError, IntakeError, LaneFull, SettingError, StoreUnavailable
from worker.intake import Receipt, Record, Records, RefusedRecord
from worker.store.waiting import Append, Appended, append
from worker.store.waiting import cancel as cancel_ranges
from worker.wiring import wired

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


def enqueue(
    records: Records,
    to: str | None = None,
    *,
    list_ids: Sequence[str] = (),
    key: str | None = None,
    on_refused: Callable[[RefusedRecord], None] | None = None,
) -> Receipt:
    """Put a record, or an iterable of any length, into the lane of a destination.

    `to` names the destination; it may be left out where there is only one. `list_ids` are lists that the contacts join.
    `key` makes the call idempotent for a day: the same key with the same records counts nothing twice. Records that
    break a rule are refused and listed in the receipt; `on_refused` hears of each. Raises `LaneFull` or
    `StoreUnavailable`, which carry the receipt so far and the position to go on from, and `SettingError`.
    """
    parts = wired()
    lane = parts.lane(to, list_ids=list_ids)
    site = parts.site(lane.destination)

    def call(calling: Append) -> Appended:
        return append(site.store, calling, parts.settings.store_ack_replicas)

    return intake.enqueue(records, parts.door(lane, key=key, on_refused=on_refused), call)


async def aenqueue(
    records: Records | AsyncIterable[Record],
    to: str | None = None,
    *,
    list_ids: Sequence[str] = (),
    key: str | None = None,
    on_refused: Callable[[RefusedRecord], None] | None = None,
) -> Receipt:
    """`enqueue` for asyncio: never blocks the loop. Takes asynchronous iterables as well."""
    parts = wired()
    lane = parts.lane(to, list_ids=list_ids)
    door = parts.door(lane, key=key, on_refused=on_refused)

    async def call(calling: Append) -> Appended:
        return await parts.append(lane, calling)

    return await intake.aenqueue(records, door, call)


async def aclose() -> None:
    """End the connection that `aenqueue` keeps for the running event loop, when the application shuts down."""
    await wired().aclose()


def cancel(receipt: Receipt) -> int:
    """Discard what of a receipt still waits; returns how many records that were. What is in flight goes on."""
    parts = wired()
    site = parts.site(parts.destination_of(receipt.lane))
    return cancel_ranges(site.store, receipt.lane, receipt.ranges)
