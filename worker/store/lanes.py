"""What waits in a lane: appending records, cancelling them, reading them for aggregation.

Appending is one script and one round trip; `Append` only holds its arguments, so that a blocking and an asyncio client
share everything but the call itself.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from redis import asyncio as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from contact_ingest.store.redis_server import FULL_SHARE
from contact_ingest.store.scripts import ACK_MS, PAUSES_S, Arg, Store, run_async

#: How long a call id is remembered: for a reply lost on the wire, and for a producer that comes back with a key.
CALL_TTL_MS = 60_000
KEYED_CALL_TTL_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What a lane may hold and when it is due: bytes waiting, longest wait, and what makes a full body."""

    max_bytes: int
    max_wait_ms: int
    full_count: int
    full_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class EnqueueCall:
    """One call of the enqueue script. `wait_ms` is how long its producer may go on repeating it."""

    call: str
    lane: str
    options: str
    room: LaneLimits
    records: Sequence[bytes]
    keyed: bool = False
    wait_ms: int = 0

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
            *self.records,
        ]


@dataclass(frozen=True, slots=True)
class EnqueueReply:
    """What the script answered: `what` is ok, again (counted before), lane or memory (no room)."""

    what: str
    first: int
    count: int

    @classmethod
    def read(cls, answer: Sequence[bytes | int]) -> "EnqueueReply":
        what, first, count = answer
        return cls(bytes(what).decode() if isinstance(what, bytes) else str(what), int(first), int(count))


def append(store: Store, call: EnqueueCall, replicas: int = 0) -> EnqueueReply:
    """Make the call. With `replicas`, so many of them must have it before this returns; too few within a second is a
    time-out, although the records are in the lane: the same call again counts nothing twice."""
    if not replicas:
        return EnqueueReply.read(store.run("lane_append", *call.arguments()))
    answer, acknowledged = store.run_acknowledged(replicas, "lane_append", *call.arguments())
    if not acknowledged:
        raise RedisTimeoutError(f"fewer than {replicas} replicas have it")
    return EnqueueReply.read(answer)


def cancel(store: Store, lane: str, ranges: Sequence[tuple[int, int]]) -> int:
    """Discard what of these closed ranges still waits; returns how many records that were."""
    gone = 0
    for first, last in ranges:
        for start in range(first, last + 1, 1000):
            gone += int(store.run("lane_cancel", lane, start, min(start + 999, last)))
    return gone


async def append_async(client: aio.Redis, base: str, append: EnqueueCall, replicas: int = 0) -> EnqueueReply:
    """The enqueue script, repeated by its call id when a reply is lost; see `append` for `replicas`."""
    if replicas:
        async with client.client() as one:
            appended = await _append(one, base, append)
            if await one.wait(replicas, ACK_MS) < replicas:
                raise RedisTimeoutError(f"fewer than {replicas} replicas have it")
        return appended
    return await _append(client, base, append)


async def _append(client: aio.Redis, base: str, append: EnqueueCall) -> EnqueueReply:
    for pause_s in PAUSES_S:
        try:
            return EnqueueReply.read(await run_async(client, "lane_append", base, append.arguments()))
        except (RedisConnectionError, RedisTimeoutError):
            await asyncio.sleep(pause_s)
    return EnqueueReply.read(await run_async(client, "lane_append", base, append.arguments()))
