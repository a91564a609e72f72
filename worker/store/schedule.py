"""What is due and when (`Schedule`), and whether a destination runs (`DestinationState`).

Due times are scores of sorted sets on the destination's clock. A wake-up (`WakeUp`) only tells a worker to look; losing
one costs at most `WAKEUP_SILENCE_MS`, after which the next tick sends another.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain

from contact_ingest.store.clock import Clock
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.scripts import Arg, ReadsTogether, Store

#: A wake-up that was not consumed keeps others of its kind from being sent for this long. That is the cost of a lost
#: one.
WAKEUP_SILENCE_MS = 2_000
#: How long a body size learned from a 413 is believed: one day.
CAP_BELIEVED_MS = 86_400_000
#: The pause before the first probe of a stopped destination; it doubles with each probe that fails, up to the last.
PROBE_FIRST_MS = 60_000
PROBE_LAST_MS = 600_000
#: What is suspected of the account, and the gap that grows while it stays suspected.
_DOUBT = ("doubt", "doubt_lane", "doubt_root", "doubt_at", "probe_gap")
#: Lanes that one script makes due.
LANES_AT_ONCE = 200
#: Settled batches and failures that one script of a sweep takes at most, and how long a sweep takes at most, seconds.
SWEEP_MOST = 500
SWEEP_FOR_S = 0.25


@dataclass(frozen=True, slots=True)
class WakeUp:
    """A message that tells a worker to look. `kind` is aggregate (target: a lane), or dispatch or poll (target: a
    destination). Example: `WakeUp("aggregate", "newsletter+1f2e3d4c")`."""

    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick found: wake-ups to send, and milliseconds until something else is due."""

    wakeups: tuple[WakeUp, ...]
    nearest_ms: int


class Schedule:
    """What is due at one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.keys
        self._clock = Clock(store)

    def tick(self, most: int) -> Tick:
        """Look for what is due. `most` limits the wake-ups of a kind while no worker has said how many exchanges the
        destination may have at once."""
        nearest, dispatch, poll, *lanes = self._store.run("schedule_tick", WAKEUP_SILENCE_MS, most)
        name = self._keys.destination
        wakeups = [WakeUp("dispatch", name)] * int(dispatch) + [WakeUp("poll", name)] * int(poll)
        return Tick((*(WakeUp("aggregate", lane.decode()) for lane in lanes), *wakeups), int(nearest))

    def may_notify(self, kind: str, most: int) -> bool:
        """Whether one more wake-up for dispatch or poll is of use; it is counted if so. `most` as in `tick`."""
        return bool(self._store.run("wakeup_allow", kind, WAKEUP_SILENCE_MS, most))

    def arm(self, lane: str, delay_ms: int) -> None:
        """Aggregate a lane after a delay."""
        due_ms = self._clock.now_ms() + delay_ms
        self._store.run("write", f"aggregate:{lane}", "ZADD", "due:aggregate", due_ms, lane)

    def defer(self, kind: str, wait_ms: int) -> None:
        """Send no wake-ups for dispatch, or for poll, for so long: the rate limiter said wait."""
        name = "wait_until" if kind == "dispatch" else "poll_wait_until"
        self._store.run("write", kind, "HSET", "state", name, self._clock.now_ms() + wait_ms)

    def make_due_now(self) -> int:
        """Make batches due that wait after passing trouble; returns how many."""
        return int(self._store.run("batch_make_due"))

    def arm_all(self, lanes: Sequence[str]) -> None:
        """Aggregate lanes now."""
        now_ms = self._clock.now_ms()
        for start in range(0, len(lanes), LANES_AT_ONCE):
            self._write([_due(lane, now_ms) for lane in lanes[start : start + LANES_AT_ONCE]])

    def flush(self, *lanes: str) -> None:
        """Let everything leave now that waits now in these lanes, however few records these are."""
        for start in range(0, len(lanes), LANES_AT_ONCE):
            few, now_ms = lanes[start : start + LANES_AT_ONCE], self._clock.now_ms()
            pipe = ReadsTogether(self._store)
            for lane in few:
                pipe.hget(self._keys(f"lane:{lane}"), "head")
                pipe.llen(self._keys(f"waiting:{lane}"))
            answers = pipe.execute()
            changes = []
            for lane, head, length in zip(few, answers[::2], answers[1::2], strict=True):
                fields = {"flush": int(head or 0) + int(length), "held_at": 0}
                changes.append([*_field_changes(f"lane:{lane}", fields), *_due(lane, now_ms)])
            self._write(changes)

    def _write(self, changes: Iterable[Sequence[Arg]]) -> None:
        self._store.run("write", "none", *chain.from_iterable(changes))

    def sweep(self, batches_ms: int, failures_ms: int) -> tuple[int, int]:
        """Forget settled batches and discard failures older than so many ms; returns how many of each.

        One sweep takes what is due in parts of `SWEEP_MOST`, for `SWEEP_FOR_S` at most: a tick must not wait for long.
        The next one goes on. Whatever has to stay is passed over, so it stands in nobody's way."""
        forgotten = stay = discarded = stuck = 0
        until_s = time.monotonic() + SWEEP_FOR_S
        while True:
            found = self._store.run("retention_sweep", batches_ms, failures_ms, SWEEP_MOST, stay, stuck)
            gone, kept, lost, left = map(int, found)
            forgotten, stay, discarded, stuck = forgotten + gone, stay + kept, discarded + lost, stuck + left
            if max(gone + kept, lost + left) < SWEEP_MOST or time.monotonic() > until_s:
                return forgotten, discarded


