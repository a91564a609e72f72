"""One HTTP exchange as values: what to send, what came back, and what its rate-limit headers say.

Providers build requests and read responses; `transport` alone turns one into the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: A platform cannot park a worker for longer than this, whatever its headers say.
LONGEST_WAIT_S = 900.0
#: Reset values above this are Unix times, below it seconds left: some document the one and send the other.
EPOCH_FROM = 1_000_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request. `url` is absolute. `body` is a sequence of byte slices, sent in order with their total length
    declared. `endpoint` names the rate limit it counts against. `public_only` refuses anything but https to a public
    address; `allowed_origin` (scheme, host and port) is the one exception to that."""

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
        return sum(map(len, self.body))

    def __repr__(self) -> str:
        return f"Request({self.method}, {self.endpoint}, {self.length} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """One reply. Header names are lower case. `truncated` tells that the body was longer than allowed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_ms: int
    truncated: bool = False

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What a reply says of the limit: requests a window, how many are left, and seconds until the window resets."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None
    retry_after_s: float | None = None


def rate_headers(headers: Mapping[str, str], now_s: float) -> RateHeaders:
    """Read the rate-limit headers of a reply; what is absent or unreadable is None. `now_s` is Unix time."""
    return RateHeaders(
        limit=_whole(headers.get("x-ratelimit-limit")),
        remaining=_whole(headers.get("x-ratelimit-remaining")),
        reset_s=_reset(headers.get("x-ratelimit-reset"), now_s),
        retry_after_s=_retry_after(headers.get("retry-after"), now_s),
    )


def clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def slices(parts: Sequence[bytes], size: int = 65_536) -> Iterator[bytes]:
    """Cut a body into pieces small enough that the deadline is looked at between them."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), size):
            yield bytes(view[start : start + size])


def _whole(text: str | None) -> int | None:
    try:
        number = float(text) if text is not None else None
        return int(number) if number is not None and 0 <= number < 2**53 else None
    except ValueError:
        return None


def _reset(text: str | None, now_s: float) -> float | None:
    number = _whole(text)
    if number is None:
        return None
    return clamp(number - now_s if number >= EPOCH_FROM else number)


def _retry_after(text: str | None, now_s: float) -> float | None:
    if text is None:
        return None
    number = _whole(text)
    if number is not None:
        return clamp(number)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return clamp((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now_s)


def utc(ms: int) -> str:
    """A moment in milliseconds as ISO 8601, to the second, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
