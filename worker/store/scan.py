"""Reads every place of a destination where records lie: what waits, what is held or to be tried again, what is in a
body, what has failed. In bounded memory, and without changing anything.

Workers go on meanwhile, and a record may move between two reads. A caller that must find every record reads again until
`version` stays the same.
"""

from collections.abc import Iterator, Sequence

from contact_ingest.model.lane import format_record_id
from contact_ingest.model.record import QueuedRecord
from contact_ingest.store.failures import FailedRecord
from contact_ingest.store.keys import DUE_BATCHES, DUE_DISPATCH
from contact_ingest.store.lanes import lanes_in_use
from contact_ingest.store.scripts import Store

#: Records read at a time, and about how many bytes they may have together.
CHUNK = 2_000
CHUNK_BYTES = 8_000_000
#: Failures read at a time.
FAILURES = 500
#: Staged bodies that wait for their commit are looked for among so many of the latest batch numbers.
LATEST = 10_000


class RecordScan:
    """The records of one destination. Nothing is read inside MULTI: a server with full memory refuses that, and erasing
    has to work then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = store.client
        self._keys = store.keys

    def version(self) -> bytes:
        """Another value after any record has moved."""
        return bytes(self._client.get(self._keys("version")) or b"0")

    def salt(self) -> bytes:
        """The secret of the identity digests; empty before the first aggregation."""
        return bytes(self._client.get(self._keys("identity_salt")) or b"")

    def lanes(self) -> list[str]:
        """All lanes in which records lie outside of bodies."""
        return lanes_in_use(self._store)

    def length(self, lane: str) -> int:
        """How many elements wait in a lane, cancelled ones included."""
        return int(self._client.llen(self._keys(f"waiting:{lane}")))

    def waiting(self, lane: str) -> Iterator[tuple[int, list[bytes]]]:
        """Waiting records, a chunk at a time, each with the number of its first record. Aggregation takes records from
        the front meanwhile, which moves list places but no numbers: a chunk that was read at a moved place is read
        again."""
        state, wait = self._keys(f"lane:{lane}"), self._keys(f"waiting:{lane}")
        head = at = int(self._client.hget(state, "head") or 0)
        while True:
            pipe = self._client.pipeline(transaction=False)
            pipe.lrange(wait, at - head, at - head + self._chunk(lane) - 1)
            pipe.hget(state, "head")
            raws, now = pipe.execute()
            if int(now or 0) != head:
                head = int(now or 0)
                at = max(at, head)
                continue
            if not raws:
                return
            yield at, raws
            at += len(raws)

    def held(self, lane: str) -> Iterator[QueuedRecord]:
        """Records of contacts in flight."""
        start = 0
        while lines := self._client.lrange(self._keys(f"held:{lane}"), start, start + CHUNK - 1):
            yield from map(QueuedRecord.from_bytes, lines)
            start += len(lines)

    def retried(self, lane: str) -> Iterator[FailedRecord]:
        """Failures that are to be tried again."""
        start = 0
        while seqs := self._client.zrange(self._keys(f"retry:{lane}"), start, start + FAILURES - 1):
            yield from self._failures([format_record_id(lane, int(seq)) for seq in seqs])
            start += len(seqs)

    def failed(self) -> Iterator[FailedRecord]:
        """Failures that are listed."""
        start = 0
        while ids := self._client.zrange(self._keys("failures:by_time"), start, start + FAILURES - 1):
            yield from self._failures([id_.decode() for id_ in ids])
            start += len(ids)

    def _failures(self, ids: Sequence[str]) -> Iterator[FailedRecord]:
        k = self._keys
        blobs, digests = self._client.hmget(k("failures"), ids), self._client.hmget(k("failures:digests"), ids)
        for id_, keys, blob in zip(ids, digests, blobs, strict=True):
            if blob is not None:
                yield FailedRecord(id_, keys or b"", blob)

    def bodies(self) -> Iterator[bytes]:
        """The records behind each body that lies in Redis, a line each: bodies in flight, and bodies staged for a
        commit."""
        for number in sorted({*self._roots(), *self._staged()}):
            lines = self._client.get(self._keys(f"batch:{number}:records"))
            if lines:
                yield lines

    def is_busy(self, digests: Sequence[bytes]) -> bool:
        """Whether a contact is in flight, by any of its identity digests."""
        return any(root is not None for root in self._client.hmget(self._keys("inflight"), list(digests)))

    def _chunk(self, lane: str) -> int:
        """How many records to read at a time: fewer where they are long."""
        size = int(self._client.hget(self._keys(f"lane:{lane}"), "bytes") or 0)
        each = max(1, size // max(1, self.length(lane)))
        return max(1, min(CHUNK, CHUNK_BYTES // each))

    def _roots(self) -> set[int]:
        """The batches that own a body in flight. A batch moves from the dispatch sets to the poll sets and back, so the
        first sets are read twice."""
        numbers = {
            int(number)
            for zset in (*DUE_BATCHES, *DUE_DISPATCH)
            for number in self._client.zrange(self._keys(zset), 0, -1)
        }
        pipe = self._client.pipeline(transaction=False)
        for number in numbers:
            pipe.hget(self._keys(f"batch:{number}"), "root")
        return {int(root) for root in pipe.execute() if root is not None}

    def _staged(self) -> set[int]:
        """The latest batch numbers under which records lie."""
        last = int(self._client.get(self._keys("batch_seq")) or 0)
        found: set[int] = set()
        for start in range(max(1, last - LATEST + 1), last + 1, CHUNK):
            numbers = range(start, min(start + CHUNK, last + 1))
            pipe = self._client.pipeline(transaction=False)
            for number in numbers:
                pipe.exists(self._keys(f"batch:{number}:records"))
            found.update(number for number, there in zip(numbers, pipe.execute(), strict=True) if there)
        return found
