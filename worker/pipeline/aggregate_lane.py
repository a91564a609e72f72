"""One round over one lane: read its records, pack them into bodies, stage the bodies, commit.

Retried records come first, then held ones, then waiting ones. The commit takes only if the destination's version is
still the snapshot's: of two rounds at the same time one commits, and the other starts over with a new snapshot. A crash
before the commit leaves the lane as it was.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from contact_ingest.errors import FieldsNeeded, StoreFull
from contact_ingest.failpoints import failpoint
from contact_ingest.model.failure import Failure, FailureReason, FailureStage
from contact_ingest.model.lane import Lane, format_record_id
from contact_ingest.model.merge import with_packed_version
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.stage import Stage
from contact_ingest.packing.links import link, links_of
from contact_ingest.packing.packer import EncodedRecord, FinishedPayload, Packer
from contact_ingest.packing.payload import Limits
from contact_ingest.pipeline.encode import RecordEncoder
from contact_ingest.pipeline.supersede import Superseder
from contact_ingest.store.aggregation import (
    HEAVY_BYTES,
    AggregationCommit,
    AggregationStore,
    LaneSnapshot,
    StagedBody,
)
from contact_ingest.store.failures import FailedRecord, failure
from contact_ingest.store.schedule import CAP_BELIEVED_MS, WakeUp

#: Most records a round refuses: their failures travel inside the commit.
MAX_REFUSED = 1_000
#: A round ends at the body with which so many retried records have left: the commit changes several keys for each.
MAX_PACKED_RETRIES = 10_000
#: Shortest delay before the records that a round leaves behind are read again, ms.
MIN_DELAY_MS = 100
#: Retried records whose digests are read at a time.
RETRY_CHUNK = 1_000
#: Retried records that are read at a time; they may be long.
RETRY_PIECE = 50
#: A round stops reading retried records when so many of them belong to contacts in flight.
MAX_RETRIES_IN_FLIGHT = 2_000


@dataclass(frozen=True, slots=True)
class AggregationPolicy:
    """The bounds of a destination's rounds.

    A record waits at most `max_wait_ms` for its body to fill. A lane holds at most `max_held` records and
    `max_held_bytes` of them. A destination has at most `max_unsent` batches due for dispatch, and at most `max_open`
    batches due for dispatch or for a poll. A round makes at most `max_bodies` bodies, and a body takes no second row
    beyond `soft_max_bytes`. `may_exceed_memory` lets bodies be staged although the memory of Redis is full.
    """

    max_wait_ms: int = 5_000
    max_held: int = 5_000
    max_held_bytes: int = 8_000_000
    max_unsent: int = 16
    max_open: int = 64
    max_bodies: int = 8
    soft_max_bytes: int = sys.maxsize
    may_exceed_memory: bool = False


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a round did: wake-ups to send, the delay in ms to the lane's next round (-1 for none), whether it committed.

    A round that did not commit has not scheduled the next one.
    """

    wakeups: tuple[WakeUp, ...] = ()
    due_ms: int = -1
    committed: bool = False


