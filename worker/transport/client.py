"""The HTTP client: one request out, one bounded reply in, both before one deadline.

`HttpClient.exchange` returns a response or raises `NotSent` or `FateUnknown`. Each error carries a short reason code
such as `connect` or `read_timeout`, and nothing of the request.

The client follows no redirect, keeps no cookie and reads neither proxies nor certificate paths from the environment: a
proxy and further authorities come from settings (see egress.py).
It never sends a request twice: the schedule in Redis decides when to try again.
"""

import contextlib
import logging
import os
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping

import certifi
import httpcore

from contact_ingest import errors
from contact_ingest.model import http_message
from contact_ingest.model.failure_codes import FailureCode, unexpected_code
from contact_ingest.transport import sockets
from contact_ingest.transport.egress import DIRECT, Egress
from contact_ingest.transport.url import ParsedUrl, needs_public_address, parse

USER_AGENT = "contact-ingest/0.2"
#: An idle connection is used again for this many seconds. Servers keep idle connections for longer, so a request
#: seldom goes out on a connection that the server is closing.
KEEPALIVE_S = 5.0
#: A gzip body may consist of several members. More members than this are an attack, not a file.
MOST_GZIP_MEMBERS = 64
#: Without a body, requests with these methods declare a length of 0: some servers insist on a length (411).
METHODS_WITH_BODY = ("POST", "PUT", "PATCH")

# At DEBUG, httpcore logs URLs and headers. The application's log level must not turn that on.
logging.getLogger("httpcore").setLevel(logging.WARNING)


class HttpClient:
    """Threads may share one client. A client may also be kept over a fork: each process makes its own connections, on
    first use.

    `deadline_s` bounds the whole exchange. `connect_s` bounds the connection (name look-up, TCP, TLS). `write_s` and
    `read_s` bound one silence each. `max_connections` counts per process. `egress` is the way out: a proxy, and whom to
    trust.
    """

    def __init__(
        self,
        *,
        deadline_s: float = 30.0,
        connect_s: float = 5.0,
        write_s: float = 15.0,
        read_s: float = 20.0,
        max_connections: int = 10,
        egress: Egress = DIRECT,
    ) -> None:
        self._deadline_s = deadline_s
        self._connect_s = connect_s
        self._write_s = write_s
        self._read_s = read_s
        self._max_connections = max_connections
        self._egress = egress
        #: Pools by process id: a forked child must not speak on a connection of its parent.
        self._pools: dict[int, _ConnectionPool] = {}

    def exchange(self, request: http_message.Request, *, deadline_s: float | None = None) -> http_message.Response:
        """Send the request and read the reply. Raises `NotSent` or `FateUnknown`."""
        outcome = self._attempt(request, self._deadline_s if deadline_s is None else deadline_s)
        if isinstance(outcome, errors.TransportError):
            # Raised here, outside every except block: the frames of the original error hold the request.
            raise outcome
        return outcome

    def close(self) -> None:
        """Close all idle connections. The client can still be used; it makes new connections then."""
        while self._pools:
            self._pools.popitem()[1].close()

    def _attempt(
        self, request: http_message.Request, deadline_s: float
    ) -> http_message.Response | errors.TransportError:
        deadline = sockets.Deadline.after(deadline_s)
        state = sockets.ExchangeState(deadline, self._connect_s, self._write_s, self._read_s)
        try:
            url = _checked_url(request)
            state.public_only = needs_public_address(request, url)
            message = _message(request, url)
            with sockets.use_state(state):
                return self._send(message, state, request.max_reply_bytes)
        except errors.TransportError as error:
            return type(error)(error.reason)
        except httpcore.ProtocolError:
            return state.failure(FailureCode.CLOSED if state.closed else FailureCode.PROTOCOL)
        except errors.BUGS as error:
            errors.log_defect("a defect of the HTTP client", error)
            return state.failure(FailureCode.INTERNAL)
        except Exception as error:
            if not errors.is_defect(error):
                raise
            return state.failure(unexpected_code(error))

    def _send(self, message: httpcore.Request, state: sockets.ExchangeState, max_bytes: int) -> http_message.Response:
        began_s = time.monotonic()
        with self._pool().borrowed(message.url.origin, state) as connection:
            response = connection.handle_request(message)
            try:
                raw, truncated = _read(response.iter_stream(), max_bytes)
            finally:
                response.close()
        headers = _reply_headers(response.headers)
        body, cut = _decoded(raw, headers.get("content-encoding", ""), max_bytes)
        elapsed_ms = round((time.monotonic() - began_s) * 1000)
        return http_message.Response(response.status, headers, body, elapsed_ms, truncated or cut)

    def _pool(self) -> "_ConnectionPool":
        """The pool of this process. A forked child closes its copies of its parent's connections; the parent's own
        connections stay open."""
        pid = os.getpid()
        for other in [known for known in self._pools if known != pid]:
            if inherited := self._pools.pop(other, None):
                inherited.close()
        return self._pools.get(pid) or self._pools.setdefault(pid, _ConnectionPool(self._max_connections, self._egress))


