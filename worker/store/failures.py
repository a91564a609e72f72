"""Records that ended badly: listing them, taking them back, letting them go.

A failure is three lines: what happened (JSON), the record as merged, and the record as mapped (empty if it never was).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from worker.contact import Entry, says_nothing, strip
from worker.store.bench import FailedRecord
from worker.store.scripts import Store
from worker.wire import utc


@dataclass(frozen=True, slots=True)
class Why:
    """What happened to a record, in the words of the one who says so. `stage` is aggregate, dispatch or import."""

    code: str
    reason: str
    stage: str
    batch: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Failure:
    """A failed record. Times are milliseconds."""

    id: str
    about: dict[str, Any]
    raw: bytes
    mapped: bytes

    @property
    def lane(self) -> str:
        return self.id.rpartition(":")[0]

    @property
    def entry(self) -> Entry:
        """The record on its way again, under its old id."""
        return Entry(
            int(self.id.rpartition(":")[2]),
            self.raw,
            tuple(self.about["merged"]),
            self.about["attempts"],
            self.about["first_ms"],
        )

    def public(self, *, contents: bool) -> dict[str, Any]:
        """The failure as the command line and exports show it."""
        about = self.about
        lane = self.lane
        shown = {
            "record": self.id,
            "lane": lane,
            "destination": lane.partition("+")[0],
            "reason": about["reason"],
            "code": about["code"],
            "stage": about["stage"],
            "batch": about["batch"],
            "request_id": about["request_id"],
            "attempts": about["attempts"],
            "first_at": utc(about["first_ms"]),
            "last_at": utc(about["last_ms"]),
            "merged": [f"{lane}:{seq}" for seq in about["merged"]],
        }
        if contents:
            # As they are: what was nested to the limit would not go into another object.
            shown["contact"] = orjson.Fragment(self.raw)
            shown["mapped"] = orjson.Fragment(self.mapped) if self.mapped else None
        return shown

    @classmethod
    def read(cls, record_id: str, blob: bytes) -> "Failure":
        about, raw, mapped = blob.split(b"\n", 2)
        return cls(record_id, orjson.loads(about), raw, mapped)


def failure(lane: str, entry: Entry, why: Why, now_ms: int, digests: bytes, mapped: bytes = b"") -> FailedRecord:
    """Write a failure of a record."""
    about = {
        "code": why.code[:100],
        "reason": why.reason[:1000],
        "stage": why.stage,
        "batch": why.batch,
        "request_id": why.request_id[:200],
        "attempts": entry.attempts + 1,
        "first_ms": entry.first_ms or now_ms,
        "last_ms": now_ms,
        "merged": entry.merged,
    }
    return FailedRecord(f"{lane}:{entry.seq}", digests, b"\n".join((orjson.dumps(about), entry.raw, mapped)))


def stripped(record_id: str, blob: bytes, digests: bytes, newer: dict[str, Any], *, same_lane: bool) -> FailedRecord:
    """An older failed record without the fields a newer one sets. Nothing but identifiers left: it is superseded,
    except on another lane, where being delivered at all still means something."""
    old = Failure.read(record_id, blob)
    left = strip(orjson.loads(old.raw), newer)
    if same_lane and says_nothing(left):
        return FailedRecord(record_id, digests, b"")
    return FailedRecord(record_id, digests, b"\n".join((orjson.dumps(old.about), orjson.dumps(left), old.mapped)))


class Failures:
    """The failures of one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __iter__(self) -> Iterator[Failure]:
        """All of them, oldest last failure first, a page at a time."""
        k, start, page = self._store.keys, 0, 500
        while ids := self._store.client.zrange(k("failed:at"), start, start + page - 1):
            blobs = self._store.client.hmget(k("failed"), ids)
            yield from (Failure.read(i.decode(), blob) for i, blob in zip(ids, blobs, strict=True) if blob is not None)
            start += page

    def get(self, ids: Sequence[str]) -> list[Failure]:
        blobs = self._store.client.hmget(self._store.keys("failed"), list(ids)) if ids else []
        return [Failure.read(id_, blob) for id_, blob in zip(ids, blobs, strict=True) if blob is not None]

    def retry(self, failures: Sequence[Failure]) -> int:
        """Put them back in front of their lanes, each under its old id; returns how many were still failed."""
        moved = 0
        lanes: dict[str, list[Entry]] = {}
        for failed in failures:
            lanes.setdefault(failed.lane, []).append(failed.entry)
        for lane, entries in lanes.items():
            entries.sort(key=lambda entry: entry.seq)
            for start in range(0, len(entries), 500):
                pairs = [
                    part for entry in entries[start : start + 500] for part in (f"{lane}:{entry.seq}", entry.to_bytes())
                ]
                moved += int(self._store.run("retry", lane, *pairs))
        return moved

    def discard(self, ids: Sequence[str]) -> int:
        return sum(int(self._store.run("discard", *ids[start : start + 500])) for start in range(0, len(ids), 500))
