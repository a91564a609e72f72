"""Retrying what failed: by batch, reason, lane or time, or all of it. A retried record keeps its id."""

from collections.abc import Iterator
from dataclasses import dataclass

from contact_ingest.store.failures import Failure, Failures

#: Failures moved at a time.
PAGE = 500


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """Which failures are meant; what is None does not narrow. Times are milliseconds."""

    code: str | None = None
    batch: int | None = None
    lane: str | None = None
    record: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, failed: Failure) -> bool:
        about = failed.about
        return (
            (self.code is None or about["code"] == self.code)
            and (self.batch is None or about["batch"] == self.batch)
            and (self.lane is None or failed.lane == self.lane)
            and (self.record is None or failed.id == self.record)
            and (self.since_ms is None or about["last_ms"] >= self.since_ms)
            and (self.until_ms is None or about["last_ms"] < self.until_ms)
        )


class Retrier:
    """The failures of one destination, and their way back."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures

    def find(self, which: FailureFilter) -> Iterator[Failure]:
        return filter(which.holds, self._failures)

    def retry(self, which: FailureFilter) -> int:
        """Put all that are meant back in front of their lanes, oldest records first; returns how many."""
        chosen = sorted((failed.id for failed in self.find(which)), key=_place)
        moved = 0
        for start in range(0, len(chosen), PAGE):
            moved += self._failures.retry(self._failures.get(chosen[start : start + PAGE]))
        return moved


def _place(record_id: str) -> tuple[str, int]:
    lane, _, seq = record_id.rpartition(":")
    return lane, int(seq)
