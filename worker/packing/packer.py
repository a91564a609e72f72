"""The walk over a lane's records, in order: which body each goes into, which wait for a contact in flight, which are
refused. Pure: it reads no clock and no store; the caller feeds it records and commits what it has found.

In order, a record is
- refused, if it breaks a rule of the platform, or would not fit a body that holds nothing else;
- held, if its contact is in flight, or held earlier in this walk, or in a body this walk has closed;
- merged, if its contact is in the body being cut and no identifier contradicts;
- a new contact of that body, until a cap is reached and the next body begins.
Two are merged only if no record between them could have anything to do with either. A failure that is retried merges
with its like alone, so that it spoils nothing new, and stays where it is in the place of being held.
After each closed body the state is marked, so that an unfinished one can be left for later.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from contact_ingest.errors import Refused
from contact_ingest.model.identity import contradict
from contact_ingest.model.merge import merge_records
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.payload import Limits, PackedBytes, Payload

#: In the place of `encoded` once the bytes are in a body, or are not needed: what orjson returns keeps 4 KB alive,
#: however short it is.
PACKED = b""


@dataclass(slots=True, repr=False)
class EncodedRecord:
    """A record ready for the walk. `encoded` is its place in a body; None if `refused` says why it has none.
    `identities` are `kind:value`, `digests` the same in eight bytes each."""

    entry: QueuedRecord
    encoded: bytes | None
    identities: tuple[str, ...]
    digests: tuple[bytes, ...]
    refused: Refused | None = None
    dropped: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class FinishedPayload:
    """A body, the records behind its rows, and the digests of all its contacts."""

    packed: PackedBytes
    items: Sequence[EncodedRecord]

    @property
    def entries(self) -> bytes:
        """The records, a line each."""
        return b"\n".join([item.entry.to_bytes() for item in self.items])

    @property
    def keys(self) -> bytes:
        return b"".join([digest for item in self.items for digest in item.digests])


@dataclass(slots=True)
class Checkpoint:
    """How far a walk had come when a body closed: records of the lane, and retried ones that leave for good."""

    consumed: int = 0
    taken: int = 0
    cancelled: int = 0
    merged: int = 0
    dropped: int = 0
    held: list[EncodedRecord] = field(default_factory=list)
    refused: int = 0


#: Bytes of records, as enqueued, that are kept behind the body being cut, and of those that are refused or held in one
#: walk. Beyond that a body closes, or the walk ends, before its time: what is sent of a record can be far less than
#: what was enqueued.
MAX_KEPT_BYTES = 20_000_000
MAX_REFUSED_BYTES = 4_000_000


class Packer:
    """`repack` turns the JSON of a merged record into an `Item` again."""

    def __init__(
        self,
        limits: Limits,
        repack: Callable[[QueuedRecord], EncodedRecord],
        *,
        max_held: int,
        max_refused: int,
        max_held_bytes: int = sys.maxsize,
    ) -> None:
        self._limits = limits
        self._repack = repack
        self._max_held = max_held
        self._max_refused = max_refused
        self._max_held_bytes = max_held_bytes
        self._body = Payload(limits)
        self._items: list[EncodedRecord] = []
        self._rows: dict[bytes, int] = {}
        self._closed: set[bytes] = set()
        self._waits: dict[bytes, int] = {}
        self._expected: dict[bytes, int] = {}
        self._open_bytes = self._refused_bytes = self._held_bytes = 0
        self.refused: list[EncodedRecord] = []
        self.taken: list[int] = []
        self.now = Checkpoint()
        self.mark = Checkpoint()

    @property
    def open_rows(self) -> int:
        return len(self._body)

    @property
    def body_is_full(self) -> bool:
        """Whether no contact more, however short, would go into the body being cut."""
        return len(self._body) >= self._limits.max_contacts or self._open_bytes >= MAX_KEPT_BYTES

    @property
    def refuses_most(self) -> bool:
        return len(self.refused) >= self._max_refused or self._refused_bytes >= MAX_REFUSED_BYTES

    @property
    def holds_most(self) -> bool:
        """As many records wait for their contacts as may."""
        return len(self.now.held) >= self._max_held or self._held_bytes >= self._max_held_bytes

    @property
    def is_full(self) -> bool:
        """At a bound: commit what there is before going on."""
        return self.holds_most or self.refuses_most

    def note_held(self, held: Iterable[EncodedRecord]) -> None:
        """What is held is fed behind the retried records, although some may have been refused while it was held."""
        for item in held:
            first = min((item.entry.seq, *item.entry.merged))
            for digest in item.digests:
                self._expected[digest] = min(first, self._expected.get(digest, first))

    def add(self, item: EncodedRecord | None, busy: AbstractSet[bytes]) -> FinishedPayload | None:
        """Take the next record (None: a cancelled one), retried ones first; returns a body if this one closed it."""
        closed = None
        if item is None:
            self.now.cancelled += 1
        elif item.entry.packed_version:
            return self._feed_retried(item, busy)
        elif item.encoded is None or self._is_too_large(item):
            self._refuse(item)
        elif self._is_free(item.digests, busy):
            took, closed = self._pack(item)
            if not took:
                self._hold(item)
        else:
            self._hold(item)
        self.now.consumed += 1
        return closed

    def flush(self) -> FinishedPayload | None:
        """End the body being cut, if there is anything in it, and mark how far the walk has come."""
        closed = None
        if self._items:
            closed = FinishedPayload(self._body.close(), self._items)
            self._closed.update(self._rows)
            self._body, self._items, self._rows = Payload(self._limits), [], {}
            self._open_bytes = 0
        self._set_mark()
        return closed

    def _feed_retried(self, item: EncodedRecord, busy: AbstractSet[bytes]) -> FinishedPayload | None:
        """A failure that is tried again is in `taken` once it leaves; else it stays where it is."""
        took, closed = False, None
        if item.encoded is None or self._is_too_large(item):
            self._refuse(item)
            took = True
        elif self._is_free(item.digests, busy) and not self._waits_for_older(item):
            took, closed = self._pack(item)
        if took:
            self.taken.append(item.entry.seq)
            self.now.taken += 1
        return closed

    def _waits_for_older(self, item: EncodedRecord) -> bool:
        return any(self._expected.get(digest, item.entry.seq) < item.entry.seq for digest in item.digests)

    def _refuse(self, item: EncodedRecord) -> None:
        self.refused.append(item)
        self._refused_bytes += len(item.entry.raw)
        self.now.refused += 1

    def _is_too_large(self, item: EncodedRecord) -> bool:
        assert item.encoded is not None
        length, most = len(item.encoded), self._limits.max_contact_bytes
        if length > most:
            item.refused = Refused("record", f"is {length} bytes as sent, over the {most} of a body", "too_large")
            item.encoded = None
        return item.encoded is None

    def _is_free(self, digests: Sequence[bytes], busy: AbstractSet[bytes]) -> bool:
        return busy.isdisjoint(digests) and self._closed.isdisjoint(digests) and self._waits.keys().isdisjoint(digests)

    def _set_mark(self) -> None:
        now = self.now
        self.mark = Checkpoint(
            now.consumed, now.taken, now.cancelled, now.merged, now.dropped, list(now.held), now.refused
        )

    def _pack(self, item: EncodedRecord) -> tuple[bool, FinishedPayload | None]:
        """Whether it is in a body now, and the body that it closed."""
        if not self._rows.keys().isdisjoint(item.digests):
            rows = {self._rows[digest] for digest in item.digests if digest in self._rows}
            return len(rows) == 1 and self._merge(rows.pop(), item), None
        assert item.encoded is not None
        fits = self._body.fits(item.encoded) and self._open_bytes < MAX_KEPT_BYTES
        closed = None if fits else self.flush()
        row = self._body.add(item.encoded)
        item.encoded = PACKED
        self._items.append(item)
        self._open_bytes += len(item.entry.raw)
        for digest in item.digests:
            self._rows[digest] = row
        self.now.dropped += item.dropped
        return True, closed

    def _merge(self, row: int, item: EncodedRecord) -> bool:
        both = self._merged(self._items[row], item)
        if both is None or both.encoded is None or not self._body.fits_instead(row, both.encoded):
            return False
        # A union of identities may reach into another row, or to a record that waits already.
        if any(self._rows.get(digest, row) != row or digest in self._waits for digest in both.digests):
            return False
        self._body.replace(row, both.encoded)
        both.encoded = PACKED
        self._items[row] = both
        for digest in both.digests:
            self._rows[digest] = row
        self.now.merged += 1
        return True

    def _merged(self, older: EncodedRecord, newer: EncodedRecord) -> EncodedRecord | None:
        """Both records as one under the newer id, or None if an identifier contradicts. They come in the order of their
        ids: what is held, too, was in that order when it was put aside."""
        if contradict(older.identities, newer.identities) or bool(older.entry.packed_version) != bool(
            newer.entry.packed_version
        ):
            return None
        return self._repack(merge_records(older.entry, newer.entry))

    def _hold(self, item: EncodedRecord) -> None:
        """Keep it for later, merged with what is held of its contact already."""
        item.encoded = PACKED
        places = {self._waits[digest] for digest in item.digests if digest in self._waits}
        if len(places) == 1 and self._merge_held(places.pop(), item):
            return
        self.now.held.append(item)
        self._held_bytes += len(item.entry.raw)
        for digest in item.digests:
            self._waits[digest] = len(self.now.held) - 1

    def _merge_held(self, place: int, item: EncodedRecord) -> bool:
        both = self._merged(self.now.held[place], item)
        if both is None or both.encoded is None or self._is_too_large(both):
            return False
        # What waits behind that place and has to do with either would be overtaken.
        if any(self._waits.get(digest, place) != place for digest in both.digests):
            return False
        both.encoded = PACKED
        self._held_bytes += len(both.entry.raw) - len(self.now.held[place].entry.raw)
        self.now.held[place] = both
        self.now.merged += 1
        self._waits.update(dict.fromkeys(both.digests, place))
        return True
