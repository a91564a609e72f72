"""Reads a destination without changing it, for status, batches and doctor.

The books of a lane are read in one moment, so that shown books balance; those of many lanes in parts. Neither the
contents of records nor the address of an error file is read; `first_waiting` is the exception.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from contact_ingest.model.http_message import utc
from contact_ingest.store.books import LaneBooks
from contact_ingest.store.clock import now_of, request_now
from contact_ingest.store.keys import BODY_PARTS, BOOKS, DUE_BATCHES, DUE_DISPATCH, EXTRA_COUNTERS, Keys
from contact_ingest.store.lanes import lane_names, lanes_in_use
from contact_ingest.store.rate_limiter import BreakerState
from contact_ingest.store.redis_server import Memory
from contact_ingest.store.redis_server import read_memory as look_at_memory
from contact_ingest.store.scripts import ReadsTogether, Store

#: How many of the newest batches are read: enough to tell the pace of a lane.
RECENT = 300
PAGE = 200
#: Lanes read by one script. The first ones are read in the same moment as what explains them.
LANES_AT_ONCE = 200
_COUNTS = ("rows", "attempts", "claims_count", "delivered", "failed", "unattributed")
_TEXTS = ("job", "code", "request_id")
_MOMENTS = {"created_at": "created_ms", "first_at": "first_ms", "sent_at": "sent_ms", "ended_at": "ended_ms"}
_PARTS = ("sending", "suspects", "parked")
_OTHERS = ("lane", "root", "parent", "state", "bytes", "sent_bytes", "parts", "requests", "job_status", "polls")
#: The fields that are read of a batch: neither the address of its error file nor what the platform wrote.
_FIELDS = (*_COUNTS, *_TEXTS, *_OTHERS, *_PARTS, *_MOMENTS.values())


@dataclass(frozen=True, slots=True)
class BatchView:
    """One batch. `due_ms` is when it is due; while a worker has it, the end of the lease."""

    destination: str
    number: int
    fields: Mapping[str, str]
    due_ms: int | None = None

    @property
    def lane(self) -> str:
        return self.fields["lane"]

    @property
    def state(self) -> str:
        return self.fields["state"]

    def count(self, name: str) -> int:
        return int(self.fields.get(name, 0))

    @property
    def is_search(self) -> bool:
        return self.fields.get("suspects", "[]") != "[]" or self.fields.get("parked", "[]") != "[]"

    def summary(self, now_ms: int) -> dict[str, Any]:
        """The batch in one line, for `batches`. `now_ms` is the destination's clock."""
        return {
            "batch": self.number,
            "destination": self.destination,
            "lane": self.lane,
            "state": self.state,
            **{name: self.count(name) for name in _COUNTS},
            "bytes": self.count("sent_bytes") or self.count("bytes"),
            **{name: self.fields.get(name, "") for name in _TEXTS},
            "age_s": round(max(0, now_ms - self.count("created_ms")) / 1000, 1),
        }

    def detail(self, now_ms: int) -> dict[str, Any]:
        """Everything of the batch that is shown, for `batches N`."""
        parent = self.fields.get("parent")
        moments = {name: utc(self.count(ms)) if self.count(ms) else None for name, ms in _MOMENTS.items()}
        return {
            **self.summary(now_ms),
            "body_bytes": self.count("bytes"),
            "root": self.count("root"),
            "parent": None if parent is None else int(parent),
            "parts_open": self.count("parts"),
            "requests": self.count("requests"),
            "job_status": self.fields.get("job_status", ""),
            "polls": self.count("polls"),
            "search": {name: _rows(self.fields.get(name, "[]")) for name in _PARTS},
            **moments,
            "due_at": None if self.due_ms is None else utc(self.due_ms),
        }


