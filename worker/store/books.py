"""The books of each lane: counters that change with the records, in the same script; and a recount of the keys, which
must say the same.

The hash `books:newsletter` may hold: accepted 100, waiting 10, held 2, batched 40, delivered 45, failed 3.
"""

from array import array
from collections.abc import Container, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass

from contact_ingest.model.lane import format_record_id
from contact_ingest.store.clock import Clock
from contact_ingest.store.keys import BOOKS, EXTRA_COUNTERS
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.scripts import ReadsTogether, Store

#: Lanes read by one script.
READ_AT_ONCE = 200
#: Members of a sorted set looked at in one round trip, and records counted by one script, unless one lane has more.
SCAN_AT_ONCE = 2_000
COUNT_AT_ONCE = 20_000
#: What is younger than the beginning of a recount less this, ms, is looked for again at each of its steps.
SINCE_MS = 5_000
#: The counters that a recount of the keys tells.
COUNTED = ("accepted", "waiting", "held", "batched", "failed")


@dataclass(frozen=True, slots=True)
class LaneBooks:
    """The counters of one lane at one moment."""

    lane: str
    counts: dict[str, int]

    @property
    def balanced(self) -> bool:
        return balanced(self.counts)


def balanced(counts: dict[str, int]) -> bool:
    """Whether `accepted` is the sum of all places where a record can be. Unattributed rows are counted beside that."""
    return counts["accepted"] == sum(counts[name] for name in BOOKS if name not in ("accepted", "unattributed"))


def totals(lanes: list[LaneBooks]) -> dict[str, int]:
    """The counters of several lanes together."""
    return {name: sum(lane.counts[name] for lane in lanes) for name in BOOKS}


def read(store: Store) -> list[LaneBooks]:
    """The books of every lane of the destination. Those of a lane are of one moment, so that they balance; many lanes
    are read in parts."""
    lanes = lane_names(store)
    parts = (lanes[start : start + READ_AT_ONCE] for start in range(0, len(lanes), READ_AT_ONCE))
    return [found for part in parts for found in _read(store, part)]


def _read(store: Store, lanes: Sequence[str]) -> list[LaneBooks]:
    pipe = ReadsTogether(store)
    for lane in lanes:
        pipe.hgetall(store.keys(f"books:{lane}"))
    return [
        LaneBooks(lane, {name: int(found.get(name.encode(), 0)) for name in (*BOOKS, *EXTRA_COUNTERS)})
        for lane, found in zip(lanes, pipe.execute(), strict=True)
    ]


# --- Counting the keys ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recount:
    """A lane counted from its keys, and its books, at one moment. `listed` says whether the lane is in `held_lanes`,
    `holds` whether it should be, since something is held or retried in it."""

    lane: str
    books: dict[str, int]
    counted: dict[str, int]
    listed: bool
    holds: bool

    @property
    def wrong(self) -> list[str]:
        """What does not agree, in words."""
        lane, books, counted = self.lane, self.books, self.counted
        found = [
            f"{lane}: the books say {books[name]} {name}, the keys {counted[name]}"
            for name in counted
            if books[name] != counted[name]
        ]
        if not balanced(books):
            found.append(f"{lane}: accepted {books['accepted']} is not the sum of the rest")
        if self.listed != self.holds:
            says = (
                "lacks the lane, and something is held in it"
                if self.holds
                else "has the lane, and nothing is held in it"
            )
            found.append(f"{lane}: held_lanes {says}; a worker mends that within a minute")
        return found


def recount_lanes(store: Store, lanes: Sequence[str]) -> Iterator[Recount]:
    """Count lanes from their keys. Batches and failures are looked for once, a part at a time, and then counted lane by
    lane in the script that reads the books; so no script holds the server for long unless a lane is long."""
    since_ms = Clock(store).now_ms() - SINCE_MS
    batches, failures = _open_batches(store, set(lanes)), _failed(store, set(lanes))
    for part in _parts(store, lanes, failures):
        numbers = [number for lane in part for number in batches.get(lane, ())]
        ids = [format_record_id(lane, seq) for lane in part for seq in failures.get(lane, ())]
        answers = store.run("recount", since_ms, len(part), *part, len(numbers), *numbers, *ids)
        for lane, (books, counted, listed, holds) in zip(part, answers, strict=True):
            yield Recount(
                lane,
                books=dict(zip(BOOKS, map(int, books), strict=True)),
                counted=dict(zip(COUNTED, map(int, counted), strict=True)),
                listed=bool(listed),
                holds=bool(holds),
            )


def _open_batches(store: Store, lanes: Container[str]) -> dict[str, list[str]]:
    """The batches of these lanes that have not ended."""
    found: dict[str, list[str]] = {}
    cursor = 0
    while True:
        following, *entries = store.run("recount_open", cursor, SCAN_AT_ONCE)
        for number, _, lane in (entry.decode().partition(" ") for entry in entries):
            if lane in lanes:
                found.setdefault(lane, []).append(number)
        cursor = int(following)
        if cursor == 0:
            return found


def _failed(store: Store, lanes: Container[str]) -> dict[str, "array[int]"]:
    """The numbers of the failed records of these lanes."""
    found: dict[str, array[int]] = {}
    for record_id, _ in store.client.zscan_iter(store.keys("failures:by_time"), count=SCAN_AT_ONCE):
        lane, _, seq = record_id.decode().rpartition(":")
        if lane in lanes:
            found.setdefault(lane, array("q")).append(int(seq))
    return found


def _parts(store: Store, lanes: Sequence[str], failures: Mapping[str, Sized]) -> Iterator[list[str]]:
    """The lanes in parts, each with few enough lanes and records for one script."""
    part: list[str] = []
    records = 0
    for start in range(0, len(lanes), READ_AT_ONCE):
        few = lanes[start : start + READ_AT_ONCE]
        pipe = store.client.pipeline(transaction=False)
        for lane in few:
            pipe.llen(store.keys(f"waiting:{lane}"))
        for lane, length in zip(few, pipe.execute(), strict=True):
            more = int(length) + len(failures.get(lane, ()))
            if part and (records + more > COUNT_AT_ONCE or len(part) == READ_AT_ONCE):
                yield part
                part, records = [], 0
            part.append(lane)
            records += more
    if part:
        yield part


def recount(store: Store, lane: str) -> tuple[dict[str, int], dict[str, int]]:
    """Count the records of a lane from its keys. Returns (books, counted) of one moment; only what keys can tell is
    counted: accepted, waiting, held, batched, failed."""
    found = next(recount_lanes(store, [lane]))
    return found.books, found.counted


def disagreements(store: Store, lane: str) -> list[str]:
    """What is wrong with the books of a lane, in words. Reads every key of the lane."""
    return next(recount_lanes(store, [lane])).wrong


def all_disagreements(store: Store) -> dict[str, list[str]]:
    """What is wrong with the books of each lane, in words. Reads every key of the destination once."""
    return {found.lane: found.wrong for found in recount_lanes(store, lane_names(store))}
