"""Records that failed: listing them, taking them back, discarding them.

A failure lies in the hash `failures`, by record id (see model/failure.py for its three lines); its identity digests lie
beside it, so that newer records of the same contact find it. A failure that is retried is not listed any more. It stays
findable until it is in a body again: what newer records set is taken from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contact_ingest.model.failure import Failure, FailureReason
from contact_ingest.model.record import QueuedRecord
from contact_ingest.store.scripts import ReadsTogether, Store

#: Failures read, and failures moved, at a time.
PAGE = 500


@dataclass(frozen=True, slots=True, repr=False)
class FailedRecord:
    """A failure as it is stored: record id, identity digests, and its three lines, which are empty for one that has to
    go."""

    id: str
    digests: bytes
    blob: bytes

    @property
    def failure(self) -> Failure:
        return Failure.from_bytes(self.id, self.blob)


def failure(
    lane: str, record: QueuedRecord, why: FailureReason, now_ms: int, digests: bytes, mapped: bytes = b""
) -> FailedRecord:
    """The failure of a record that has left its lane, to be stored."""
    failed = Failure.of(lane, record, why, now_ms, mapped)
    return FailedRecord(failed.id, digests, failed.to_bytes())


class Failures:
    """The failures of one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __iter__(self) -> Iterator[Failure]:
        """All of them, the one that failed longest ago first, a page at a time."""
        start = 0
        while ids := self._store.client.zrange(self._store.keys("failures:by_time"), start, start + PAGE - 1):
            yield from self._read(ids)
            start += PAGE

    def newest(self, most: int) -> Iterator[Failure]:
        """The latest failures, newest first."""
        ids = self._store.client.zrevrange(self._store.keys("failures:by_time"), 0, most - 1)
        for start in range(0, len(ids), PAGE):
            yield from self._read(ids[start : start + PAGE])

    def count(self, before_ms: int | None = None) -> int:
        """How many there are; or only those that failed last before a moment of the destination's clock."""
        last = "+inf" if before_ms is None else before_ms
        return int(self._store.client.zcount(self._store.keys("failures:by_time"), "-inf", last))

    def oldest_ms(self) -> int | None:
        """When the one failed that failed longest ago; None if there is none."""
        oldest = self._store.client.zrange(self._store.keys("failures:by_time"), 0, 0, withscores=True)
        return int(oldest[0][1]) if oldest else None

    def mean_bytes(self, sample: int) -> int:
        """About how many bytes one takes, guessed from so many of the oldest and of the newest. Raises
        `NoPermissionError` where an ACL forbids HSTRLEN."""
        client, k = self._store.client, self._store.keys
        ids = {*client.zrange(k("failures:by_time"), 0, sample - 1), *client.zrange(k("failures:by_time"), -sample, -1)}
        pipe = client.pipeline(transaction=False)
        for record_id in ids:
            pipe.hstrlen(k("failures"), record_id)
        return int(sum(pipe.execute())) // max(1, len(ids))

    def _read(self, ids: Sequence[bytes]) -> Iterator[Failure]:
        blobs = self._store.client.hmget(self._store.keys("failures"), ids)
        for record_id, blob in zip(ids, blobs, strict=True):
            if blob is not None:
                yield Failure.from_bytes(record_id.decode(), blob)

    def get(self, ids: Sequence[str]) -> list[Failure]:
        """Those of these records that have failed and are not on their way again."""
        if not ids:
            return []
        k = self._store.keys
        pipe = ReadsTogether(self._store)
        pipe.hmget(k("failures"), *ids)
        for record_id in ids:
            pipe.zscore(k("failures:by_time"), record_id)
        blobs, *listed = pipe.execute()
        found = zip(ids, blobs, listed, strict=True)
        return [Failure.from_bytes(id_, blob) for id_, blob, at_ms in found if blob is not None and at_ms is not None]

    def retry(self, failures: Iterable[Failure]) -> int:
        """Put failures back in front of their lanes, each under its old id; returns how many were still failed."""
        lanes: dict[str, list[int]] = {}
        for failed in failures:
            lanes.setdefault(failed.lane, []).append(failed.seq)
        return sum(
            int(self._store.run("failure_retry", lane, *seqs[start : start + PAGE]))
            for lane, seqs in lanes.items()
            for start in range(0, len(seqs), PAGE)
        )

    def discard(self, ids: Sequence[str]) -> int:
        """End failures for good; returns how many there were."""
        return sum(
            int(self._store.run("failure_discard", *ids[start : start + PAGE])) for start in range(0, len(ids), PAGE)
        )
