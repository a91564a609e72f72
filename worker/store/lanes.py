"""The lanes of a destination: which there are, appending records to one, cancelling records in one.

A lane is a list `waiting:<lane>` of records as JSON. The number of a record is its place in the lane since the lane
began: the first element has the number `head` of `lane:<lane>`. Appending is one script and one round trip, on a
blocking client (`append`) or an asyncio client (`append_async`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis import asyncio as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from contact_ingest.store.keys import Keys
from contact_ingest.store.redis_server import FULL_SHARE
from contact_ingest.store.scripts import ACK_MS, PAUSES_S, Arg, Store, run_async

#: How long the id of a call is remembered: for a reply that was lost, and for a producer that repeats a call by its
#: key.
CALL_TTL_MS = 60_000
KEYED_CALL_TTL_MS = 86_400_000
#: Numbers that one script cancels: it looks at each of them.
CANCEL_AT_ONCE = 1_000
#: Lanes that are looked at in one round trip.
LOOK_AT_ONCE = 1_000
#: About how many lanes one script compares with `held_lanes`.
MEND_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What a lane may hold, and when it is due: bytes that wait, the longest wait, and what fills a body."""

    max_bytes: int
    max_wait_ms: int
    full_count: int
    full_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class EnqueueCall:
    """One call of the script lane_append. `call` is its id: `<lane>:<key or random id>:<number of the call>`. `keyed`
    says that the producer gave the key. `wait_ms` is how long the producer may go on repeating the call. `digest`
    stands for the records: a call of the same id and another digest is not counted; empty for an id of one call."""

    call: str
    lane: str
    options: str
    room: LaneLimits
    records: Sequence[bytes]
    keyed: bool = False
    wait_ms: int = 0
    digest: str = ""

    def arguments(self) -> list[Arg]:
        room = self.room
        return [
            self.call,
            max(KEYED_CALL_TTL_MS if self.keyed else 0, CALL_TTL_MS + self.wait_ms),
            self.lane,
            self.options,
            room.max_bytes,
            room.max_wait_ms,
            room.full_count,
            room.full_bytes,
            sum(map(len, self.records)),
            FULL_SHARE,
            self.digest,
            *self.records,
        ]


@dataclass(frozen=True, slots=True)
class EnqueueReply:
    """The answer. `what` is ok; again (the call was counted before); reused (a call of this id had other records); lane
    (the lane is full); or memory (Redis is). The records have `count` numbers from `first` on. `epoch` is theirs;
    empty if a release without epochs gave them out."""

    what: str
    first: int
    count: int
    epoch: str = ""

    @classmethod
    def read(cls, answer: Sequence[bytes | int]) -> "EnqueueReply":
        what, first, count, *epoch = answer
        return cls(_text(what), int(first), int(count), *map(_text, epoch))


def _text(value: bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def lane_names(store: Store) -> list[str]:
    """Every lane of the destination that ever had a record, in alphabetical order."""
    return sorted(name.decode() for name in store.client.hkeys(store.keys("lanes")))


def lanes_in_use(store: Store) -> list[str]:
    """The lanes in which something waits, is held or is to be tried again, in alphabetical order."""
    lanes, found = lane_names(store), []
    for start in range(0, len(lanes), LOOK_AT_ONCE):
        few = lanes[start : start + LOOK_AT_ONCE]
        pipe = store.client.pipeline(transaction=False)
        for lane in few:
            pipe.exists(*(store.keys(f"{what}:{lane}") for what in ("waiting", "held", "retry")))
        found += [lane for lane, there in zip(few, pipe.execute(), strict=True) if there]
    return found


def all_lane_options(store: Store) -> list[dict[str, Any]]:
    """What the platform takes per request for each lane: see `lane_options`."""
    return [dict(orjson.loads(text or b"{}")) for text in store.client.hvals(store.keys("lanes"))]


def mend_held_lanes(store: Store) -> int:
    """Compare `held_lanes` with the lanes, and mend it, a part at a time; returns how many lanes were wrong.

    Scripts keep it right. Workers of an earlier release of the same schema do not, and do not miss it."""
    cursor, wrong = 0, 0
    while True:
        found = store.run("held_lanes_mend", cursor, MEND_AT_ONCE)
        cursor, wrong = int(found[0]), wrong + int(found[1])
        if cursor == 0:
            return wrong


def lane_options(store: Store, lane: str) -> dict[str, Any]:
    """What the platform takes per request for this lane, such as {"list_ids": ["1f2e..."]}."""
    return dict(orjson.loads(store.client.hget(store.keys("lanes"), lane) or b"{}"))


def append(store: Store, call: EnqueueCall, replicas: int = 0) -> EnqueueReply:
    """Append the records of a call. With `replicas`, so many of them must have the records before this returns. Too few
    within a second raises a time-out although the records are in the lane. The same call again counts nothing twice."""
    if not replicas:
        return EnqueueReply.read(store.run("lane_append", *call.arguments()))
    answer, acknowledged = store.run_acknowledged(replicas, "lane_append", *call.arguments())
    if not acknowledged:
        raise RedisTimeoutError(f"fewer than {replicas} replicas have it")
    return EnqueueReply.read(answer)


def cancel(store: Store, lane: str, ranges: Sequence[tuple[int, int]]) -> int:
    """Discard the records of these closed ranges that wait, are held or are to be tried again; returns how many."""
    gone = 0
    for first, last in ranges:
        for start in range(first, last + 1, CANCEL_AT_ONCE):
            gone += int(store.run("lane_cancel", lane, start, min(start + CANCEL_AT_ONCE - 1, last)))
    return gone


async def append_async(client: aio.Redis, keys: Keys, call: EnqueueCall, replicas: int = 0) -> EnqueueReply:
    """The same as `append` on an asyncio client."""
    if not replicas:
        return await _append_until_answered(client, keys, call)
    async with client.client() as one:  # WAIT speaks of what was written on its own connection
        reply = await _append_until_answered(one, keys, call)
        if await one.wait(replicas, ACK_MS) < replicas:
            raise RedisTimeoutError(f"fewer than {replicas} replicas have it")
    return reply


async def _append_until_answered(client: aio.Redis, keys: Keys, call: EnqueueCall) -> EnqueueReply:
    """Make the call again, under its id, when its reply was lost."""
    for pause_s in PAUSES_S:
        try:
            return EnqueueReply.read(await run_async(client, "lane_append", keys.base, call.arguments()))
        except (RedisConnectionError, RedisTimeoutError):
            await asyncio.sleep(pause_s)
    return EnqueueReply.read(await run_async(client, "lane_append", keys.base, call.arguments()))
