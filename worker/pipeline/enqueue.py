"""The door: records in, a receipt out. What needs no platform is checked here; everything else at aggregation.

One record is one round trip; an iterable of any length goes in calls of a few hundred, in constant memory. Each call is
atomic and carries an id, so that a repeat after a lost reply, or by a producer that comes back with the same `key`,
counts nothing twice.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson
from redis.exceptions import OutOfMemoryError, RedisError

from contact_ingest.errors import IntakeError, LaneFull, Refused, StoreUnavailable
from contact_ingest.model.lane import Lane, format_record_id
from contact_ingest.model.record import validate_record
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply, LaneLimits

PAUSE_FIRST_S, PAUSE_GROWTH, PAUSE_LAST_S = 0.05, 1.5, 1.0


class WaitBudget:
    """How long an enqueue may wait for room, in all: from the refusal of a call until it is taken. Pauses grow from try
    to try, and no two producers make the same ones."""

    def __init__(self, wait_s: float = 0) -> None:
        self.wait_s = wait_s
        self._left_s = wait_s
        self._since_s: float | None = None
        self._pause_s = PAUSE_FIRST_S

    def pause_s(self) -> float | None:
        """The next pause; None at the end of the patience."""
        self._spend()
        self._since_s = time.monotonic()
        if self._left_s <= 0:
            return None
        pause_s = min(self._left_s, self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(PAUSE_LAST_S, self._pause_s * PAUSE_GROWTH)
        return pause_s

    def restore(self) -> None:
        """A call was taken: what is left of the patience is for the next one."""
        self._spend()
        self._pause_s = PAUSE_FIRST_S

    def _spend(self) -> None:
        if self._since_s is not None:
            self._left_s -= time.monotonic() - self._since_s
            self._since_s = None


#: Records and bytes of one call of the enqueue script.
CALL_RECORDS = 500
CALL_BYTES = 1_000_000
#: Refused records a receipt lists; the rest are counted, and a callback hears of all.
LISTED = 1_000

#: Called with each refused record of an enqueue.
OnRefused = Callable[["RefusedRecord"], None]
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
        return (format_record_id(self.lane, seq) for first, last in self.ranges for seq in range(first, last + 1))

    def take(self, appended: EnqueueReply, position: int) -> None:
        self.accepted += appended.count
        self.position = position
        self.repeated += appended.what == "again"
        last = appended.first + appended.count - 1
        if self.ranges and self.ranges[-1][1] + 1 == appended.first:
            self.ranges[-1] = (self.ranges[-1][0], last)
        elif appended.count:
            self.ranges.append((appended.first, last))


@dataclass(frozen=True, slots=True)
class EnqueueOptions:
    """Everything that stays the same from record to record of one enqueue."""

    lane: Lane
    room: LaneLimits
    max_record_bytes: int
    key: str | None = None
    on_refused: OnRefused | None = None


class EnqueueBuffer:
    """The records of one enqueue, gathered into calls; the caller makes the calls, blocking or not."""

    def __init__(self, door: EnqueueOptions, patience: WaitBudget | None = None) -> None:
        self._door = door
        self._patience = patience or WaitBudget()
        self._name = door.key or uuid4().hex
        self._options = orjson.dumps(dict(door.lane.options)).decode()
        self._records: list[bytes] = []
        self._bytes = 0
        self._calls = 0
        self._position = 0
        self.receipt = Receipt(door.lane.name)
        self.waits_for = ""

    def add(self, record: object) -> bool:
        """Check a record and keep it for the next call; True when that call is full."""
        try:
            raw = validate_record(record, self._door.max_record_bytes)
        except Refused as refused:
            self._refuse(refused)
        else:
            self._records.append(raw)
            self._bytes += len(raw)
        self._position += 1
        return len(self._records) >= CALL_RECORDS or self._bytes >= CALL_BYTES

    def next_call(self) -> EnqueueCall | None:
        """The call for what has been gathered, if there is anything."""
        if not self._records:
            self.receipt.position = self._position
            return None
        self._calls += 1
        door = self._door
        call = f"{door.lane.name}:{self._name}:{self._calls}"  # one key may serve several lanes of a destination
        wait_ms = round(self._patience.wait_s * 1000)
        return EnqueueCall(call, door.lane.name, self._options, door.room, self._records, door.key is not None, wait_ms)

    def answered(self, answer: EnqueueReply | RedisError) -> float | None:
        """What came of the call. None if it was taken; else for how many seconds to wait before the very same call is
        made again. Raises `LaneFull` or `StoreUnavailable` when the patience is at its end."""
        if isinstance(answer, EnqueueReply) and answer.what not in ("lane", "memory"):
            self.receipt.take(answer, self._position)
            self._records = []
            self._bytes = 0
            self._patience.restore()
            self.waits_for = ""
            return None
        problem, pause_s = self._problem(answer), self._patience.pause_s()
        if pause_s is None:
            raise problem
        self.waits_for = str(problem)
        return pause_s

    def _problem(self, answer: EnqueueReply | RedisError) -> IntakeError:
        """No text of the server's is in it, which may quote."""
        receipt = self.receipt
        if isinstance(answer, RedisError) and not is_out_of_memory(answer):
            return StoreUnavailable(f"Redis: {type(answer).__name__}", receipt, receipt.position)
        is_lane = isinstance(answer, EnqueueReply) and answer.what == "lane"
        where = f"lane {self._door.lane.name}" if is_lane else "the memory of Redis"
        return LaneFull(f"{where} is full", receipt, receipt.position)

    def _refuse(self, refused: Refused) -> None:
        said = RefusedRecord(self._position, refused.field, refused.rule, refused.code)
        self.receipt.refused_count += 1
        if len(self.receipt.refused) < LISTED:
            self.receipt.refused.append(said)
        if self._door.on_refused is not None:
            self._door.on_refused(said)


