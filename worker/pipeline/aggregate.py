"""Aggregation: the records that wait in a lane become byte-exact bodies, in one small atomic commit.

One wake-up is one round over a lane (`aggregate_lane.py`). If records name custom fields that are not cached, the
account's field definitions are fetched first. Nothing here waits: a lane whose round cannot run now is scheduled for
later.

Memory: a body takes memory beside its records until it is settled. When Redis has little memory left, a lane gets few
bodies ahead of dispatch, and each round uses a share of what is left, so that parallel rounds never use all of it. When
none is left, small bodies may exceed the limit, a few at a time and only while no other batch is open. Each of them
frees more memory, by its commit and its end, than it takes.
"""

from dataclasses import replace

from contact_ingest.errors import FieldsNeeded, StoreFull
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.aggregate_lane import AggregationPolicy, LaneAggregation, RoundResult
from contact_ingest.pipeline.custom_fields import CustomFieldCache
from contact_ingest.pipeline.encode import RecordEncoder
from contact_ingest.providers.base import Provider
from contact_ingest.store.aggregation import AggregationStore, LaneSnapshot
from contact_ingest.store.redis_server import Memory
from contact_ingest.store.schedule import Schedule, WakeUp

#: Rounds that may lose the race for the commit before the lane is left to the next wake-up.
MAX_RACES = 5
#: Fetches of the field definitions for one wake-up: one for unknown names, more for fields that were created.
MAX_FIELD_FETCHES = 5
#: Delays before the next try, ms: the field definitions cannot be fetched; the lane or the destination is paused or
#: stopped; the platform has stopped the lane, which goes on at once when that ends; enough batches wait for dispatch;
#: all races were lost; Redis has no memory for even a small body.
NO_FIELDS_DELAY_MS = 5_000
PAUSED_DELAY_MS = 1_000
STOPPED_DELAY_MS = 5_000
ENOUGH_DELAY_MS = 250
LOST_RACE_DELAY_MS = 50
FULL_DELAY_MS = 1_000
#: Batches of a stopped lane that are made ahead. Each trial that fails allows one more, since other records may pass.
STOPPED_AHEAD = 8
#: A round uses one part in so many of the memory left for its bodies. What is stored with them (records, offsets,
#: contacts in flight) and a parallel round each take as much again.
MEMORY_SHARES = 4
#: Bytes of a body that may exceed the memory limit. Bodies are not made smaller than this to save memory, except that
#: a single record may be all that fits.
SMALL_BODY_BYTES = 65_536
#: Contacts that may wait for dispatch, and at least one body, while memory is short.
FEW_ROWS = 64


class Aggregator:
    """Aggregates the lanes of one destination."""

    def __init__(
        self,
        store: AggregationStore,
        provider: Provider,
        field_mapping: FieldMapping,
        policy: AggregationPolicy,
        custom_fields: CustomFieldCache,
        schedule: Schedule,
    ) -> None:
        self._store = store
        self._provider = provider
        self._field_mapping = field_mapping
        self._policy = policy
        self._custom_fields = custom_fields
        self._schedule = schedule

    def aggregate(self, lane: str) -> tuple[WakeUp, ...]:
        """Run one round over the lane, or schedule it. Returns the wake-ups to send."""
        result = self._run_with_fields(lane)
        if not result.committed and result.due_ms >= 0:
            self._schedule.arm(lane, result.due_ms)
        return result.wakeups

    def _run_with_fields(self, lane: str) -> RoundResult:
        """One round; fetches the field definitions, creates missing fields, and starts over where records need that."""
        tried: frozenset[str] = frozenset()
        for _ in range(MAX_FIELD_FETCHES):
            try:
                return self._run_until_committed(lane, self._custom_fields.cached(), tried)
            except FieldsNeeded as needed:
                created = self._custom_fields.ready_for(needed.samples)
                if created is None:
                    break
                tried |= created
        return RoundResult(due_ms=NO_FIELDS_DELAY_MS)

    def _run_until_committed(self, name: str, fields: FieldTable, tried: frozenset[str]) -> RoundResult:
        """One round, started over on a new snapshot while other rounds commit first."""
        was_full = False
        for _ in range(MAX_RACES):
            snapshot, memory = self._store.read_snapshot(name), self._store.read_memory()
            if not snapshot.known:
                return RoundResult()  # nobody has enqueued to a lane of this name: do not schedule it for ever
            if snapshot.paused or snapshot.destination_state.get("state") in ("paused", "stopped"):
                return RoundResult(due_ms=PAUSED_DELAY_MS)
            if snapshot.stopped and snapshot.put_aside >= STOPPED_AHEAD + snapshot.trials:
                return RoundResult(due_ms=STOPPED_DELAY_MS)
            lane = Lane.of(name, snapshot.options)
            policy = self._policy_within(memory, lane, was_full=was_full)
            free_slots = self._free_slots(snapshot, memory, policy, lane)
            if free_slots <= 0:
                return RoundResult(due_ms=FULL_DELAY_MS if memory.is_spent else ENOUGH_DELAY_MS)
            encoder = RecordEncoder(self._provider, snapshot.salt, fields, tried, snapshot.now_ms, self._field_mapping)
            try:
                result = LaneAggregation(self._store, snapshot, lane, encoder, policy).run(free_slots)
            except StoreFull:  # others used the memory first; the staged bodies of this round are deleted
                was_full = True
                continue
            if result is not None:
                return result
        return RoundResult(due_ms=LOST_RACE_DELAY_MS)

    def _policy_within(self, memory: Memory, lane: Lane, *, was_full: bool) -> AggregationPolicy:
        """The policy of this round, narrowed so that its bodies fit the memory left."""
        share = memory.left // MEMORY_SHARES
        if was_full or (memory.most and share < SMALL_BODY_BYTES):
            return replace(self._policy, max_bodies=1, soft_max_bytes=SMALL_BODY_BYTES, may_exceed_memory=True)
        if not memory.most:
            return self._policy
        largest = self._provider.limits(lane).max_bytes
        max_bodies = max(1, min(self._policy.max_bodies, share // largest))
        return replace(self._policy, max_bodies=max_bodies, soft_max_bytes=share)

    def _free_slots(self, snapshot: LaneSnapshot, memory: Memory, policy: AggregationPolicy, lane: Lane) -> int:
        """How many bodies this round may make; 0 or less for none."""
        free = min(policy.max_unsent - snapshot.unsent, policy.max_open - snapshot.open_batches, policy.max_bodies)
        if snapshot.stopped:  # at most what may be put aside, so that no other lane finds the places taken
            free = min(free, STOPPED_AHEAD + snapshot.trials - snapshot.put_aside)
        few = max(1, FEW_ROWS // self._provider.limits(lane).max_contacts)
        if policy.may_exceed_memory:
            return 0 if memory.is_spent else min(free, few - snapshot.open_batches)
        return min(free, few - snapshot.unsent) if memory.is_short else free
