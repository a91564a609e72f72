"""Standing in for the pool while the broker has no room for bells: a thread that follows them itself, one at a time.

It is in every worker's main process, beside the ticker, and idle until a bell cannot be rung. What a journey rings for
next goes to the broker again first, so the pool takes over as soon as there is room. Connections are this process's
own; each exchange has its deadline, and the worker's end waits for the one in hand.
"""

import logging
import threading

from redis.exceptions import RedisError

from contact_ingest.engine import Engine
from contact_ingest.store.schedule import WakeUp
from contact_ingest.tasks.notify import notify

log = logging.getLogger("contact_ingest.standby")


class LocalRunner:
    """Bells to be followed here, each once: there are never more of them than lanes and destinations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bells: dict[WakeUp, None] = {}
        self._changed = threading.Condition()
        self._ends = False
        self._thread: threading.Thread | None = None

    def take(self, bells: tuple[WakeUp, ...]) -> None:
        """Follow these, after those that wait already."""
        if not bells:
            return
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
                self._thread.start()
                log.warning("the broker's memory is full: the ticker's process follows its bells itself")
            self._bells.update(dict.fromkeys(bells))
            self._changed.notify()

    def end(self) -> None:
        """Take up nothing more, and wait for what is in hand: one exchange at most, and what is written after it."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=self._engine.settings.deadline_s + 5)

    def _run(self) -> None:
        while (bell := self._next()) is not None:
            try:
                self.take(notify(follow(self._engine, bell)))
            except RedisError as problem:
                log.warning("redis did not answer", extra={"problem": type(problem).__name__})
            except Exception:  # the thread must live: nobody else follows these bells
                log.exception("standing in failed")

    def _next(self) -> WakeUp | None:
        with self._changed:
            while not self._bells and not self._ends:
                self._changed.wait()
            if self._ends:
                return None
            bell = next(iter(self._bells))
            del self._bells[bell]
            return bell


def follow(engine: Engine, bell: WakeUp) -> tuple[WakeUp, ...]:
    """Do what a bell asks for; returns the bells to ring after it."""
    runtime = engine.runtime(engine.destination_of(bell.target))
    if bell.kind == "aggregate":
        return runtime.aggregator.aggregate(bell.target)
    if bell.kind == "dispatch":
        return runtime.dispatcher.run_for_slice(bell.target)
    return runtime.poller.poll(bell.target)
