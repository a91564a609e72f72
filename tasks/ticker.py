"""The ticker: a thread in every worker's main process that rings for what is due. Redis decides who rings.

It also says that this worker lives, shares the exchanges under way fairly between destinations, and sweeps what is past
its retention. Bells for which a full broker has no room go to the standby beside it (see standby.py).
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
from contact_ingest.tasks.local_runner import LocalRunner
from contact_ingest.tasks.notify import publish

log = logging.getLogger("contact_ingest.ticker")

Done = TypeVar("Done")
#: Longest pause between two looks, and how often the slower chores are done.
LOOK_S = 0.25
CHORES_S = 1.0
SWEEP_S = 60.0
#: The exit code of a worker that a setting keeps from working.
BAD_SETTING = 2


class Ticker(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the thread with the worker and ends it with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._checked = False
        self._standby: LocalRunner | None = None

    def start(self, parent: Any) -> None:
        try:
            self._check()
        except SettingError as wrong:
            log.critical("%s", wrong)
            raise SystemExit(BAD_SETTING) from None
        except RedisError as problem:  # the broker is waited for as well; the thread checks when the server answers
            log.warning("redis did not answer", extra={"problem": type(problem).__name__})
        slots = int(getattr(parent, "concurrency", 1) or 1)
        self._standby = LocalRunner(current_engine())
        self._thread = threading.Thread(target=self._run, args=(slots, self._standby), name="ticker", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        del parent
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        if self._standby is not None:
            self._standby.end()

    terminate = stop

    def _check(self) -> None:
        if not self._checked:
            refuse_unsafe_store(current_engine())
            self._checked = True

    def _run(self, slots: int, standby: LocalRunner) -> None:
        engine = current_engine()
        chores = Chores(engine, slots)
        while not self._stop.is_set():
            pauses_s = [LOOK_S]
            try:
                self._check()
                # Each apart: what keeps the chores or one destination from being done is no reason to leave the others.
                attempt(chores.run)
                pauses_s += [attempt(partial(look, runtime, slots, standby)) or LOOK_S for runtime in engine.runtimes()]
            except RedisError as problem:
                say_silent(problem)
            except SettingError as wrong:
                log.critical("%s", wrong)
                state.should_stop = BAD_SETTING
                return
            except Exception:  # the thread must live: without it nothing is rung
                log.exception("tick failed")
            self._stop.wait(max(min(pauses_s), 0.01))


def attempt(work: Callable[[], Done]) -> Done | None:
    """Do it, or say why it could not be done."""
    try:
        return work()
    except RedisError as problem:
        say_silent(problem)
    except Exception:
        log.exception("tick failed")
    return None


def say_silent(problem: RedisError) -> None:
    log.warning("redis did not answer", extra={"problem": type(problem).__name__})


def look(runtime: DestinationRuntime, slots: int, standby: LocalRunner) -> float:
    """Ring what is due at one destination; returns seconds until something else is."""
    tick = runtime.schedule.tick(slots)
    if tick.bells:
        failpoint("tick.found")
        standby.take(publish(tick.bells))
    return tick.nearest_ms / 1000


class Chores:
    """What has to be done now and then, by whoever comes by."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self._engine = engine
        self._slots = slots
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._next = 0.0
        self._next_sweep = 0.0

    def run(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + CHORES_S
        # Sweeping comes first: it frees memory, and works where the rest no longer does.
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_S
            settings = self._engine.settings
            for runtime in self._engine.runtimes():
                runtime.schedule.sweep(round(settings.keep_batches_s * 1000), round(settings.keep_failures_s * 1000))
        workers = self._engine.workers
        workers.heartbeat(self._name, self._slots)
        total = workers.slots()
        runtimes = list(self._engine.runtimes())
        for runtime in runtimes:
            # With several destinations, one that never answers must leave a worker to the others.
            runtime.schedule.set_slots(total if len(runtimes) == 1 else max(1, total - 1))
