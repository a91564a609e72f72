"""What sending and following share: one exchange under a permit, failing rows with their records, one log line.

The desk of one destination holds its parts; it decides nothing.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from contact_ingest.errors import BUGS, FateUnknown, NoToken, TransportError, describe_bug
from contact_ingest.model.http_message import RateHeaders, Request, Response, rate_headers
from contact_ingest.model.identity import digests, identities
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import Retry, RowError, Stop, Verdict
from contact_ingest.packing.bisect import BisectState, bisect_fields, rows, size, without
from contact_ingest.providers.base import Provider
from contact_ingest.store.batches import Batch, BatchStore, Settlement
from contact_ingest.store.failures import FailedRecord, FailureReason, failure
from contact_ingest.store.rate_limiter import Permit, RateLimiter
from contact_ingest.store.schedule import Schedule, WakeUp
from contact_ingest.transport.auth import AuthenticatedClient

log = logging.getLogger("contact_ingest.batches")

#: One task goes on to the next batch as long as this: small exchanges follow each other without a bell for each.
STRETCH_S = 1.0
#: Failures written in one step: they travel inside the script.
FAILURES_AT_ONCE = 1_000
_REQUEST_ID = ("x-request-id", "x-message-id", "x-amzn-requestid", "x-amz-apigw-id", "x-amzn-trace-id")
#: Requests that were not sent for reasons of our own: they say nothing of the platform.
_OURS = frozenset({"pool", "forbidden_url", "invalid_request"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._=;:/-]")


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long to go on. Milliseconds."""

    retry_window_ms: int = 86_400_000
    poll_first_ms: int = 5_000
    poll_deadline_ms: int = 21_600_000
    deadline_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of one destination that sending and following share."""

    batch_store: BatchStore
    schedule: Schedule
    rate_limiter: RateLimiter
    http_client: AuthenticatedClient
    provider: Provider
    policy: TimeLimits

    def exchange(
        self, request: Request, permit: Permit | None, claimed_s: float | None = None
    ) -> Response | TransportError:
        """One exchange; whatever comes of it, the limiter hears. The deadline runs from `claimed_s` (monotonic), the
        moment before the claim: a process frozen since then beyond its lease must send nothing when it wakes."""
        spent_s = 0.0 if claimed_s is None else time.monotonic() - claimed_s
        left_s = max(0.0, self.policy.deadline_s - spent_s)
        try:
            response = self.http_client.exchange(request, deadline_s=left_s)
        except TransportError as problem:
            if permit is not None and (problem.reason in _OURS or not left_s or _is_refused(problem)):
                self.rate_limiter.release(permit)
            elif permit is not None:
                how = "failed" if isinstance(problem, FateUnknown) else "unsent"
                self.rate_limiter.note(permit, RateHeaders(), how=how)
            return problem
        if permit is not None and response.status != 429:
            self.rate_limiter.note(permit, self.rate(response), how="failed" if in_trouble(response) else "answered")
        return response

    def ask(self, request: Request) -> Response | TransportError | None:
        """A cheap request that concerns no batch, under a permit of its own; None if there is none now. It may be the
        one that finds out whether a silent platform answers again."""
        permit = self.rate_limiter.acquire(request.endpoint, asks=True)
        if not permit.granted:
            return None
        reply = self.exchange(request, permit)
        if isinstance(reply, Response) and reply.status == 429:
            rate = self.rate(reply)
            self.rate_limiter.note(permit, rate, how="refused", after_s=rate.retry_after_s)
        return reply

    def verdict(self, reply: Response | TransportError) -> Verdict:
        if isinstance(reply, Response):
            return self.provider.read_upsert(reply, self.schedule.wall_ms() / 1000)
        if isinstance(reply, NoToken) and reply.refused:
            return Stop("unauthorized", "the credentials were refused a token")
        return Retry(reply.reason, unknown=isinstance(reply, FateUnknown))

    def log_bug(self, batch: Batch, problem: Exception) -> None:
        """A mistake of ours is told by its type and place: its text may quote the platform, or a contact."""
        log.error("internal", extra={"lane": batch.lane, "batch": batch.number, "problem": describe_bug(problem)})

    def named_in(self, batch: Batch, content: bytes, encoded: Sequence[bytes]) -> list[RowError]:
        """Whom an error file names. One that the provider stumbles over is worth no more than garbage."""
        try:
            return self.provider.read_error_file(content, encoded)
        except BUGS as problem:
            self.log_bug(batch, problem)
            return []

    def rate(self, response: Response) -> RateHeaders:
        return rate_headers(response.headers, self.schedule.wall_ms() / 1000)

    def limited(self, kind: str, permit: Permit, response: Response, after_s: float | None) -> None:
        """The platform refused by its rate limit: everybody waits."""
        blocked_ms = self.rate_limiter.note(permit, self.rate(response), how="refused", after_s=after_s)
        self.schedule.defer(kind, blocked_ms)

    def pause_ms(self, endpoint: str, attempts: int, after_s: float | None) -> int:
        """How long a batch that met passing trouble waits: while the platform fails everybody, until it is tried again
        and no longer, behind what has not been tried at all."""
        if blocked_ms := self.rate_limiter.standing().blocked_ms(endpoint):
            return round(max((after_s or 0.0) * 1000, blocked_ms + random.uniform(0.0, 1000.0)))
        return backoff_ms(attempts, after_s)

    def is_over(self, since_ms: int, now_ms: int, window_ms: int) -> bool:
        """Whether a window has passed; the time of an outage does not count, else a long one would fail a backlog."""
        age_ms = now_ms - since_ms
        return age_ms >= window_ms and self.rate_limiter.standing().uptime_ms(age_ms) >= window_ms

    def lane(self, batch: Batch) -> Lane:
        return Lane(batch.lane, batch.lane.partition("+")[0], self.batch_store.options(batch.lane))

    def fail(self, batch: Batch, reasons_by_row: Mapping[int, FailureReason], plan: Settlement) -> list[int]:
        """Settle `plan` together with rows that failed. More of them than one step may carry are written in several
        steps before, each leaving the batch whole."""
        numbers = list(reasons_by_row)
        records = self._records(batch, reasons_by_row) if numbers else {}
        while len(numbers) > FAILURES_AT_ONCE:
            now, numbers = numbers[:FAILURES_AT_ONCE], numbers[FAILURES_AT_ONCE:]
            batch = self._fail_some(batch, now, records)
        return self.batch_store.settle(batch, plan, [records[row] for row in numbers])

    def _fail_some(self, batch: Batch, now: list[int], records: Mapping[int, FailedRecord]) -> Batch:
        """Fail some rows and keep the batch, still claimed, without them."""
        search = batch.search
        send, rest, aside = (without(part, now) for part in (search.send, search.rest, search.aside))
        left = BisectState(send, rest, aside, search.group, search.passed)
        zset = batch.queue("poll" if batch.fields["state"] in ("polling", "fetching_errors") else "dispatch")
        changed = bisect_fields(left)
        if batch.count("platform_failed_count") > 0:  # whoever goes on after a crash counts the rows that are left
            changed["platform_failed_count"] = max(0, batch.count("platform_failed_count") - len(now))
        keep = Settlement(set=changed, zset=zset, delay_ms=self.batch_store.terms.lease_ms)
        self.batch_store.settle(batch, keep, [records[row] for row in now])
        fields = {**batch.fields, **{k: str(v) for k, v in changed.items()}}
        fields["fence"] = str(int(batch.fields["fence"]) + 1)
        return replace(batch, fields=fields)

    def _records(self, batch: Batch, reasons_by_row: Mapping[int, FailureReason]) -> dict[int, FailedRecord]:
        body, offsets = self.batch_store.body(batch)
        salt = self.batch_store.salt()
        found = {}
        for row, entry in self.batch_store.entries(batch, reasons_by_row).items():
            mapped = body[offsets[row] : offsets[row + 1] - 1]
            # Both as given and as sent: a platform may write an address differently.
            both = (orjson.loads(text) for text in (entry.raw, mapped))
            names = dict.fromkeys(name for record in both for name in identities(record, self.provider.identifiers))
            keys = b"".join(digests(salt, list(names)))
            found[row] = failure(batch.lane, entry, reasons_by_row[row], batch.now_ms, keys, mapped)
        return found

    def places(self, batch: Batch, errors: Sequence[RowError]) -> list[list[int]]:
        """For each error the rows of what was sent that it concerns. Hints alone concern nobody."""
        if not errors:
            return []
        body, offsets = self.batch_store.body(batch)
        numbers = list(rows(batch.search.send))
        encoded = [body[offsets[row] : offsets[row + 1] - 1] for row in numbers]
        return [[numbers[place] for place in found] for found in self.provider.find_rows(encoded, errors)]

    def locate(
        self, batch: Batch, errors: Sequence[RowError], stage: str, request: str = ""
    ) -> dict[int, FailureReason]:
        """The rows that the errors concern, and why each failed."""
        reasons_by_row: dict[int, FailureReason] = {}
        for error, found in zip(errors, self.places(batch, errors), strict=True):
            for row in found:
                reasons_by_row.setdefault(row, FailureReason(error.code, error.reason, stage, batch.number, request))
        return reasons_by_row

    def report(self, batch: Batch, plan: Settlement, failed: int, started_ms: int, request: str = "") -> None:
        """One line for a batch that has ended: counts and times, never contents."""
        log.info(
            "batch ended",
            extra={
                "lane": batch.lane,
                "batch": batch.number,
                "rows": size(batch.search.all),
                "bytes": batch.count("sent_bytes"),
                "delivered": plan.delivered,
                "failed": failed,
                "unattributed": plan.unattributed,
                "attempts": batch.count("attempts"),
                "ms": batch.now_ms - started_ms,
                "request_id": request or batch.fields.get("request_id", ""),
            },
        )


def in_trouble(response: Response) -> bool:
    """Whether a reply says that the platform, not the request, is the matter."""
    return response.status >= 500 or response.status == 408


def _is_refused(problem: TransportError) -> bool:
    """Whether it was the credentials that were refused a token: that is an answer."""
    return isinstance(problem, NoToken) and problem.refused


def run_for_slice(once: Callable[..., tuple[WakeUp, ...]], destination: str) -> tuple[WakeUp, ...]:
    """Do it again and again while there is something to do and each is quick; returns the bells to ring."""
    ends_s = time.monotonic() + STRETCH_S
    bells = once(destination)
    while bells and time.monotonic() < ends_s:
        bells = once(destination, consume_wakeup=False)
    return bells


def backoff_ms(attempts: int, after_s: float | None) -> int:
    """Exponential with full jitter, up to 15 minutes; what the platform asks for is a floor."""
    jitter = random.uniform(0.0, min(900.0, 2.0 ** min(attempts, 10)))
    return round(max(after_s or 0.0, jitter) * 1000)


def request_id(response: Response) -> str:
    """What the platform calls this request, made safe for a log line."""
    found = next((response.headers[name] for name in _REQUEST_ID if name in response.headers), "")
    return _UNSAFE.sub("", found)[:100]
