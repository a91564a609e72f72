"""Ringing: a Celery message that says where to look. It expires soon; the ticker rings again.

Bells are counted in Redis until they are heard, and no more lie in the broker than there are workers to hear them:
others would only delay what is rung behind them.

And hearing: anybody who reaches the broker can send anything. What is no bell of ours is a log line, and nothing else.
"""

import logging
from collections.abc import Iterable
from inspect import getcallargs
from typing import Any

from celery import Task, current_app
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from contact_ingest.engine import DestinationRuntime, current_engine
from contact_ingest.store.keys import LANE, NAME
from contact_ingest.store.schedule import WakeUp

log = logging.getLogger("contact_ingest.bells")

#: A bell older than this says nothing any more, in seconds.
EXPIRES_S = 60
#: Unheard bells of a kind, until the workers have said how many they are.
UNHEARD = 2


def notify(bells: Iterable[WakeUp]) -> tuple[WakeUp, ...]:
    """Ring, as far as that is of any use; returns what `send` does."""
    return publish(
        bell
        for bell in bells
        if bell.kind == "aggregate" or current_engine().runtime(bell.target).schedule.may_ring(bell.kind, UNHEARD)
    )


def publish(bells: Iterable[WakeUp]) -> tuple[WakeUp, ...]:
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


class StrictTask(Task):  # type: ignore[misc]
    """A task that runs only if it is called as it is meant to be: Python's complaint would quote what was given."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            getcallargs(self.run, *args, **kwargs)
        except TypeError:
            ignore(self.name, "other arguments than it takes")
            return None
        return self.run(*args, **kwargs)


def ignore(task: str, why: str) -> None:
    log.warning("a message was ignored", extra={"task": task, "why": why})


def runtime_named(task: str, destination: object) -> DestinationRuntime | None:
    """The destination a message is about; None, and a log line, if there is none of that name."""
    engine = current_engine()
    if isinstance(destination, str) and destination in engine.destinations:
        return engine.runtime(destination)
    ignore(task, f"no such destination: {shown(destination)}")
    return None


def runtime_of_lane(task: str, lane: object) -> DestinationRuntime | None:
    """The same of a lane; whether the destination has the lane is not looked up here."""
    if isinstance(lane, str) and LANE.fullmatch(lane):
        return runtime_named(task, current_engine().destination_of(lane))
    ignore(task, "no name of a lane")
    return None


def shown(name: object) -> str:
    """A name as far as it can be one: other text may be somebody's address."""
    return name if isinstance(name, str) and NAME.fullmatch(name) else "(not a name)"
