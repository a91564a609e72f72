"""The books of each lane: counters that change with the records, in the same script; and a recount of the keys, which
must say the same.

The hash `books:newsletter` may hold: accepted 100, waiting 10, held 2, batched 40, delivered 45, failed 3.
"""

from dataclasses import dataclass

from contact_ingest.store.keys import BOOKS, EXTRA_COUNTERS
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.scripts import ReadsTogether, Store


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
    """The books of every lane of the destination, read in one step."""
    lanes = lane_names(store)
    pipe = ReadsTogether(store)
    for lane in lanes:
        pipe.hgetall(store.keys(f"books:{lane}"))
    return [
        LaneBooks(lane, {name: int(found.get(name.encode(), 0)) for name in (*BOOKS, *EXTRA_COUNTERS)})
        for lane, found in zip(lanes, pipe.execute(), strict=True)
    ]


def recount(store: Store, lane: str) -> tuple[dict[str, int], dict[str, int]]:
    """Count the records of a lane from its keys. Returns (books, counted) of one moment; only what keys can tell is
    counted: accepted, waiting, held, batched, failed."""
    found = store.run("recount", lane)
    books = {name: int(value) for name, value in zip(BOOKS, found[0], strict=True)}
    counted = dict(zip(("accepted", "waiting", "held", "batched", "failed"), map(int, found[1]), strict=True))
    return books, counted


def disagreements(store: Store, lane: str) -> list[str]:
    """What is wrong with the books of a lane, in words. Reads every key of the lane."""
    books, counted = recount(store, lane)
    wrong = [
        f"{lane}: the books say {books[name]} {name}, the keys {counted[name]}"
        for name in counted
        if books[name] != counted[name]
    ]
    if not balanced(books):
        wrong.append(f"{lane}: accepted {books['accepted']} is not the sum of the rest")
    return wrong
