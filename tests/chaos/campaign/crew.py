"""The workers of a run, and the supervisor that starts each again when it has ended, as one does in production."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from support.processes import WorkerProcess

#: Pool and concurrency of each: two kinds of pool, one worker to spare.
POOLS = (("prefork", 2), ("prefork", 2), ("threads", 2))
LOOK_S = 0.1
#: One that was asked to end and does not is ended.
PATIENCE_S = 15.0


class Crew:
    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._workers: list[WorkerProcess] = []
        self._leaving: list[tuple[WorkerProcess, float]] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._tend, name="supervisor", daemon=True)
        #: Process ids of all workers that ever were, without their pools.
        self.pids: set[int] = set()
        self.started = 0
        #: Those of which a process stands still: it is to go on, and to find that it was overtaken.
        self.spared: set[int] = set()

    def start(self) -> None:
        for place, (pool, concurrency) in enumerate(POOLS):
            worker = WorkerProcess(self._environment, self._directory / str(place), pool=pool, concurrency=concurrency)
            self._workers.append(worker)
            self._begin(worker)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for worker in [*self._workers, *(old for old, _ in self._leaving)]:
            worker.kill()

    def living(self) -> list[WorkerProcess]:
        """Those that something may be done to."""
        with self._lock:
            return [worker for worker in self._workers if not worker.has_ended and worker.pid not in self.spared]

    def retire(self, worker: WorkerProcess) -> None:
        """Ask it to end in order; another one takes its place at once."""
        with self._lock:
            if worker.has_ended or worker not in self._workers:
                return
            place = self._workers.index(worker)
            successor = WorkerProcess(
                self._environment, self._directory / str(place), pool=POOLS[place][0], concurrency=POOLS[place][1]
            )
            self._begin(successor)
            self._workers[place] = successor
            worker.child.terminate()
            self._leaving.append((worker, time.monotonic()))

    def wake(self) -> None:
        """Let everybody who was stopped go on."""
        for worker in [*self._workers, *(old for old, _ in self._leaving)]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGCONT)

    def _begin(self, worker: WorkerProcess) -> None:
        worker.__enter__()
        self.pids.add(worker.pid)
        self.started += 1

    def _tend(self) -> None:
        while not self._stop.wait(LOOK_S):
            with self._lock:
                for worker in self._workers:
                    if worker.has_ended:
                        worker.kill()  # what is left of its pool
                        self._begin(worker)
                for old, since_s in list(self._leaving):
                    if old.has_ended or time.monotonic() - since_s > PATIENCE_S:
                        old.kill()
                        self._leaving.remove((old, since_s))
