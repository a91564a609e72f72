"""Aggregation: what waits in a lane becomes byte-exact bodies, in one small atomic commit.

One `aggregate` bell is one round over a lane (see rounds.py), with the account's field definitions fetched first where
they are needed. Nothing here waits: a lane that cannot go on is armed for later.

A body takes room beside the records it was made of, until it has been settled. So where Redis is short of memory lanes
are cut one body ahead, each a share of what is left, so that together they never take all of it. Where nothing is left,
small bodies go beyond the limit, a few at a time and only while nothing else is open: their commit and their end free
more than they took.
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

#: How many rounds may lose the race for the commit before the lane is left to the next bell.
MAX_RACES = 5
#: Looks at the definitions in one round: one for what is unknown, more for fields that had to be created.
MAX_LOOKS = 5
#: When to look again, ms: while definitions are not to be had, while the destination rests, while enough is cut ahead.
WITHOUT_FIELDS_MS = 5_000
RESTING_MS = 1_000
AHEAD_MS = 250
LOST_RACE_MS = 50
#: While Redis has no memory for one small body more.
FULL_MS = 1_000
#: Of the memory that is left, a round takes one part in so many for bodies: what comes with them (records, places,
#: contacts in flight) and an aggregation beside it take as much again.
SHARES = 4
#: Bodies no smaller than this are cut for memory's sake; smaller ones only where a single record is all that fits.
SMALL_BYTES = 65_536
#: Where memory is short, so many contacts are cut ahead, and one body at least.
FEW_ROWS = 64


class Aggregator:
    """Cuts the lanes of one destination."""

    def __init__(
        self,
        bench: AggregationStore,
        provider: Provider,
        rules: FieldMapping,
        pace: AggregationPolicy,
        definitions: CustomFieldCache,
        schedule: Schedule,
    ) -> None:
        self._bench = bench
        self._provider = provider
        self._rules = rules
        self._pace = pace
        self._definitions = definitions
        self._schedule = schedule

    def aggregate(self, lane: str) -> tuple[WakeUp, ...]:
        """One round; returns the bells to ring."""
        done = self._round(lane)
        if not done.committed and done.due_ms >= 0:
            self._schedule.arm(lane, done.due_ms)
        return done.bells

    def _round(self, lane: str) -> RoundResult:
        tried: frozenset[str] = frozenset()
        for _ in range(MAX_LOOKS):
            try:
                return self._race(lane, self._definitions.cached(), tried)
            except FieldsNeeded as needed:
                created = self._definitions.ready_for(needed.samples)
                if created is None:
                    break
                tried |= created
        return RoundResult(due_ms=WITHOUT_FIELDS_MS)

    def _race(self, lane: str, fields: FieldTable, tried: frozenset[str]) -> RoundResult:
        """A round, begun again while others are faster."""
        refused = False
        for _ in range(MAX_RACES):
            look, memory = self._bench.look(lane), self._bench.memory()
            if not look.known:
                return RoundResult()  # a name that nobody has enqueued under; armed, it would be looked at for ever
            if look.paused or look.dest.get("state") in ("paused", "stopped"):
                return RoundResult(due_ms=RESTING_MS)
            where = Lane(lane, lane.partition("+")[0], look.options)
            pace = self._pace_within(memory, where, refused=refused)
            room = self._room(look, memory, pace, where)
            if room <= 0:
                return RoundResult(due_ms=FULL_MS if memory.is_spent else AHEAD_MS)
            encoder = RecordEncoder(self._provider, look.salt, fields, tried, look.now_ms, self._rules)
            try:
                done = LaneAggregation(self._bench, look, where, encoder, pace).run(room)
            except StoreFull:  # others were faster at what was left; all that was staged has been given back
                refused = True
                continue
            if done is not None:
                return done
        return RoundResult(due_ms=LOST_RACE_MS)

    def _pace_within(self, memory: Memory, lane: Lane, *, refused: bool) -> AggregationPolicy:
        """How this round may cut, so that what it stages finds room."""
        share = memory.left // SHARES
        if refused or (memory.most and share < SMALL_BYTES):
            return replace(self._pace, max_bodies=1, soft_max_bytes=SMALL_BYTES, beyond=True)
        if not memory.most:
            return self._pace
        largest = self._provider.limits(lane).max_bytes
        return replace(
            self._pace, max_bodies=max(1, min(self._pace.max_bodies, share // largest)), soft_max_bytes=share
        )

    def _room(self, look: LaneSnapshot, memory: Memory, pace: AggregationPolicy, lane: Lane) -> int:
        """How many bodies may be cut now."""
        room = min(pace.ahead - look.unsent, pace.max_open - look.open, pace.max_bodies)
        few = max(1, FEW_ROWS // self._provider.limits(lane).max_contacts)
        if pace.beyond:
            return 0 if memory.is_spent else min(room, few - look.open)
        return min(room, few - look.unsent) if memory.is_short else room
