"""The local runner: while the broker has no room for wake-ups, a thread runs them in the worker's main process.

Every worker has one, beside the ticker. The runner is idle until `publish` returns wake-ups that the broker did not
take, and then runs one after the other. The wake-ups that follow from one go to the broker first, so the pool takes
over as soon as the broker has room.

The thread uses the connections of the main process. Each exchange has its deadline, and a worker that stops waits for
the exchange under way.
"""

import logging
import threading
from typing import assert_never

from redis.exceptions import RedisError

from contact_ingest.engine import Engine
from contact_ingest.model.lane import LaneName
from contact_ingest.model.stage import Stage
from contact_ingest.store.schedule import WakeUp
from contact_ingest.tasks.notify import log_redis_problem, notify

log = logging.getLogger(__name__)


class LocalRunner:
    """A queue of wake-ups, each of them once, and the thread that runs them. There are never more wake-ups in it than
    lanes and destinations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wakeups: dict[WakeUp, None] = {}  # a dict, for the order and for no repeats
        self._changed = threading.Condition()
        self._ends = False
        self._thread: threading.Thread | None = None

    def add(self, wakeups: tuple[WakeUp, ...]) -> None:
        """Run these too, after those that wait already."""
        if not wakeups:
            return
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="local-runner", daemon=True)
                self._thread.start()
                log.warning("the broker's memory is full: the worker's main process runs what is due itself")
            self._wakeups.update(dict.fromkeys(wakeups))
            self._changed.notify()

    def end(self) -> None:
        """Start nothing more, and wait for the exchange under way and the writes after it."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=self._engine.settings.deadline_s + 5)

    def _run(self) -> None:
        while (wakeup := self._next()) is not None:
            try:
                self.add(notify(run_stage(self._engine, wakeup)))
            except RedisError as problem:
                log_redis_problem(problem)
            except Exception:  # the thread must live: nobody else runs these wake-ups
                log.exception("the local runner failed")

    def _next(self) -> WakeUp | None:
        with self._changed:
            while not self._wakeups and not self._ends:
                self._changed.wait()
            if self._ends:
                return None
            wakeup = next(iter(self._wakeups))
            del self._wakeups[wakeup]
            return wakeup


def run_stage(engine: Engine, wakeup: WakeUp) -> tuple[WakeUp, ...]:
    """Run the stage that a wake-up asks for, as its task would; returns the wake-ups that follow from it."""
    runtime = engine.runtime(LaneName(wakeup.target).destination)
    stage = Stage(wakeup.kind)
    match stage:
        case Stage.AGGREGATE:
            return runtime.aggregator.aggregate(wakeup.target)
        case Stage.DISPATCH:
            return runtime.dispatcher.run_for_slice(wakeup.target)
        case Stage.POLL:
            return () if runtime.poller is None else runtime.poller.poll(wakeup.target)
        case Stage.ENQUEUE | Stage.RETRY:
            raise ValueError(f"no wake-up asks for {stage}")  # both come from producers and people
        case _:
            assert_never(stage)
