"""Redis dies, stands still, drops everybody, loses replies, is full or fails over; wake-ups are lost, doubled and late;
the clock jumps."""

import os
import signal
import time
from collections.abc import Callable

from plan import Kind, Turn
from terms import FORWARD_S, ORPHAN_WAIT_S
from world import World

#: How long something to strike at is waited for.
COMES_BY_S = 4.0
#: Seconds that a replica lags behind when its primary dies.
LAG_S = (0.1, 0.6)


def _killed(world: World, turn: Turn) -> str | None:
    with world.redis_lock, world.standing():
        pid = world.primary.pid
        world.primary.kill()
        world.rest(turn.draw.uniform(0.1, 0.8))
        world.primary.start()
        return "redis_killed" if world.primary.pid != pid else None


def _paused(world: World, turn: Turn) -> str | None:
    with world.redis_lock, world.standing():
        os.kill(world.primary.pid, signal.SIGSTOP)
        try:
            world.rest(turn.draw.choice((0.5, 0.8, 1.2, 3.5)))
        finally:
            os.kill(world.primary.pid, signal.SIGCONT)
    return "redis_paused"


def _dropped(world: World, _: Turn) -> str | None:
    return "redis_dropped" if world.redis.drop() else None


def _reply_lost(world: World, turn: Turn) -> str | None:
    with world.lock("reply_lost"):
        before = world.redis.struck["lose_reply"]
        world.redis.spoil("lose_reply", b"EVALSHA", turn.draw.randint(1, 4), every=turn.draw.randint(1, 5))
        struck = _until(world, lambda: world.redis.struck["lose_reply"] > before)
        world.redis.calm("lose_reply")
        return "redis_reply_lost" if struck else None


def _full(world: World, turn: Turn) -> str | None:
    with world.redis_lock, world.standing():
        client, before = world.client, _refusals(world)
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", int(used * 0.9))
        try:
            world.rest(turn.draw.uniform(0.8, 1.5))
        finally:
            client.config_set("maxmemory", 0)
        return "redis_full" if _refusals(world) > before else None


def _refusals(world: World) -> int:
    """How often the server has said that it is out of memory."""
    found = world.client.info("errorstats").get("errorstat_OOM", {})
    return int(found.get("count", 0)) if isinstance(found, dict) else 0


def _failed_over(world: World, turn: Turn) -> str | None:
    with world.redis_lock:
        with world.standing():
            before = world.primary.pid
            world.fail_over(turn.draw.uniform(*LAG_S))
            world.replica = world.new_replica()
        return "redis_failed_over" if world.primary.pid != before else None


def _taken_message(world: World) -> bytes | None:
    """A message that a worker would have got."""
    found = world.client.brpop([world.queue], timeout=3)
    return None if found is None else bytes(found[1])


def _message_lost(world: World, _: Turn) -> str | None:
    return "message_lost" if _taken_message(world) else None


def _message_doubled(world: World, turn: Turn) -> str | None:
    message = _taken_message(world)
    if message is None:
        return None
    world.client.lpush(world.queue, *[message] * turn.draw.randint(2, 4))
    return "message_doubled"


def _message_late(world: World, turn: Turn) -> str | None:
    message = _taken_message(world)
    if message is None:
        return None
    world.rest(turn.draw.uniform(0.5, 4))
    world.client.lpush(world.queue, message)
    return "message_late"


def _clock_ahead(world: World, turn: Turn) -> str | None:
    with world.lock("clock"):
        _turn_clock(world, turn.draw.uniform(0.3, FORWARD_S))
        world.rest(ORPHAN_WAIT_S)  # an orphan's wait may be shortened once
    return "clock_ahead"


def _clock_back(world: World, turn: Turn) -> str | None:
    with world.lock("clock"):
        _turn_clock(world, -turn.draw.uniform(0.3, FORWARD_S))
    return "clock_back"


def _turn_clock(world: World, seconds: float) -> None:
    """The server's clock, for the destination and its limits, in one step."""
    account = world.engine.runtime(world.platform.name).provider.account
    prefix = world.store.keys.prefix
    pipe = world.client.pipeline(transaction=True)
    limits = f"{prefix}:{{limit-{account}}}:"
    for base in (world.store.keys.base, limits):
        pipe.incrby(f"{base}clock_offset", round(seconds * 1000))
    pipe.execute()


def _until(world: World, struck: Callable[[], bool], within_s: float = COMES_BY_S) -> bool:
    gives_up_s = time.monotonic() + within_s
    while not struck():
        if time.monotonic() > gives_up_s or world.calm.is_set():
            return struck()
        time.sleep(0.02)
    return True


KINDS = (
    Kind("redis_killed", "Redis killed and restarted with its append-only file", _killed, mode="alone"),
    Kind("redis_paused", "Redis paused", _paused, mode="alone"),
    Kind("redis_full", "Redis at maxmemory", _full, mode="alone"),
    Kind("redis_failed_over", "Redis failed over to a lagging replica", _failed_over, mode="replicated"),
    Kind("redis_dropped", "all connections to Redis dropped", _dropped),
    Kind("redis_reply_lost", "replies of Redis lost", _reply_lost),
    Kind("message_lost", "Celery messages lost", _message_lost, 1.3),
    Kind("message_doubled", "Celery messages doubled", _message_doubled, 1.3),
    Kind("message_late", "Celery messages delayed", _message_late, 1.3),
    Kind("clock_ahead", "the server's clock set forward", _clock_ahead),
    Kind("clock_back", "the server's clock set back", _clock_back),
)
