"""Enqueue: records in, a receipt out. A record is checked here for everything that needs no platform.

One record is one round trip to Redis. An iterable of any length goes in calls of a few hundred records, so memory stays
constant. Each call is atomic and carries an id: a repeat after a lost reply counts nothing twice, and neither does a
producer that comes back with the same `key` and the same records. Other records under a used key are refused.
Everything that a platform decides is checked at aggregation.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import orjson
from redis.exceptions import RedisError

from contact_ingest.errors import IdempotencyKeyReused, IntakeError, LaneFull, Refused, StoreUnavailable
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.lane import Lane, format_record_id
from contact_ingest.model.record import validate_record
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply, LaneLimits
from contact_ingest.store.redis_server import describe_problem, refusal_code

#: Pauses between two tries of a call, in seconds: the first, the factor from one to the next, and the longest.
PAUSE_FIRST_S, PAUSE_GROWTH, PAUSE_LAST_S = 0.05, 1.5, 1.0
#: Most records, and most bytes, of one call of the enqueue script.
CALL_RECORDS = 500
CALL_BYTES = 1_000_000
#: Bytes of the digest of a call's records.
DIGEST_BYTES = 16
#: Refused records that a receipt lists. The rest are counted, and `on_refused` is called with each.
LISTED = 1_000

#: One record, such as `{"email": "ann@example.com", "first_name": "Ann"}`.
Record = Mapping[str, Any]
#: One record, or any number of them.
Records = Record | Iterable[Record]


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that was not accepted. `position` is its index in the input, from 0; `field` is the field that breaks
    the rule, `record` where it is the whole; `rule` says what was expected; `code` is a `FailureCode`."""

    position: int
    field: str
    rule: str
    code: FailureCode | str


#: Called with each refused record of an enqueue.
OnRefused = Callable[[RefusedRecord], None]


@dataclass(slots=True)
class Receipt:
    """What became of an enqueue into one lane.

        Receipt(lane="crm", accepted=3, ranges=[(7, 9)], refused=[], refused_count=0, repeated=0, position=3,
                epoch="1f2e3d4c5b6a7980")

    `ranges` are the accepted records as closed ranges of sequence numbers; a record's id is `lane:seq`, here `crm:7` to
    `crm:9`. `repeated` is the number of calls that had been counted before. `position` is the index of the next record
    of the input: after an error, the one to go on from. Of the records before it each is accepted or refused:
    `accepted + refused_count == position`.
    `epoch` tells these records from others that may get the same numbers, after a server was restored: see
    store/integrity/epochs.py.
    """

    lane: str
    accepted: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    refused: list[RefusedRecord] = field(default_factory=list)
    refused_count: int = 0
    repeated: int = 0
    position: int = 0
    epoch: str = ""

    @property
    def record_ids(self) -> Iterator[str]:
        return (format_record_id(self.lane, seq) for first, last in self.ranges for seq in range(first, last + 1))

    def take(self, reply: EnqueueReply, position: int) -> None:
        """Add what one call has put into the lane. `position` is the index of the record after it."""
        self.accepted += reply.count
        self.position = position
        self.repeated += reply.what == "again"
        if reply.epoch not in self.epoch.split():
            self.epoch = f"{self.epoch} {reply.epoch}".strip()
        last = reply.first + reply.count - 1
        if self.ranges and self.ranges[-1][1] + 1 == reply.first:
            self.ranges[-1] = (self.ranges[-1][0], last)
        elif reply.count:
            self.ranges.append((reply.first, last))


