"""URLs of requests: checked, and split into the parts that a connection and a request line need.

`parse` accepts http and https only. `needs_public_address` says whether the client has to check the IP address behind
the host name; `contact_ingest.transport.sockets` does that check, because only the socket knows the address.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from contact_ingest.errors import NotSent
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.http_message import Request

#: Longer URLs are refused, in characters.
LONGEST_URL = 65_536
DEFAULT_PORTS = {"http": 80, "https": 443}

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
#: Characters that go out as they are; all others are percent-encoded. `%` is one of them: a URL may be encoded already.
_PATH_SAFE = re.sub(r'["#<>?`{}]', "", _PRINTABLE)
_QUERY_SAFE = re.sub(r'["#<>]', "", _PRINTABLE)
_HOST = re.compile(r"[a-z0-9._:-]+")


@dataclass(frozen=True, slots=True, repr=False)
class ParsedUrl:
    """`host` is lower case, ASCII, and without the brackets of an IPv6 address. `target` is what the request line
    names: `/v3/marketing/contacts?page=2`."""

    scheme: str
    host: str
    port: int
    target: str
    has_userinfo: bool

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """The value of the `Host` header: `api.example`, `127.0.0.1:8080` or `[::1]:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> ParsedUrl:
    """Raises `ValueError` if the URL is not http(s) with a host, and a port of 1 to 65535 if it names one."""
    if len(url) > LONGEST_URL or url != url.strip() or any(ord(char) < 0x20 or ord(char) == 0x7F for char in url):
        raise ValueError("the URL is too long, or holds control characters")
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if parts.scheme not in DEFAULT_PORTS or not _HOST.fullmatch(host) or parts.port == 0:
        raise ValueError("not a URL that a request can go to")
    target = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_QUERY_SAFE)
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    return ParsedUrl(parts.scheme, host, port, target, has_userinfo="@" in parts.netloc)


def needs_public_address(request: Request, url: ParsedUrl) -> bool:
    """Whether every IP address of the host must be public. Raises `NotSent` for a `public_only` URL that is wrong
    before any look-up: with a user name, not https, or with a port other than 443."""
    if not request.public_only:
        return False
    if url.has_userinfo:
        raise NotSent(FailureCode.FORBIDDEN_URL)
    if request.allowed_origin and parse(request.allowed_origin).origin == url.origin:
        return False
    if (url.scheme, url.port) != ("https", DEFAULT_PORTS["https"]):
        raise NotSent(FailureCode.FORBIDDEN_URL)
    return True
