"""Aggregation: what waits in a lane becomes byte-exact bodies, in one small atomic commit.

One `aggregate` bell is one round over a lane (see rounds.py), with the account's field definitions fetched first where
they are needed. Nothing here waits: a lane that cannot go on is armed for later.
"""

from worker.definitions import Definitions
from worker.errors import FieldsNeeded
from worker.outcome import FieldTable
from worker.preparing import Preparation
from worker.providers.base import Lane, Provider
from worker.rounds import LaneRound, Pace, Round
from worker.rules import FieldRules
from worker.store.bench import Bench
from worker.store.schedule import Bell, Schedule

#: How many rounds may lose the race for the commit before the lane is left to the next bell.
MAX_RACES = 5
#: Looks at the definitions in one round: one for what is unknown, more for fields that had to be created.
MAX_LOOKS = 5
#: When to look again, ms: while definitions are not to be had, while the destination rests, while enough is cut ahead.
WITHOUT_FIELDS_MS = 5_000
RESTING_MS = 1_000
AHEAD_MS = 250
LOST_RACE_MS = 50


class Aggregation:
    """Cuts the lanes of one destination."""

    def __init__(
        self,
        bench: Bench,
        provider: Provider,
        rules: FieldRules,
        pace: Pace,
        definitions: Definitions,
        schedule: Schedule,
    ) -> None:
        self._bench = bench
        self._provider = provider
        self._rules = rules
        self._pace = pace
        self._definitions = definitions
        self._schedule = schedule

    def aggregate(self, lane: str) -> tuple[Bell, ...]:
        """One round; returns the bells to ring."""
        done = self._round(lane)
        if not done.committed and done.due_ms >= 0:
            self._schedule.arm(lane, done.due_ms)
        return done.bells

    def _round(self, lane: str) -> Round:
        tried: frozenset[str] = frozenset()
        for _ in range(MAX_LOOKS):
            try:
                return self._race(lane, self._definitions.cached(), tried)
            except FieldsNeeded as needed:
                created = self._definitions.ready_for(needed.samples)
                if created is None:
                    break
                tried |= created
        return Round(due_ms=WITHOUT_FIELDS_MS)

    def _race(self, lane: str, fields: FieldTable, tried: frozenset[str]) -> Round:
        """A round, begun again while others are faster."""
        for _ in range(MAX_RACES):
            look = self._bench.look(lane)
            if not look.known:
                return Round()  # a name that nobody has enqueued under; armed, it would be looked at for ever
            if look.paused or look.dest.get("state") in ("paused", "stopped"):
                return Round(due_ms=RESTING_MS)
            room = min(self._pace.ahead - look.unsent, self._pace.max_open - look.open, self._pace.max_bodies)
            if room <= 0:
                return Round(due_ms=AHEAD_MS)
            preparation = Preparation(self._provider, look.salt, fields, tried, look.now_ms, self._rules)
            where = Lane(lane, lane.partition("+")[0], look.options)
            done = LaneRound(self._bench, look, where, preparation, self._pace).run(room)
            if done is not None:
                return done
        return Round(due_ms=LOST_RACE_MS)