@dataclass(frozen=True, slots=True)
class LaneStopView:
    """Why the platform stopped a lane, and when one of its batches is tried."""

    code: str
    why: str
    try_ms: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane: its books, when its oldest waiting record came, when it is aggregated next, and why it is paused or
    stopped."""

    books: LaneBooks
    oldest_ms: int | None
    due_ms: int | None
    max_wait_ms: int
    paused: str | None
    stopped: LaneStopView | None = None

    @property
    def left(self) -> int:
        return sum(self.books.counts[name] for name in ("waiting", "held", "batched"))


@dataclass(frozen=True, slots=True)
class DestinationView:
    """A destination at one moment. `open` are batches in flight, `recent` the newest of all. `free_ms` is when the next
    contacts in quarantine are released."""

    destination: str
    now_ms: int
    state: Mapping[str, str]
    lanes: Sequence[LaneView]
    open: Sequence[BatchView]
    recent: Sequence[BatchView]
    breaker: BreakerState
    free_ms: int | None = None
    knows_fields: bool = True
    memory: Memory = field(default_factory=Memory)


def read_destination(store: Store, breaker: BreakerState) -> DestinationView:
    """A destination as it is now. `breaker` is the breaker of its account."""
    k = store.keys
    lanes = lane_names(store)
    pipe = ReadsTogether(store)
    request_now(pipe, k)
    pipe.hgetall(k("state"))
    pipe.exists(k("custom_fields"))
    pipe.zrange(k("quarantine"), 0, 0)
    pipe.zrevrange(k("batches"), 0, RECENT - 1)
    for name in DUE_BATCHES:
        pipe.zrange(k(name), 0, -1)
    _ask_for_lanes(pipe, k, lanes[:LANES_AT_ONCE])
    time, offset, state, knows, free, newest, *each = pipe.execute()
    queues, each = each[: len(DUE_BATCHES)], each[len(DUE_BATCHES) :]
    due_at = _due_of(queues)
    found = {batch.number: batch for batch in _batches(store, {*due_at, *map(int, newest)}, due_at)}
    return DestinationView(
        destination=k.destination,
        now_ms=now_of(time, offset),
        state=_texts(state),
        lanes=[*_lane_views(lanes[:LANES_AT_ONCE], each), *_more_lanes(store, lanes[LANES_AT_ONCE:])],
        open=[found[number] for number in due_at if number in found],
        recent=[found[number] for number in map(int, newest) if number in found],
        breaker=breaker,
        free_ms=int(free[0][1]) if free else None,
        knows_fields=bool(knows),
        memory=look_at_memory(store.client),
    )


def _ask_for_lanes(pipe: ReadsTogether, k: Keys, lanes: Iterable[str]) -> None:
    """Add the reads of these lanes, four each."""
    for lane in lanes:
        pipe.hgetall(k(f"books:{lane}"))
        pipe.hgetall(k(f"lane:{lane}"))
        pipe.lindex(k(f"arrivals:{lane}"), 0)
        pipe.zscore(k("due:aggregate"), lane)


def _lane_views(lanes: Iterable[str], answers: Sequence[Any]) -> Iterator[LaneView]:
    for at, lane in enumerate(lanes):
        yield _lane(lane, *answers[at * 4 : at * 4 + 4])


def _more_lanes(store: Store, lanes: Sequence[str]) -> Iterator[LaneView]:
    """Lanes beyond the first ones, in parts, so that no script holds the server for long."""
    for start in range(0, len(lanes), LANES_AT_ONCE):
        pipe = ReadsTogether(store)
        _ask_for_lanes(pipe, store.keys, lanes[start : start + LANES_AT_ONCE])
        yield from _lane_views(lanes[start : start + LANES_AT_ONCE], pipe.execute())


def newest_batches(store: Store) -> Iterator[BatchView]:
    """All batches that retention has left, newest first."""
    start, due = 0, queued(store)
    while numbers := store.client.zrevrange(store.keys("batches"), start, start + PAGE - 1):
        yield from _batches(store, map(int, numbers), due)
        start += PAGE


def batch(store: Store, number: int) -> BatchView | None:
    """One batch; None if there is none of that number (any more)."""
    return next(_batches(store, [number], queued(store)), None)


def children(store: Store, parent: BatchView) -> list[int]:
    """The numbers of the batches that this one was split into."""
    k = store.keys
    # A batch has no children from before it was made, nor from after it has ended.
    last_ms = parent.count("ended_ms") or "+inf"
    later = list(map(int, store.client.zrangebyscore(k("batches"), parent.count("created_ms"), last_ms)))
    found = []
    for start in range(0, len(later), PAGE):
        numbers = later[start : start + PAGE]
        pipe = store.client.pipeline(transaction=False)
        for number in numbers:
            pipe.hget(k(f"batch:{number}"), "parent")
        found += [n for n, owner in zip(numbers, pipe.execute(), strict=True) if owner and int(owner) == parent.number]
    return sorted(found)


def queued(store: Store) -> dict[int, int | None]:
    """The batches in flight, and when each is due: None for a batch whose lane is paused or stopped."""
    pipe = ReadsTogether(store)
    for name in DUE_BATCHES:
        pipe.zrange(store.keys(name), 0, -1)
    return _due_of(pipe.execute())


def _due_of(queues: Iterable[Iterable[tuple[bytes, float]]]) -> dict[int, int | None]:
    """When each batch of these sorted sets is due, in the order of DUE_BATCHES."""
    return {
        int(number): None if name == "due:dispatch:stopped" else int(at_ms)
        for name, queue in zip(DUE_BATCHES, queues, strict=True)
        for number, at_ms in queue
    }


def _batches(store: Store, numbers: Iterable[int], due: Mapping[int, int | None]) -> Iterator[BatchView]:
    wanted = list(numbers)
    pipe = store.client.pipeline(transaction=False)
    for number in wanted:
        pipe.hmget(store.keys(f"batch:{number}"), _FIELDS)
    for number, values in zip(wanted, pipe.execute(), strict=True):
        fields = {name: value.decode() for name, value in zip(_FIELDS, values, strict=True) if value is not None}
        if "lane" in fields and "state" in fields:
            yield BatchView(store.keys.destination, number, fields, due.get(number))


def _lane(lane: str, books: Any, state: Any, mark: bytes | None, due: float | None) -> LaneView:
    counts = {name: int(books.get(name.encode(), 0)) for name in (*BOOKS, *EXTRA_COUNTERS)}
    paused = state.get(b"paused")
    return LaneView(
        LaneBooks(lane, counts),
        oldest_ms=int(mark.rpartition(b":")[2]) if mark and counts["waiting"] else None,
        due_ms=None if due is None else int(due),
        max_wait_ms=int(state.get(b"max_wait", 0)),
        paused=None if paused is None else paused.decode(),
        stopped=_lane_stop(state),
    )


def _lane_stop(state: Any) -> LaneStopView | None:
    if b"stop_code" not in state:
        return None
    code, why = state[b"stop_code"].decode(), state.get(b"stop_why", b"").decode()
    return LaneStopView(code, why, int(state.get(b"try_at", 0)))


def _texts(found: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in found.items()}


def _rows(ranges: str) -> int:
    return sum(stop - start for start, stop in orjson.loads(ranges))


# --- For the doctor ---------------------------------------------------------------------------------------------------


def queue_lengths(store: Store) -> tuple[int, int]:
    """How many batches wait to be sent, and how many imports are followed."""
    pipe = ReadsTogether(store)
    for name in DUE_BATCHES:
        pipe.zcard(store.keys(name))
    counts = pipe.execute()
    return sum(counts[: len(DUE_DISPATCH)]), sum(counts[len(DUE_DISPATCH) :])


def overdue(store: Store, stages: Iterable[str], before_ms: int) -> int:
    """How many batches of these stages (dispatch, poll) have been due since before a moment. Batches of low priority
    may wait for long, and do not count."""
    return sum(int(store.client.zcount(store.keys(f"due:{stage}"), "-inf", before_ms)) for stage in stages)


def polled_since_ms(store: Store) -> list[int]:
    """When the platform accepted each import that is still followed."""
    numbers = [n for name in ("due:poll", "due:poll:low") for n in store.client.zrange(store.keys(name), 0, -1)]
    pipe = store.client.pipeline(transaction=False)
    for number in map(int, numbers):
        pipe.hmget(store.keys(f"batch:{number}"), "state", "sent_ms")
    return [int(sent_ms or 0) for state, sent_ms in pipe.execute() if state == b"polling"]


def waiting_bytes(store: Store) -> dict[str, int]:
    """How many bytes wait in each lane."""
    lanes = lane_names(store)
    pipe = store.client.pipeline(transaction=False)
    for lane in lanes:
        pipe.hget(store.keys(f"lane:{lane}"), "bytes")
    return {lane: int(size or 0) for lane, size in zip(lanes, pipe.execute(), strict=True)}


def first_waiting(store: Store, most: int) -> Iterator[bytes]:
    """The records of each lane that have waited longest, without cancelled ones: at most so many of each."""
    client, k = store.client, store.keys
    for lane in lanes_in_use(store):
        for start in range(0, most, PAGE):
            found = client.lrange(k(f"waiting:{lane}"), start, min(start + PAGE, most) - 1)
            yield from filter(None, found)
            if len(found) < PAGE:
                break


def stray_bodies(store: Store, latest: int) -> int:
    """Bodies that belong to no batch and do not expire, among the batch numbers given out last."""
    client, k = store.client, store.keys
    last, stray = int(client.get(k("batch_seq")) or 0), 0
    for start in range(max(1, last - latest + 1), last + 1, PAGE):
        pipe = ReadsTogether(store)
        for number in range(start, min(start + PAGE, last + 1)):
            pipe.exists(k(f"batch:{number}"))
            for part in BODY_PARTS:
                pipe.ttl(k(f"batch:{number}:{part}"))
        answers = iter(pipe.execute())
        for exists, *ttls_s in zip(*[answers] * (1 + len(BODY_PARTS)), strict=True):
            stray += not exists and -1 in ttls_s
    return stray
