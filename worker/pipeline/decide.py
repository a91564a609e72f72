"""What an answer of the platform means for a batch. Pure: a batch and an answer go in, a settlement comes out.

`decide` is for the answer to an upsert, `decide_poll` for what was learned of an import job. Both know no store, no
clock and no chance; their callers bring what they need. The rules, with the platform's answer on the left:

| answer | what becomes of the batch |
|---|---|
| accepted as a job | its rows are polled |
| applied at once | the rows are delivered; those named fail, or go again later if the platform says so |
| refused, rows are named | the named rows fail, all others are sent again at once |
| refused, a row is only hinted at | that row goes alone, three hints at most |
| refused, nobody is named | bisected: only a row that was refused alone fails |
| refused for what all rows share | all rows fail |
| too large | halved; the destination learns the size |
| rate limit, a stopped destination | nothing is counted; the same bytes go again |
| trouble that may pass | the same bytes again, later, until the retry window is over |
| workers died over it, three times more than answers came | bisected like a refusal, without being sent |
| job ended with failed rows | the file that names them is fetched, and those rows fail |
| job has not ended | polled again with growing gaps, until the deadline: then the rows fail as no_verdict |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from contact_ingest.model import verdicts
from contact_ingest.model.batch import Batch, BatchState, BisectState, NewBatch, Settlement
from contact_ingest.model.failure import FailureReason, FailureStage
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.row_ranges import halves, rows, single_rows, size, union
from contact_ingest.packing.bisect import (
    after_acceptance,
    after_naming,
    after_refusal,
    alone,
    deal_out,
    has_more_bad_rows,
)
from contact_ingest.pipeline import backoff
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.store.rate_limiter import BreakerState

#: Claims that ended without an answer, beyond those that ended with one, that make a batch suspect.
POISON_CLAIMS = 3
#: Hints (a row number without proof) that are followed before a plain search.
MAX_HINTS = 3
#: Refusals of a custom field id that may be a field too new to be known everywhere.
NEW_FIELD_TRIES = 3
#: Requests for one root after which what is left goes behind fresh traffic.
PATIENCE_REQUESTS = 200
#: A cap that refusals teach never goes below this, bytes.
SMALLEST_CAP = 65_536

Rows = Mapping[int, verdicts.RowError]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a batch. `failed` and `again` are the rows that the verdict's errors prove; `not_found`
    counts errors that prove none. `breaker` is how the account stands, `jitter` a number from 0 to 1."""

    verdict: verdicts.Verdict
    failed: Rows = field(default_factory=dict)
    again: Rows = field(default_factory=dict)
    not_found: int = 0
    request_id: str = ""
    sent_bytes: int = 0
    breaker: BreakerState = field(default_factory=BreakerState)
    jitter: float = 0.5


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


def is_poisoned(batch: Batch) -> bool:
    """Whether workers died over this batch so often that the batch itself is suspect."""
    return batch.claims_count - batch.attempts > POISON_CLAIMS


def isolate_poison(batch: Batch, now_ms: int) -> Settlement:
    """Bisect a poisoned batch without sending it. Each part then has as many crashes before it as the whole had."""
    reason = FailureReason(FailureCode.POISON, "workers died while sending it", FailureStage.DISPATCH, batch.number)
    answered = _answered(batch, now_ms)
    return _narrow(replace(answered, claims_count=answered.attempts), reason)


def decide(  # noqa: C901, PLR0911 - one return a verdict
    batch: Batch, answer: Answer, now_ms: int, limits: TimeLimits
) -> Settlement:
    """What the answer to an upsert means. `now_ms` is the server's clock."""
    answered = _answered(batch, now_ms)
    match answer.verdict:
        case verdicts.Pending(job):
            return _accepted(answered, answer, job, now_ms, limits)
        case verdicts.Done(applied=applied):
            return _applied(answered, answer, applied, now_ms, limits)
        case verdicts.Named(failed):
            return _named(batch, answer, failed, now_ms, limits)
        case verdicts.Rejected(code, text):
            return _narrow(answered, _reason(batch, answer, code, text))
        case verdicts.AllFailed(code, text):
            reason = _reason(batch, answer, code, text)
            return _go_on(answered, after_acceptance(batch.bisect), failed=dict.fromkeys(_sent(batch), reason))
        case verdicts.TooLarge():
            return _too_large(batch, answer, now_ms)
        case verdicts.Limited():
            return Settlement(batch.sends(batch.bisect), refund=True)
        case verdicts.Retry():
            return _try_again(batch, answer, answer.verdict, now_ms, limits)
        case verdicts.Stop():
            return Settlement(batch.sends(batch.bisect), refund=True, stop=answer.verdict)
        case verdicts.StopLane(code, why):
            return Settlement(batch.sends(batch.bisect), refund=True, stop=verdicts.Stop(code, why))
        case _:
            assert_never(answer.verdict)


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
            window_ms = backoff.REFUSED_FILE_WINDOW_MS if refused else backoff.ERROR_FILE_WINDOW_MS
            if may_come and not _error_file_is_late(batch, window_ms, breaker, now_ms, limits):
                return _poll_again(batch, "error file not to be had yet", breaker, now_ms, limits)
            return _judge(batch, {})
        case _:
            assert_never(report)


