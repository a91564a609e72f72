"""Producers: one in this process, one a process of its own that is killed in the middle of an enqueue and comes back
with the same keys. What was accepted becomes the history that the checker is given.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from platforms import PLATFORMS, Platform
from support.checker import Sent
from traffic import MORTAL, Call, Traffic

from contact_ingest import LaneFull, Receipt, StoreUnavailable, enqueue

#: Before the same call again.
AGAIN_S = 0.15
#: So often in a row a producer may end before a call of it is taken.
TRIES = 20

Accepted = Callable[[Call, str, int, float], None]


def put(call: Call, platform: Platform, list_id: str) -> Receipt:
    """Enqueue until it is taken: the key makes sure that a call whose reply was lost counts once."""
    while True:
        try:
            lane = {platform.name: platform.lane(list_id, listed=call.listed)}
            return enqueue([made.record for made in call.made], lane, key=call.key)[platform.name]
        except (LaneFull, StoreUnavailable):
            time.sleep(AGAIN_S)


class History:
    """The records accepted so far."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._lock = threading.Lock()

    def accepted(self, call: Call, lane: str, first: int, at_s: float) -> None:
        records = [
            Sent(
                f"{lane}:{first + place}",
                made.contact,
                made.fields(listed=call.listed),
                at_s,
                made.may_fail_as,
                call.cancelled,
                made.stays,
            )
            for place, made in enumerate(call.made)
        ]
        with self._lock:
            self.sent += records


def produce(calls: Iterable[Call], platform: Platform, list_id: str, accepted: Accepted, stop: threading.Event) -> None:
    """Enqueue call after call until told to stop."""
    for call in calls:
        at_s = time.monotonic()
        receipt = put(call, platform, list_id)
        if receipt.accepted != len(call.made):
            raise AssertionError(f"{call.key}: {receipt.accepted} of {len(call.made)} records were accepted")
        # One call is one script, so its records lie side by side.
        accepted(call, receipt.lane, receipt.ranges[0][0], at_s)
        if stop.wait(platform.dialect.pause_s):
            return


class MortalProducer:
    """The producer that is a process of its own, and whoever starts it again."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, seed: int, platform: Platform, accepted: Accepted
    ) -> None:
        self._environment = dict(environment)
        self._log = log
        self._seed = seed
        self._platform = platform
        #: The list of the second lane.
        self.list_id = ""
        self._accepted = accepted
        self._calls = iter(Traffic(seed, MORTAL, platform.dialect))
        self._done = 0
        self._last_s = time.monotonic()
        self._stopping = threading.Event()
        self._gave_up = False
        self._child: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()
        self._thread = threading.Thread(target=self._tend, name="mortal producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None and self._child.poll() is None else 0

    def stop(self) -> None:
        """Let it finish the call in hand: one that was begun is always ended, by it or by its successor."""
        self._stopping.set()
        self._thread.join()
        if self._gave_up:
            raise AssertionError(f"the producer ends again and again without a call that is taken: see {self._log}")

    def _tend(self) -> None:
        begun = 0
        while True:
            done, child = self._done, self._spawn()
            assert child.stdin is not None
            assert child.stdout is not None
            if self._stopping.is_set():
                child.stdin.close()
            watch = threading.Thread(target=self._close_when_stopping, args=(child,), daemon=True)
            watch.start()
            for line in child.stdout:
                self._take(json.loads(line))
            code, begun = child.wait(), begun + 1 if self._done == done else 0
            if code == 0 or begun > TRIES:
                self._gave_up = code != 0
                return

    def _close_when_stopping(self, child: "subprocess.Popen[bytes]") -> None:
        self._stopping.wait()
        if child.stdin is not None and not child.stdin.closed:
            child.stdin.close()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(Path(__file__).parent), "produce", self._platform.name, str(self._seed)]
        command += [self.list_id, str(self._done)]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a trap that kills a whole group must not kill the campaign
            )
        self.pids.add(self._child.pid)
        return self._child

    def _take(self, told: dict[str, Any]) -> None:
        call = next(self._calls)
        if told["key"] != call.key:
            raise AssertionError(f"{told['key']} was enqueued in the place of {call.key}")
        self._done += 1
        # It may have been enqueued by one who died before he could tell: not before the last that was told.
        at_s, self._last_s = self._last_s, told["at_s"]
        self._accepted(call, told["lane"], told["first"], min(at_s, told["at_s"]))


def mortal(name: str, seed: str, list_id: str, done: str) -> None:
    """The life of one: tell of each call that was taken, until nobody listens any more."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

    def tell(call: Call, lane: str, first: int, at_s: float) -> None:
        told = json.dumps({"key": call.key, "lane": lane, "first": first, "at_s": at_s})
        os.write(1, told.encode() + b"\n")  # at once and whole

    platform = PLATFORMS[name]
    calls = islice(Traffic(int(seed), MORTAL, platform.dialect), int(done), None)
    produce(calls, platform, list_id, tell, stop)
