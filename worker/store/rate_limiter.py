"""Permits to send, shared by all workers and destinations of an account, on the server's clock: one limiter for each
endpoint, and one circuit breaker for the account.

A permit is held until one window after its reply. Waiting for one is not an attempt, and nobody sleeps here: the answer
is how long to wait.

The breaker opens when exchanges at one endpoint failed five times in a row: no reply, an unreadable one, 408 or 5xx.
For `breaker_ms` nobody gets a permit at any endpoint; nothing is claimed meanwhile, so no attempt is spent. Then one
cheap request asks; if it is answered the breaker is closed, if it fails the pause begins again. An endpoint that still
fails while another is answered waits alone and is tried with one request a pause. Any answer below 500 other than 408
counts, a refusal too: what the breaker asks is whether anybody is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from contact_ingest.model.http_message import RateHeaders
from contact_ingest.store.keys import Keys
from contact_ingest.store.scripts import Store

BREAKER_MS = 60_000
_UNTIL = "until:"


@dataclass(frozen=True, slots=True)
class Permit:
    """`granted`; or try again in `wait_ms`; or, with `asks_first`, when a cheap request has been answered."""

    id: str
    endpoint: str
    granted: bool
    wait_ms: int
    asks_first: bool = False


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Whether the platform answers, as far as is known. Milliseconds of the account's clock. `open_until` is None while
    the breaker is closed; `began` and `ended` are those of the last outage, `ended` None while it lasts; `failing` are
    endpoints that alone fail, and until when they wait."""

    now: int = 0
    open_until: int | None = None
    began: int | None = None
    ended: int | None = None
    failing: Mapping[str, int] = field(default_factory=dict)

    def blocked_ms(self, endpoint: str) -> int:
        """For how long nothing is sent to this endpoint because the platform fails."""
        return max(0, max(self.open_until or 0, self.failing.get(endpoint, 0)) - self.now)

    def uptime_ms(self, age_ms: int) -> int:
        """How much of so long a time up to now the platform was there: what the last outage took counts for nobody."""
        away_ms = 0 if self.began is None else (self.ended or self.now) - max(self.began, self.now - age_ms)
        return age_ms - max(0, away_ms)


class RateLimiter:
    """The limits of one account. `rates` maps an endpoint to (requests, seconds) where they are configured."""

    def __init__(
        self,
        store: Store,
        account: str,
        rates: dict[str, tuple[int, float]],
        lease_ms: int,
        breaker_ms: int = BREAKER_MS,
    ) -> None:
        self._store = store
        self._keys = Keys(store.keys.prefix, f"limit-{account}")
        self._rates = rates
        self._lease_ms = lease_ms
        self._breaker_ms = breaker_ms

    def acquire(self, endpoint: str, *, asks: bool = False) -> Permit:
        """`asks` tells that the request is a cheap one, which may find out whether a silent platform answers again."""
        limit, window_ms = self._rate(endpoint)
        permit = uuid4().hex
        what, wait_ms = self._run(
            "limiter_acquire", permit, endpoint, limit, window_ms, self._lease_ms, "asks" if asks else ""
        )
        return Permit(permit, endpoint, what == 1, int(wait_ms), asks_first=what == 2)

    def release(self, permit: Permit) -> None:
        """The request was not made, by our own doing."""
        self._run("limiter_report", permit.id, permit.endpoint, "unused", 0)

    def note(self, permit: Permit, headers: RateHeaders, *, how: str = "answered", after_s: float | None = None) -> int:
        """The exchange ended: answered, refused (by the rate limit), failed or unsent. Returns for how many ms the
        endpoint is blocked from now on."""
        said = (headers.limit, headers.remaining, _ms(headers.reset_s), _ms(after_s))
        numbers = [-1 if number is None else number for number in said]
        limits = self._rate(permit.endpoint)
        return int(self._run("limiter_report", permit.id, permit.endpoint, how, self._breaker_ms, *limits, *numbers))

    def close(self) -> bool:
        """Try everything again at once; tells whether the breaker was open."""
        return bool(self._run("breaker_reset"))

    def standing(self) -> BreakerState:
        """How things stand with the platform."""
        pipe = self._store.client.pipeline(transaction=True)
        pipe.time()
        pipe.get(self._keys("clock_offset"))
        pipe.hgetall(self._keys("breaker"))
        pipe.hmget(self._keys("outage"), "began", "ended")
        (seconds, micros), offset, found, (began, ended) = pipe.execute()
        breaker = {name.decode(): value for name, value in found.items()}
        return BreakerState(
            int(seconds) * 1000 + int(micros) // 1000 + int(offset or 0),
            _moment(breaker.get("open_until")),
            _moment(began),
            _moment(ended),
            {name.removeprefix(_UNTIL): int(at) for name, at in breaker.items() if name.startswith(_UNTIL)},
        )

    def _rate(self, endpoint: str) -> tuple[int, int]:
        limit, window_s = self._rates.get(endpoint, (0, 0.0))
        return limit, round(window_s * 1000)

    def _run(self, script: str, *args: str | int) -> Any:
        return self._store.run(script, *args, base=self._keys.base)


def _moment(text: bytes | None) -> int | None:
    return None if text is None else int(text)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
