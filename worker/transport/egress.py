"""The way out to the platforms: a proxy, and certificate authorities that are trusted beside the usual ones.

Both come from settings. Variables such as HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are not read. A proxy is asked for a
tunnel (CONNECT), also for http: with https it sees the host's name and port and nothing else. Loopback goes without it.
"""

import base64
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import certifi
import httpcore

from contact_ingest.errors import NotSent, SettingError, TransportError
from contact_ingest.model.failure_codes import FailureCode

#: Reasons that stay what they are when a proxy could not be used: they say nothing of the proxy.
_NOT_THE_PROXY = (FailureCode.DEADLINE, FailureCode.FORBIDDEN_URL)


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """An HTTP proxy. `authorization` is the value of its header, empty without a user."""

    host: str
    port: int
    authorization: str = ""

    @classmethod
    def parse(cls, setting: str, url: str) -> Self:
        """Read `http://proxy.example:3128` or `http://user:password@proxy.example:3128`. Raises `SettingError`."""
        try:
            parts = urlsplit(url)
            sound = parts.scheme == "http" and parts.hostname and parts.port and parts.hostname.isascii()
        except ValueError:
            sound = False
        if not sound or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise SettingError(setting, "must be http://host:port or http://user:password@host:port")
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = f"Basic {base64.b64encode(user.encode()).decode()}" if parts.username else ""
        return cls(str(parts.hostname), int(parts.port or 0), basic)

    def open_tunnel(self, stream: httpcore.NetworkStream, host: str, port: int) -> None:
        """Have the proxy connect `stream`, a connection to it, with a host. Raises `NotSent`."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers = [("Host", target)] + ([("Proxy-Authorization", self.authorization)] if self.authorization else [])
        url = httpcore.URL(scheme="http", host=self.host, port=self.port, target=target)
        try:
            connection = httpcore.HTTPConnection(url.origin, network_backend=_Connected(stream))
            status = connection.handle_request(httpcore.Request("CONNECT", url, headers=headers)).status
        except TransportError as problem:
            raise NotSent(problem.reason if problem.reason in _NOT_THE_PROXY else FailureCode.PROXY) from None
        except httpcore.ProtocolError:
            status = 0
        if not 200 <= status < 300:
            raise NotSent(FailureCode.PROXY)


class _Connected(httpcore.NetworkBackend):
    """Gives httpcore a connection that exists already."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def connect_tcp(self, *_unused: Any, **_options: Any) -> httpcore.NetworkStream:
        return self._stream


@dataclass(frozen=True, slots=True, repr=False)
class Egress:
    """How requests leave this machine. `tls` says whom to trust; None stands for the authorities of certifi."""

    proxy: Proxy | None = None
    tls: ssl.SSLContext | None = None

    def proxy_for(self, host: str) -> Proxy | None:
        """The proxy on the way to a host; None for a direct connection."""
        return None if self.proxy is None or is_loopback(host) else self.proxy


DIRECT = Egress()


def trusting(setting: str, ca_file: Path) -> ssl.SSLContext:
    """A context that trusts the authorities of a file beside those of certifi. Raises `SettingError`."""
    context = ssl.create_default_context(cafile=certifi.where())
    try:
        context.load_verify_locations(ca_file)
    except FileNotFoundError:
        raise SettingError(setting, f"there is no file {ca_file}") from None
    except OSError as problem:  # SSLError is one
        raise SettingError(setting, f"no certificates can be read from {ca_file}: {type(problem).__name__}") from None
    return context


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
