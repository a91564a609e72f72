"""Rate limits as sliding windows: a request counts for one window after its arrival; a refused request never counts."""

import math
from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """An account's rate limit right after a request: whether the request is allowed, and how many more are."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float

    def headers(self, form: str, now: float) -> dict[str, str]:
        """X-RateLimit headers. Forms: `none`, `bare` (no reset), `seconds` (until the reset), `epoch` (Unix time)."""
        if form == "none":
            return {}
        shown = {"X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(self.remaining)}
        if form != "bare":
            shown["X-RateLimit-Reset"] = str(math.ceil(self.reset_s if form == "seconds" else now + self.reset_s))
        return shown


class SlidingWindows:
    """The arrivals of every account at every limit."""

    def __init__(self) -> None:
        self._arrivals: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def arrive(self, account: str, endpoint: str, at: float, limit: int, window_s: float) -> LimitStatus:
        """Count a request that arrives at `at`, in seconds of the monotonic clock."""
        arrivals = self._arrivals[account, endpoint]
        while arrivals and arrivals[0] <= at - window_s:
            arrivals.popleft()
        allowed = len(arrivals) < limit
        if allowed:
            arrivals.append(at)
        reset_s = arrivals[0] + window_s - at if arrivals else window_s
        return LimitStatus(allowed, limit, max(limit - len(arrivals), 0), reset_s)

    def reset(self) -> None:
        self._arrivals.clear()