class WaitBudget:
    """How many seconds one enqueue may wait, in all its calls together, for room or for a Redis that does not answer.

    Time counts from the refusal of a call until it is taken. Pauses grow from try to try, with jitter, so that several
    producers do not try at the same moments.
    """

    def __init__(self, wait_s: float = 0) -> None:
        self.wait_s = wait_s
        self._left_s = wait_s
        self._since_s: float | None = None
        self._pause_s = PAUSE_FIRST_S

    def pause_s(self) -> float | None:
        """The next pause; None when the budget is spent."""
        self._spend()
        self._since_s = time.monotonic()
        if self._left_s <= 0:
            return None
        pause_s = min(self._left_s, self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(PAUSE_LAST_S, self._pause_s * PAUSE_GROWTH)
        return pause_s

    def restore(self) -> None:
        """A call was taken: the next one begins with a short pause again, and with what is left of the budget."""
        self._spend()
        self._pause_s = PAUSE_FIRST_S

    def _spend(self) -> None:
        if self._since_s is not None:
            self._left_s -= time.monotonic() - self._since_s
            self._since_s = None


@dataclass(frozen=True, slots=True)
class EnqueueOptions:
    """What stays the same from record to record of one enqueue. `key` is the caller's idempotency key."""

    lane: Lane
    limits: LaneLimits
    max_record_bytes: int
    key: str | None = None
    on_refused: OnRefused | None = None


class EnqueueBuffer:
    """Gathers the records of one enqueue into calls. The caller makes the calls, in a blocking way or not:

    buffer.add(record)                 True when a call is full
    call = buffer.next_call()
    buffer.answered(reply)             None, or how many seconds to wait before the very same call goes out again
    """

    def __init__(self, options: EnqueueOptions, budget: WaitBudget | None = None) -> None:
        self._options = options
        self._budget = budget or WaitBudget()
        self._name = options.key or uuid4().hex
        self._lane_options = orjson.dumps(dict(options.lane.options)).decode()
        self._records: list[bytes] = []
        self._bytes = 0
        # Records that were refused after the first of `self._records`: the receipt counts them with the next call.
        self._refused: list[RefusedRecord] = []
        self._refused_count = 0
        self._calls = 0
        self._position = 0
        self.receipt = Receipt(options.lane.name)
        #: While a call waits: what it waits for, such as "lane crm is full".
        self.waits_for = ""

    def add(self, record: object) -> bool:
        """Check a record and keep it for the next call; True when that call is full."""
        try:
            raw = validate_record(record, self._options.max_record_bytes)
        except Refused as refused:
            self._refuse(refused)
        else:
            self._records.append(raw)
            self._bytes += len(raw)
        self._position += 1
        if not self._records:
            self._count_refused()
        return len(self._records) >= CALL_RECORDS or self._bytes >= CALL_BYTES

    def next_call(self) -> EnqueueCall | None:
        """The call for the records gathered so far; None if there are none."""
        if not self._records:
            self.receipt.position = self._position
            return None
        self._calls += 1
        options = self._options
        call_id = f"{options.lane.name}:{self._name}:{self._calls}"  # one key may serve several lanes of a destination
        wait_ms = round(self._budget.wait_s * 1000)
        return EnqueueCall(
            call_id,
            options.lane.name,
            self._lane_options,
            options.limits,
            self._records,
            options.key is not None,
            wait_ms,
            "" if options.key is None else _digest(options.lane, self._records),
        )

    def answered(self, answer: EnqueueReply | RedisError) -> float | None:
        """Take the answer to the call. Returns None if the call was taken, else how many seconds to wait before the
        very same call is made again. Raises `LaneFull` or `StoreUnavailable` when the budget is spent, and
        `IdempotencyKeyReused` at once."""
        if isinstance(answer, EnqueueReply) and answer.what == "reused":
            raise IdempotencyKeyReused("key", self.receipt, self.receipt.position)
        if isinstance(answer, EnqueueReply) and answer.what not in ("lane", "memory"):
            self.receipt.take(answer, self._position)
            self._count_refused()
            self._records = []
            self._bytes = 0
            self._budget.restore()
            self.waits_for = ""
            return None
        problem, pause_s = self._problem(answer), self._budget.pause_s()
        if pause_s is None:
            raise problem
        self.waits_for = str(problem)
        return pause_s

    def _problem(self, answer: EnqueueReply | RedisError) -> IntakeError:
        """The error to raise. It holds no text of the server's, which may quote records."""
        receipt = self.receipt
        if isinstance(answer, RedisError) and not is_out_of_memory(answer):
            return StoreUnavailable(describe_problem(answer), receipt, receipt.position)
        is_lane = isinstance(answer, EnqueueReply) and answer.what == "lane"
        where = f"lane {self._options.lane.name}" if is_lane else "the memory of Redis"
        return LaneFull(f"{where} is full", receipt, receipt.position)

    def _refuse(self, refused: Refused) -> None:
        record = RefusedRecord(self._position, refused.field, refused.rule, refused.code)
        self._refused_count += 1
        if len(self._refused) < LISTED:
            self._refused.append(record)
        if self._options.on_refused is not None:
            self._options.on_refused(record)

    def _count_refused(self) -> None:
        """All records so far are accepted or refused: the receipt says so."""
        receipt = self.receipt
        receipt.position = self._position
        if self._refused_count:
            receipt.refused_count += self._refused_count
            receipt.refused += self._refused[: LISTED - len(receipt.refused)]
            self._refused, self._refused_count = [], 0


def _digest(lane: Lane, records: Iterable[bytes]) -> str:
    """What tells the records of a call, and the lane's options, from others under the same key. The order of the names
    in an object makes no difference: `{"a":1,"b":2}` and `{"b":2,"a":1}` are the same record."""
    digest = blake2b(orjson.dumps(dict(lane.options), option=orjson.OPT_SORT_KEYS), digest_size=DIGEST_BYTES)
    for raw in records:
        digest.update(b"\n" + orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def enqueue(
    records: Records,
    lanes: Sequence[tuple[EnqueueOptions, Callable[[EnqueueCall], EnqueueReply]]],
    wait_s: float = 0,
) -> list[Receipt]:
    """Put records into one lane or several; each lane comes with what makes its calls. Returns a receipt for each.

    Raises `LaneFull` or `StoreUnavailable` after `wait_s` seconds in all, with the receipt of its lane so far, and
    `IdempotencyKeyReused`. The other lanes keep what they have taken, and with a key the whole enqueue can be repeated.
    """
    budget = WaitBudget(wait_s)
    buffers = [(EnqueueBuffer(options, budget), send) for options, send in lanes]
    for record in [records] if isinstance(records, Mapping) else records:
        for buffer, send in buffers:
            if buffer.add(record):
                _flush(buffer, send)
    for buffer, send in buffers:
        _flush(buffer, send)
    return [buffer.receipt for buffer, _ in buffers]


def _flush(buffer: EnqueueBuffer, send: Callable[[EnqueueCall], EnqueueReply]) -> None:
    call = buffer.next_call()
    while call is not None and (pause_s := buffer.answered(answer_to(call, send))) is not None:
        time.sleep(pause_s)


def answer_to(call: EnqueueCall, send: Callable[[EnqueueCall], EnqueueReply]) -> EnqueueReply | RedisError:
    """The reply to a call, or the error as a value: raised again, its traceback would show the server's words."""
    try:
        return send(call)
    except RedisError as problem:
        return problem


async def aenqueue(
    records: Records | AsyncIterable[Record],
    lanes: Sequence[tuple[EnqueueOptions, Callable[[EnqueueCall], Awaitable[EnqueueReply]]]],
    wait_s: float = 0,
) -> list[Receipt]:
    """`enqueue` without blocking: it awaits the calls and the pauses."""
    budget = WaitBudget(wait_s)
    buffers = [(EnqueueBuffer(options, budget), send) for options, send in lanes]
    async for record in _each(records):
        for buffer, send in buffers:
            if buffer.add(record):
                await _aflush(buffer, send)
    for buffer, send in buffers:
        await _aflush(buffer, send)
    return [buffer.receipt for buffer, _ in buffers]


async def _aflush(buffer: EnqueueBuffer, send: Callable[[EnqueueCall], Awaitable[EnqueueReply]]) -> None:
    call = buffer.next_call()
    while call is not None:
        answer: EnqueueReply | RedisError
        try:
            answer = await send(call)
        except RedisError as problem:
            answer = problem
        pause_s = buffer.answered(answer)
        if pause_s is None:
            return
        await asyncio.sleep(pause_s)


def is_out_of_memory(problem: RedisError) -> bool:
    """Whether Redis refused the write for want of memory. A server of the 6.2 line says so only inside the words of its
    script error."""
    return refusal_code(problem) == "OOM"


async def _each(records: Records | AsyncIterable[Record]) -> AsyncIterator[object]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in [records] if isinstance(records, Mapping) else records:
            yield record
