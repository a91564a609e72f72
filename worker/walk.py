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

from worker.contact import Entry
from worker.errors import Refused
from worker.items import TAKEN, ClosedBody, Item, Mark
from worker.lineage import contradict, merged
from worker.packing import Body, Limits

#: Bytes of records, as enqueued, that are kept behind the body being cut, and of those that are refused or held in one
#: walk. Beyond that a body closes, or the walk ends, before its time: what is sent of a record can be far less than
#: what was enqueued.
MAX_KEPT_BYTES = 20_000_000
MAX_REFUSED_BYTES = 4_000_000


class Walk:
    """`repack` turns the JSON of a merged record into an `Item` again."""

    def __init__(
        self,
        limits: Limits,
        repack: Callable[[Entry], Item],
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
        self._body = Body(limits)
        self._items: list[Item] = []
        self._rows: dict[bytes, int] = {}
        self._closed: set[bytes] = set()
        self._waits: dict[bytes, int] = {}
        self._expected: dict[bytes, int] = {}
        self._open_bytes = self._refused_bytes = self._held_bytes = 0
        self.refused: list[Item] = []
        self.taken: list[int] = []
        self.now = Mark()
        self.mark = Mark()

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

    def expect(self, held: Iterable[Item]) -> None:
        """What is held is fed behind the retried records, although some may have been refused while it was held."""
        for item in held:
            first = min((item.entry.seq, *item.entry.merged))
            for digest in item.digests:
                self._expected[digest] = min(first, self._expected.get(digest, first))

    def feed(self, item: Item | None, busy: AbstractSet[bytes]) -> ClosedBody | None:
        """Take the next record (None: a cancelled one), retried ones first; returns a body if this one closed it."""
        closed = None
        if item is None:
            self.now.tombs += 1
        elif item.entry.departed:
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

    def close(self) -> ClosedBody | None:
        """End the body being cut, if there is anything in it, and mark how far the walk has come."""
        closed = None
        if self._items:
            closed = ClosedBody(self._body.close(), self._items)
            self._closed.update(self._rows)
            self._body, self._items, self._rows = Body(self._limits), [], {}
            self._open_bytes = 0
        self._set_mark()
        return closed

    def _feed_retried(self, item: Item, busy: AbstractSet[bytes]) -> ClosedBody | None:
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

    def _waits_for_older(self, item: Item) -> bool:
        return any(self._expected.get(digest, item.entry.seq) < item.entry.seq for digest in item.digests)

    def _refuse(self, item: Item) -> None:
        self.refused.append(item)
        self._refused_bytes += len(item.entry.raw)
        self.now.refused += 1

    def _is_too_large(self, item: Item) -> bool:
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
        self.mark = Mark(now.consumed, now.taken, now.tombs, now.merged, now.dropped, list(now.held), now.refused)

    def _pack(self, item: Item) -> tuple[bool, ClosedBody | None]:
        """Whether it is in a body now, and the body that it closed."""
        if not self._rows.keys().isdisjoint(item.digests):
            rows = {self._rows[digest] for digest in item.digests if digest in self._rows}
            return len(rows) == 1 and self._merge(rows.pop(), item), None
        assert item.encoded is not None
        fits = self._body.fits(item.encoded) and self._open_bytes < MAX_KEPT_BYTES
        closed = None if fits else self.close()
        row = self._body.add(item.encoded)
        item.encoded = TAKEN
        self._items.append(item)
        self._open_bytes += len(item.entry.raw)
        for digest in item.digests:
            self._rows[digest] = row
        self.now.dropped += item.dropped
        return True, closed

    def _merge(self, row: int, item: Item) -> bool:
        both = self._merged(self._items[row], item)
        if both is None or both.encoded is None or not self._body.fits_instead(row, both.encoded):
            return False
        # A union of identities may reach into another row, or to a record that waits already.
        if any(self._rows.get(digest, row) != row or digest in self._waits for digest in both.digests):
            return False
        self._body.replace(row, both.encoded)
        both.encoded = TAKEN
        self._items[row] = both
        for digest in both.digests:
            self._rows[digest] = row
        self.now.merged += 1
        return True

    def _merged(self, older: Item, newer: Item) -> Item | None:
        """Both records as one under the newer id, or None if an identifier contradicts. They come in the order of their
        ids: what is held, too, was in that order when it was put aside."""
        if contradict(older.identities, newer.identities) or bool(older.entry.departed) != bool(newer.entry.departed):
            return None
        return self._repack(merged(older.entry, newer.entry))

    def _hold(self, item: Item) -> None:
        """Keep it for later, merged with what is held of its contact already."""
        item.encoded = TAKEN
        places = {self._waits[digest] for digest in item.digests if digest in self._waits}
        if len(places) == 1 and self._merge_held(places.pop(), item):
            return
        self.now.held.append(item)
        self._held_bytes += len(item.entry.raw)
        for digest in item.digests:
            self._waits[digest] = len(self.now.held) - 1

    def _merge_held(self, place: int, item: Item) -> bool:
        both = self._merged(self.now.held[place], item)
        if both is None or both.encoded is None or self._is_too_large(both):
            return False
        # What waits behind that place and has to do with either would be overtaken.
        if any(self._waits.get(digest, place) != place for digest in both.digests):
            return False
        both.encoded = TAKEN
        self._held_bytes += len(both.entry.raw) - len(self.now.held[place].entry.raw)
        self.now.held[place] = both
        self.now.merged += 1
        self._waits.update(dict.fromkeys(both.digests, place))
        return True
