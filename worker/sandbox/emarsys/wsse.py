"""The WSSE header of the older API: a digest over nonce, time and secret, valid once and for five minutes.

Source: authentication.rst of the developer documentation and the official Postman collection for WSSE, checked
2026-11-22. The digest is base64 of the 40 lower-case hexadecimal characters of the SHA-1, not of its 20 bytes.
"""

import base64
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

MAX_SKEW_S = 300.0
#: The zone of a time without a zone: that of the servers, GMT+1 and in summer GMT+2.
SERVER_ZONE = "Europe/Vienna"

PAIR = r'[A-Za-z]+\s*=\s*"[^"]*"'
HEADER = re.compile(rf"UsernameToken\s+{PAIR}(?:\s*,\s*{PAIR})*\s*")
PARTS = re.compile(r'([A-Za-z]+)\s*=\s*"([^"]*)"')
NONCE = re.compile("[0-9a-fA-F]{32}")
MOMENT = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,6})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)


def header_values(headers: Mapping[str, str]) -> dict[str, str]:
    """The four values of the header, with keys in lower case. Empty: a value is missing, repeated or unknown."""
    text = headers.get("x-wsse", "") or headers.get("wsse", "")
    found = PARTS.findall(text) if HEADER.fullmatch(text) else []
    named = {name.lower(): value for name, value in found}
    complete = len(found) == 4 and named.keys() == {"username", "passworddigest", "nonce", "created"}
    return named if complete else {}


def digest(nonce: str, created: str, secret: str) -> str:
    """The password digest of a header."""
    # SHA-1 is the platform's scheme.
    text = hashlib.sha1((nonce + created + secret).encode()).hexdigest()  # noqa: S324
    return base64.b64encode(text.encode()).decode()


class WsseGuard:
    """Verifies headers, and remembers nonces for as long as a header with them is valid."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], None] = {}
        self._order: deque[tuple[float, tuple[str, str]]] = deque()

    def accepts(self, headers: Mapping[str, str], users: Mapping[str, str], now: float, *, once: bool) -> bool:
        """Whether a header is valid at `now`, in Unix seconds. With `once`, a nonce that was used before is refused."""
        given = header_values(headers)
        secret = users.get(given.get("username", ""))
        if secret is None or not NONCE.fullmatch(given["nonce"]):
            return False
        created = _moment(given["created"])
        if created is None or abs(now - created) > MAX_SKEW_S:
            return False
        expected = digest(given["nonce"], given["created"], secret)
        if not hmac.compare_digest(expected.encode(), given["passworddigest"].encode()):
            return False
        return self._first_time((given["username"], given["nonce"]), now) or not once

    def _first_time(self, nonce: tuple[str, str], now: float) -> bool:
        # A time may be five minutes ahead of its arrival, so its header may be valid for ten minutes.
        while self._order and self._order[0][0] < now - 2 * MAX_SKEW_S:
            self._seen.pop(self._order.popleft()[1], None)
        if nonce in self._seen:
            return False
        self._seen[nonce] = None
        self._order.append((now, nonce))
        return True


def _moment(text: str) -> float | None:
    if not MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(SERVER_ZONE))).timestamp()
