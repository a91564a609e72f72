"""Sending batches, and the life of one that is refused.

1. A permit of the shared limiter, then a claim: the batch is leased, its fence moves on.
2. The exact stored bytes go out. The reply becomes a verdict; the verdict becomes a plan; one script writes it down.
3. Taken in: the rows wait for the platform's job. Named: those rows fail, all others go again at once. Refused without
   a name: halves are probed until one record is proved bad alone; what was set aside goes as one body. Too large:
   halved. Limited: nobody's fault, nothing is counted. Everything else that may pass: the same bytes again, later.
4. A claim that lapses was a crash: the batch is due again by itself. Three crashes more than answers are poison, and
   are searched like a refusal.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from contact_ingest.errors import BUGS, StaleFence
from contact_ingest.failpoints import failpoint
from contact_ingest.model import verdicts
from contact_ingest.model.http_message import Response
from contact_ingest.packing.bisect import (
    BisectState,
    after_acceptance,
    after_naming,
    alone,
    bisect_fields,
    rows,
    size,
    union,
)
from contact_ingest.pipeline.probing import probe, wait_or_ask
from contact_ingest.pipeline.searching import Searching
from contact_ingest.pipeline.settle import Desk, backoff_ms, request_id, run_for_slice
from contact_ingest.store.batches import Batch, NewBatch, NoClaim, Settlement
from contact_ingest.store.failures import FailureReason
from contact_ingest.store.rate_limiter import Permit
from contact_ingest.store.schedule import WakeUp

#: Crashes of a worker with a batch in hand, beyond the answers it got, that make the batch suspect.
POISON = 3
#: Hints (a row number, no address) that are followed before a plain search.
MAX_HINTS = 3
#: Refusals of a custom field id that may be a field too new to be known everywhere, and the pause between tries.
FIELD_RETRIES = 3
FIELD_WAIT_S = 3.0

Errors = Sequence[verdicts.RowError]


class Dispatcher:
    """Sends the batches of one destination."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._search = Searching(desk)
        self._name = "dispatch"

    def run_for_slice(self, destination: str) -> tuple[WakeUp, ...]:
        """Send due batches while the limiter permits and each is quick; returns the bells to ring."""
        return run_for_slice(self.dispatch, destination)

    def dispatch(self, destination: str, *, consume_wakeup: bool = True) -> tuple[WakeUp, ...]:
        """Send one due batch, if the limiter permits; returns the bells to ring."""
        desk = self._desk
        permit = desk.rate_limiter.acquire("upsert")
        if not permit.granted:
            return wait_or_ask(desk, self._name, permit, destination)
        claimed_s = time.monotonic()
        claim = desk.batch_store.claim(self._name, consume_wakeup=consume_wakeup)
        if isinstance(claim, NoClaim):
            desk.rate_limiter.release(permit)
            return probe(desk, self._name, claim, destination) if claim.why == "probe" else ()
        failpoint("dispatch.claimed")
        try:
            self._send(claim, permit, claimed_s)
        except StaleFence:
            return ()  # the lease lapsed, and whoever took the batch over goes on with it
        except BUGS as problem:
            self._log_bug(claim, problem)
        failpoint("dispatch.settled")
        return (WakeUp(self._name, destination),)

    def _send(self, claim: Batch, permit: Permit, claimed_s: float) -> None:
        desk = self._desk
        if claim.count("claims_count") - claim.count("attempts") > POISON:
            desk.rate_limiter.release(permit)
            self._search.poisoned(claim)
            return
        request = desk.provider.upsert(desk.lane(claim), desk.batch_store.contacts(claim, claim.search.send))
        reply = desk.exchange(request, permit, claimed_s)
        failpoint("dispatch.sent")
        verdict = desk.verdict(reply)
        if isinstance(verdict, verdicts.Limited) and isinstance(reply, Response):
            desk.limited(self._name, permit, reply, verdict.after_s)
        claim.fields["sent_bytes"] = str(request.length)
        self._settle(claim, verdict, request_id(reply) if isinstance(reply, Response) else "")

    def _log_bug(self, claim: Batch, problem: Exception) -> None:
        """Our own code, or the provider's, has failed over the request or its reply. That is no crash of a worker, so
        it must not end as poison: the same bytes go again at growing gaps, and `status` says why."""
        self._desk.log_bug(claim, problem)
        with suppress(StaleFence):
            self._retry(claim, verdicts.Retry("internal", unknown=True), "")

    def _settle(self, batch: Batch, verdict: verdicts.Verdict, request: str) -> None:
        """Write down what a verdict means for the batch."""
        search = batch.search
        match verdict:
            case verdicts.Pending(job):
                self._taken_in(batch, search, job, request)
            case verdicts.Done(failed, again):
                self._applied(batch, (failed, again), request)
            case verdicts.AllFailed(code, reason):
                why = FailureReason(code, reason, self._name, batch.number, request)
                self._search.go_on(batch, after_acceptance(search), Settlement(), dict.fromkeys(rows(search.send), why))
            case verdicts.Named(failed):
                self._named(batch, search, failed, request)
            case verdicts.Rejected(code, reason):
                self._search.refused(batch, FailureReason(code, reason, self._name, batch.number, request))
            case verdicts.TooLarge():
                self._search.too_large(batch, request)
            case verdicts.Limited():
                self._again(batch, Settlement(refund=True))
            case verdicts.Retry():
                self._retry(batch, verdict, request)
            case verdicts.Stop(code, why):
                self._desk.schedule.stop(code, why)
                self._again(batch, Settlement(refund=True))

    def _taken_in(self, batch: Batch, search: BisectState, job: str, request: str) -> None:
        follow = {
            **self._search.counted(batch),
            **bisect_fields(BisectState(search.send)),
            "state": "polling",
            "job": job,
            "sent_ms": batch.now_ms,
            "sent_bytes": batch.fields["sent_bytes"],
            "request_id": request,
        }
        first = self._desk.policy.poll_first_ms
        if search.is_plain:
            self._desk.batch_store.settle(batch, Settlement(set=follow, zset=batch.queue("poll"), delay_ms=first))
            return
        child = NewBatch(
            {**follow, "claims_count": 1, "low_priority": batch.count("low_priority")}, batch.queue("poll"), first
        )
        self._search.go_on(batch, after_acceptance(search), Settlement(children=[child]))

    def _applied(self, batch: Batch, named: tuple[Errors, Errors], request: str) -> None:
        """A platform without jobs: what is not named is delivered. Some of what is named may succeed another time."""
        failed, again = (self._desk.locate(batch, errors, self._name, request) for errors in named)
        if self._is_over(batch):
            failed, again = {**failed, **again}, {}
        search = batch.search
        plan = Settlement(
            delivered=size(search.send) - len(failed.keys() | again.keys()),
            unattributed=sum(not found for found in self._desk.places(batch, named[0])),
        )
        left = tuple((row, row + 1) for row in sorted(again.keys() - failed.keys()))
        if left:
            fields = {**self._search.counted(batch), **bisect_fields(BisectState(union(left))), "state": "ready"}
            wait_ms = backoff_ms(batch.count("attempts"), None)
            fields |= {"claims_count": batch.count("attempts") + 1, "low_priority": batch.count("low_priority")}
            plan.children = [NewBatch(fields, batch.queue("dispatch"), wait_ms)]
        self._search.go_on(batch, after_acceptance(search), plan, failed)

    def _named(self, batch: Batch, search: BisectState, failed: Sequence[verdicts.RowError], request: str) -> None:
        if any(error.fields for error in failed) and batch.count("attempts") < FIELD_RETRIES:
            # A field created a moment ago is unknown for some seconds; one deleted shows by the same words.
            self._desk.batch_store.forget_fields()
            self._retry(batch, verdicts.Retry("unknown_field_id", after_s=FIELD_WAIT_S), request)
            return
        reasons_by_row = self._desk.locate(batch, failed, self._name, request)
        if reasons_by_row:
            self._search.go_on(batch, after_naming(search, list(reasons_by_row)), Settlement(), reasons_by_row)
            return
        first = failed[0]
        why = FailureReason(first.code, first.reason, self._name, batch.number, request)
        hint = next((error.hint for error in failed if error.hint is not None), None)
        numbers = list(rows(search.send))
        if hint is None or hint >= len(numbers) or len(numbers) == 1 or batch.count("hints_followed") >= MAX_HINTS:
            self._search.refused(batch, why)
            return
        self._search.go_on(
            batch, alone(search, numbers[hint]), Settlement(set={"hints_followed": batch.count("hints_followed") + 1})
        )

    def _retry(self, batch: Batch, verdict: verdicts.Retry, request: str) -> None:
        orphan_ms = self._desk.batch_store.terms.orphan_ms if verdict.unknown else 0
        if self._is_over(batch):
            reason = f"gave up after {batch.count('attempts') + 1} attempts, the last one: {verdict.code}"
            why = FailureReason("gave_up", reason, self._name, batch.number, request)
            plan = Settlement(orphan_ms=orphan_ms)
            self._search.go_on(batch, BisectState(()), plan, dict.fromkeys(rows(batch.search.all), why))
            return
        # Not by attempts: the answers of a search are no setbacks, and one in the midst of it must not cost an hour.
        failures_in_a_row = batch.count("failures_in_a_row")
        wait_ms = self._desk.pause_ms("upsert", failures_in_a_row, verdict.after_s)
        told = int(bool(verdict.after_s))
        fields = {
            "code": verdict.code,
            "request_id": request,
            "retry_after_given": told,
            "failures_in_a_row": failures_in_a_row + 1,
        }
        self._again(
            batch, Settlement(set={**self._search.counted(batch), **fields}, delay_ms=wait_ms, orphan_ms=orphan_ms)
        )

    def _is_over(self, batch: Batch) -> bool:
        """Whether the same bytes have been sent again for long enough, while the platform was there."""
        first_ms = batch.count("first_ms") or batch.now_ms
        return self._desk.is_over(first_ms, batch.now_ms, self._desk.policy.retry_window_ms)

    def _again(self, batch: Batch, plan: Settlement) -> None:
        """The same bytes, later."""
        plan.set = {"state": "ready", **plan.set}
        plan.zset = batch.queue("dispatch")
        self._desk.batch_store.settle(batch, plan)
