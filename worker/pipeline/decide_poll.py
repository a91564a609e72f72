"""What was learned of an import job means for its batch. Pure, like decide.py: a batch and a report go in, a settlement
comes out.

| report | what becomes of the batch |
|---|---|
| job ended well | its rows are delivered |
| job ended with failed rows | the file that names them is fetched, and those rows fail |
| job has not ended | polled again with growing gaps, until the deadline: then the rows fail as no_verdict |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from contact_ingest.model import verdicts
from contact_ingest.model.batch import Batch, BatchState, BisectState, Settlement
from contact_ingest.model.failure import FailureReason, FailureStage
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.row_ranges import rows, size
from contact_ingest.pipeline import backoff
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.store.rate_limiter import BreakerState

Rows = Mapping[int, verdicts.RowError]


@dataclass(frozen=True, slots=True)
class ErrorFileRead:
    """The file of an import's failed rows, and the rows it proves."""

    failed: Rows = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorFileUnavailable:
    """The file was not to be had. `may_come` says that a later try may have it; `refused`, that its store answered
    without it, so that it is asked for a shorter time."""

    may_come: bool
    refused: bool = False


PollReport = verdicts.JobReport | ErrorFileRead | ErrorFileUnavailable


def decide_poll(  # noqa: PLR0911 - one return a report
    batch: Batch, report: PollReport, breaker: BreakerState, now_ms: int, limits: TimeLimits
) -> Settlement:
    """What was learned of an import job means. `now_ms` is the server's clock."""
    match report:
        case verdicts.JobRunning(status):
            return _poll_again(batch, status, breaker, now_ms, limits)
        case verdicts.JobMissing():
            return _poll_again(batch, "missing", breaker, now_ms, limits)
        case verdicts.Retry(code, after_s):
            return _poll_again(batch, code, breaker, now_ms, limits, after_s)
        case verdicts.Limited():
            return Settlement(batch)
        case verdicts.Stop():
            return Settlement(batch, stop=report)
        case verdicts.JobEnded():
            return _job_ended(batch, report, now_ms)
        case ErrorFileRead(failed):
            return _judge(batch, failed)
        case ErrorFileUnavailable(may_come, refused):
            window_ms = limits.refused_file_ms if refused else backoff.ERROR_FILE_WINDOW_MS
            if may_come and not _error_file_is_late(batch, window_ms, breaker, now_ms, limits):
                return _poll_again(batch, "error file not to be had yet", breaker, now_ms, limits)
            return _judge(batch, {})
        case _:
            assert_never(report)


def _poll_again(
    batch: Batch, status: str, breaker: BreakerState, now_ms: int, limits: TimeLimits, after_s: float | None = None
) -> Settlement:
    """Poll again after a longer gap, or end the batch when the deadline has passed."""
    if backoff.is_over(batch.sent_ms, now_ms, limits.poll_deadline_ms, breaker):
        text = f"the import had not ended by the deadline; last seen: {status}"
        reason = FailureReason(FailureCode.NO_VERDICT, text, FailureStage.POLL)
        # The import may still end: its contacts stay in flight as those of an orphan do.
        ended = _end(batch, dict.fromkeys(rows(batch.bisect.sending), reason), 0)
        return replace(ended, orphan_ms=limits.orphan_ms)
    polls = batch.polls + 1
    gap_ms = backoff.poll_gap_ms(polls, limits.poll_first_ms, after_s)
    return Settlement(replace(batch, polls=polls, job_status=status), delay_ms=gap_ms)


def _job_ended(batch: Batch, report: verdicts.JobEnded, now_ms: int) -> Settlement:
    """The job is over. If rows failed, the file that names them is fetched in a step of its own."""
    none_failed = report.status == "completed" and not report.errored and not report.errors_url
    known = replace(
        batch,
        platform_failed_count=0 if none_failed else report.errored,
        unvouched=max(0, size(batch.bisect.sending) - report.requested) if report.requested else 0,
        all_failed=report.all_failed,
        reason=report.reason,
        job_status=report.status,
    )
    if not report.errors_url:
        return _judge(known, {})
    fetches = replace(
        known, state=BatchState.FETCHING_ERRORS, errors_url=report.errors_url, ended_at_platform_ms=now_ms
    )
    return Settlement(fetches)


def _error_file_is_late(batch: Batch, window_ms: int, breaker: BreakerState, now_ms: int, limits: TimeLimits) -> bool:
    """Whether the file was waited for long enough. At the deadline the job's own numbers count."""
    windows = (
        (batch.ended_at_platform_ms, window_ms),
        (batch.sent_ms, limits.poll_deadline_ms),
    )
    return any(backoff.is_over(since_ms, now_ms, longest_ms, breaker) for since_ms, longest_ms in windows)


def _judge(batch: Batch, failed: Rows) -> Settlement:
    """Who failed: the rows that are named, and all rows where the platform's numbers leave nobody else. Rows that the
    platform counts as failed and does not name, and rows that the job never took, are unattributed. A row that is named
    has failed even where more rows are named than the platform counts: which of them are too many is unknown, a failure
    can be retried without harm, and a row that is taken for delivered is lost."""
    reasons = {
        row: FailureReason(error.code, error.reason, FailureStage.POLL, batch.number, batch.request_id)
        for row, error in failed.items()
    }
    total, errored = size(batch.bisect.sending), batch.platform_failed_count
    if batch.all_failed or (errored is not None and errored >= total):
        text = batch.reason or "the import failed as a whole"
        rest = FailureReason(FailureCode.IMPORT_FAILED, text, FailureStage.POLL, batch.number, batch.request_id)
        reasons = {row: reasons.get(row, rest) for row in rows(batch.bisect.sending)}
    unnamed = max(0, errored - len(reasons)) if errored is not None else int(not reasons)
    return _end(batch, reasons, unnamed + batch.unvouched)


def _end(batch: Batch, failed: dict[int, FailureReason], unattributed: int) -> Settlement:
    """A platform may count more rows than it was sent; no more can be unattributed than are delivered."""
    ended = replace(batch, bisect=BisectState(batch.bisect.sending), state=BatchState.DONE, reason="")
    delivered = size(batch.bisect.sending) - len(failed)
    return Settlement(ended, delivered=delivered, unattributed=min(unattributed, delivered), reasons_by_row=failed)
