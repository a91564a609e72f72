"""One `aggregate` bell: a round over a lane, with the account's field definitions fetched first where they are needed."""

from worker.aggregation import Aggregation, Round
from worker.definitions import Definitions
from worker.errors import FieldsNeeded
from worker.store.schedule import Bell, Schedule

#: How long a lane waits for definitions that cannot be had at the moment.
WITHOUT_FIELDS_MS = 5_000
#: Looks at the definitions in one round: one for what is unknown, more for fields that had to be created.
MAX_LOOKS = 5


class Cutting:
    """Aggregation of one destination's lanes, and what it needs to know first."""

    def __init__(self, aggregation: Aggregation, definitions: Definitions, schedule: Schedule) -> None:
        self._aggregation = aggregation
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
                return self._aggregation.aggregate(lane, self._definitions.cached(), tried)
            except FieldsNeeded as needed:
                created = self._definitions.ready_for(needed.samples)
                if created is None:
                    break
                tried |= created
        return Round(due_ms=WITHOUT_FIELDS_MS)