class _ConnectionPool:
    """The connections of one process. Each connection is lent to one exchange at a time.

    Threads must not share httpcore's own pool: it can close, as idle, a connection that it has just handed to another
    thread. The request of that thread is then on its way with an unknown fate (httpcore 1.0.9, seen with eight threads
    on four connections).
    """

    def __init__(self, size: int, egress: Egress) -> None:
        self._free_slots = threading.BoundedSemaphore(size)
        self._tls = egress.tls or ssl.create_default_context(cafile=certifi.where())
        self._backend = sockets.NetworkBackend(egress)
        self._idle: dict[str, list[httpcore.HTTPConnection]] = {}  # by origin

    @contextlib.contextmanager
    def borrowed(self, origin: httpcore.Origin, state: sockets.ExchangeState) -> Iterator[httpcore.HTTPConnection]:
        """A connection to `origin` for one exchange. Raises `NotSent` if none is free in time.

        A connection with a checked IP address (`state.public_only`) is always new, and never used again.
        """
        if not self._free_slots.acquire(timeout=max(min(state.connect_s, state.deadline.left_s()), 0)):
            raise errors.NotSent(FailureCode.POOL)
        try:
            idle = [] if state.public_only else self._idle.setdefault(str(origin), [])
            connection = self._idle_or_new(idle, origin)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if state.public_only or not connection.is_idle():
                connection.close()
            else:
                idle.append(connection)
        finally:
            self._free_slots.release()

    def close(self) -> None:
        while self._idle:
            for connection in self._idle.popitem()[1]:
                connection.close()

    def _idle_or_new(self, idle: list[httpcore.HTTPConnection], origin: httpcore.Origin) -> httpcore.HTTPConnection:
        with contextlib.suppress(IndexError):  # `idle` is empty, perhaps because another thread was faster
            while True:
                connection = idle.pop()
                if not connection.has_expired():  # also true when the server has hung up
                    return connection
                connection.close()
        return httpcore.HTTPConnection(
            origin, ssl_context=self._tls, keepalive_expiry=KEEPALIVE_S, network_backend=self._backend
        )


def _checked_url(request: http_message.Request) -> ParsedUrl:
    try:
        return parse(request.url)
    except ValueError:
        raise errors.NotSent(
            FailureCode.FORBIDDEN_URL if request.public_only else FailureCode.INVALID_REQUEST
        ) from None


def _message(request: http_message.Request, url: ParsedUrl) -> httpcore.Request:
    """The request as httpcore takes it. Raises `NotSent` if it cannot be written as HTTP."""
    try:
        headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in _request_headers(request, url)]
        return httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
            headers=headers,
            content=http_message.slices(request.body) if request.body else None,
        )
    except (ValueError, TypeError):
        raise errors.NotSent(FailureCode.INVALID_REQUEST) from None


def _request_headers(request: http_message.Request, url: ParsedUrl) -> Iterable[tuple[str, str]]:
    """All headers in the order in which they go out. A header of the request replaces a default of the same name."""
    headers = {"host": ("Host", url.authority)}
    if not request.body and request.method in METHODS_WITH_BODY:
        headers["content-length"] = ("Content-Length", "0")
    defaults: Mapping[str, str] = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    for name, value in (*defaults.items(), *request.headers.items()):
        headers.pop(name.lower(), None)
        headers[name.lower()] = (name, value)
    if request.body:
        headers["content-length"] = ("Content-Length", str(request.length))
    return headers.values()


def _reply_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name. Several headers of one name become one, joined with commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = _text(raw_name).lower(), _text(raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("iso-8859-1")


def _read(chunks: Iterable[bytes], max_bytes: int) -> tuple[bytes, bool]:
    """The body up to `max_bytes`, and whether more came."""
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def _decoded(raw: bytes, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """The unpacked body up to `max_bytes`, and whether it is incomplete.

    The request asked for no compression, but some servers compress all the same. A body that cannot be unpacked is
    returned as it came and marked as incomplete: the caller still needs the status.
    """
    encoding = encoding.strip().lower()
    if not raw or encoding in ("", "identity"):
        return raw, False
    if encoding not in ("gzip", "x-gzip"):
        return raw, True
    body, rest = b"", raw
    try:
        for _ in range(MOST_GZIP_MEMBERS):
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            body += member.decompress(rest, max_bytes + 1 - len(body))
            rest = member.unused_data
            if len(body) > max_bytes or not member.eof or not rest:
                return body[:max_bytes], len(body) > max_bytes or not member.eof
    except zlib.error:
        return raw, True
    return body, True
