"""Wake-ups: Celery messages that tell a worker to look at a lane or a destination, sent and received.

Example: the task `contacts.dispatch` with the arguments `["newsletter"]`, which expires after 60 seconds. A wake-up
carries a name and no data. Losing one delays work until the next tick, and loses nothing.

Redis counts the wake-ups for dispatch and poll until a worker consumes them. No more of them lie in the broker than
there are workers to consume them: further ones would only delay other messages.

Anybody who reaches the broker can send anything. A message that is not a wake-up of ours becomes a line in the log.
"""

import contextlib
import logging
from collections.abc import Iterable
from inspect import getcallargs
from typing import Any

from celery import Task, current_app
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError, RedisError

from contact_ingest.engine import DestinationRuntime, current_engine
from contact_ingest.model.lane import DESTINATION_NAME, LaneName
from contact_ingest.model.stage import Stage
from contact_ingest.store.redis_server import describe_problem, has_refused
from contact_ingest.store.schedule import WakeUp

log = logging.getLogger(__name__)

#: A worker drops a wake-up that is older than this, in seconds.
EXPIRES_S = 60
#: Most pending wake-ups of a kind for a destination, until the workers have said how many they are.
MOST_PENDING = 2


def notify(wakeups: Iterable[WakeUp]) -> tuple[WakeUp, ...]:
    """Count and publish the wake-ups for which a worker is free; returns what `publish` returns."""
    return publish(wakeup for wakeup in wakeups if _is_of_use(wakeup))


def _is_of_use(wakeup: WakeUp) -> bool:
    if wakeup.kind == Stage.AGGREGATE:
        return True  # the schedule limits them itself: one a lane
    return current_engine().runtime(wakeup.target).schedule.may_notify(wakeup.kind, MOST_PENDING)


def publish(wakeups: Iterable[WakeUp]) -> tuple[WakeUp, ...]:
    """Publish wake-ups that are counted already. Returns those that the broker, a Redis whose memory is full, did not
    take. The local runner runs them (see local_runner.py); anybody else may drop them, because the ticker sends them
    again."""
    left = tuple(wakeups)
    while left:
        first = left[0]
        try:
            current_app.send_task(
                f"contacts.{Stage(first.kind)}", args=[first.target], expires=EXPIRES_S, ignore_result=True
            )
        except (OutOfMemoryError, OperationalError) as problem:
            if not is_full(problem):
                raise
            return left
        left = left[1:]
    return ()


def is_full(problem: BaseException | None) -> bool:
    """Whether an error says that the broker's memory is full. kombu wraps some errors of Redis, and not others."""
    return isinstance(problem, OutOfMemoryError) or isinstance(getattr(problem, "__cause__", None), OutOfMemoryError)


def log_redis_problem(problem: RedisError) -> None:
    """One line: whether Redis answered, and why it refused, in our own words."""
    said = "redis refused" if has_refused(problem) else "redis did not answer"
    log.warning(said, extra={"problem": describe_problem(problem)})


class StrictTask(Task):  # type: ignore[misc]
    """A task that ignores a call with the wrong arguments. Python's own error would quote the arguments."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            getcallargs(self.run, *args, **kwargs)
        except TypeError:
            ignore(self.name, "other arguments than it takes")
            return None
        return self.run(*args, **kwargs)


def ignore(task: str, why: str) -> None:
    """Log that a message was ignored. `why` must not quote the message."""
    log.warning("a message was ignored", extra={"task": task, "why": why})


def runtime_named(task: str, destination: object) -> DestinationRuntime | None:
    """The runtime of a destination. None, and a log line, if `destination` is not the name of one."""
    engine = current_engine()
    if isinstance(destination, str) and destination in engine.destinations:
        return engine.runtime(destination)
    ignore(task, f"no such destination: {shown(destination)}")
    return None


def runtime_of_lane(task: str, lane: object) -> DestinationRuntime | None:
    """The runtime of the lane's destination. Whether the destination has that lane is not checked here."""
    with contextlib.suppress(ValueError):
        if isinstance(lane, str):
            return runtime_named(task, LaneName(lane).destination)
    ignore(task, "no name of a lane")
    return None


def shown(name: object) -> str:
    """A name for the log, if it has the form of one. Other text may be somebody's e-mail address."""
    return name if isinstance(name, str) and DESTINATION_NAME.fullmatch(name) else "(not a name)"
