"""Watching a run: the platform's journal as it grows, the books at every moment, failures as they come and go, and how
long nothing went on although something was due.
"""

import time
from collections import Counter
from typing import Any, Protocol

from redis.exceptions import RedisError
from support.background import Background
from support.checker import Failed
from support.keyspace import differences
from terms import OVERDUE_S

from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.store import books
from contact_ingest.store.failures import Failures
from contact_ingest.store.keys import DUE_BATCHES
from contact_ingest.store.scripts import Store

LOOK_S = 0.15
SAMPLE_S = 0.1
#: Slower than samples: these read more.
RECOUNT_EVERY, FAILURES_EVERY = 20, 5


def label(entry: dict[str, Any]) -> str:
    """What a request met, in one word; empty if nothing."""
    if entry["fate"] in ("drop_before", "drop_after", "unreadable", "black_hole"):
        return str(entry["fate"])
    if entry["note"].startswith("job ") and entry["note"][4:5].isdigit():
        return "job overdue" if float(entry["note"][4:]) >= OVERDUE_S[0] else "job late"
    if entry["note"] in ("acted", "limit", "list", "reply code") or (
        entry["note"].startswith("job ") and entry["note"] != "job ok"
    ):
        return str(entry["note"])
    if entry["endpoint"] == "sendgrid.error_file" and entry["status"] == 200:
        return f"file {entry['note']}"
    if entry["status"] in (401, 413, 429):
        return str(entry["status"])
    return "5xx" if entry["status"] >= 500 else ""


class Journal(Background):
    """The sandbox's journal, read as it grows, and how many requests met what."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        super().__init__("journal")
        self._sandbox = sandbox
        self._entries: list[dict[str, Any]] = []
        self.met: Counter[str] = Counter()
        #: Upserts that had several contacts and were answered.
        self.bodies = 0

    def entries(self) -> list[dict[str, Any]]:
        """All of it, as it is now."""
        return self._sandbox.journal()

    def run(self) -> None:
        while not self.stopping.wait(LOOK_S):
            for entry in self._sandbox.journal(after=len(self._entries)):
                if entry["fate"] == "open":
                    break  # it is not known yet what becomes of it
                self._entries.append(entry)
                self.bodies += entry["contacts"] > 1 and entry["status"] == 200
                if found := label(entry):
                    self.met[found] += 1


class Watched(Protocol):
    """What a sampler has to know of a world."""

    @property
    def store(self) -> Store: ...
    @property
    def is_held_up(self) -> bool: ...

    quiet_since_s: float


class Sampler(Background):
    """Looks at the books many times a second. They must balance every time; `wrong` has what was wrong otherwise."""

    def __init__(self, world: Watched) -> None:
        super().__init__("sampler")
        self._world = world
        self._failed: dict[tuple[str, str], Failed] = {}
        self._progress: object = None
        self._since_s = time.monotonic()
        self.samples = 0
        self.recounts = 0
        self.wrong: list[str] = []
        self.longest_s = 0.0

    @property
    def ever_failed(self) -> list[Failed]:
        return list(self._failed.values())

    def saw(self, failed: Failed) -> None:
        """Of several sights of one failure the first counts."""
        self._failed.setdefault((failed.id, failed.code), failed)

    def look_at_failures(self) -> list[Failed]:
        now_s = time.monotonic()
        merged = ((f, f.id.rpartition(":")[0]) for f in Failures(self._world.store))
        found = [Failed(f.id, f.code, tuple(f"{lane}:{seq}" for seq in f.merged), now_s) for f, lane in merged]
        for failed in found:
            self.saw(failed)
        return found

    def recount(self) -> None:
        store = self._world.store
        for lane in books.read(store):
            self.wrong += [f"recount: {said}" for said in books.disagreements(store, lane.lane)]
        self.wrong += [f"keys.py: {said}" for said in differences(store.client, store.keys.prefix)]
        self.recounts += 1

    def run(self) -> None:
        turn = 0
        while not self.stopping.wait(SAMPLE_S):
            turn += 1
            try:
                self._sample()
                if turn % FAILURES_EVERY == 0:
                    self.look_at_failures()
                if turn % RECOUNT_EVERY == 0:
                    self.recount()
            except RedisError:
                continue  # it is dead or silent at the moment: that is somebody's doing

    def _sample(self) -> None:
        store = self._world.store
        for lane in books.read(store):
            if not lane.balanced:
                self.wrong.append(f"sample {self.samples}: {lane.lane} does not balance: {lane.counts}")
        self.samples += 1
        now_s = time.monotonic()
        progress, due = self._state(store)
        if progress != self._progress or not due:
            self._progress, self._since_s = progress, now_s
        elif not self._world.is_held_up:
            self.longest_s = max(self.longest_s, now_s - max(self._since_s, self._world.quiet_since_s))

    def _state(self, store: Store) -> tuple[object, int]:
        """What commits and settles change, and how much is due."""
        k = store.keys
        now_ms = _now_ms(store)
        pipe = store.client.pipeline(transaction=True)
        pipe.get(k("batch_seq"))
        for name in ("due:aggregate", *DUE_BATCHES, "quarantine"):
            pipe.zcount(k(name), "-inf", now_ms)
        serial, *due = pipe.execute()
        moved = [
            [lane.counts[name] for name in ("batched", "delivered", "merged", "failed")] for lane in books.read(store)
        ]
        return (serial, moved), sum(due)


def _now_ms(store: Store) -> int:
    seconds, micros = store.client.time()
    return int(seconds) * 1000 + int(micros) // 1000 + int(store.client.get(store.keys("clock_offset")) or 0)
