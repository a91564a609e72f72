"""The person on call, as a process of its own: he retries, cancels, discards, pauses, resumes and flushes, and dies in
the middle of it. Whoever comes after him gives the same order again.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from contact_ingest.engine import DestinationRuntime, current_engine
from contact_ingest.errors import StoreFull
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.store.lanes import cancel, lane_names

AGAIN_S = 0.2


class Operator:
    """Takes orders, one at a time, and sees each through."""

    def __init__(self, environment: Mapping[str, str], log: Path, platform: str) -> None:
        self._environment = dict(environment)
        self._log = log
        self._platform = platform
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()

    def order(self, what: str, **about: Any) -> dict[str, Any]:
        """Returns what the one who saw it through has to tell."""
        line = json.dumps({"what": what, **about}).encode() + b"\n"
        with self._lock:
            while True:
                child = self._at_work()
                assert child.stdin is not None
                assert child.stdout is not None
                try:
                    child.stdin.write(line)
                    child.stdin.flush()
                    if told := child.stdout.readline():
                        return dict(json.loads(told))
                except BrokenPipeError:
                    pass
                self._bury(child)

    def stop(self) -> None:
        with self._lock:
            if self._child is not None:
                self._bury(self._child)

    def _at_work(self) -> "subprocess.Popen[bytes]":
        if self._child is None:
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    [sys.executable, str(Path(__file__).parent), "operate", self._platform],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # a trap that kills a whole group must not kill the campaign
                )
            self.pids.add(self._child.pid)
        return self._child

    def _bury(self, child: "subprocess.Popen[bytes]") -> None:
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        child.wait(30)
        self._child = None


def operate(platform: str) -> None:
    """The life of one: an order a line, and a line when it is done."""
    for line in sys.stdin:
        about = json.loads(line)
        what = about.pop("what")
        while True:
            try:
                told = ORDERS[what](current_engine().runtime(platform), **about)
                break
            except (RedisError, StoreFull):
                time.sleep(AGAIN_S)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _retry(runtime: DestinationRuntime, codes: list[str]) -> dict[str, Any]:
    """Tells of what it found, also of what it then could not move. Without codes it retries all."""
    found = [(f.id, f.code, f.merged) for f in runtime.failures if f.code in codes or not codes]
    codes = codes or sorted({code for _, code, _ in found})
    return {"failed": found, "moved": sum(runtime.retrier.retry(FailureFilter(code=code)) for code in codes)}


def _cancel(runtime: DestinationRuntime, lane: str, first: int, last: int) -> dict[str, Any]:
    return {"gone": cancel(runtime.store, lane, [(first, last)])}


def _discard(runtime: DestinationRuntime, ids: list[str]) -> dict[str, Any]:
    return {"gone": runtime.failures.discard(ids)}


def _pause(runtime: DestinationRuntime, lane: str | None) -> dict[str, Any]:
    runtime.state.pause(lane, "the campaign")
    return {}


def _resume(runtime: DestinationRuntime, lane: str | None) -> dict[str, Any]:
    if lane is None:
        runtime.breaker.reset()
    runtime.state.resume(lane)
    return {}


def _flush(runtime: DestinationRuntime) -> dict[str, Any]:
    for lane in lane_names(runtime.store):
        runtime.schedule.flush(lane)
    return {}


ORDERS: dict[str, Any] = {
    "retry": _retry,
    "cancel": _cancel,
    "discard": _discard,
    "pause": _pause,
    "resume": _resume,
    "flush": _flush,
}
