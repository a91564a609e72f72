"""One round over a lane: read retried, held and waiting records in that order, cut bodies, stage each, and commit if
the version still stands. Two rounds racing: one commits, the other starts over. A crash before the commit leaves the
lane as it was.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from contact_ingest.errors import FieldsNeeded, StoreFull
from contact_ingest.failpoints import failpoint
from contact_ingest.model.failure import FailureReason
from contact_ingest.model.lane import Lane
from contact_ingest.model.merge import with_packed_version
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.packer import EncodedRecord, FinishedPayload, Packer
from contact_ingest.packing.payload import Limits
from contact_ingest.pipeline.encode import RecordEncoder
from contact_ingest.pipeline.supersede import Superseder
from contact_ingest.store.aggregation import HEAVY_BYTES, AggregationCommit, AggregationStore, LaneSnapshot
from contact_ingest.store.failures import FailedRecord, Failure, failure
from contact_ingest.store.schedule import CAP_BELIEVED_MS, WakeUp

#: A round stops at so many refusals: they travel inside the commit.
MAX_REFUSED = 1_000
#: A round with so many retried records in its bodies ends: each is several keys to change inside the commit.
MAX_TAKEN = 10_000
#: What a round has to leave is not looked at again before this, ms: it is busy, or not due.
LEFT_MS = 100


@dataclass(frozen=True, slots=True)
class AggregationPolicy:
    """How a lane is cut: longest wait, most held records and their bytes, bodies ahead of the sender, bodies open in
    all, bodies in one round; and where memory is short, how large a body may grow, and whether it may go beyond the
    limit."""

    max_wait_ms: int = 5_000
    max_held: int = 5_000
    max_held_bytes: int = 8_000_000
    ahead: int = 16
    max_open: int = 64
    max_bodies: int = 8
    soft_max_bytes: int = sys.maxsize
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a round did: bells to ring, and when to look at the lane again (-1: when something comes)."""

    bells: tuple[WakeUp, ...] = ()
    due_ms: int = -1
    committed: bool = False


