"""The door: records in, a receipt out. What needs no platform is checked here; everything else at aggregation.

One record is one round trip; an iterable of any length goes in calls of a few hundred, in constant memory. Each call is
atomic and carries an id, so that a repeat after a lost reply, or by a producer that comes back with the same `key`,
counts nothing twice.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson
from redis.exceptions import RedisError

from worker.contact import admit
from worker.errors import LaneFull, Refused, StoreUnavailable
from worker.providers.base import Lane
from worker.store.waiting import Append, Appended, LaneRoom

#: Records and bytes of one call of the enqueue script.
CALL_RECORDS = 500
CALL_BYTES = 1_000_000
#: Refused records a receipt lists; the rest are counted, and a callback hears of all.
LISTED = 1_000

Record = Mapping[str, Any]
Records = Record | Iterable[Record]


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that was not accepted: its position in the input, the field, and the rule it breaks."""

    position: int
    field: str
    rule: str
    code: str


@dataclass(slots=True)
class Receipt:
    """What became of an enqueue: how many records were accepted, and their places in the lane as closed ranges.

    A record's id is `lane:seq`. `repeated` counts calls that had been counted before. `position` is the next record of
    the input: after an error, the place to go on from."""

    lane: str
    accepted: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    refused: list[RefusedRecord] = field(default_factory=list)
    refused_count: int = 0
    repeated: int = 0
    position: int = 0

    @property
    def record_ids(self) -> Iterator[str]:
        return (f"{self.lane}:{seq}" for first, last in self.ranges for seq in range(first, last + 1))

    def take(self, appended: Appended, position: int) -> None:
        self.accepted += appended.count
        self.position = position
        self.repeated += appended.what == "again"
        last = appended.first + appended.count - 1
        if self.ranges and self.ranges[-1][1] + 1 == appended.first:
            self.ranges[-1] = (self.ranges[-1][0], last)
        elif appended.count:
            self.ranges.append((appended.first, last))


@dataclass(frozen=True, slots=True)
class Door:
    """Everything that stays the same from record to record of one enqueue."""

    lane: Lane
    room: LaneRoom
    max_record_bytes: int
    key: str | None = None
    on_refused: Callable[[RefusedRecord], None] | None = None


class Filling:
    """The records of one enqueue, gathered into calls; the caller makes the calls, blocking or not."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._name = door.key or uuid4().hex
        self._options = orjson.dumps(dict(door.lane.options)).decode()
        self._records: list[bytes] = []
        self._bytes = 0
        self._calls = 0
        self._position = 0
        self.receipt = Receipt(door.lane.name)

    def add(self, record: object) -> bool:
        """Check a record and keep it for the next call; True when that call is full."""
        try:
            raw = admit(record, self._door.max_record_bytes)
        except Refused as refused:
            self._refuse(refused)
        else:
            self._records.append(raw)
            self._bytes += len(raw)
        self._position += 1
        return len(self._records) >= CALL_RECORDS or self._bytes >= CALL_BYTES

    def next_call(self) -> Append | None:
        """The call for what has been gathered, if there is anything."""
        if not self._records:
            self.receipt.position = self._position
            return None
        self._calls += 1
        door = self._door
        call = f"{door.lane.name}:{self._name}:{self._calls}"  # one key may serve several lanes of a destination
        return Append(call, door.lane.name, self._options, door.room, self._records, keyed=door.key is not None)

    def took(self, appended: Appended) -> None:
        """The call was answered. Raises `LaneFull`."""
        if appended.what in ("lane", "memory"):
            where = f"lane {self._door.lane.name} is" if appended.what == "lane" else "the memory of Redis is"
            raise LaneFull(f"{where} full", self.receipt, self.receipt.position)
        self.receipt.take(appended, self._position)
        self._records = []
        self._bytes = 0

    def broke(self, problem: RedisError) -> Exception:
        """What to raise when the store did not answer; no text of the server's, which may quote."""
        if "OOM" in str(problem):
            return LaneFull("the memory of Redis is full", self.receipt, self.receipt.position)
        return StoreUnavailable(f"Redis: {type(problem).__name__}", self.receipt, self.receipt.position)

    def _refuse(self, refused: Refused) -> None:
        said = RefusedRecord(self._position, refused.field, refused.rule, refused.code)
        self.receipt.refused_count += 1
        if len(self.receipt.refused) < LISTED:
            self.receipt.refused.append(said)
        if self._door.on_refused is not None:
            self._door.on_refused(said)


def enqueue(records: Records, doors: Sequence[tuple[Door, Callable[[Append], Appended]]]) -> list[Receipt]:
    """Put records into a lane, or into several at once. Raises `LaneFull` or `StoreUnavailable`, with the receipt of
    the lane concerned so far; the others keep what they have taken, and with a key all of it can be repeated."""
    fillings = [(Filling(door), call) for door, call in doors]
    for record in [records] if isinstance(records, Mapping) else records:
        for filling, call in fillings:
            if filling.add(record):
                _flush(filling, call)
    for filling, call in fillings:
        _flush(filling, call)
    return [filling.receipt for filling, _ in fillings]


def _flush(filling: Filling, call: Callable[[Append], Appended]) -> None:
    append = filling.next_call()
    if append is None:
        return
    try:
        appended = call(append)
    except RedisError as problem:
        raise filling.broke(problem) from None
    filling.took(appended)


async def aenqueue(
    records: Records | AsyncIterable[Record], doors: Sequence[tuple[Door, Callable[[Append], Awaitable[Appended]]]]
) -> list[Receipt]:
    """The same without blocking: the calls are awaited."""
    fillings = [(Filling(door), call) for door, call in doors]
    async for record in _each(records):
        for filling, call in fillings:
            if filling.add(record):
                await _aflush(filling, call)
    for filling, call in fillings:
        await _aflush(filling, call)
    return [filling.receipt for filling, _ in fillings]


async def _aflush(filling: Filling, call: Callable[[Append], Awaitable[Appended]]) -> None:
    append = filling.next_call()
    if append is None:
        return
    try:
        appended = await call(append)
    except RedisError as problem:
        raise filling.broke(problem) from None
    filling.took(appended)


async def _each(records: Records | AsyncIterable[Record]) -> AsyncIterator[object]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in [records] if isinstance(records, Mapping) else records:
            yield record