# --- the answer to an upsert


def _answered(batch: Batch, now_ms: int) -> Batch:
    """An answer came, or the exchange came to an end that this worker saw."""
    return replace(batch, attempts=batch.attempts + 1, first_ms=batch.first_ms or now_ms)


def _sent(batch: Batch) -> list[int]:
    return list(rows(batch.bisect.sending))


def _reason(batch: Batch, answer: Answer, code: str, text: str) -> FailureReason:
    return FailureReason(code, text, FailureStage.DISPATCH, batch.number, answer.request_id)


def _reasons(batch: Batch, failed: Rows, stage: FailureStage, request_id: str) -> dict[int, FailureReason]:
    return {
        row: FailureReason(error.code, error.reason, stage, batch.number, request_id) for row, error in failed.items()
    }


def _accepted(answered: Batch, answer: Answer, job: str, now_ms: int, limits: TimeLimits) -> Settlement:
    """The rows that went out are the job's now. What was set aside in a search goes on without them."""
    followed = replace(
        answered,
        bisect=BisectState(answered.bisect.sending),
        state=BatchState.POLLING,
        job=job,
        sent_ms=now_ms,
        sent_bytes=answer.sent_bytes,
        request_id=answer.request_id,
    )
    if answered.bisect.is_plain:
        return Settlement(followed, delay_ms=limits.poll_first_ms)
    child = replace(followed, claims_count=1, failures_in_a_row=0, hints_followed=0, code="", retry_after_given=False)
    return _go_on(answered, after_acceptance(answered.bisect), children=(NewBatch(child, limits.poll_first_ms),))


def _applied(answered: Batch, answer: Answer, applied: int | None, now_ms: int, limits: TimeLimits) -> Settlement:
    """A platform without jobs: what is not named is delivered, and unattributed as far as the platform does not vouch
    for it (`applied`). Some of what is named may succeed another time."""
    failed, again = dict(answer.failed), {row: e for row, e in answer.again.items() if row not in answer.failed}
    if backoff.is_over(answered.first_ms, now_ms, limits.retry_window_ms, answer.breaker):
        failed, again = {**failed, **again}, {}
    children: tuple[NewBatch, ...] = ()
    if again:
        # Each new claim of the child has an answer before it, as the claims of its parent had.
        child = Batch(
            0,
            answered.lane,
            answered.root,
            BisectState(single_rows(again)),
            low_priority=answered.low_priority,
            attempts=answered.attempts,
            claims_count=answered.attempts,
            first_ms=answered.first_ms,
        )
        children = (NewBatch(child, backoff.retry_ms(answered.attempts - 1, None, answer.jitter)),)
    delivered = size(answered.bisect.sending) - len(failed) - len(again)
    unvouched = 0 if applied is None else delivered - applied
    return _go_on(
        answered,
        after_acceptance(answered.bisect),
        failed=_reasons(answered, failed, FailureStage.DISPATCH, answer.request_id),
        delivered=delivered,
        unattributed=min(delivered, max(answer.not_found, unvouched)),
        children=children,
    )


def _named(
    batch: Batch, answer: Answer, errors: tuple[verdicts.RowError, ...], now_ms: int, limits: TimeLimits
) -> Settlement:
    """Refused as a whole, and rows are named, proved or hinted at."""
    if any(error.fields for error in errors) and batch.attempts < NEW_FIELD_TRIES:
        # A field created a moment ago is unknown for some seconds; a field that was deleted shows by the same words.
        later = verdicts.Retry(FailureCode.UNKNOWN_FIELD_ID, after_s=backoff.NEW_FIELD_S)
        return replace(_try_again(batch, answer, later, now_ms, limits), custom_fields_stale=True)
    answered = _answered(batch, now_ms)
    if answer.failed:
        reasons = _reasons(batch, answer.failed, FailureStage.DISPATCH, answer.request_id)
        return _go_on(answered, after_naming(batch.bisect, list(answer.failed)), failed=reasons)
    sent = _sent(batch)
    hint = next((error.hint for error in errors if error.hint is not None), None)
    if hint is None or hint >= len(sent) or len(sent) == 1 or batch.hints_followed >= MAX_HINTS:
        return _narrow(answered, _reason(batch, answer, errors[0].code, errors[0].reason))
    return _go_on(replace(answered, hints_followed=batch.hints_followed + 1), alone(batch.bisect, sent[hint]))


def _narrow(answered: Batch, reason: FailureReason) -> Settlement:
    """Refused, and nobody is named: the next step of the search."""
    bisect = answered.bisect
    if has_more_bad_rows(bisect):
        return _split(answered, deal_out(bisect), low_priority=True)
    failed = dict.fromkeys(_sent(answered), reason) if size(bisect.sending) == 1 else {}
    return _go_on(answered, after_refusal(bisect), failed=failed)


