"""How long everything waits that is tried again. All functions are pure: chance comes in as `jitter`, 0 to 1.

| what waits | how long |
|---|---|
| a batch the platform did not take, for a reason that passes | exponential with full jitter, up to 15 minutes |
| the same, while the account's circuit breaker is open | until the breaker tries again, and up to a second more |
| a custom field that was created a moment ago | 3 seconds |
| a row that was refused alone while nothing else of its lane was accepted | 5 seconds |
| the trial of a lane that stopped for doubt | from a second up to 5 minutes, doubling |
| the trial of a lane that stopped for an option | from half a minute up to 15 minutes, doubling |
| an import that has not ended | gaps grow by 1.4, from `POLL_FIRST_S` up to a minute |
| an error file that cannot be had | the same gaps, for an hour |
| an error file that its store refuses, or that is empty | the same gaps, for 120 first gaps: 10 minutes by default |
| a probe of a stopped destination, a rate limit | see store/schedule.py and store/rate_limiter.py |

A platform's own `Retry-After` is a floor under each of them.
"""

from dataclasses import dataclass

from contact_ingest.model.batch import StopKind
from contact_ingest.store.rate_limiter import BreakerState

LONGEST_BACKOFF_S = 900.0
#: Gaps between polls grow by this factor, up to the last one.
POLL_GAP_GROWTH = 1.4
POLL_GAP_LAST_MS = 60_000
#: A field created a moment ago is unknown to the platform for some seconds.
NEW_FIELD_S = 3.0
#: How long a row that was refused alone waits for others of its lane, ms.
BEHIND_MS = 5_000
#: The pause before the first trial of a stopped lane, ms; it doubles with each trial that fails, up to the last.
TRIAL_MS = {StopKind.OPTION: (30_000, 900_000), StopKind.DOUBT: (1_000, 300_000)}
#: How long an error file that cannot be had at the moment is asked for.
ERROR_FILE_WINDOW_MS = 3_600_000
#: The same, in first gaps between polls, for a file that its store refuses, redirects or puts off, and for an empty
#: one. The contacts stay in flight meanwhile, so a store that refuses for ever must not hold them for long.
REFUSED_FILE_GAPS = 120


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long to go on, in milliseconds: for how long the same bytes are sent again, the first gap between polls, for
    how long a job is polled, and for how long the contacts of a request of unknown fate stay in flight. `deadline_s`
    bounds one HTTP exchange, in seconds."""

    retry_window_ms: int = 86_400_000
    poll_first_ms: int = 5_000
    poll_deadline_ms: int = 21_600_000
    orphan_ms: int = 600_000
    deadline_s: float = 30.0

    @property
    def refused_file_ms(self) -> int:
        """How long an error file is asked for that its store refuses."""
        return min(ERROR_FILE_WINDOW_MS, REFUSED_FILE_GAPS * self.poll_first_ms)


def retry_ms(failures_in_a_row: int, after_s: float | None, jitter: float) -> int:
    """When the same bytes are sent again. `after_s` is what the platform asks for."""
    most_s = min(LONGEST_BACKOFF_S, 2.0 ** min(failures_in_a_row, 10))
    return round(max(after_s or 0.0, most_s * jitter) * 1000)


def dispatch_again_ms(failures_in_a_row: int, after_s: float | None, breaker: BreakerState, jitter: float) -> int:
    """When a batch is sent again that met passing trouble: while the platform fails everybody, as soon as it is tried
    again and no later, behind what has not been tried at all."""
    if blocked_ms := breaker.blocked_ms("upsert"):
        return round(max((after_s or 0.0) * 1000, blocked_ms + 1000.0 * jitter))
    return retry_ms(failures_in_a_row, after_s, jitter)


def poll_gap_ms(polls: int, first_ms: int, after_s: float | None = None) -> int:
    """When a job is polled again after so many polls that said: not ended."""
    gap_ms = min(POLL_GAP_LAST_MS, round(first_ms * POLL_GAP_GROWTH ** min(polls, 20)))
    return max(round((after_s or 0.0) * 1000), gap_ms)


def is_over(since_ms: int, now_ms: int, window_ms: int, breaker: BreakerState) -> bool:
    """Whether a window has passed. The time of an outage does not count: a long one would fail a whole backlog."""
    age_ms = now_ms - since_ms
    return age_ms >= window_ms and breaker.uptime_ms(age_ms) >= window_ms
