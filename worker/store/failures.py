"""Records that ended badly: listing them, taking them back, letting them go.

A failure is three lines: what happened (JSON), the record as merged, and the record as mapped (empty if it never was).
One that is retried is not listed any more, but what newer records set is taken from it until it is in a body again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from contact_ingest.model.failure import FailureReason
from contact_ingest.model.http_message import utc
from contact_ingest.model.identity import has_only_identifiers
from contact_ingest.model.lane import LaneName, RecordId, format_record_id
from contact_ingest.model.merge import without_newer_fields
from contact_ingest.model.record import QueuedRecord
from contact_ingest.store.scripts import Store


@dataclass(frozen=True, slots=True, repr=False)
class FailedRecord:
    """A failure to store: record id, identity digests, and its three lines."""

    id: str
    digests: bytes
    blob: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Failure:
    """A failed record. Times are milliseconds."""

    id: str
    about: dict[str, Any]
    raw: bytes
    mapped: bytes

    @property
    def lane(self) -> LaneName:
        return RecordId.parse(self.id).lane

    @property
    def entry(self) -> QueuedRecord:
        """The record on its way again, under its old id."""
        about = self.about
        return QueuedRecord(
            RecordId.parse(self.id).seq,
            self.raw,
            tuple(about["merged"]),
            about["attempts"],
            about["first_ms"],
            about["packed_version"],
            tuple(map(tuple, about["field_versions"])),
        )

    def public(self, *, contents: bool) -> dict[str, Any]:
        """The failure as the command line and exports show it."""
        about = self.about
        lane = self.lane
        shown = {
            "record": self.id,
            "lane": lane,
            "destination": lane.destination,
            "reason": about["reason"],
            "code": about["code"],
            "stage": about["stage"],
            "batch": about["batch"],
            "request_id": about["request_id"],
            "attempts": about["attempts"],
            "first_at": utc(about["first_ms"]),
            "last_at": utc(about["last_ms"]),
            "merged": [format_record_id(lane, seq) for seq in about["merged"]],
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


def failure(
    lane: str, entry: QueuedRecord, why: FailureReason, now_ms: int, digests: bytes, mapped: bytes = b""
) -> FailedRecord:
    """Write a failure of a record that has departed."""
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
        "packed_version": entry.packed_version,
        "field_versions": entry.field_versions,
    }
    return FailedRecord(
        format_record_id(lane, entry.seq), digests, b"\n".join((orjson.dumps(about), entry.raw, mapped))
    )


def without_what_is_newer(record: FailedRecord, newer: QueuedRecord, *, same_lane: bool) -> FailedRecord:
    """An older failed record without the fields a newer one sets. Nothing but identifiers left: it is superseded,
    except on another lane, where being delivered at all still means something."""
    failed = Failure.read(record.id, record.blob)
    old = failed.entry
    left = without_newer_fields(old, newer, same_lane=same_lane).raw
    if same_lane and newer.seq > old.seq and has_only_identifiers(orjson.loads(left)):
        return replace(record, blob=b"")
    if left == old.raw:
        return record
    return replace(record, blob=b"\n".join((orjson.dumps(failed.about), left, failed.mapped)))


class Failures:
    """The failures of one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __iter__(self) -> Iterator[Failure]:
        """All of them, oldest last failure first, a page at a time."""
        k, start, page = self._store.keys, 0, 500
        while ids := self._store.client.zrange(k("failures:by_time"), start, start + page - 1):
            blobs = self._store.client.hmget(k("failures"), ids)
            yield from (Failure.read(i.decode(), blob) for i, blob in zip(ids, blobs, strict=True) if blob is not None)
            start += page

    def get(self, ids: Sequence[str]) -> list[Failure]:
        """Those of them that have failed and are not on their way again."""
        if not ids:
            return []
        k = self._store.keys
        pipe = self._store.client.pipeline(transaction=True)
        pipe.hmget(k("failures"), list(ids))
        for record_id in ids:
            pipe.zscore(k("failures:by_time"), record_id)
        blobs, *listed = pipe.execute()
        found = zip(ids, blobs, listed, strict=True)
        return [Failure.read(id_, blob) for id_, blob, at_ms in found if blob is not None and at_ms is not None]

    def retry(self, failures: Iterable[Failure]) -> int:
        """Put them back in front of their lanes, each under its old id; returns how many were still failed."""
        lanes: dict[str, list[int]] = {}
        for failed in failures:
            lanes.setdefault(failed.lane, []).append(failed.entry.seq)
        return sum(
            int(self._store.run("failure_retry", lane, *seqs[start : start + 500]))
            for lane, seqs in lanes.items()
            for start in range(0, len(seqs), 500)
        )

    def discard(self, ids: Sequence[str]) -> int:
        return sum(
            int(self._store.run("failure_discard", *ids[start : start + 500])) for start in range(0, len(ids), 500)
        )