class DestinationState:
    """Whether one destination runs, is paused by a person or stopped by a refusal; and what it has learned."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.keys
        self._clock = Clock(store)
        self._schedule = Schedule(store)

    def read(self) -> Mapping[str, str]:
        """The fields of the hash `state` (see keys.py). Example: {"state": "paused", "why": "a wrong list"}."""
        found = self._store.client.hgetall(self._keys("state"))
        return {name.decode(): value.decode() for name, value in found.items()}

    def paused_lanes(self) -> Mapping[str, str]:
        """Lanes that a person has paused, and why."""
        return {lane: paused for lane, (paused, _, _) in self._lanes().items() if paused is not None}

    def stopped_lanes(self) -> Mapping[str, tuple[str, str]]:
        """Lanes that the platform has stopped: code and reason of each."""
        return {lane: (code, why or "") for lane, (_, code, why) in self._lanes().items() if code is not None}

    def _lanes(self) -> dict[str, list[str | None]]:
        lanes = lane_names(self._store)
        pipe = self._store.client.pipeline(transaction=False)
        for lane in lanes:
            pipe.hmget(self._keys(f"lane:{lane}"), "paused", "stop_code", "stop_why")
        found = zip(lanes, pipe.execute(), strict=True)
        return {lane: [None if value is None else value.decode() for value in values] for lane, values in found}

    def pause(self, lane: str | None, why: str) -> None:
        """Pause a lane, or without one the whole destination. Imports under way are still followed to their end."""
        if lane is not None:
            _set_fields(self._store, f"lane:{lane}", {"paused": why})
        else:
            _set_fields(self._store, "state", {"state": "paused", "why": why})

    def resume(self, lane: str | None) -> None:
        """Go on at once after a pause or a stop. Without a lane: the destination, and the lanes that the platform has
        stopped."""
        if lane is not None:
            self._store.run("lane_resume", "paused", lane)
            self._schedule.arm(lane, 0)
            return
        self._store.client.hdel(self._keys("state"), *_DOUBT)
        stopped = list(self.stopped_lanes())
        for start in range(0, len(stopped), LANES_AT_ONCE):
            self._store.run("lane_resume", "stopped", *stopped[start : start + LANES_AT_ONCE])
        self.go_on()

    def go_on(self) -> None:
        """End the pause or the stop of the destination. Lanes that are stopped stay so, and what is suspected of the
        account stays until something is accepted."""
        names = ("state", "why", "code", "probe_at", "wait_until", "poll_wait_until")
        self._store.client.hdel(self._keys("state"), *names)
        self._schedule.arm_all(lane_names(self._store))

    def stop(self, code: str, why: str, *, probed: bool = False) -> None:
        """Stop the destination, since the platform refuses us: nothing is sent until a probe succeeds or a person
        resumes it. `probed` says that a probe failed just now; only that makes the gap to the next probe longer. A
        destination that a person has paused stays paused."""
        state = self.read()
        if state.get("state") == "paused" or (state.get("state") == "stopped" and not probed):
            return
        gap_ms = min(int(state.get("probe_gap", PROBE_FIRST_MS // 2)) * 2, PROBE_LAST_MS)
        fields: dict[str, Arg] = {"state": "stopped", "code": code, "why": why, "probe_gap": gap_ms}
        _set_fields(self._store, "state", {**fields, "probe_at": self._clock.now_ms() + gap_ms}, wakeup="dispatch")

    def learn_cap(self, max_bytes: int) -> None:
        """Remember that bodies must not be larger than this, for a day. Bodies packed before that are refused too; they
        do not raise the cap."""
        state, now_ms = self.read(), self._clock.now_ms()
        if "cap_bytes" in state and now_ms - int(state["cap_at"]) <= CAP_BELIEVED_MS:
            max_bytes = min(max_bytes, int(state["cap_bytes"]))
        _set_fields(self._store, "state", {"cap_bytes": max_bytes, "cap_at": now_ms}, wakeup="dispatch")

    def set_slots(self, slots: int) -> None:
        """Limit the exchanges that this destination may have at once, so that a silent platform cannot take every
        worker."""
        _set_fields(self._store, "state", {"slots": slots})


def lane_score(lane: str) -> int:
    """The score of a lane's batches in `due:dispatch:stopped`, the same as in lua/lane_stop.lua."""
    return reduce(lambda score, byte: (score * 257 + byte) % 17_592_186_044_399, lane.encode(), 0)


def _set_fields(store: Store, key: str, fields: Mapping[str, Arg], wakeup: str = "none") -> None:
    """Set fields of a hash, with full memory too. `wakeup` names a kind of wake-up that may be sent again at once."""
    store.run("write", wakeup, *_field_changes(key, fields))


def _field_changes(key: str, fields: Mapping[str, Arg]) -> list[Arg]:
    """The changes of the script `write` that set fields of a hash."""
    return [part for name, value in fields.items() for part in ("HSET", key, name, value)]


def _due(lane: str, at_ms: int) -> list[Arg]:
    """The changes of the script `write` that make a lane due. No wake-up counts as pending any more: one may be sent at
    once."""
    return ["ZADD", "due:aggregate", at_ms, lane, "PSETEX", f"wakeup:aggregate:{lane}", 1, 0]
