"""One HTTP exchange under a permit, and asking whether a platform works again.

The rate limiter and the circuit breaker hear of every exchange that the platform had a part in. A defect of our own is
no silence of the platform: its permit is given back. Nothing here reads a verdict.
"""

import time
from dataclasses import dataclass

from contact_ingest.errors import FateUnknown, NoToken, NotSent, TransportError, is_defect, log_defect
from contact_ingest.model import verdicts
from contact_ingest.model.failure_codes import FailureCode, is_own_reason
from contact_ingest.model.http_message import RateHeaders, Request, Response, rate_headers
from contact_ingest.providers.base import Provider
from contact_ingest.store.batches import BatchStore, NoClaim
from contact_ingest.store.clock import Clock
from contact_ingest.store.rate_limiter import CircuitBreaker, Permit, RateLimiter, Result
from contact_ingest.store.schedule import DestinationState, Schedule, WakeUp
from contact_ingest.transport.auth import AuthenticatedClient

#: How long to wait while somebody else asks, or while the request that would ask has to wait itself, ms.
ASKING_MS = 500


@dataclass(frozen=True, slots=True)
class Exchanger:
    """Sends requests of one destination. `deadline_s` bounds one exchange with all that it takes."""

    http_client: AuthenticatedClient
    rate_limiter: RateLimiter
    breaker: CircuitBreaker
    clock: Clock
    schedule: Schedule
    deadline_s: float

    def send(
        self, request: Request, permit: Permit | None, claimed_s: float | None = None
    ) -> Response | TransportError:
        """Send a request and report what came of it to the limiter.

        The deadline runs from `claimed_s`, a moment of the monotonic clock before the claim: a process that was frozen
        beyond its lease must send nothing when it wakes. A reply with status 429 is reported by `limited`."""
        spent_s = 0.0 if claimed_s is None else time.monotonic() - claimed_s
        left_s = max(0.0, self.deadline_s - spent_s)
        try:
            response = self.http_client.exchange(request, deadline_s=left_s)
        except TransportError as problem:
            self._report_problem(permit, problem, is_late=not left_s)
            return problem
        except Exception as bug:  # of the provider, which signs the request: nothing has been sent with this signature
            if not is_defect(bug):
                raise
            own = NotSent(FailureCode.INTERNAL)
            self._report_problem(permit, own, is_late=False)
            log_defect("a defect before a request", bug)
            return own
        if permit is not None and response.status != 429:
            result: Result = "failed" if is_in_trouble(response) else "answered"
            self.rate_limiter.report(permit, self._rate(response), result=result)
        return response

    def ask(self, request: Request) -> Response | TransportError | None:
        """Send a cheap request that concerns no batch, under a permit of its own. None if there is no permit now.

        Such a request may be the one that finds out whether a silent platform answers again."""
        permit = self.rate_limiter.acquire(request.endpoint, asks=True)
        if not permit.granted:
            return None
        reply = self.send(request, permit)
        if isinstance(reply, Response) and reply.status == 429:
            rate = self._rate(reply)
            self.rate_limiter.report(permit, rate, result="refused", after_s=rate.retry_after_s)
        return reply

    def limited(self, stage: str, permit: Permit, response: Response, after_s: float | None) -> None:
        """The platform refused by its rate limit: the stage waits, at every worker."""
        blocked_ms = self.rate_limiter.report(permit, self._rate(response), result="refused", after_s=after_s)
        self.schedule.defer(stage, blocked_ms)

    def _report_problem(self, permit: Permit | None, problem: TransportError, *, is_late: bool) -> None:
        if permit is None:
            return
        if is_late or is_own_reason(problem.reason) or (isinstance(problem, NoToken) and problem.refused):
            self.rate_limiter.release(permit)
        else:
            result: Result = "failed" if isinstance(problem, FateUnknown) else "unsent"
            self.rate_limiter.report(permit, RateHeaders(), result=result)

    def _rate(self, response: Response) -> RateHeaders:
        return rate_headers(response.headers, self.clock.wall_ms() / 1000)


@dataclass(frozen=True, slots=True)
class Prober:
    """Asks, with one cheap request, whether a platform works again: after an outage, and after a stop. No body goes out
    before the platform has answered."""

    exchanger: Exchanger
    batch_store: BatchStore
    provider: Provider
    state: DestinationState

    def wait_or_ask(self, stage: str, permit: Permit, destination: str) -> tuple[WakeUp, ...]:
        """No permit was granted, so the stage waits. Where the breaker is half-open, this worker asks first; if the
        platform answers, what waits is due at once."""
        schedule = self.exchanger.schedule
        if permit.asks_first and self._answers():
            schedule.make_due_now()
            return (WakeUp(stage, destination),)
        schedule.defer(stage, ASKING_MS if permit.asks_first else permit.wait_ms)
        return ()

    def ask_after_stop(self, stage: str, claim: NoClaim, destination: str) -> tuple[WakeUp, ...]:
        """A stopped destination is asked whether it accepts requests again. `claim` is the claim of this question."""
        reply = self.exchanger.ask(self.provider.probe())
        self.batch_store.release_claim(claim.token)
        if isinstance(reply, Response) and 200 <= reply.status < 300:
            self.state.go_on()
            return (WakeUp(stage, destination),)
        if reply is not None:
            state = self.state.read()
            self.state.stop(state.get("code", FailureCode.STOPPED), state.get("why", ""), probed=True)
        return ()

    def account_works(self) -> bool | None:
        """Whether the platform accepts the account, as one probe tells now; None if the probe decides nothing."""
        reply = self.exchanger.ask(self.provider.probe())
        if not isinstance(reply, Response):
            return None
        read = self.provider.read_probe(reply, self.exchanger.clock.wall_ms() / 1000)
        return isinstance(read, verdicts.Healthy) if isinstance(read, verdicts.Healthy | verdicts.Stop) else None

    def _answers(self) -> bool:
        reply = self.exchanger.ask(self.provider.probe())
        return isinstance(reply, Response) and not is_in_trouble(reply)


def is_in_trouble(response: Response) -> bool:
    """Whether a reply says that the platform, not the request, is the matter."""
    return response.status >= 500 or response.status == 408