def _too_large(batch: Batch, answer: Answer, now_ms: int) -> Settlement:
    bisect = batch.bisect
    if size(bisect.sending) == 1:
        reason = FailureReason(
            FailureCode.TOO_LARGE, "the platform refuses its size", FailureStage.DISPATCH, None, answer.request_id
        )
        return _narrow(_answered(batch, now_ms), reason)
    parts = (*halves(bisect.sending), union(bisect.suspects, bisect.parked))
    split = _split(batch, [BisectState(part) for part in parts if part], low_priority=False)
    return replace(split, refund=True, max_body_bytes=max(SMALLEST_CAP, answer.sent_bytes // 2))


def _try_again(batch: Batch, answer: Answer, verdict: verdicts.Retry, now_ms: int, limits: TimeLimits) -> Settlement:
    """The same bytes again, later; or all rows fail once that has gone on for long enough."""
    answered = _answered(batch, now_ms)
    orphan_ms = limits.orphan_ms if verdict.unknown else 0
    if backoff.is_over(answered.first_ms, now_ms, limits.retry_window_ms, answer.breaker):
        text = f"gave up after {answered.attempts} attempts, the last one: {verdict.code}"
        failed = dict.fromkeys(rows(batch.bisect.all), _reason(batch, answer, FailureCode.GAVE_UP, text))
        return replace(_go_on(answered, BisectState(()), failed=failed), orphan_ms=orphan_ms)
    # By failures in a row, not by attempts: a search has many answers, and trouble in its midst must not cost an hour.
    wait_ms = backoff.dispatch_again_ms(batch.failures_in_a_row, verdict.after_s, answer.breaker, answer.jitter)
    later = replace(
        answered.sends(batch.bisect),
        code=verdict.code,
        request_id=answer.request_id,
        retry_after_given=bool(verdict.after_s),
        failures_in_a_row=batch.failures_in_a_row + 1,
    )
    return Settlement(later, delay_ms=wait_ms, orphan_ms=orphan_ms)


def _go_on(
    answered: Batch,
    left: BisectState,
    *,
    failed: Mapping[int, FailureReason] | None = None,
    delivered: int = 0,
    unattributed: int = 0,
    children: tuple[NewBatch, ...] = (),
) -> Settlement:
    """Send what is left at once; behind fresh traffic once the root has taken many requests. Nothing left: it ends."""
    state = BatchState.READY if left.sending else BatchState.DONE
    return Settlement(
        replace(answered, bisect=left, state=state, failures_in_a_row=0),
        low_priority=answered.requests > PATIENCE_REQUESTS,
        delivered=delivered,
        unattributed=unattributed,
        reasons_by_row=failed or {},
        children=children,
    )


def _split(batch: Batch, parts: list[BisectState], *, low_priority: bool) -> Settlement:
    """Children take over all rows, and the batch ends. Parts of many are searched behind fresh traffic."""
    blank = Batch(0, batch.lane, batch.root, BisectState(()), low_priority=low_priority or batch.low_priority)
    children = tuple(NewBatch(blank.sends(part)) for part in parts)
    return Settlement(replace(batch, bisect=BisectState(()), state=BatchState.DONE), children=children)


# --- what was learned of a job


def _poll_again(
    batch: Batch, status: str, breaker: BreakerState, now_ms: int, limits: TimeLimits, after_s: float | None = None
) -> Settlement:
    """Poll again after a longer gap, or end the batch when the deadline has passed."""
    if backoff.is_over(batch.sent_ms, now_ms, limits.poll_deadline_ms, breaker):
        text = f"the import had not ended by the deadline; last seen: {status}"
        reason = FailureReason(FailureCode.NO_VERDICT, text, FailureStage.POLL)
        # The import may still end: its contacts stay in flight as those of an orphan do.
        ended = _end(batch, dict.fromkeys(_sent(batch), reason), 0)
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
    platform counts as failed and does not name, and rows that the job never took, are unattributed."""
    reasons = _reasons(batch, failed, FailureStage.POLL, batch.request_id)
    total, errored = size(batch.bisect.sending), batch.platform_failed_count
    if batch.all_failed or (errored is not None and errored >= total):
        text = batch.reason or "the import failed as a whole"
        rest = FailureReason(FailureCode.IMPORT_FAILED, text, FailureStage.POLL, batch.number, batch.request_id)
        reasons = {row: reasons.get(row, rest) for row in _sent(batch)}
    unnamed = max(0, errored - len(reasons)) if errored is not None else int(not reasons)
    return _end(batch, reasons, unnamed + batch.unvouched)


def _end(batch: Batch, failed: dict[int, FailureReason], unattributed: int) -> Settlement:
    """A platform may count more rows than it was sent; no more can be unattributed than are delivered."""
    ended = replace(batch, bisect=BisectState(batch.bisect.sending), state=BatchState.DONE, reason="")
    delivered = size(batch.bisect.sending) - len(failed)
    return Settlement(ended, delivered=delivered, unattributed=min(unattributed, delivered), reasons_by_row=failed)
