"""The packer: reads a lane's records in order and decides what happens to each of them.

No I/O and no clock: the caller feeds encoded records in, stores the finished payloads, and commits the result.

A record is
- refused, if it breaks a rule of the platform, or is larger than a body that holds nothing else;
- held, if its contact is in flight, is held since an earlier record, or is in a payload that this packer has finished;
  also if it is linked to a contact in the open payload, with which it shares no identifier (see links.py);
- merged, if its contact is in the open payload and no identifier contradicts;
- a new row of the open payload otherwise. A full payload is finished first, and the record begins the next one.

Two records are merged only if no record between them shares an identity with either of them.
A retried record merges only with other retried records, so that a bad one cannot spoil a new record. A retried record
whose contact is not free stays in the retry queue; it is not held.

Each finished payload sets a checkpoint. The caller commits everything up to the checkpoint; the records of the open
payload stay in the lane.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.identity import contradict
from contact_ingest.model.merge import merge_records
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.payload import Limits, PackedBytes, Payload

#: Replaces `EncodedRecord.encoded` once the bytes are copied into a payload, or are not needed any more. The bytes that
#: orjson returns keep 4 KB of memory alive, however short they are.
PACKED = b""
#: Most bytes of records, as enqueued, behind one open payload. At this bound the payload is finished early: what is
#: sent of a record can be far less than what was enqueued.
MAX_KEPT_BYTES = 20_000_000
#: Most bytes of records, as enqueued, that one packer refuses. At this bound the caller stops and commits.
MAX_REFUSED_BYTES = 4_000_000


@dataclass(slots=True, repr=False)
class EncodedRecord:
    """A record as the packer takes it: encoded for the platform, or refused.

    `queued` is the record as it lies in the lane. `encoded` is the row's JSON, None if `refused` is set.
    `identities` are texts such as `email:ann@example.com`; `digests` are their digests, in the same order.
    `dropped` counts the custom fields that were left out because the platform does not have them.
    `linked` are digests of other identifiers of the contact, as other records have said.
    """

    queued: QueuedRecord
    encoded: bytes | None
    identities: tuple[str, ...]
    digests: tuple[bytes, ...]
    refused: Refused | None = None
    dropped: int = 0
    linked: tuple[bytes, ...] = ()

    @property
    def all_digests(self) -> tuple[bytes, ...]:
        """Those of the record, and the linked ones."""
        return self.digests + self.linked if self.linked else self.digests


@dataclass(frozen=True, slots=True, repr=False)
class FinishedPayload:
    """A finished request body and the records behind its rows: `records[i]` is row i."""

    packed: PackedBytes
    records: Sequence[EncodedRecord]

    @property
    def record_lines(self) -> bytes:
        """The records as stored beside the body (`batch:<n>:records`): one queued entry a line, in row order."""
        return b"\n".join([record.queued.to_bytes() for record in self.records])

    @property
    def digests(self) -> bytes:
        """The digests of all contacts in the body, joined (`batch:<n>:digests`)."""
        return b"".join([digest for record in self.records for digest in record.digests])


@dataclass(slots=True)
class Checkpoint:
    """How far a packer has come.

    `consumed` counts held and waiting records that leave their place in the lane, `cancelled` the cancelled ones of
    them. `packed_retries` counts retried records that leave the retry queue, refused ones included. `merged` counts
    records that became part of another one, `refused` the refused ones, `dropped` the custom fields left out.
    `held` are the records to be held from now on.
    """

    consumed: int = 0
    packed_retries: int = 0
    cancelled: int = 0
    merged: int = 0
    dropped: int = 0
    held: list[EncodedRecord] = field(default_factory=list)
    refused: int = 0


class Packer:
    """Fills payloads with the records of one lane.

    `limits` are those of one request. `merge` makes one record of two, or gives None where they must leave one after
    the other; `encode` encodes the merged record anew. The caller must stop when `is_at_limit`: `max_held` records and
    `max_held_bytes` of them may be held, `max_refused` records may be refused.

    `progress` is how far the packer has come, `checkpoint` how far it had come when it last finished a payload.
    `refused` and `packed_retries` (record numbers) grow with `progress`: the caller takes as many as `checkpoint` says.
    """

    def __init__(
        self,
        limits: Limits,
        encode: Callable[[QueuedRecord], EncodedRecord],
        *,
        max_held: int,
        max_refused: int,
        max_held_bytes: int = sys.maxsize,
        merge: Callable[[QueuedRecord, QueuedRecord], QueuedRecord | None] = merge_records,
    ) -> None:
        self._limits = limits
        self._encode = encode
        self._merge = merge
        self._max_held = max_held
        self._max_refused = max_refused
        self._max_held_bytes = max_held_bytes
        self._payload = Payload(limits)
        self._records: list[EncodedRecord] = []
        self._row_of: dict[bytes, int] = {}
        self._finished_digests: set[bytes] = set()
        self._held_at: dict[bytes, int] = {}
        self._oldest_held: dict[bytes, int] = {}
        self._open_bytes = self._refused_bytes = self._held_bytes = 0
        self.refused: list[EncodedRecord] = []
        self.packed_retries: list[int] = []
        self.progress = Checkpoint()
        self.checkpoint = Checkpoint()

    @property
    def open_rows(self) -> int:
        """Rows in the open payload."""
        return len(self._payload)

    @property
    def payload_is_full(self) -> bool:
        """Whether the open payload takes no further contact, however short."""
        return len(self._payload) >= self._limits.max_contacts or self._open_bytes >= MAX_KEPT_BYTES

    @property
    def refused_limit_is_reached(self) -> bool:
        return len(self.refused) >= self._max_refused or self._refused_bytes >= MAX_REFUSED_BYTES

    @property
    def held_limit_is_reached(self) -> bool:
        return len(self.progress.held) >= self._max_held or self._held_bytes >= self._max_held_bytes

    @property
    def is_at_limit(self) -> bool:
        """Whether the caller must commit before it adds more."""
        return self.held_limit_is_reached or self.refused_limit_is_reached

    def note_held(self, held: Iterable[EncodedRecord]) -> None:
        """Announce the held records before the retried ones are added.

        Held records are added after retried ones. A retried record must still wait for an older held record of its
        contact: it may have been refused while that one was held.
        """
        for record in held:
            oldest = min((record.queued.seq, *record.queued.merged))
            for digest in record.all_digests:
                self._oldest_held[digest] = min(oldest, self._oldest_held.get(digest, oldest))

    def add(self, record: EncodedRecord | None, in_flight: AbstractSet[bytes]) -> FinishedPayload | None:
        """Take the next record: retried ones first, then held, then waiting ones. None is a cancelled record.

        `in_flight` holds the digests of contacts in flight. Returns the payload that was finished to make room.
        """
        finished = None
        if record is None:
            self.progress.cancelled += 1
        elif record.queued.packed_version:
            return self._add_retried(record, in_flight)
        elif record.encoded is None or self._is_too_large(record):
            self._refuse(record)
        elif self._is_free(record.all_digests, in_flight):
            is_packed, finished = self._pack(record)
            if not is_packed:
                self._hold(record)
        else:
            self._hold(record)
        self.progress.consumed += 1
        return finished

    def flush(self) -> FinishedPayload | None:
        """Finish the open payload, if it has rows, and set the checkpoint."""
        finished = None
        if self._records:
            finished = FinishedPayload(self._payload.close(), self._records)
            self._finished_digests.update(self._row_of)
            self._payload, self._records, self._row_of = Payload(self._limits), [], {}
            self._open_bytes = 0
        now = self.progress
        self.checkpoint = Checkpoint(
            now.consumed, now.packed_retries, now.cancelled, now.merged, now.dropped, list(now.held), now.refused
        )
        return finished

    def _add_retried(self, record: EncodedRecord, in_flight: AbstractSet[bytes]) -> FinishedPayload | None:
        """Pack or refuse a retried record; otherwise it stays in the retry queue."""
        leaves, finished = False, None
        if record.encoded is None or self._is_too_large(record):
            self._refuse(record)
            leaves = True
        elif self._is_free(record.all_digests, in_flight) and not self._has_older_held(record):
            leaves, finished = self._pack(record)
        if leaves:
            self.packed_retries.append(record.queued.seq)
            self.progress.packed_retries += 1
        return finished

    def _has_older_held(self, record: EncodedRecord) -> bool:
        seq = record.queued.seq
        return any(self._oldest_held.get(digest, seq) < seq for digest in record.all_digests)

    def _is_too_large(self, record: EncodedRecord) -> bool:
        assert record.encoded is not None
        length, most = len(record.encoded), self._limits.max_contact_bytes
        if length > most:
            record.refused = Refused(
                "record", f"is {length} bytes as sent, over the {most} of a body", FailureCode.TOO_LARGE
            )
            record.encoded = None
        return record.encoded is None

    def _refuse(self, record: EncodedRecord) -> None:
        self.refused.append(record)
        self._refused_bytes += len(record.queued.raw)
        self.progress.refused += 1

    def _is_free(self, digests: Sequence[bytes], in_flight: AbstractSet[bytes]) -> bool:
        """Whether the contact is neither in flight, nor in a finished payload, nor held."""
        return (
            in_flight.isdisjoint(digests)
            and self._finished_digests.isdisjoint(digests)
            and self._held_at.keys().isdisjoint(digests)
        )

    def _pack(self, record: EncodedRecord) -> tuple[bool, FinishedPayload | None]:
        """Put the record into the open payload. Returns whether it is in, and the payload that was finished for it."""
        if not self._row_of.keys().isdisjoint(record.digests):
            rows = {self._row_of[digest] for digest in record.digests if digest in self._row_of}
            return len(rows) == 1 and self._merge_into_row(rows.pop(), record), None
        if not self._row_of.keys().isdisjoint(record.linked):
            return False, None
        assert record.encoded is not None
        fits = self._payload.fits(record.encoded) and self._open_bytes < MAX_KEPT_BYTES
        finished = None if fits else self.flush()
        row = self._payload.add(record.encoded)
        record.encoded = PACKED
        self._records.append(record)
        self._open_bytes += len(record.queued.raw)
        for digest in record.digests:
            self._row_of[digest] = row
        self.progress.dropped += record.dropped
        return True, finished

    def _merge_into_row(self, row: int, record: EncodedRecord) -> bool:
        """Merge the record into a row of the open payload, if the result fits and belongs to no other contact."""
        merged = self._merged(self._records[row], record)
        if merged is None or merged.encoded is None or not self._payload.fits_instead(row, merged.encoded):
            return False
        # The merged record has the identities of both: one of them may belong to another row, or to a held record.
        if any(self._row_of.get(digest, row) != row or digest in self._held_at for digest in merged.all_digests):
            return False
        self._payload.replace(row, merged.encoded)
        merged.encoded = PACKED
        self._records[row] = merged
        for digest in merged.digests:
            self._row_of[digest] = row
        self.progress.merged += 1
        return True

    def _hold(self, record: EncodedRecord) -> None:
        """Hold the record, merged into the one that is held of its contact already if that is possible."""
        record.encoded = PACKED
        places = {self._held_at[digest] for digest in record.digests if digest in self._held_at}
        if len(places) == 1 and self._merge_into_held(places.pop(), record):
            return
        self.progress.held.append(record)
        self._held_bytes += len(record.queued.raw)
        for digest in record.digests:
            self._held_at[digest] = len(self.progress.held) - 1

    def _merge_into_held(self, place: int, record: EncodedRecord) -> bool:
        """Merge the record into `held[place]`, if the result fits a body and overtakes no other held record."""
        older = self.progress.held[place]
        merged = self._merged(older, record)
        if merged is None or merged.encoded is None or self._is_too_large(merged):
            return False
        # A record held after that place that shares an identity with the merged one would be overtaken.
        if any(self._held_at.get(digest, place) != place for digest in merged.digests):
            return False
        if any(self._held_at.get(digest, place) > place for digest in merged.linked):
            return False
        merged.encoded = PACKED
        self._held_bytes += len(merged.queued.raw) - len(older.queued.raw)
        self.progress.held[place] = merged
        self.progress.merged += 1
        self._held_at.update(dict.fromkeys(merged.digests, place))
        return True

    def _merged(self, older: EncodedRecord, newer: EncodedRecord) -> EncodedRecord | None:
        """Both records as one under the newer number; None if an identifier contradicts, or only one is a retry.

        `older` always has the smaller number: records are added in that order within each of the three kinds.
        """
        if contradict(older.identities, newer.identities):
            return None
        if bool(older.queued.packed_version) != bool(newer.queued.packed_version):
            return None
        both = self._merge(older.queued, newer.queued)
        if both is None:
            return None
        merged = self._encode(both)
        if older.linked or newer.linked:
            merged.linked = tuple({*older.linked, *newer.linked}.difference(merged.digests))
        return merged
