"""Permits to send, shared by all workers: one limiter for each (account, endpoint), on the server's clock.

A permit is held until one window after its reply. Waiting for one is not an attempt, and nobody sleeps here: the answer
is how long to wait.
"""

from dataclasses import dataclass
from uuid import uuid4

from worker.store.keys import Keys
from worker.store.scripts import Store
from worker.wire import RateHeaders


@dataclass(frozen=True, slots=True)
class Permit:
    """`granted`, or try again in `wait_ms`."""

    id: str
    endpoint: str
    granted: bool
    wait_ms: int


class Throttle:
    """The limits of one account. `rates` maps an endpoint to (requests, seconds) where they are configured."""

    def __init__(self, store: Store, account: str, rates: dict[str, tuple[int, float]], lease_ms: int) -> None:
        self._store = store
        self._account = account
        self._rates = rates
        self._lease_ms = lease_ms

    def acquire(self, endpoint: str) -> Permit:
        limit, window_s = self._rates.get(endpoint, (0, 0.0))
        permit = uuid4().hex
        granted, wait_ms = self._store.run(
            "acquire", permit, limit, round(window_s * 1000), self._lease_ms, base=self._base(endpoint)
        )
        return Permit(permit, endpoint, bool(granted), int(wait_ms))

    def release(self, permit: Permit) -> None:
        """The request was not made."""
        self._store.run("note", permit.id, 0, "unused", base=self._base(permit.endpoint))

    def note(self, permit: Permit, headers: RateHeaders, *, refused: bool = False, after_s: float | None = None) -> int:
        """A reply came, or the exchange broke. Returns for how many ms the endpoint is blocked from now on."""
        limit, window_s = self._rates.get(permit.endpoint, (0, 0.0))
        return int(
            self._store.run(
                "note",
                permit.id,
                round(window_s * 1000),
                "refused" if refused else "sent",
                -1 if headers.limit is None else headers.limit,
                -1 if headers.remaining is None else headers.remaining,
                -1 if headers.reset_s is None else round(headers.reset_s * 1000),
                -1 if after_s is None else round(after_s * 1000),
                limit,
                base=self._base(permit.endpoint),
            )
        )

    def _base(self, endpoint: str) -> str:
        return Keys(self._store.keys.prefix, f"limit-{self._account}").base + f"{endpoint}:"
