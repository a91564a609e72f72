"""The ticker: a thread in every worker's main process that sends wake-ups for what is due, several times a second.

Every worker has one, and Redis decides which ticker sends a wake-up, so any surviving worker keeps everything going.
Wake-ups for which a full broker has no room go to the local runner of the same process (see local_runner.py).

The ticker also does the housekeeping once a second: the worker's heartbeat, the share of each destination in the
workers, and once a minute the removal of what is past its retention.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from celery import bootsteps
from celery.worker import state
from redis.exceptions import RedisError

from contact_ingest.engine import DestinationRuntime, Engine, current_engine
from contact_ingest.errors import SettingError
from contact_ingest.failpoints import failpoint
from contact_ingest.operations.doctor import refuse_unsafe_store
from contact_ingest.operations.doctor.accounts import AccountGuard
from contact_ingest.operations.doctor.watch import Watch
from contact_ingest.store.lanes import mend_held_lanes
from contact_ingest.tasks.local_runner import LocalRunner
from contact_ingest.tasks.notify import log_redis_problem, publish

log = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Longest pause between two ticks, and the intervals of the housekeeping, of the sweep and of the watch, in seconds.
TICK_S = 0.25
HOUSEKEEPING_S = 1.0
SWEEP_S = 60.0
WATCH_S = 60.0
#: The shortest pause between two ticks, in seconds.
SHORTEST_PAUSE_S = 0.01
#: The exit code of a worker that does not work because of a wrong setting.
BAD_SETTING = 2


class Ticker(bootsteps.StartStopStep):  # type: ignore[misc]
    """The Celery bootstep that starts the thread with the worker and ends it with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._checked = False
        self._local_runner: LocalRunner | None = None

    def start(self, parent: Any) -> None:
        try:
            self._check()
        except SettingError as wrong:
            log.critical("%s", wrong)
            raise SystemExit(BAD_SETTING) from None
        except RedisError as problem:  # the worker waits for Redis; the thread checks as soon as Redis answers
            log_redis_problem(problem)
        slots = int(getattr(parent, "concurrency", 1) or 1)
        self._local_runner = LocalRunner(current_engine())
        self._thread = threading.Thread(target=self._run, args=(slots, self._local_runner), name="ticker", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        del parent
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
            attempt(AccountGuard(current_engine(), worker_name()).end)
        if self._local_runner is not None:
            self._local_runner.end()

    terminate = stop

    def _check(self) -> None:
        if not self._checked:
            refuse_unsafe_store(current_engine())
            AccountGuard(current_engine(), worker_name()).look()  # before the first task
            self._checked = True

    def _run(self, slots: int, local_runner: LocalRunner) -> None:
        engine = current_engine()
        housekeeping = Housekeeping(engine, slots)
        while not self._stop.is_set():
            pauses_s = [TICK_S]
            try:
                self._check()
                # Each in an `attempt` of its own: a destination that fails must not keep the others from their turn.
                attempt(housekeeping.run)
                ticks = (partial(notify_what_is_due, runtime, slots, local_runner) for runtime in engine.runtimes())
                pauses_s += [attempt(tick) or TICK_S for tick in ticks]
            except RedisError as problem:
                log_redis_problem(problem)
            except SettingError as wrong:
                log.critical("%s", wrong)
                state.should_stop = BAD_SETTING
                return
            except Exception:  # the thread must live: without it no wake-up is sent
                log.exception("tick failed")
            self._stop.wait(max(min(pauses_s), SHORTEST_PAUSE_S))


def attempt(work: Callable[[], Result]) -> Result | None:
    """The result of `work`, or None and a log line if it failed."""
    try:
        return work()
    except RedisError as problem:
        log_redis_problem(problem)
    except Exception:
        log.exception("tick failed")
    return None


def notify_what_is_due(runtime: DestinationRuntime, slots: int, local_runner: LocalRunner) -> float:
    """Send wake-ups for what is due at one destination; returns the seconds until something else is due."""
    tick = runtime.schedule.tick(slots)
    if tick.wakeups:
        failpoint("tick.found")
        local_runner.add(publish(tick.wakeups))
    return tick.nearest_ms / 1000


def worker_name() -> str:
    """The name of this worker's main process: `host:4711`."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Housekeeping:
    """Work that some worker must do now and then. Every worker does it, and doing it twice does no harm."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self._engine = engine
        self._slots = slots
        self._name = worker_name()
        self._accounts = AccountGuard(engine, self._name)
        self._next_s = 0.0
        self._next_sweep_s = 0.0
        self._watch = Watch(engine)
        self._next_watch_s = 0.0

    def run(self) -> None:
        """Do what is due; nothing if the last run was less than a second ago."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + HOUSEKEEPING_S
        # The sweep comes first: it frees memory, and works with full memory, when the rest may fail.
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + SWEEP_S
            self._sweep()
        self._engine.workers.heartbeat(self._name, self._slots)
        self._accounts.look()
        self._share_workers()
        if now_s >= self._next_watch_s:
            look = self._watch.look if self._next_watch_s else self._watch.start
            self._next_watch_s = now_s + WATCH_S
            look()

    def _sweep(self) -> None:
        settings = self._engine.settings
        for runtime in self._engine.runtimes():
            runtime.schedule.sweep(round(settings.keep_batches_s * 1000), round(settings.keep_failures_s * 1000))
            mend_held_lanes(runtime.store)

    def _share_workers(self) -> None:
        """Say how many exchanges each destination may have under way. With several destinations one slot stays free,
        so that a platform that never answers leaves a worker to the others."""
        total = self._engine.workers.slots()
        runtimes = list(self._engine.runtimes())
        for runtime in runtimes:
            runtime.state.set_slots(total if len(runtimes) == 1 else max(1, total - 1))