def enqueue(
    records: Records, doors: Sequence[tuple[EnqueueOptions, Callable[[EnqueueCall], EnqueueReply]]], wait_s: float = 0
) -> list[Receipt]:
    """Put records into a lane, or into several at once. Raises `LaneFull` or `StoreUnavailable`, with the receipt of
    the lane concerned so far; the others keep what they have taken, and with a key all of it can be repeated. Both are
    waited out for `wait_s` seconds in all."""
    patience = WaitBudget(wait_s)
    fillings = [(EnqueueBuffer(door, patience), call) for door, call in doors]
    for record in [records] if isinstance(records, Mapping) else records:
        for filling, call in fillings:
            if filling.add(record):
                _flush(filling, call)
    for filling, call in fillings:
        _flush(filling, call)
    return [filling.receipt for filling, _ in fillings]


def _flush(filling: EnqueueBuffer, call: Callable[[EnqueueCall], EnqueueReply]) -> None:
    append = filling.next_call()
    while append is not None and (pause_s := filling.answered(answer_to(append, call))) is not None:
        time.sleep(pause_s)


def answer_to(append: EnqueueCall, call: Callable[[EnqueueCall], EnqueueReply]) -> EnqueueReply | RedisError:
    try:
        return call(append)
    except RedisError as problem:
        return problem  # not raised again: a traceback would show its words


async def aenqueue(
    records: Records | AsyncIterable[Record],
    doors: Sequence[tuple[EnqueueOptions, Callable[[EnqueueCall], Awaitable[EnqueueReply]]]],
    wait_s: float = 0,
) -> list[Receipt]:
    """The same without blocking: the calls and the pauses are awaited."""
    patience = WaitBudget(wait_s)
    fillings = [(EnqueueBuffer(door, patience), call) for door, call in doors]
    async for record in _each(records):
        for filling, call in fillings:
            if filling.add(record):
                await _aflush(filling, call)
    for filling, call in fillings:
        await _aflush(filling, call)
    return [filling.receipt for filling, _ in fillings]


async def _aflush(filling: EnqueueBuffer, call: Callable[[EnqueueCall], Awaitable[EnqueueReply]]) -> None:
    append = filling.next_call()
    while append is not None:
        answer: EnqueueReply | RedisError
        try:
            answer = await call(append)
        except RedisError as problem:
            answer = problem
        pause_s = filling.answered(answer)
        if pause_s is None:
            return
        await asyncio.sleep(pause_s)


def is_out_of_memory(problem: RedisError) -> bool:
    """A server of the 6.2 line only says so inside the words of its script error."""
    return isinstance(problem, OutOfMemoryError) or "-OOM " in str(problem)


async def _each(records: Records | AsyncIterable[Record]) -> AsyncIterator[object]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in [records] if isinstance(records, Mapping) else records:
            yield record
