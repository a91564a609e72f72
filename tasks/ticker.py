"""The ticker: a thread in every worker's main process that rings for what is due. Redis decides who rings.

It also says that this worker lives, shares the exchanges under way fairly between destinations, keeps producers out
while Redis is short of memory, and sweeps what is past its retention.
"""

import logging
import os
import socket
import threading
import time
from typing import Any

from celery import bootsteps
from celery.worker import state
from redis.exceptions import RedisError

from tasks.bells import ring
from worker.checks import refuse_unsafe_store
from worker.errors import SettingError
from worker.steps import step
from worker.wiring import Site, Wiring, wired

log = logging.getLogger("worker.ticker")

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

    def start(self, parent: Any) -> None:
        try:
            self._check()
        except SettingError as wrong:
            log.critical("%s", wrong)
            raise SystemExit(BAD_SETTING) from None
        except RedisError as problem:  # the broker is waited for as well; the thread checks when the server answers
            log.warning("redis did not answer", extra={"problem": type(problem).__name__})
        slots = int(getattr(parent, "concurrency", 1) or 1)
        self._thread = threading.Thread(target=self._run, args=(slots,), name="ticker", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        del parent
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    terminate = stop

    def _check(self) -> None:
        if not self._checked:
            refuse_unsafe_store(wired())
            self._checked = True

    def _run(self, slots: int) -> None:
        parts = wired()
        chores = Chores(parts, slots)
        while not self._stop.is_set():
            pause_s = LOOK_S
            try:
                self._check()
                chores.run()
                pause_s = min(LOOK_S, *(look(site, slots) for site in parts.sites()))
            except RedisError as problem:
                log.warning("redis did not answer", extra={"problem": type(problem).__name__})
            except SettingError as wrong:
                log.critical("%s", wrong)
                state.should_stop = BAD_SETTING
                return
            except Exception:  # the thread must live: without it nothing is rung
                log.exception("tick failed")
            self._stop.wait(max(pause_s, 0.01))


def look(site: Site, slots: int) -> float:
    """Ring what is due at one destination; returns seconds until something else is."""
    tick = site.schedule.tick(slots)
    if tick.bells:
        step("tick.looked")
        ring(tick.bells)
    return tick.nearest_ms / 1000


class Chores:
    """What has to be done now and then, by whoever comes by."""

    def __init__(self, parts: Wiring, slots: int) -> None:
        self._parts = parts
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
            settings = self._parts.settings
            for site in self._parts.sites():
                site.schedule.sweep(round(settings.keep_batches_s * 1000), round(settings.keep_failures_s * 1000))
        fleet = self._parts.fleet
        fleet.beat(self._name, self._slots)
        total = fleet.slots()
        sites = list(self._parts.sites())
        short = fleet.is_short_of_memory()
        for site in sites:
            # With several destinations, one that never answers must leave a worker to the others.
            site.schedule.set_slots(total if len(sites) == 1 else max(1, total - 1))
            if short:
                site.schedule.short_of_memory(5_000)
