"""A lane and a platform in memory, around the pure `decide`: what a claim and a settlement do in Redis, without Redis.

Rows are numbers. A platform is a function from the rows of a request to None (it takes them) or a refusal. Time moves
only when nothing is due.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from contact_ingest.model import verdicts
from contact_ingest.model.batch import Batch, BatchState, BisectState, LaneStop, Settlement
from contact_ingest.model.row_ranges import rows
from contact_ingest.packing.lane_history import LaneHistory
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.pipeline.decide import Answer, decide

Platform = Callable[[list[int]], verdicts.Verdict | None]


@dataclass
class Waiting:
    """A batch of the lane, and when it is due."""

    batch: Batch
    due_ms: int
    first_row: int


@dataclass
class LaneModel:
    """One lane. `sizes` are the rows of its bodies; `seed` makes what is left to chance."""

    sizes: Sequence[int]
    platform: Platform
    seed: int = 0
    now_ms: int = 1_000
    requests: int = 0
    stops: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    delivered: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self.waiting: list[Waiting] = []
        self._history = LaneHistory()
        self._stop: LaneStop | None = None
        self._gap_ms = self._try_ms = self._trials = 0
        self._rows = self._numbers = 0
        for size in self.sizes:
            self.arrive(size)

    def arrive(self, size: int) -> None:
        """One more body of so many rows."""
        self._numbers += 1
        batch = Batch(self._numbers, "lane", self._numbers, BisectState(((0, size),)))
        self.waiting.append(Waiting(batch, self.now_ms, self._rows))
        self._rows += size

    @property
    def is_stopped(self) -> bool:
        return self._stop is not None

    def run(self, most_requests: int = 10_000, until_ms: int = 10**12) -> None:
        """Send until nothing is left, or a bound is reached."""
        while self.waiting and self.requests < most_requests and self.now_ms < until_ms:
            self._step()

    def _step(self) -> None:
        one = self._next()
        self._random.shuffle(self.waiting)  # several workers: what is due at once goes in any order
        batch = replace(one.batch, state=BatchState.SENDING, claims_count=one.batch.claims_count + 1)
        sent = [one.first_row + row for row in rows(batch.bisect.sending)]
        self.requests += 1
        self.now_ms += 50
        verdict = self.platform(sent) or verdicts.Done()
        bad = {e.hint: e for e in verdict.failed} if isinstance(verdict, verdicts.Named) else {}
        named = {row: bad[one.first_row + row] for row in rows(batch.bisect.sending) if one.first_row + row in bad}
        answer = Answer(verdict, failed=named, jitter=self._random.random(), history=self._history)
        settlement = decide(batch, answer, self.now_ms, TimeLimits())
        self._settle(one, settlement, sent)

    def _next(self) -> Waiting:
        if self._stop is None:
            one = min(self.waiting, key=lambda each: each.due_ms)
            self.now_ms = max(self.now_ms, one.due_ms)
            return one
        self.now_ms = max(self.now_ms, self._try_ms)
        untried = [each for each in self.waiting if not each.batch.accused_ms] or self.waiting
        untried.sort(key=lambda each: each.batch.number)
        return untried[-1 - self._trials % len(untried)]

    def _settle(self, one: Waiting, settlement: Settlement, sent: list[int]) -> None:
        for row, reason in settlement.reasons_by_row.items():
            assert one.first_row + row not in self.failed, "it failed twice"
            self.failed[one.first_row + row] = str(reason.code)
        if settlement.delivered:
            self.delivered |= set(sent) - set(self.failed)
        if settlement.accepted:
            self._history = LaneHistory(accepted_ms=self.now_ms)
            self._stop = None
        if settlement.doubt:
            alike = self._history.alike(settlement.doubt)
            self._history = replace(self._history, doubt=settlement.doubt, doubts=alike + 1)
        self.waiting.remove(one)
        for child in settlement.children:
            self._numbers += 1
            made = replace(child.batch, number=self._numbers)
            self.waiting.append(Waiting(made, self.now_ms + child.delay_ms, one.first_row))
        if not settlement.ended:
            self.waiting.append(Waiting(settlement.batch, self.now_ms + settlement.delay_ms, one.first_row))
        if settlement.stop_lane is not None:
            self._stop_lane(settlement.stop_lane)

    def _stop_lane(self, stop: LaneStop) -> None:
        again = self._stop is not None
        self.stops += 1
        self._trials = self._trials + 1 if again else 0
        self._gap_ms = min(self._gap_ms * 2, stop.last_ms) if again else stop.first_ms
        self._stop, self._try_ms = stop, self.now_ms + self._gap_ms
        self._history = replace(self._history, stop_kind=stop.kind.value)