class LaneAggregation:
    """One round over one lane, on one snapshot."""

    def __init__(
        self,
        store: AggregationStore,
        snapshot: LaneSnapshot,
        lane: Lane,
        encoder: RecordEncoder,
        policy: AggregationPolicy,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._lane = lane
        self._encoder = encoder
        self._policy = policy
        self._superseder = Superseder(store, lane.name, encoder, reads_store=bool(snapshot.failed))
        self._retry_queue = RetryQueueReader(store, snapshot, lane.name, encoder)
        self._has_links = len(encoder.provider.identifiers) > 1

    def run(self, free_slots: int) -> RoundResult | None:
        """Make at most `free_slots` bodies and commit. None if another round committed first."""
        snapshot, name = self._snapshot, self._lane.name
        packer = Packer(
            self._limits(),
            self._encoder.encode,
            max_held=self._policy.max_held,
            max_refused=MAX_REFUSED,
            max_held_bytes=self._policy.max_held_bytes,
            merge=self._encoder.merge,
        )
        held = self._store.read_held(name, snapshot.held) if snapshot.held else []
        commit = AggregationCommit(name, snapshot.version)
        try:
            sizes = self._pack_lane(packer, held, commit, free_slots)
        except (FieldsNeeded, StoreFull):
            self._store.unstage(commit.batches)
            raise
        self._fill_commit(packer, commit, held, sizes)
        if not commit.has_changes:
            # No record can leave: the lane holds as many as it may, or every contact is in flight.
            self._store.save_retry_cursor(name, commit.retry_cursor)
            return RoundResult(due_ms=max(MIN_DELAY_MS, commit.due_ms))
        failpoint("aggregate.staged")
        if not self._store.commit(commit):
            self._store.unstage(commit.batches)
            return None
        failpoint("aggregate.committed")
        wakeups = [WakeUp(Stage.DISPATCH, self._lane.destination)] * len(commit.bodies)
        if commit.due_ms == 0:
            wakeups.append(WakeUp(Stage.AGGREGATE, name))
        return RoundResult(tuple(wakeups), commit.due_ms, committed=True)

    def _limits(self) -> Limits:
        """The limits of one request, with the learned size cap. A cap older than a day is tried again."""
        state = self._snapshot.destination_state
        cap = state.get("cap_bytes")
        if cap is not None and self._snapshot.now_ms - int(state.get("cap_at", 0)) > CAP_BELIEVED_MS:
            cap = None
        limits = self._encoder.provider.limits(self._lane, None if cap is None else int(cap))
        return replace(limits, soft_max_bytes=self._policy.soft_max_bytes)

    def _pack_lane(
        self, packer: Packer, held: Sequence[QueuedRecord], commit: AggregationCommit, free_slots: int
    ) -> list[int]:
        """Give the packer records until a bound is reached or there are no more.

        Returns the bytes that each record read takes in the waiting list: 0 for a held one.
        """
        sizes: list[int] = []
        held_records = [self._encoder.encode(record) for record in held]
        self._link(held_records)
        packer.note_held(held_records if self._snapshot.retries else ())
        goes_on = all(self._pack_chunk(packer, chunk, commit, free_slots) for chunk in self._retry_queue.chunks())
        for records, lengths in self._lane_chunks(held_records) if goes_on else ():
            sizes += lengths
            if not self._pack_chunk(packer, records, commit, free_slots):
                break
        self._flush_if_due(packer, commit, free_slots)
        return sizes

    def _lane_chunks(self, held: Sequence[EncodedRecord]) -> Iterator[tuple[Sequence[EncodedRecord | None], list[int]]]:
        """The held records, then the waiting ones: each chunk with the bytes each record takes in the waiting list."""
        snapshot = self._snapshot
        if held:
            yield held, [0] * len(held)
        start, heavy = 0, snapshot.waiting_bytes > HEAVY_BYTES
        while start < snapshot.waiting and (
            raws := self._store.read_waiting(self._lane.name, start, snapshot.waiting - start, heavy=heavy)
        ):
            seqs = range(snapshot.head + start, snapshot.head + start + len(raws))
            start += len(raws)
            records = [
                self._encoder.encode(QueuedRecord(seq, raw)) if raw else None
                for seq, raw in zip(seqs, raws, strict=True)
            ]
            yield records, list(map(len, raws))

    def _pack_chunk(
        self,
        packer: Packer,
        records: Sequence[EncodedRecord | None],
        commit: AggregationCommit,
        free_slots: int,
    ) -> bool:
        """Give one chunk to the packer and stage what it finishes. False when the round has to end."""
        self._link(records)
        digests = [digest for record in records if record is not None for digest in record.all_digests]
        in_flight = self._store.read_in_flight(digests) if self._snapshot.in_flight else set()
        for record in records:
            if (finished := packer.add(record, in_flight)) is not None:
                self._stage(finished, packer, commit)
                del finished  # frees megabytes before the next body grows
                if len(commit.bodies) >= free_slots or packer.checkpoint.packed_retries >= MAX_PACKED_RETRIES:
                    return False
            if packer.is_at_limit:
                return False
        return True

    def _link(self, records: Sequence[EncodedRecord | None]) -> None:
        """Note in the records which other identifiers their contacts are known to have."""
        if self._has_links and self._snapshot.links:
            found = [record for record in records if record is not None and record.encoded is not None]
            fresh, older = self._store.read_links([digest for record in found for digest in record.digests])
            if fresh or older:
                for record in found:
                    link(record, older | fresh)

    def _save_links(self, records: Sequence[EncodedRecord]) -> None:
        """Remember the identifiers of contacts that have several. Nothing is remembered while memory is full."""
        several = [record for record in records if len(record.digests) > 1] if self._has_links else []
        if several and not self._policy.may_exceed_memory:
            digests = [digest for record in several for digest in record.digests]
            fresh, older = self._store.read_links(digests) if self._snapshot.links else ({}, {})
            if added := links_of(several, fresh, older):
                self._store.save_links(added)

    def _flush_if_due(self, packer: Packer, commit: AggregationCommit, free_slots: int) -> None:
        """Finish the open payload if it is full, or if nothing more will come and its oldest record has waited enough.

        Without rows in the open payload this sets the checkpoint, so that held and refused records are committed.
        """
        if len(commit.bodies) >= free_slots:
            return
        at_once = packer.open_rows == 0 or packer.payload_is_full or packer.refused_limit_is_reached
        is_last = packer.progress.consumed == self._lane_length or packer.is_at_limit
        if at_once or (is_last and self._is_due(packer)):
            finished = packer.flush()
            if finished is not None:
                self._stage(finished, packer, commit)

    def _is_due(self, packer: Packer) -> bool:
        """Whether the oldest record of the open payload has waited `max_wait_ms`, or the lane is flushed."""
        snapshot, max_wait_ms = self._snapshot, self._policy.max_wait_ms
        place = packer.checkpoint.consumed - snapshot.held
        if place < 0 or packer.checkpoint.packed_retries < packer.progress.packed_retries:
            return snapshot.held_at is None or snapshot.now_ms - snapshot.held_at >= max_wait_ms
        seq = snapshot.head + place
        return seq < snapshot.flush or snapshot.age_ms(seq) >= max_wait_ms

    @property
    def _lane_length(self) -> int:
        return self._snapshot.held + self._snapshot.waiting

    def _stage(self, finished: FinishedPayload, packer: Packer, commit: AggregationCommit) -> None:
        packed = finished.packed
        self._save_links(finished.records)
        batch = self._store.stage(
            packed,
            finished.record_lines,
            finished.digests,
            may_exceed_memory=self._policy.may_exceed_memory,
        )
        commit.bodies.append(StagedBody(batch, packed.rows, len(packed.body)))
        self._superseder.apply_payload(finished.records, packer.refused, set(packer.packed_retries))

    def _fill_commit(
        self, packer: Packer, commit: AggregationCommit, held: Sequence[QueuedRecord], sizes: Sequence[int]
    ) -> None:
        """Fill in the commit up to the packer's checkpoint, and check that every record is accounted for."""
        snapshot, checkpoint = self._snapshot, packer.checkpoint
        consumed_held = min(checkpoint.consumed, len(held))
        commit.consumed = checkpoint.consumed - consumed_held
        commit.cancelled, commit.merged, commit.dropped = checkpoint.cancelled, checkpoint.merged, checkpoint.dropped
        commit.bytes = sum(sizes[: checkpoint.consumed])
        commit.packed_retries = packer.packed_retries[: checkpoint.packed_retries]
        new_held = [*(record.queued for record in checkpoint.held), *held[consumed_held:]]
        if new_held != list(held):
            commit.held = new_held
        commit.held_delta = len(new_held) - len(held) - checkpoint.packed_retries
        refused = self._superseder.not_superseded(packer.refused[: checkpoint.refused])
        commit.merged += checkpoint.refused - len(refused)
        commit.refused = [self._failure(record) for record in refused]
        commit.superseded = self._superseder.changed_failures
        rows = sum(body.rows for body in commit.bodies)
        leaving = checkpoint.consumed + checkpoint.packed_retries - checkpoint.cancelled
        if leaving != rows + commit.merged + len(refused) + len(checkpoint.held):
            raise AssertionError(f"lane {self._lane.name}: a round over {checkpoint.consumed} records does not add up")
        all_left = checkpoint.packed_retries == packer.progress.packed_retries
        if all_left and self._retry_queue.cursor != snapshot.retry_cursor:
            commit.retry_cursor = self._retry_queue.cursor
        has_more = packer.progress.consumed < self._lane_length and not packer.held_limit_is_reached
        still_held = len(new_held) + snapshot.retries - checkpoint.packed_retries
        commit.due_ms = 0 if has_more else self._next_due_ms(commit.consumed, still_held)

    def _failure(self, record: EncodedRecord) -> FailedRecord:
        """The failure of a refused record."""
        snapshot, refused = self._snapshot, record.refused
        assert refused is not None
        reason = FailureReason(refused.code, str(refused), FailureStage.AGGREGATE)
        queued = with_packed_version(record.queued, int(snapshot.version) + 1)
        return failure(self._lane.name, queued, reason, snapshot.now_ms, b"".join(record.digests))

    def _next_due_ms(self, consumed: int, still_held: int) -> int:
        """The delay until the oldest record left has waited `max_wait_ms`; -1 if no record is left."""
        snapshot, max_wait_ms = self._snapshot, self._policy.max_wait_ms
        if self._retry_queue.has_more:
            return MIN_DELAY_MS
        if consumed < snapshot.waiting:
            return max(MIN_DELAY_MS, max_wait_ms - snapshot.age_ms(snapshot.head + consumed))
        return max(MIN_DELAY_MS, max_wait_ms) if still_held else -1


class RetryQueueReader:
    """Reads a lane's retried records in the order of their numbers, from the snapshot's cursor on.

    `cursor` is the record number from which the next round reads: 0 is the beginning. `has_more` tells whether records
    lie behind it. Both count the chunks that have been taken and passed.
    """

    def __init__(self, store: AggregationStore, snapshot: LaneSnapshot, lane: str, encoder: RecordEncoder) -> None:
        self._store = store
        self._snapshot = snapshot
        self._lane = lane
        self._encoder = encoder
        self.cursor = snapshot.retry_cursor
        self.has_more = bool(snapshot.retries)

    def chunks(self) -> Iterator[list[EncodedRecord]]:
        """The retried records whose contacts are not in flight, as their stored digests tell."""
        busy_count = 0
        while self._snapshot.retries:
            found = self._store.read_retries(self._lane, self.cursor, RETRY_CHUNK)
            digests = [digest for _, digests in found for digest in digests]
            in_flight = self._store.read_in_flight(digests) if self._snapshot.in_flight else set()
            free = [seq for seq, digests in found if in_flight.isdisjoint(digests)]
            busy_count += len(found) - len(free)
            for start in range(0, len(free), RETRY_PIECE):
                yield self._read(free[start : start + RETRY_PIECE])
            if len(found) < RETRY_CHUNK:
                self.cursor, self.has_more = 0, False
                return
            self.cursor = found[-1][0] + 1
            if busy_count >= MAX_RETRIES_IN_FLIGHT:
                return

    def _read(self, seqs: list[int]) -> list[EncodedRecord]:
        ids = [format_record_id(self._lane, seq) for seq in seqs]
        blobs = zip(ids, self._store.read_failures(ids), strict=True)
        return [self._encoder.encode(Failure.from_bytes(id_, blob).queued) for id_, blob in blobs if blob is not None]
