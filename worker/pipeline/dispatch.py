"""Sending batches: permit, claim, exchange, verdict, rows, decision, settlement, in one line.

1. A permit of the shared limiter, then a claim: the batch is leased, its fence moves on.
2. The exact stored bytes go out, and the reply is read as a verdict.
3. The rows that the verdict's errors prove are located among the rows that were sent.
4. `decide` turns all that into a settlement, and one script writes it down.

A claim that lapses was a crash: the batch is due again by itself. What the answers mean is in decide.py.
"""

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from contact_ingest.errors import FateUnknown, KeysLost, NoToken, StaleFence, TransportError, is_defect
from contact_ingest.failpoints import failpoint
from contact_ingest.model import verdicts
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.http_message import Response
from contact_ingest.model.lane import Lane
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.pipeline.decide import POISON_CLAIMS, Answer, decide, is_poisoned, isolate_poison
from contact_ingest.pipeline.exchange import Exchanger, Prober
from contact_ingest.pipeline.settle import Settler, locate_rows, run_for_slice
from contact_ingest.providers.base import ImportJobs, Provider
from contact_ingest.store.batches import BatchStore, Claim, NoClaim
from contact_ingest.store.rate_limiter import BreakerState, Permit
from contact_ingest.store.schedule import WakeUp

STAGE = "dispatch"
_REQUEST_ID_HEADERS = ("x-request-id", "x-message-id", "x-amzn-requestid", "x-amz-apigw-id", "x-amzn-trace-id")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=;:/-]")


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Sends the batches of one destination."""

    batch_store: BatchStore
    provider: Provider
    exchanger: Exchanger
    prober: Prober
    settler: Settler
    limits: TimeLimits

    def run_for_slice(self, destination: str) -> tuple[WakeUp, ...]:
        """Send due batches while the limiter permits, for about a second; returns the wake-ups to send."""
        return run_for_slice(self.dispatch, destination)

    def dispatch(self, destination: str, *, consume_wakeup: bool = True) -> tuple[WakeUp, ...]:
        """Send one due batch, if the limiter permits; returns the wake-ups to send."""
        limiter = self.exchanger.rate_limiter
        permit = limiter.acquire("upsert")
        if not permit.granted:
            return self.prober.wait_or_ask(STAGE, permit, destination)
        claimed_s = time.monotonic()
        claim = self.batch_store.claim(STAGE, consume_wakeup=consume_wakeup)
        if isinstance(claim, NoClaim):
            limiter.release(permit)
            return self.prober.ask_after_stop(STAGE, claim, destination) if claim.why == "probe" else ()
        failpoint("dispatch.claimed")
        try:
            if is_poisoned(claim.batch):
                limiter.release(permit)
                self.settler.settle(claim.batch, isolate_poison(claim.batch, claim.now_ms), claim.now_ms)
            else:
                answer = self._send(claim, permit, claimed_s)
                settlement = decide(claim.batch, answer, claim.now_ms, self.limits)
                self.settler.settle(claim.batch, settlement, claim.now_ms, answer.sent_bytes)
        except StaleFence:
            return ()  # the lease lapsed, and the worker that took the batch over goes on with it
        except KeysLost as lost:
            limiter.release(permit)  # no harm where it was reported
            self._settle_lost(claim, lost)
        except Exception as problem:
            if not is_defect(problem):
                raise
            limiter.release(permit)  # no harm where it was reported
            self._survive_bug(claim, problem)
        failpoint("dispatch.settled")
        return (WakeUp(STAGE, destination),)

    def _send(self, claim: Claim, permit: Permit, claimed_s: float) -> Answer:
        """Send the rows that are next, and read the reply."""
        batch = claim.batch
        lane = Lane.of(batch.lane, self.batch_store.options(batch.lane))
        request = self.provider.upsert(lane, self.batch_store.contacts(batch, batch.bisect.sending))
        # One more death would make the batch poisoned. A death while the request is out says nothing of the bytes.
        suspect = batch.claims_count - batch.attempts >= POISON_CLAIMS
        if suspect:
            self.batch_store.note_phase(batch, "sent")
        reply = self.exchanger.send(request, permit, claimed_s)
        failpoint("dispatch.sent")
        if suspect:
            self.batch_store.note_phase(batch, "replied")
        verdict = self._read(reply)
        if isinstance(verdict, verdicts.Limited) and isinstance(reply, Response):
            self.exchanger.limited(STAGE, permit, reply, verdict.after_s)
        failed, not_found = locate_rows(self.batch_store, self.provider, batch, _failed_errors(verdict))
        again_errors = verdict.again if isinstance(verdict, verdicts.Done) else ()
        again, again_not_found = locate_rows(self.batch_store, self.provider, batch, again_errors)
        works = self._account_works(verdict) if isinstance(reply, Response) else False
        needs_breaker = bool(again) or isinstance(verdict, verdicts.Retry | verdicts.Named | verdicts.Stop)
        return Answer(
            verdict,
            failed,
            again,
            not_found + again_not_found,
            _request_id(reply) if isinstance(reply, Response) else "",
            request.length,
            self.exchanger.breaker.state() if needs_breaker else BreakerState(),
            random.random(),
            claim.history,
            works,
        )

    def _account_works(self, verdict: verdicts.Verdict) -> bool | None:
        """What the account's probe says after a refusal that concerns the account: one body may be refused like that
        by something on the way, such as a firewall. None if the probe decides nothing."""
        if not isinstance(verdict, verdicts.Stop):
            return None
        return self.prober.account_works()

    def _read(self, reply: Response | TransportError) -> verdicts.Verdict:
        if isinstance(reply, Response):
            verdict = self.provider.read_upsert(reply, self.exchanger.clock.wall_ms() / 1000)
            if isinstance(verdict, verdicts.Pending) and not isinstance(self.provider, ImportJobs):
                raise TypeError("a provider said Pending, and offers no ImportJobs")  # nobody would poll the batch
            return verdict
        if isinstance(reply, NoToken) and reply.refused:
            return verdicts.Stop(FailureCode.UNAUTHORIZED, "the credentials were refused a token")
        return verdicts.Retry(reply.reason, unknown=isinstance(reply, FateUnknown))

    def _settle_lost(self, claim: Claim, lost: KeysLost) -> None:
        try:
            self.settler.settle_lost(claim.batch, lost, claim.now_ms)
        except StaleFence:
            return  # the worker that took the batch over goes on with it

    def _survive_bug(self, claim: Claim, problem: Exception) -> None:
        """Our own code, or the provider's, failed over the request or its reply. That is no crash of a worker, so it
        must not end as poison: the same bytes go again at growing gaps, and `status` says why."""
        self.settler.log_bug(claim.batch, problem)
        breaker = self.exchanger.breaker.state()
        answer = Answer(verdicts.Retry(FailureCode.INTERNAL, unknown=True), breaker=breaker, jitter=random.random())
        try:
            self.settler.settle(claim.batch, decide(claim.batch, answer, claim.now_ms, self.limits), claim.now_ms)
        except StaleFence:
            return  # the worker that took the batch over goes on with it


def _failed_errors(verdict: verdicts.Verdict) -> Sequence[verdicts.RowError]:
    return verdict.failed if isinstance(verdict, verdicts.Done | verdicts.Named) else ()


def _request_id(response: Response) -> str:
    """What the platform calls this request, made safe for a log line."""
    found = next((response.headers[name] for name in _REQUEST_ID_HEADERS if name in response.headers), "")
    return _UNSAFE.sub("", found)[:100]
