"""What an answer of the platform to an upsert means for a batch. Pure: a batch and an answer go in, a settlement comes
out. The answers to polls are in decide_poll.py.

`decide` knows no store, no clock and no chance: its callers bring what it needs. The rules, the answer on the left:

| answer | what becomes of the batch |
|---|---|
| accepted as a job | its rows are polled |
| applied at once | the rows are delivered; those named fail, or go again later if the platform says so |
| refused, rows are named | the named rows fail, all others are sent again at once |
| refused, a row is only hinted at | that row goes alone, three hints at most |
| refused, nobody is named | bisected, down to rows that are refused alone |
| a row refused alone | the row is accused: all others go; if they are refused too, another row goes alone |
| a row refused alone again, and something of its lane was accepted in between | that row fails |
| a row refused alone, and the body has no other row | it goes behind others of its lane; refused again, it fails |
| three different rows of a lane refused alone alike, and nothing accepted in between | the lane stops, nobody fails |
| refused for what all rows share | all rows fail |
| refused for an option of the lane | the lane stops until one of its batches is accepted |
| refused for the account, and the account's probe is refused too | the destination stops |
| refused for the account, and the account works | sent again later; then searched like a refusal without a name |
| the same, alike, for another lane, and nothing was accepted in between | the destination stops |
| refused by something in between, four times in a row | searched; the row waits and goes again |
| too large | halved; the destination learns the size |
| rate limit, a stopped destination | nothing is counted; the same bytes go again |
| trouble that may pass | the same bytes again, later, until the retry window is over |
| workers died while they built or read it, three times more than answers came | bisected, without being sent |

"Alike" means: the same code, and the same text without its values. A stopped lane is tried by one batch at growing
gaps, and by one row alone where rows were refused alike. An acceptance ends the stop and the doubt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from contact_ingest.model import verdicts
from contact_ingest.model.batch import Batch, BatchState, BisectState, LaneStop, NewBatch, Settlement, StopKind
from contact_ingest.model.failure import FailureReason, FailureStage
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.row_ranges import halves, rows, single_rows, size, take, union
from contact_ingest.packing.bisect import (
    after_acceptance,
    after_accusing,
    after_naming,
    after_refusal,
    alone,
    control,
    deal_out,
    has_more_bad_rows,
    is_in_doubt,
)
from contact_ingest.packing.lane_history import (
    ACCOUNT_DOUBT_MS,
    Judgement,
    LaneHistory,
    judge_row,
    likeness,
    why_in_doubt,
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

#: How often a body that something in between refuses goes again whole before it is searched.
BETWEEN_TRIES = 3

Rows = Mapping[int, verdicts.RowError]
#: A refusal that speaks of the account, or comes from something in between, and that one row may cause all the same.
Elsewhere = verdicts.Stop | verdicts.Retry


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a batch. `failed` and `again` are the rows that the verdict's errors prove; `not_found`
    counts errors that prove none. `breaker` is how the account answers, `jitter` a number from 0 to 1. `history` is
    what is known of the lane and the account. After a Stop, `account_works` says what the probe of the account came to:
    accepted, refused, or None for neither."""

    verdict: verdicts.Verdict
    failed: Rows = field(default_factory=dict)
    again: Rows = field(default_factory=dict)
    not_found: int = 0
    request_id: str = ""
    sent_bytes: int = 0
    breaker: BreakerState = field(default_factory=BreakerState)
    jitter: float = 0.5
    history: LaneHistory = field(default_factory=LaneHistory)
    account_works: bool | None = False


def is_poisoned(batch: Batch) -> bool:
    """Whether workers died over this batch so often that the batch itself is suspect."""
    return batch.claims_count - batch.attempts > POISON_CLAIMS


def isolate_poison(batch: Batch, now_ms: int) -> Settlement:
    """Bisect a poisoned batch without sending it. Each part then has as many crashes before it as the whole had."""
    reason = FailureReason(FailureCode.POISON, "workers died while sending it", FailureStage.DISPATCH, batch.number)
    answered = _answered(batch, now_ms)
    answered = replace(answered, claims_count=answered.attempts)
    failed = dict.fromkeys(_sent(batch), reason) if size(batch.bisect.sending) == 1 else {}
    return _go_on(answered, after_refusal(batch.bisect), failed=failed)


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
            return _refused(batch, answer, _reason(batch, answer, code, text), now_ms, limits, None)
        case verdicts.AllFailed(code, text):
            reason = _reason(batch, answer, code, text)
            return _go_on(answered, after_acceptance(batch.bisect), failed=dict.fromkeys(_sent(batch), reason))
        case verdicts.TooLarge():
            return _too_large(batch, answer, now_ms, limits)
        case verdicts.Limited():
            return Settlement(batch.sends(batch.bisect), refund=True)
        case verdicts.Retry(code, between=True) if batch.accused_ms or batch.failures_in_a_row >= BETWEEN_TRIES:
            reason = _reason(batch, answer, code, "refused on the way to the platform")
            known = replace(batch, accused_ms=batch.accused_ms or now_ms)
            return _refused(known, answer, reason, now_ms, limits, answer.verdict)
        case verdicts.Retry():
            return _try_again(batch, answer, answer.verdict, now_ms, limits)
        case verdicts.Stop():
            return _account_refused(batch, answer, answer.verdict, now_ms, limits)
        case verdicts.StopLane(code, why):
            blameless = replace(batch, accused_ms=0, put_behind=False)
            return _stop_lane(blameless, BisectState(batch.bisect.all), StopKind.OPTION, code, why)
        case _:
            assert_never(answer.verdict)


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
        return Settlement(followed, delay_ms=limits.poll_first_ms, accepted=True)
    forgotten = replace(followed, failures_in_a_row=0, hints_followed=0, accused_ms=0, put_behind=False)
    child = replace(forgotten, claims_count=1, code="", retry_after_given=False)
    children = (NewBatch(child, limits.poll_first_ms),)
    return replace(_go_on(answered, after_acceptance(answered.bisect), children=children), accepted=True)


