"""One HTTP exchange as values: the request, the response, and its rate-limit headers.

Providers build requests and read responses. Sending is left to `transport`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Longest wait that a header can ask for, s. Longer ones are cut to this.
LONGEST_WAIT_S = 900.0
#: A reset value from here on is a Unix time; a smaller one is seconds left. Some platforms document one and send the
#: other.
UNIX_TIME_FROM = 1_000_000_000
#: A Unix time from here on is in milliseconds: in seconds it would lie in the year 5138.
UNIX_TIME_MS_FROM = 100_000_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request.

    `url` is absolute. `body` is a sequence of byte slices, sent in order; their total length is declared. `endpoint`
    names the rate limit that the request counts against, for example `upsert`. `public_only` refuses everything but
    https to a public address; `allowed_origin` (scheme, host and port) is the only exception.
    """

    method: str
    url: str
    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Sequence[bytes] = ()
    public_only: bool = False
    allowed_origin: str = ""
    max_reply_bytes: int = 1_000_000

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.body))

    def __repr__(self) -> str:
        return f"Request({self.method}, {self.endpoint}, {self.length} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """One reply. Header names are in lower case. `truncated` tells that the body was longer than the request allows."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_ms: int
    truncated: bool = False

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """The rate limit as a reply gives it; None for what it does not give.

    `limit` requests are allowed in a window, `remaining` of them are left, and the window ends in `reset_s` seconds.
    `retry_after_s` is the wait that the platform asks for.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None
    retry_after_s: float | None = None


def rate_headers(headers: Mapping[str, str], now_s: float) -> RateHeaders:
    """Read the rate-limit headers of a reply. An absent or unreadable one is None. `now_s` is Unix time.

    Example: `{"x-ratelimit-limit": "600", "x-ratelimit-remaining": "599", "x-ratelimit-reset": "1795000060"}`.
    """
    return RateHeaders(
        limit=_whole_number(headers.get("x-ratelimit-limit")),
        remaining=_whole_number(headers.get("x-ratelimit-remaining")),
        reset_s=_reset_s(headers.get("x-ratelimit-reset"), now_s),
        retry_after_s=_retry_after_s(headers.get("retry-after"), now_s),
    )


def clamp(seconds: float) -> float:
    """A wait between 0 and `LONGEST_WAIT_S`."""
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def slices(parts: Sequence[bytes], size: int = 65_536) -> Iterator[bytes]:
    """Cut a body into pieces of at most `size` bytes; the transport checks its deadline between two pieces."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), size):
            yield bytes(view[start : start + size])


def _whole_number(text: str | None) -> int | None:
    try:
        number = float(text) if text is not None else None
        return int(number) if number is not None and 0 <= number < 2**53 else None
    except ValueError:
        return None


def _reset_s(text: str | None, now_s: float) -> float | None:
    number = _whole_number(text)
    if number is None:
        return None
    if number >= UNIX_TIME_MS_FROM:
        return clamp(number / 1000 - now_s)
    return clamp(number - now_s if number >= UNIX_TIME_FROM else number)


def _retry_after_s(text: str | None, now_s: float) -> float | None:
    if text is None:
        return None
    if _whole_number(text) is not None:
        return _reset_s(text, now_s)  # some send the end of the wait, as a Unix time
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return clamp((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now_s)


def utc(ms: int) -> str:
    """A moment in ms as ISO 8601 in UTC, to the second: `2026-11-18T11:06:40Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
