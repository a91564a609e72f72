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
from typing import Any

from worker import outcome
from worker.errors import DEFECTS, StaleFence
from worker.settling import Desk, backoff_ms, request_id
from worker.steps import step
from worker.store.failures import Why
from worker.store.ledger import Batch, Child, Idle, Plan, search_fields
from worker.store.schedule import Bell
from worker.store.throttle import Permit
from worker.views import Search, after_acceptance, after_naming, after_refusal, alone, halves, rows, size, slices, union
from worker.wire import Response

#: One task goes on to the next batch as long as this: small requests follow each other without a bell for each.
STRETCH_S = 1.0
#: Crashes of a worker with a batch in hand, beyond the answers it got, that make the batch suspect.
POISON = 3
#: Requests for one root after which what is left goes behind fresh traffic.
PATIENCE = 200
#: Hints (a row number, no address) that are followed before a plain search.
MAX_HINTS = 3
#: Refusals of a custom field id that may be a field too new to be known everywhere, and the pause between tries.
FIELD_RETRIES = 3
FIELD_WAIT_S = 3.0
#: A cap learned from refusals never goes below this.
SMALLEST_CAP = 65_536

Errors = Sequence[outcome.RowError]


class Delivery:
    """Sends the batches of one destination."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._name = "dispatch"

    def stretch(self, destination: str) -> tuple[Bell, ...]:
        """Send due batches while the limiter permits and each is quick; returns the bells to ring."""
        ends_s = time.monotonic() + STRETCH_S
        while bells := self.dispatch(destination):
            if time.monotonic() >= ends_s:
                return bells
        return ()

    def dispatch(self, destination: str) -> tuple[Bell, ...]:
        """Send one due batch, if the limiter permits; returns the bells to ring."""
        desk = self._desk
        permit = desk.throttle.acquire("upsert")
        if not permit.granted:
            desk.schedule.defer(self._name, permit.wait_ms)
            return ()
        claimed_s = time.monotonic()
        claim = desk.ledger.claim(self._name)
        if isinstance(claim, Idle):
            desk.throttle.release(permit)
            return self._probe(claim, destination) if claim.why == "probe" else ()
        step("dispatch.claimed")
        try:
            self._send(claim, permit, claimed_s)
        except StaleFence:
            return ()  # the lease lapsed, and whoever took the batch over goes on with it
        except DEFECTS as problem:
            self._puzzled(claim, problem)
        step("dispatch.settled")
        return (Bell(self._name, destination),)

    def _send(self, claim: Batch, permit: Permit, claimed_s: float) -> None:
        desk = self._desk
        if claim.count("deliveries") - claim.count("attempts") > POISON:
            desk.throttle.release(permit)
            self._poisoned(claim)
            return
        body, offsets = desk.ledger.body(claim)
        request = desk.provider.upsert(desk.lane(claim), slices(body, offsets, claim.search.send))
        del body
        reply = desk.exchange(request, permit, claimed_s)
        step("dispatch.sent")
        verdict = desk.verdict(reply)
        if isinstance(verdict, outcome.Limited) and isinstance(reply, Response):
            desk.limited(self._name, permit, reply, verdict.after_s)
        claim.fields["sent_bytes"] = str(request.length)
        self._settle(claim, verdict, request_id(reply) if isinstance(reply, Response) else "")

    def _puzzled(self, claim: Batch, problem: Exception) -> None:
        """Our own code, or the provider's, has failed over the request or its reply. That is no crash of a worker, so
        it must not end as poison: the same bytes go again at growing gaps, and `status` says why."""
        self._desk.puzzled(claim, problem)
        with suppress(StaleFence):
            self._retry(claim, outcome.Retry("internal", unknown=True), "")

    def _probe(self, claim: Idle, destination: str) -> tuple[Bell, ...]:
        """A stopped destination is asked whether it works again, with one cheap request."""
        desk = self._desk
        reply = desk.exchange(desk.provider.probe(), None)
        desk.ledger.let_go(claim.token)
        if isinstance(reply, Response) and 200 <= reply.status < 300:
            desk.schedule.resume(None)
            return (Bell(self._name, destination),)
        state = desk.schedule.state()
        desk.schedule.stop(state.get("code", "stopped"), state.get("why", ""), probed=True)
        return ()

    def _settle(self, batch: Batch, verdict: outcome.Verdict, request: str) -> None:
        """Write down what a verdict means for the batch."""
        search = batch.search
        match verdict:
            case outcome.Pending(job):
                self._taken_in(batch, search, job, request)
            case outcome.Done(failed, again):
                self._applied(batch, (failed, again), request)
            case outcome.AllFailed(code, reason):
                why = Why(code, reason, self._name, batch.number, request)
                self._go_on(batch, after_acceptance(search), Plan(), dict.fromkeys(rows(search.send), why))
            case outcome.Named(failed):
                self._named(batch, search, failed, request)
            case outcome.Rejected(code, reason):
                self._refused(batch, search, Why(code, reason, self._name, batch.number, request))
            case outcome.TooLarge():
                self._too_large(batch, search, request)
            case outcome.Limited():
                self._again(batch, Plan(refund=True))
            case outcome.Retry():
                self._retry(batch, verdict, request)
            case outcome.Stop(code, why):
                self._desk.schedule.stop(code, why)
                self._again(batch, Plan(refund=True))

    def _taken_in(self, batch: Batch, search: Search, job: str, request: str) -> None:
        follow = {
            **self._counted(batch),
            **search_fields(Search(search.send)),
            "state": "polling",
            "job": job,
            "sent_ms": batch.now_ms,
            "sent_bytes": batch.fields["sent_bytes"],
            "request_id": request,
        }
        first = self._desk.policy.poll_first_ms
        if search.is_plain:
            self._desk.ledger.settle(batch, Plan(set=follow, zset="polls", delay_ms=first))
            return
        child = Child({**follow, "deliveries": 1}, "polls", first)
        self._go_on(batch, after_acceptance(search), Plan(children=[child]))

    def _applied(self, batch: Batch, named: tuple[Errors, Errors], request: str) -> None:
        """A platform without jobs: what is not named is delivered. Some of what is named may succeed another time."""
        failed, again = (self._desk.locate(batch, errors, self._name, request) for errors in named)
        if self._desk.is_over(batch):
            failed, again = {**failed, **again}, {}
        search = batch.search
        plan = Plan(
            delivered=size(search.send) - len(failed.keys() | again.keys()),
            unattributed=sum(not found for found in self._desk.places(batch, named[0])),
        )
        left = tuple((row, row + 1) for row in sorted(again.keys() - failed.keys()))
        if left:
            fields = {**self._counted(batch), **search_fields(Search(union(left))), "state": "ready"}
            wait_ms = backoff_ms(batch.count("attempts"), None)
            plan.children = [Child({**fields, "deliveries": batch.count("attempts") + 1}, "due", wait_ms)]
        self._go_on(batch, after_acceptance(search), plan, failed)

    def _named(self, batch: Batch, search: Search, failed: Sequence[outcome.RowError], request: str) -> None:
        if any(error.fields for error in failed) and batch.count("attempts") < FIELD_RETRIES:
            # A field created a moment ago is unknown for some seconds; one deleted shows by the same words.
            self._desk.ledger.forget_fields()
            self._retry(batch, outcome.Retry("unknown_field_id", after_s=FIELD_WAIT_S), request)
            return
        whys = self._desk.locate(batch, failed, self._name, request)
        if whys:
            self._go_on(batch, after_naming(search, list(whys)), Plan(), whys)
            return
        first = failed[0]
        why = Why(first.code, first.reason, self._name, batch.number, request)
        hint = next((error.hint for error in failed if error.hint is not None), None)
        numbers = list(rows(search.send))
        if hint is None or hint >= len(numbers) or len(numbers) == 1 or batch.count("hints") >= MAX_HINTS:
            self._refused(batch, search, why)
            return
        self._go_on(batch, alone(search, numbers[hint]), Plan(set={"hints": batch.count("hints") + 1}))

    def _refused(self, batch: Batch, search: Search, why: Why) -> None:
        """Nobody is failed unproved: only a row that was refused alone is."""
        whys = dict.fromkeys(rows(search.send), why) if size(search.send) == 1 else {}
        self._go_on(batch, after_refusal(search), Plan(), whys)

    def _poisoned(self, batch: Batch) -> None:
        """Searched like a refusal, unsent; each part then has as many crashes before it as the whole had."""
        why = Why("poison", "workers died while sending it", self._name, batch.number)
        fresh = Plan(set={"deliveries": batch.count("attempts") + 1})
        whys = dict.fromkeys(rows(batch.search.send), why) if size(batch.search.send) == 1 else {}
        self._go_on(batch, after_refusal(batch.search), fresh, whys)

    def _too_large(self, batch: Batch, search: Search, request: str) -> None:
        if size(search.send) == 1:
            self._refused(batch, search, Why("too_large", "the platform refuses its size", self._name, None, request))
            return
        self._desk.schedule.learn_cap(max(SMALLEST_CAP, batch.count("sent_bytes") // 2))
        parts = [*halves(search.send), union(search.rest, search.aside)]
        children = [Child({**search_fields(Search(part)), "state": "ready"}, "due") for part in parts if part]
        self._desk.ledger.settle(batch, Plan(set={"rows": 0}, ended=True, refund=True, children=children))

    def _retry(self, batch: Batch, verdict: outcome.Retry, request: str) -> None:
        orphan_ms = self._desk.ledger.terms.orphan_ms if verdict.unknown else 0
        if self._desk.is_over(batch):
            reason = f"gave up after {batch.count('attempts') + 1} attempts, the last one: {verdict.code}"
            why = Why("gave_up", reason, self._name, batch.number, request)
            plan = Plan(orphan_ms=orphan_ms)
            self._go_on(batch, Search(()), plan, dict.fromkeys(rows(batch.search.all), why))
            return
        wait_ms = backoff_ms(batch.count("attempts"), verdict.after_s)
        fields = {"code": verdict.code, "request_id": request}
        self._again(batch, Plan(set={**self._counted(batch), **fields}, delay_ms=wait_ms, orphan_ms=orphan_ms))

    def _again(self, batch: Batch, plan: Plan) -> None:
        """The same bytes, later."""
        plan.set = {"state": "ready", **plan.set}
        self._desk.ledger.settle(batch, plan)

    def _go_on(self, batch: Batch, left: Search, plan: Plan, whys: dict[int, Why] | None = None) -> None:
        """Settle what is known, and send what is left at once; behind fresh traffic once it has taken many requests."""
        plan.set = {**self._counted(batch), **search_fields(left), "state": "ready", **plan.set}
        plan.ended = size(left.send) == 0
        plan.zset = "later" if int(batch.root_fields.get("requests", 0)) > PATIENCE else "due"
        self._desk.fail(batch, whys or {}, plan)
        if plan.ended and not plan.children:
            self._desk.report(batch, plan, len(whys or {}), batch.count("created_ms"))

    def _counted(self, batch: Batch) -> dict[str, Any]:
        """An answer came, or the exchange came to an end we saw."""
        first_ms = batch.count("first_ms") or batch.now_ms
        return {"attempts": batch.count("attempts") + 1, "first_ms": first_ms}