class LaneAggregation:
    """One walk over one lane, as one look saw it."""

    def __init__(
        self,
        bench: AggregationStore,
        look: LaneSnapshot,
        lane: Lane,
        encoder: RecordEncoder,
        pace: AggregationPolicy,
    ) -> None:
        self._bench = bench
        self._look = look
        self._lane = lane.name
        self._options = lane
        self._encoder = encoder
        self._pace = pace
        self._superseding = Superseder(bench, lane.name, reads=bool(look.failed))
        self._retried = RetryQueueReader(bench, look, lane.name, encoder)

    def run(self, room: int) -> RoundResult | None:
        """Walk and commit; None if somebody was faster."""
        limits = self._limits()
        packer = Packer(
            limits,
            self._encoder.encode,
            max_held=self._pace.max_held,
            max_refused=MAX_REFUSED,
            max_held_bytes=self._pace.max_held_bytes,
        )
        held = self._bench.held(self._lane, self._look.held) if self._look.held else []
        cut = AggregationCommit(self._lane, self._look.version)
        try:
            sizes = self._walk(packer, held, cut, room)
        except (FieldsNeeded, StoreFull):
            self._bench.unstage(n for n, _, _ in cut.bodies)
            raise
        self._balance(packer, cut, held, sizes)
        if not cut.moves:
            # As many are held as may be, and none of them is free: there is nothing to do before one is.
            self._bench.go_on_at(self._lane, cut.retry_cursor)
            return RoundResult(due_ms=max(LEFT_MS, cut.due_ms))
        failpoint("aggregate.staged")
        if not self._bench.commit(cut):
            self._bench.unstage(n for n, _, _ in cut.bodies)
            return None
        failpoint("aggregate.committed")
        bells = [WakeUp("dispatch", self._options.destination)] * len(cut.bodies)
        if cut.due_ms == 0:
            bells.append(WakeUp("aggregate", self._lane))
        return RoundResult(tuple(bells), cut.due_ms, committed=True)

    def _walk(self, packer: Packer, held: Sequence[QueuedRecord], cut: AggregationCommit, room: int) -> list[int]:
        """Feed records until a bound is reached or they are all walked; returns the bytes of each in the lane."""
        sizes: list[int] = []
        aside = [self._encoder.encode(entry) for entry in held]
        packer.note_held(aside if self._look.again else ())
        goes_on = all(self._feed(packer, items, cut, room) for items in self._retried.chunks())
        for items, lengths in self._chunks(aside) if goes_on else ():
            sizes += lengths
            if not self._feed(packer, items, cut, room):
                break
        self._end(packer, cut, room, ended=packer.now.consumed == self._reach())
        return sizes

    def _limits(self) -> Limits:
        cap = self._look.dest.get("cap_bytes")
        if cap is not None and self._look.now_ms - int(self._look.dest.get("cap_at", 0)) > CAP_BELIEVED_MS:
            cap = None  # once a day a body of full size asks whether the cap has gone
        limits = self._encoder.provider.limits(self._options, None if cap is None else int(cap))
        return replace(limits, soft_max_bytes=self._pace.soft_max_bytes)

    def _reach(self) -> int:
        return self._look.held + self._look.waiting

    def _chunks(self, held: Sequence[EncodedRecord]) -> Iterator[tuple[Sequence[EncodedRecord | None], list[int]]]:
        """The lane's records in the order in which they count, with the bytes each takes in the waiting list."""
        look = self._look
        if held:
            yield held, [0] * len(held)
        start, heavy = 0, look.waiting_bytes > HEAVY_BYTES
        while start < look.waiting and (
            raws := self._bench.waiting(self._lane, start, look.waiting - start, heavy=heavy)
        ):
            seqs = range(look.head + start, look.head + start + len(raws))
            start += len(raws)
            items = [
                self._encoder.encode(QueuedRecord(seq, raw)) if raw else None
                for seq, raw in zip(seqs, raws, strict=True)
            ]
            yield items, list(map(len, raws))

    def _feed(self, packer: Packer, items: Sequence[EncodedRecord | None], cut: AggregationCommit, room: int) -> bool:
        """Feed one chunk; False when the round has to end."""
        keys = [digest for item in items if item is not None for digest in item.digests]
        busy = self._bench.busy(keys) if self._look.busy else set()
        for item in items:
            if (closed := packer.add(item, busy)) is not None:
                self._stage(closed, packer, cut)
                del closed  # megabytes that the next body should not grow beside
                if len(cut.bodies) >= room or packer.mark.taken >= MAX_TAKEN:
                    return False
            if packer.is_full:
                return False
        return True

    def _end(self, packer: Packer, cut: AggregationCommit, room: int, *, ended: bool) -> None:
        """Decide whether the body being cut goes as it is."""
        if len(cut.bodies) >= room:
            return
        at_once = packer.open_rows == 0 or packer.body_is_full or packer.refuses_most
        if at_once or ((ended or packer.is_full) and self._is_due(packer)):
            closed = packer.flush()
            if closed is not None:
                self._stage(closed, packer, cut)

    def _is_due(self, packer: Packer) -> bool:
        """Whether the oldest record of the unfinished body has waited long enough, or is to be flushed."""
        look = self._look
        at = packer.mark.consumed - look.held
        if at < 0 or packer.mark.taken < packer.now.taken:
            return look.held_at is None or look.now_ms - look.held_at >= self._pace.max_wait_ms
        seq = look.head + at
        return seq < look.flush or look.age_ms(seq) >= self._pace.max_wait_ms

    def _stage(self, closed: FinishedPayload, packer: Packer, cut: AggregationCommit) -> None:
        number = self._bench.stage(closed.packed, closed.entries, closed.keys, beyond=self._pace.beyond)
        cut.bodies.append((number, closed.packed.rows, len(closed.packed.body)))
        self._superseding.body(closed.items, packer.refused, set(packer.taken))

    def _balance(
        self, packer: Packer, cut: AggregationCommit, held: Sequence[QueuedRecord], sizes: Sequence[int]
    ) -> None:
        """Fill in the numbers of the commit; they must add up before anything moves."""
        look, mark = self._look, packer.mark
        gone = min(mark.consumed, len(held))
        cut.cut = mark.consumed - gone
        cut.cancelled, cut.merged, cut.dropped = mark.cancelled, mark.merged, mark.dropped
        cut.bytes = sum(sizes[: mark.consumed])
        cut.taken = packer.taken[: mark.taken]
        left = [*(item.entry for item in mark.held), *held[gone:]]
        if left != list(held):
            cut.held = left
        cut.held_delta = len(left) - len(held) - mark.taken
        refused = self._superseding.left(packer.refused[: mark.refused])
        cut.merged += mark.refused - len(refused)
        cut.refused = [self._failure(item) for item in refused]
        cut.superseded = self._superseding.superseded
        rows = sum(rows for _, rows, _ in cut.bodies)
        if mark.consumed + mark.taken - mark.cancelled != rows + cut.merged + len(refused) + len(mark.held):
            raise AssertionError(f"lane {self._lane}: a walk over {mark.consumed} records does not add up")
        if mark.taken == packer.now.taken and self._retried.at != look.retry_cursor:
            cut.retry_cursor = self._retried.at
        more = packer.now.consumed < self._reach() and not packer.holds_most
        cut.due_ms = 0 if more else self._next_due(cut.cut, len(left) + look.again - mark.taken)

    def _failure(self, item: EncodedRecord) -> FailedRecord:
        look, refused = self._look, item.refused
        assert refused is not None
        why = FailureReason(refused.code, str(refused), "aggregate")
        entry = with_packed_version(item.entry, int(look.version) + 1)
        return failure(self._lane, entry, why, look.now_ms, b"".join(item.digests))

    def _next_due(self, cut: int, held: int) -> int:
        """When to look again, in ms: when the oldest that is left will have waited enough."""
        look, wait = self._look, self._pace.max_wait_ms
        if self._retried.has_more:
            return LEFT_MS
        if cut < look.waiting:
            return max(LEFT_MS, wait - look.age_ms(look.head + cut))
        return max(LEFT_MS, wait) if held else -1


