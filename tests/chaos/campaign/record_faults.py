"""Records that are hard to tell apart, or that somebody takes back at a bad moment, and messages that are none.

A strike is proved by the records that were accepted; the checker says what must have become of them.
"""

import time
from collections.abc import Sequence

from plan import Kind, Turn
from traffic import Call, Traffic
from world import World

#: Between two records of one contact, s.
APART_S = (0.0, 1.0)
#: How long a worker may take to come by a message.
COMES_BY_S = 8.0
#: What other programs may leave in the broker's list.
JUNK = (b"no message", b"{}", b"[1, 2", b"\xff\xfe\x00", b'{"body": 1, "headers": {}}', b"null")


def _traffic(world: World, name: str, turn: Turn) -> Traffic:
    return world.traffic(f"{name}-{turn.ordinal}-{turn.draw.randrange(10**6)}".lower())


def _one_by_one(world: World, turn: Turn, calls: Sequence[Call], *, trouble: bool = False) -> None:
    """Enqueue calls one after the other; with trouble, the platform fails meanwhile."""
    for call in calls:
        world.enqueue(call)
        if trouble:
            world.append("script", ["503"])
        world.rest(turn.draw.uniform(*APART_S))


def _contradiction(world: World, turn: Turn) -> str:
    _one_by_one(world, turn, _traffic(world, "contradiction", turn).contradiction())
    if turn.ordinal % 2:
        world.retry(["too_long"])
    return "contradiction"


def _linked(world: World, turn: Turn) -> str:
    _one_by_one(world, turn, _traffic(world, "linked", turn).linked(), trouble=True)
    return "linked"


def _foreign_letter(world: World, turn: Turn) -> str:
    world.enqueue(_traffic(world, "letter", turn).foreign_letter(turn.ordinal))
    return "foreign_letter"


def _spelled(world: World, turn: Turn) -> str:
    _one_by_one(world, turn, _traffic(world, "spelled", turn).spelled(), trouble=bool(turn.ordinal % 2))
    return "spelled"


def _cancelled_in_pause(world: World, turn: Turn) -> str:
    """All that waits in a paused lane is cancelled, and then the failures are tried again."""
    traffic = _traffic(world, "cancelled", turn)
    with world.lock("cancelled in pause"), world.standing():
        lane, first = world.enqueue(traffic.lone())
        world.operator.order("pause", lane=lane)
        calls = [traffic.regretted() for _ in range(turn.draw.randint(1, 4))]
        for call in calls:
            lane, first = world.enqueue(call)
            world.operator.order("cancel", lane=lane, first=first, last=first + len(call.made) - 1)
        world.retry([])
        world.operator.order("resume", lane=lane)
    return "cancelled_in_pause"


def _no_message(world: World, turn: Turn) -> str | None:
    junk = turn.of(JUNK)
    with world.lock("junk"):
        world.client.lpush(world.queue, junk)
        gives_up_s = time.monotonic() + COMES_BY_S
        while world.client.lpos(world.queue, junk) is not None:
            if time.monotonic() > gives_up_s or world.calm.is_set():
                world.client.lrem(world.queue, 0, junk)
                return None
            time.sleep(0.05)
    return "no_message"


KINDS = (
    Kind("contradiction", "contacts that contradict each other", _contradiction, 1.3, platforms=("sendgrid", "loops")),
    Kind("linked", "one contact under two identifiers, one at a time", _linked, 1.3, platforms=("loops",)),
    Kind("foreign_letter", "addresses that differ in a foreign letter alone", _foreign_letter),
    Kind("spelled", "one domain in several spellings", _spelled),
    Kind("cancelled_in_pause", "all of a paused lane cancelled, failures retried", _cancelled_in_pause),
    Kind("no_message", "an entry of the broker's list that is no message", _no_message),
)
