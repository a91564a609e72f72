"""Rate limits as sliding windows: a request counts from its arrival until one window later, refused ones not at all."""

import math
from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an account stands at an endpoint right after a request has arrived."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float

    def headers(self, form: str, now: float) -> dict[str, str]:
        """In the form `none`, `bare` (no reset), `seconds` (reset from now on) or `epoch` (reset in Unix time)."""
        if form == "none":
            return {}
        shown = {"X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(self.remaining)}
        if form != "bare":
            shown["X-RateLimit-Reset"] = str(math.ceil(self.reset_s if form == "seconds" else now + self.reset_s))
        return shown


class Windows:
    def __init__(self) -> None:
        self._arrivals: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def arrive(self, account: str, endpoint: str, at: float, limit: int, window_s: float) -> Standing:
        """Count a request that arrives at `at`, a reading of a clock that never goes back."""
        arrivals = self._arrivals[account, endpoint]
        while arrivals and arrivals[0] <= at - window_s:
            arrivals.popleft()
        allowed = len(arrivals) < limit
        if allowed:
            arrivals.append(at)
        reset_s = arrivals[0] + window_s - at if arrivals else window_s
        return Standing(allowed, limit, max(limit - len(arrivals), 0), reset_s)

    def reset(self) -> None:
        self._arrivals.clear()
