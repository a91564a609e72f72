"""What is due and who must wait: the ticker's look, pausing and resuming, stops and probes, flushes.

Due times are data in sorted sets on the server's clock; a bell only says that somebody should look.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from contact_ingest.store.keys import Keys
from contact_ingest.store.scripts import Arg, Store

#: An unheard bell keeps others of its kind from being rung for this long: what a lost one costs.
BELL_SILENCE_MS = 2_000
#: A cap that a 413 has taught is doubted once a day.
CAP_BELIEVED_MS = 86_400_000
PROBE_FIRST_MS = 60_000
PROBE_LAST_MS = 600_000


@dataclass(frozen=True, slots=True)
class WakeUp:
    """`kind` is aggregate (target: a lane), dispatch or poll (target: a destination)."""

    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Bells to ring, and how long until something else is due."""

    bells: tuple[WakeUp, ...]
    nearest_ms: int


class Schedule:
    """The clockwork of one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: Keys = store.keys

    def tick(self, most: int) -> Tick:
        nearest, dispatch, poll, *lanes = self._store.run("schedule_tick", BELL_SILENCE_MS, most)
        name = self._keys.destination
        bells = [WakeUp("dispatch", name)] * int(dispatch) + [WakeUp("poll", name)] * int(poll)
        return Tick((*(WakeUp("aggregate", lane.decode()) for lane in lanes), *bells), int(nearest))

    def may_ring(self, kind: str, most: int) -> bool:
        """Whether one more dispatch or poll bell is of use, and count it. `most` is for as long as no worker has said
        how many of them there are."""
        return bool(self._store.run("wakeup_allow", kind, BELL_SILENCE_MS, most))

    def now_ms(self) -> int:
        return self._clock()[0]

    def wall_ms(self) -> int:
        """The server's clock as it is, for what a platform reads or says: `now_ms` runs ahead of it where it was set
        back."""
        now_ms, lead_ms = self._clock()
        return now_ms - lead_ms

    def _clock(self) -> tuple[int, int]:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.time()
        pipe.mget(self._keys("clock_offset"), self._keys("clock_setback"))
        (seconds, micros), (offset, lead) = pipe.execute()
        return int(seconds) * 1000 + int(micros) // 1000 + int(offset or 0), int(lead or 0)

    def arm(self, lane: str, delay_ms: int) -> None:
        """Look at a lane again after a while."""
        self._store.run("write", f"aggregate:{lane}", "ZADD", "due:aggregate", self.now_ms() + delay_ms, lane)

    def defer(self, kind: str, wait_ms: int) -> None:
        """The limiter said wait: no bells of this kind before."""
        name = "wait_until" if kind == "dispatch" else "poll_wait_until"
        self._store.run("write", kind, "HSET", "state", name, self.now_ms() + wait_ms)

    def make_due_now(self) -> int:
        """What waits after passing trouble need not wait any longer; returns how many batches that were."""
        return int(self._store.run("batch_make_due"))

    def state(self) -> Mapping[str, str]:
        found = self._store.client.hgetall(self._keys("state"))
        return {name.decode(): value.decode() for name, value in found.items()}

    def pause(self, lane: str | None, why: str) -> None:
        """Hold a lane, or the whole destination; what is in flight is still followed to its end."""
        if lane is not None:
            self._write("none", f"lane:{lane}", {"paused": why})
        else:
            self._write("none", "state", {"state": "paused", "why": why})

    def resume(self, lane: str | None) -> None:
        """Go on at once, also after a stop."""
        if lane is not None:
            self._store.client.hdel(self._keys(f"lane:{lane}"), "paused")
        else:
            names = ("state", "why", "code", "probe_at", "probe_gap", "wait_until", "poll_wait_until")
            self._store.client.hdel(self._keys("state"), *names)
        for name in [lane] if lane is not None else self.lanes():
            self.arm(name, 0)

    def stop(self, code: str, why: str, *, probed: bool = False) -> None:
        """The destination refuses us: nothing is sent until a probe gets through, or somebody resumes it. Only a
        probe that failed makes the gap to the next one longer. What a person has paused stays paused."""
        state = self.state()
        if state.get("state") == "paused" or (state.get("state") == "stopped" and not probed):
            return
        gap = min(int(state.get("probe_gap", PROBE_FIRST_MS // 2)) * 2, PROBE_LAST_MS)
        at_ms = self.now_ms() + gap
        self._write(
            "dispatch", "state", {"state": "stopped", "code": code, "why": why, "probe_gap": gap, "probe_at": at_ms}
        )

    def learn_cap(self, max_bytes: int) -> None:
        """A body was too large: no larger ones for a day. Bodies cut before that are refused too, and teach nothing."""
        state, now_ms = self.state(), self.now_ms()
        if "cap_bytes" in state and now_ms - int(state["cap_at"]) <= CAP_BELIEVED_MS:
            max_bytes = min(max_bytes, int(state["cap_bytes"]))
        self._write("dispatch", "state", {"cap_bytes": max_bytes, "cap_at": now_ms})

    def _write(self, bell: str, key: str, fields: Mapping[str, Arg]) -> None:
        """Set fields of a hash, with full memory too; `bell` may ring again."""
        changes = [part for name, value in fields.items() for part in ("HSET", key, name, value)]
        self._store.run("write", bell, *changes)

    def lanes(self) -> list[str]:
        return sorted(name.decode() for name in self._store.client.hkeys(self._keys("lanes")))

    def flush(self, lane: str) -> None:
        """Everything that waits now leaves now, however little it is."""
        pipe = self._store.client.pipeline(transaction=True)
        pipe.hget(self._keys(f"lane:{lane}"), "head")
        pipe.llen(self._keys(f"waiting:{lane}"))
        head, length = pipe.execute()
        self._write("none", f"lane:{lane}", {"flush": int(head or 0) + length, "held_at": 0})
        self.arm(lane, 0)

    def sweep(self, batches_ms: int, failures_ms: int) -> tuple[int, int]:
        """Forget settled batches and discard failures past their age; returns how many of each."""
        batches, failures = self._store.run("retention_sweep", batches_ms, failures_ms, 500)
        return int(batches), int(failures)

    def set_slots(self, slots: int) -> None:
        """How many exchanges this destination may have under way, so that a silent one cannot take every worker."""
        self._write("none", "state", {"slots": slots})
