"""Permits to send, and the circuit breaker: both shared by all workers and destinations of a platform account, on the
account's clock in Redis.

`RateLimiter` keeps one limiter for each endpoint. A permit is held until one window after its reply. Waiting for a
permit is no attempt, and nobody sleeps here: the answer is how long to wait.

`CircuitBreaker` opens when exchanges at one endpoint failed five times in a row: no reply, an unreadable one, 408 or
5xx. While it is open nobody gets a permit at any endpoint, nothing is claimed and no attempt is spent. After
`breaker_ms` one cheap request, the probe, asks. If it is answered the breaker closes; if it fails the breaker stays
open as long again. An endpoint that still fails while another is answered waits alone and is tried with one request in
each pause. Any status below 500 other than 408 counts as an answer, a refusal too: the breaker only asks whether the
platform is there.

The limiter asks and tells the breaker inside its own scripts (lua/breaker.lua), so that a permit costs one round trip.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from contact_ingest.model.http_message import RateHeaders
from contact_ingest.store.clock import now_of, request_now
from contact_ingest.store.keys import account_keys
from contact_ingest.store.scripts import Arg, ReadsTogether, Store

#: How long the breaker stays open before a probe.
BREAKER_MS = 60_000
_UNTIL = "until:"

#: How an exchange ended: a reply that says the platform is there; its 429; no reply, an unreadable one, 408 or 5xx; or
#: the platform could not be reached, so that nothing was sent.
Result = Literal["answered", "refused", "failed", "unsent"]


@dataclass(frozen=True, slots=True)
class Permit:
    """The answer to `acquire`. Either `granted`; or try again in `wait_ms`; or `asks_first`: the breaker waits for a
    probe, so a cheap request has to be answered before."""

    id: str
    endpoint: str
    granted: bool
    wait_ms: int
    asks_first: bool = False


class RateLimiter:
    """The limits of one account. `rates` maps an endpoint to (requests, seconds) where they are configured. A permit
    that nobody reports lapses one window after `lease_ms`."""

    def __init__(
        self,
        store: Store,
        account: str,
        rates: Mapping[str, tuple[int, float]],
        lease_ms: int,
        breaker_ms: int = BREAKER_MS,
    ) -> None:
        self._store = store
        self._keys = account_keys(store.keys.prefix, account)
        self._rates = rates
        self._lease_ms = lease_ms
        self._breaker_ms = breaker_ms

    def acquire(self, endpoint: str, *, asks: bool = False) -> Permit:
        """Ask for a permit to send one request. `asks` says that the request is a cheap one, which may be the breaker's
        probe."""
        permit = uuid4().hex
        args: tuple[Arg, ...] = (permit, endpoint, *self._rate(endpoint), self._lease_ms, "asks" if asks else "")
        what, wait_ms = self._store.run("limiter_acquire", *args, base=self._keys.base)
        return Permit(permit, endpoint, what == 1, int(wait_ms), asks_first=what == 2)

    def release(self, permit: Permit) -> None:
        """Give a permit back: the request was not made, for a reason of our own."""
        self._store.run("limiter_report", permit.id, permit.endpoint, "unused", 0, base=self._keys.base)

    def report(
        self, permit: Permit, headers: RateHeaders, *, result: Result = "answered", after_s: float | None = None
    ) -> int:
        """Say how the exchange ended. `after_s` is how long the platform asks to wait. Returns for how many ms the
        endpoint is blocked from now on."""
        said = (headers.limit, headers.remaining, _ms(headers.reset_s), _ms(after_s))
        numbers = [-1 if number is None else number for number in said]
        limits = (self._breaker_ms, *self._rate(permit.endpoint))
        args: tuple[Arg, ...] = (permit.id, permit.endpoint, result, *limits, *numbers)
        return int(self._store.run("limiter_report", *args, base=self._keys.base))

    def _rate(self, endpoint: str) -> tuple[int, int]:
        """Requests, and ms of the window; zeros where nothing is configured."""
        limit, window_s = self._rates.get(endpoint, (0, 0.0))
        return limit, round(window_s * 1000)


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Whether the platform answers, as far as is known. All moments are ms of the account's clock. `open_until` is None
    while the breaker is closed; `began` and `ended` are those of the last outage, `ended` None while it lasts;
    `failing` are endpoints that fail alone, and until when they wait."""

    now: int = 0
    open_until: int | None = None
    began: int | None = None
    ended: int | None = None
    failing: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.open_until is not None

    def blocked_ms(self, endpoint: str) -> int:
        """How long nothing is sent to this endpoint because the platform fails."""
        return max(0, max(self.open_until or 0, self.failing.get(endpoint, 0)) - self.now)

    def uptime_ms(self, age_ms: int) -> int:
        """How much of the last `age_ms` the platform was there. The time of the last outage does not count."""
        away_ms = 0 if self.began is None else (self.ended or self.now) - max(self.began, self.now - age_ms)
        return age_ms - max(0, away_ms)


class CircuitBreaker:
    """The circuit breaker of one account, for those who look at it or close it. The limiter's scripts move it."""

    def __init__(self, store: Store, account: str) -> None:
        self._store = store
        self._keys = account_keys(store.keys.prefix, account)

    def state(self) -> BreakerState:
        """How the breaker stands now."""
        pipe = ReadsTogether(self._store)
        request_now(pipe, self._keys)
        pipe.hgetall(self._keys("breaker"))
        pipe.hmget(self._keys("outage"), "began", "ended")
        time, offset, found, (began, ended) = pipe.execute()
        breaker = {name.decode(): value for name, value in found.items()}
        return BreakerState(
            now_of(time, offset),
            _moment(breaker.get("open_until")),
            _moment(began),
            _moment(ended),
            {name.removeprefix(_UNTIL): int(at) for name, at in breaker.items() if name.startswith(_UNTIL)},
        )

    def reset(self) -> bool:
        """Close the breaker, so that everything is tried again at once; returns whether it was open."""
        return bool(self._store.run("breaker_reset", base=self._keys.base))


def _moment(text: bytes | None) -> int | None:
    return None if text is None else int(text)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
