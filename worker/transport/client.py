"""The only file that speaks HTTP: one request out, one bounded reply in, all of it over by one deadline.

Promises an answer, `NotSent` or `FateUnknown`, each failure with a short reason code and nothing of the request in it.
Follows no redirect, keeps no cookie, reads no proxy or certificate path from the environment, never tries twice:
when to send again is the schedule's business.
"""

import contextlib
import logging
import os
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator

import httpx

from contact_ingest import errors
from contact_ingest.model import http_message
from contact_ingest.transport import sockets

USER_AGENT = "contact-ingest/0.1"
#: Well below what servers allow an idle connection, so that a request seldom meets one that is being closed.
KEEPALIVE_S = 5.0
#: A gzip body may be several members in a row; more than this many is a trap, not a file.
MOST_GZIP_MEMBERS = 64

# They write addresses, and at DEBUG headers, into whatever log the application keeps.
for _chatty in ("httpx", "httpcore", "httpx2", "httpcore2"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)


class HttpClient:
    """Safe to share between threads, and to keep over a fork: connections are made on first use, per process.

    `connect_s`, `write_s` and `read_s` bound a single silence, `deadline_s` the whole exchange. `tls` replaces the
    usual certificate authorities."""

    def __init__(
        self,
        *,
        deadline_s: float = 30.0,
        connect_s: float = 5.0,
        write_s: float = 15.0,
        read_s: float = 20.0,
        max_connections: int = 10,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._deadline_s = deadline_s
        self._connect_s = connect_s
        self._write_s = write_s
        self._read_s = read_s
        self._max_connections = max_connections
        self._tls = tls
        self._shelves: dict[
            int, _ConnectionPool
        ] = {}  # by process: a forked child must not speak on its parent's connections

    def exchange(self, request: http_message.Request, *, deadline_s: float | None = None) -> http_message.Response:
        """Raises `NotSent` or `FateUnknown`."""
        outcome = self._attempt(request, self._deadline_s if deadline_s is None else deadline_s)
        if isinstance(outcome, errors.TransportError):
            raise outcome  # made anew outside any except block: what went wrong below holds the request in its frames
        return outcome

    def close(self) -> None:
        while self._shelves:
            self._shelves.popitem()[1].close()

    def _attempt(
        self, request: http_message.Request, deadline_s: float
    ) -> http_message.Response | errors.TransportError:
        turn = sockets.ExchangeState(sockets.Deadline.after(deadline_s), self._connect_s, self._write_s, self._read_s)
        try:
            message = _message(request)
            turn.public_only = _must_be_public(request, message.url)
            with sockets.use_state(turn):
                return self._send(message, turn, request.max_reply_bytes)
        except errors.TransportError as error:
            return type(error)(error.reason)
        except httpx.HTTPError:
            return turn.failure("closed" if turn.closed else "protocol")
        except Exception as error:  # noqa: BLE001 - its text may quote the request; the caller still must know its fate
            return turn.failure(f"unexpected_{type(error).__name__}")

    def _send(self, message: httpx.Request, turn: sockets.ExchangeState, max_bytes: int) -> http_message.Response:
        began_s = time.monotonic()
        with self._shelf().borrowed(message.url, turn) as connection:
            response = connection.handle_request(message)
            try:
                raw, truncated = _read(response.iter_raw(), max_bytes)
            finally:
                response.close()
        headers = dict(response.headers.items())
        body, cut = _decoded(raw, headers.get("content-encoding", ""), max_bytes)
        elapsed_ms = round((time.monotonic() - began_s) * 1000)
        return http_message.Response(response.status_code, headers, body, elapsed_ms, truncated or cut)

    def _shelf(self) -> "_ConnectionPool":
        """Closing what a child inherited closes its copies only: the parent's connections live on."""
        pid = os.getpid()
        for other in [known for known in self._shelves if known != pid]:
            if inherited := self._shelves.pop(other, None):
                inherited.close()
        return self._shelves.get(pid) or self._shelves.setdefault(
            pid, _ConnectionPool(self._max_connections, self._tls)
        )


class _ConnectionPool:
    """The connections of one process, each lent to one exchange at a time. httpcore's own pool is not shared between
    threads: it can close, as idle, a connection it has just handed to another thread, whose request is then on its way
    with a fate unknown (httpcore 1.0.9, seen with eight threads on four connections)."""

    def __init__(self, size: int, tls: ssl.SSLContext | None) -> None:
        self._slots = threading.BoundedSemaphore(size)
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._idle: dict[tuple[str, str, int | None], list[httpx.HTTPTransport]] = {}

    @contextlib.contextmanager
    def borrowed(self, url: httpx.URL, turn: sockets.ExchangeState) -> Iterator[httpx.HTTPTransport]:
        """A connection to an address that was checked is neither taken from the shelf nor put there."""
        if not self._slots.acquire(timeout=max(min(turn.connect_s, turn.deadline.left_s()), 0)):
            raise errors.NotSent("pool")
        try:
            idle = self._idle.setdefault((url.scheme, url.host, url.port), []) if not turn.public_only else []
            connection = self._taken(idle)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if turn.public_only:
                connection.close()
            else:
                idle.append(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        while self._idle:
            for connection in self._idle.popitem()[1]:
                connection.close()

    def _taken(self, idle: list[httpx.HTTPTransport]) -> httpx.HTTPTransport:
        with contextlib.suppress(IndexError):
            return idle.pop()
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S)
        connection = httpx.HTTPTransport(verify=self._tls, trust_env=False, limits=limits, retries=0)
        # The one place that reaches below httpx, which has no total time-out and no way to hand in a backend.
        connection._pool._network_backend = sockets.NetworkBackend()  # type: ignore[assignment]  # noqa: SLF001
        return connection


def _message(request: http_message.Request) -> httpx.Request:
    invalid = errors.NotSent("forbidden_url" if request.public_only else "invalid_request")
    try:
        headers = httpx.Headers({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        headers.update(request.headers)
        if request.body:
            headers["Content-Length"] = str(request.length)
        body = http_message.slices(request.body) if request.body else None
        message = httpx.Request(request.method, request.url, headers=headers, content=body)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise invalid from None
    url = message.url
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 1) < 65_536:
        raise invalid
    return message


def _must_be_public(request: http_message.Request, url: httpx.URL) -> bool:
    """Whether the address has to be checked; a URL that is wrong on its face is refused here, before any look-up."""
    if not request.public_only:
        return False
    if url.userinfo:
        raise errors.NotSent("forbidden_url")
    if request.allowed_origin:
        allowed = httpx.URL(request.allowed_origin)
        if (url.scheme, url.host, url.port) == (allowed.scheme, allowed.host, allowed.port):
            return False
    if url.scheme != "https" or url.port is not None:  # httpx drops a scheme's own port
        raise errors.NotSent("forbidden_url")
    return True


def _read(chunks: Iterable[bytes], max_bytes: int) -> tuple[bytes, bool]:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def _decoded(raw: bytes, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """What was compressed although we asked otherwise, and whether it is cut. What cannot be decoded stays as it came,
    marked as cut: the status is worth more than the body."""
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
