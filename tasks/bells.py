"""Ringing: a Celery message that says where to look. It expires soon; the ticker rings again.

Bells are counted in Redis until they are heard, and no more lie in the broker than there are workers to hear them:
others would only delay what is rung behind them.
"""

from collections.abc import Iterable

from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from worker.store.schedule import Bell
from worker.wiring import wired

#: A bell older than this says nothing any more, in seconds.
EXPIRES_S = 60
#: Unheard bells of a kind, until the workers have said how many they are.
UNHEARD = 2


def ring(bells: Iterable[Bell]) -> tuple[Bell, ...]:
    """Ring, as far as that is of any use; returns what `send` does."""
    return send(
        bell
        for bell in bells
        if bell.kind == "aggregate" or wired().site(bell.target).schedule.may_ring(bell.kind, UNHEARD)
    )


def send(bells: Iterable[Bell]) -> tuple[Bell, ...]:
    """Ring bells that are counted already. Returns those for which the broker, a Redis whose memory is full, has no
    room. Whoever stands by may answer them (see standby.py); from anybody else they are lost, and the ticker rings
    again."""
    left = tuple(bells)
    while left:
        bell = left[0]
        try:
            current_app.send_task(f"contacts.{bell.kind}", args=[bell.target], expires=EXPIRES_S, ignore_result=True)
        except (OutOfMemoryError, OperationalError) as problem:
            if not is_full(problem):
                raise
            return left
        left = left[1:]
    return ()


def is_full(problem: BaseException | None) -> bool:
    """Whether it is the broker's memory; kombu wraps some of what its server says, and some not."""
    return isinstance(problem, OutOfMemoryError) or isinstance(getattr(problem, "__cause__", None), OutOfMemoryError)