#: Records looked at together, how many of them are read at a time, as they may be long, and how many a round may find
#: in flight.
CHUNK = 1_000
PIECE = 50
MAX_STAYING = 2_000


class RetryQueueReader:
    """The retried records of one lane, as one look saw it."""

    def __init__(self, bench: AggregationStore, look: LaneSnapshot, lane: str, encoder: RecordEncoder) -> None:
        self._bench = bench
        self._look = look
        self._lane = lane
        self._encoder = encoder
        self.at = look.retry_cursor
        self.has_more = bool(look.again)

    def chunks(self) -> Iterator[list[EncodedRecord]]:
        """Those that may go, as far as their digests can tell. Whoever asks for the next chunk is done with the one
        before: `at` is where to go on, and `has_more` whether there is more behind that."""
        staying = 0
        while self._look.again:
            found = self._bench.retried(self._lane, self.at, CHUNK)
            busy = self._bench.busy([key for _, keys in found for key in keys]) if self._look.busy else set()
            free = [seq for seq, keys in found if busy.isdisjoint(keys)]
            staying += len(found) - len(free)
            for start in range(0, len(free), PIECE):
                yield self._items(free[start : start + PIECE])
            if len(found) < CHUNK:
                self.at, self.has_more = 0, False
                return
            self.at = found[-1][0] + 1
            if staying >= MAX_STAYING:
                return

    def _items(self, seqs: list[int]) -> list[EncodedRecord]:
        ids = [f"{self._lane}:{seq}" for seq in seqs]
        blobs = zip(ids, self._bench.blobs(ids), strict=True)
        return [self._encoder.encode(Failure.read(id_, blob).entry) for id_, blob in blobs if blob is not None]