def _applied(answered: Batch, answer: Answer, applied: int | None, now_ms: int, limits: TimeLimits) -> Settlement:
    """A platform without jobs: what is not named is delivered, and unattributed as far as the platform does not vouch
    for it (`applied`). Some of what is named may succeed another time."""
    failed, again = dict(answer.failed), {row: e for row, e in answer.again.items() if row not in answer.failed}
    if backoff.is_over(answered.first_ms, now_ms, limits.retry_window_ms, answer.breaker):
        failed, again = {**failed, **again}, {}
    children: tuple[NewBatch, ...] = ()
    if again:
        delay_ms = backoff.retry_ms(answered.attempts - 1, None, answer.jitter)
        children = (NewBatch(answered.part(single_rows(again)), delay_ms),)
    delivered = size(answered.bisect.sending) - len(failed) - len(again)
    unvouched = 0 if applied is None else delivered - applied
    settlement = _go_on(
        answered,
        after_acceptance(answered.bisect),
        failed=_reasons(answered, failed, FailureStage.DISPATCH, answer.request_id),
        delivered=delivered,
        unattributed=min(delivered, max(answer.not_found, unvouched)),
        children=children,
    )
    return replace(settlement, accepted=delivered > settlement.unattributed)


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
        reason = _reason(batch, answer, errors[0].code, errors[0].reason)
        return _refused(batch, answer, reason, now_ms, limits, None)
    return _go_on(replace(answered, hints_followed=batch.hints_followed + 1), alone(batch.bisect, sent[hint]))


def _refused(
    batch: Batch, answer: Answer, reason: FailureReason, now_ms: int, limits: TimeLimits, account: Elsewhere | None
) -> Settlement:
    """Refused, and nobody is named: the next step of the search. `account` is a refusal that is worded like one of the
    account's, although the account works."""
    bisect = batch.bisect
    if answer.history.stop_kind == StopKind.DOUBT:  # this batch was the trial of its lane
        return _lane_in_doubt(batch, answer, reason, now_ms)
    if size(bisect.sending) == 1:
        return _refused_alone(batch, answer, reason, now_ms, limits, account)
    answered = _answered(batch, now_ms)
    if is_in_doubt(bisect):
        return _go_on(answered, control(bisect, answer.jitter))
    if has_more_bad_rows(bisect):
        return _split(answered, deal_out(bisect), low_priority=True)
    return _go_on(answered, after_refusal(bisect))


def _accused(batch: Batch, now_ms: int) -> Batch:
    return replace(_answered(batch, now_ms), accused_ms=batch.accused_ms or now_ms)


def _refused_alone(
    batch: Batch, answer: Answer, reason: FailureReason, now_ms: int, limits: TimeLimits, account: Elsewhere | None
) -> Settlement:
    """A single row was refused, and only what came before tells whether the row is to blame: see `judge_row`."""
    bisect, accused = batch.bisect, _accused(batch, now_ms)
    doubt = likeness(reason.code, "" if account else reason.reason)
    counted = "" if batch.put_behind else doubt
    judgement = judge_row(batch, answer.history, doubt)
    match judgement:
        case Judgement.STOPS_LANE if isinstance(account, verdicts.Stop) and answer.history.lanes == 1:
            settlement = Settlement(batch.sends(batch.bisect), refund=True, stop=account)
        case Judgement.STOPS_LANE:
            settlement = _lane_in_doubt(batch, answer, reason, now_ms)
        case Judgement.ACCUSED:
            settlement = _go_on(accused, after_accusing(bisect, answer.jitter))
        case Judgement.FAILS | Judgement.PUT_BEHIND if account:
            settlement = _wait_for_account(batch, answer, account, now_ms, limits)
        case Judgement.PUT_BEHIND:
            settlement = _put_behind(accused, reason)
        case Judgement.FAILS:
            counted = "" if batch.accused_ms and size(bisect.all) == 1 else counted
            settlement = _go_on(accused, after_refusal(bisect), failed=dict.fromkeys(_sent(batch), reason))
        case _:
            assert_never(judgement)
    return replace(settlement, doubt=counted)


