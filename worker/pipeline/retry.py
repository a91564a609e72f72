"""Retrying failed records: chosen by reason, batch, lane, record or time, or all of them. A record keeps its id."""

from collections.abc import Iterator
from dataclasses import dataclass

from contact_ingest.model.failure import Failure
from contact_ingest.model.lane import RecordId
from contact_ingest.store.failures import Failures

#: Failures moved at a time.
PAGE = 500


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """Which failures are meant. A field that is None does not narrow the choice.

    `code` is a failure code, `batch` a batch number, `record` a record id. `since_ms` (included) and `until_ms`
    (excluded) bound the moment of the last failure.
    """

    code: str | None = None
    batch: int | None = None
    lane: str | None = None
    record: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, failed: Failure) -> bool:
        """Whether the failure is meant."""
        return (
            (self.code is None or failed.code == self.code)
            and (self.batch is None or failed.batch == self.batch)
            and (self.lane is None or failed.lane == self.lane)
            and (self.record is None or failed.id == self.record)
            and (self.since_ms is None or failed.last_ms >= self.since_ms)
            and (self.until_ms is None or failed.last_ms < self.until_ms)
        )


class Retrier:
    """Finds the failures of one destination and moves them into the retry queues of their lanes."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures

    def find(self, which: FailureFilter) -> Iterator[Failure]:
        return filter(which.holds, self._failures)

    def retry(self, which: FailureFilter) -> int:
        """Retry the failures that are meant, lowest record number of each lane first; returns how many."""
        chosen = sorted((failed.id for failed in self.find(which)), key=RecordId.parse)
        moved = 0
        for start in range(0, len(chosen), PAGE):
            moved += self._failures.retry(self._failures.get(chosen[start : start + PAGE]))
        return moved