def _put_behind(accused: Batch, reason: FailureReason) -> Settlement:
    """All rows that are left were refused alone. They go again, each alone, behind what else the lane has."""
    first, others = take(accused.bisect.all, 1)
    left = replace(accused.bisect, sending=first, suspects=(), parked=others, accused=(), group_size=1)
    later = replace(accused.sends(left), put_behind=True, code=reason.code)
    return Settlement(later, delay_ms=backoff.BEHIND_MS)


def _lane_in_doubt(batch: Batch, answer: Answer, reason: FailureReason, now_ms: int) -> Settlement:
    """Nobody is to blame but the lane. It is tried by one row alone, another one each time."""
    accused = replace(batch, accused_ms=batch.accused_ms or now_ms)
    left = control(BisectState(batch.bisect.all, accepted=batch.bisect.accepted), answer.jitter)
    return _stop_lane(accused, left, StopKind.DOUBT, reason.code, why_in_doubt(reason.code, reason.reason))


def _stop_lane(batch: Batch, left: BisectState, kind: StopKind, code: str, why: str) -> Settlement:
    """The batch keeps all rows, and the claim counts as none. The time of the stop is no time of trying."""
    stop = LaneStop(code, why, kind, *backoff.TRIAL_MS[kind])
    return Settlement(replace(batch.sends(left), first_ms=0), refund=True, stop_lane=stop)


def _account_refused(batch: Batch, answer: Answer, stop: verdicts.Stop, now_ms: int, limits: TimeLimits) -> Settlement:
    """Refused in words that concern the account. If the account is refused itself, or a body of another lane was
    refused alike, the destination stops. Otherwise this body is the matter: it is sent again, then searched."""
    doubt, history = likeness(stop.code, ""), answer.history
    is_alike = history.account_doubt == doubt and now_ms - history.account_ms < ACCOUNT_DOUBT_MS
    if answer.account_works is False or (answer.account_works and is_alike and history.account_lane != batch.lane):
        return Settlement(batch.sends(batch.bisect), refund=True, stop=stop)
    if answer.account_works is None:
        return _try_again(batch, answer, verdicts.Retry(stop.code), now_ms, limits)
    if batch.accused_ms or size(batch.bisect.sending) == 1:
        settlement = _refused(batch, answer, _reason(batch, answer, stop.code, stop.why), now_ms, limits, stop)
    else:
        settlement = _try_again(_accused(batch, now_ms), answer, verdicts.Retry(stop.code), now_ms, limits)
    return replace(settlement, account_doubt=doubt)


def _wait_for_account(batch: Batch, answer: Answer, stop: Elsewhere, now_ms: int, limits: TimeLimits) -> Settlement:
    """One row is refused in words that concern the account, and others are accepted. The row goes again at growing
    gaps until the retry window is over; the other rows of the body do not wait for it."""
    bisect, retry = batch.bisect, verdicts.Retry(stop.code)
    waiting = replace(batch, accused_ms=batch.accused_ms or now_ms, put_behind=True)
    if size(bisect.all) == 1:
        return _try_again(waiting, answer, retry, now_ms, limits)
    accused = _accused(batch, now_ms)
    part = replace(accused.part(bisect.sending), accused_ms=accused.accused_ms, code=stop.code)
    child = replace(part, put_behind=True, failures_in_a_row=1)
    delay_ms = backoff.retry_ms(1, None, answer.jitter)
    return _go_on(accused, after_refusal(bisect), children=(NewBatch(child, delay_ms),))


def _too_large(batch: Batch, answer: Answer, now_ms: int, limits: TimeLimits) -> Settlement:
    bisect = batch.bisect
    if size(bisect.sending) == 1:
        reason = FailureReason(
            FailureCode.TOO_LARGE, "the platform refuses its size", FailureStage.DISPATCH, None, answer.request_id
        )
        if answer.sent_bytes <= SMALLEST_CAP:  # no size that a platform refuses by itself
            return _refused(batch, answer, reason, now_ms, limits, None)
        return _go_on(_answered(batch, now_ms), after_refusal(bisect), failed=dict.fromkeys(_sent(batch), reason))
    parts = (*halves(bisect.sending), union(bisect.suspects, bisect.parked, bisect.accused))
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
    low = low_priority or batch.low_priority
    blank = Batch(0, batch.lane, batch.root, BisectState(()), low_priority=low, accused_ms=batch.accused_ms)
    children = tuple(NewBatch(blank.sends(part)) for part in parts)
    return Settlement(replace(batch, bisect=BisectState(()), state=BatchState.DONE), children=children)
