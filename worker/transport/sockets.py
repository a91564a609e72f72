"""Sockets that keep a deadline: name look-up, connection, TLS handshake, and every read and write of one exchange.

No byte leaves after the deadline, however long the process was frozen. Each failure says whether the request had begun
to leave (`FateUnknown`) or not (`NotSent`). HTTP is left to httpcore, which `client` gives a `NetworkBackend`.
"""

import contextlib
import ipaddress
import queue
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpcore

from contact_ingest import errors
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.transport.egress import DIRECT, Egress, Proxy

#: The deadline is checked before each slice of this size, and at least once in `CHECK_EVERY_S`.
SLICE_BYTES = 65_536
CHECK_EVERY_S = 1.0
#: A socket with this SO_LINGER value throws away, when it is closed, what the kernel has not sent yet. The server sees
#: a broken request.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
#: IPv6 addresses of this network carry an IPv4 address in their last four bytes (RFC 6052).
NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Given = TypeVar("_Given")
_Got = TypeVar("_Got")
_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on two clocks; the clock that reaches the moment first counts. The monotonic clock stands still while a
    virtual machine sleeps. The wall clock may be set back."""

    monotonic_s: float
    unix_s: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds, time.time() + seconds)

    def left_s(self) -> float:
        return min(self.monotonic_s - time.monotonic(), self.unix_s - time.time())


@dataclass(slots=True)
class ExchangeState:
    """The limits of one exchange, and what has happened so far.

    `public_only` refuses connections to addresses that are not public. `sent` is true once the first byte of the
    request may have left. `closed` is true once the server has hung up.
    """

    deadline: Deadline
    connect_s: float
    write_s: float
    read_s: float
    public_only: bool = False
    sent: bool = False
    closed: bool = False

    def failure(self, reason: str) -> errors.TransportError:
        """The error that fits: `FateUnknown` if bytes may have left, otherwise `NotSent`."""
        return errors.FateUnknown(reason) if self.sent else errors.NotSent(reason)

    def check_deadline(self) -> None:
        if self.deadline.left_s() <= 0:
            raise self.failure(FailureCode.DEADLINE)


_current = threading.local()


@contextlib.contextmanager
def use_state(state: ExchangeState) -> Iterator[None]:
    """Inside the block, every socket that this thread uses obeys `state`."""
    _current.state = state
    try:
        yield
    finally:
        del _current.state


def _current_state() -> ExchangeState:
    state: ExchangeState = _current.state
    return state


class SocketStream(httpcore.NetworkStream):
    """One connection. The limits come from the exchange's state; the time-outs that httpcore hands in are not used."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._peer_takes_no_more = False

    def read(self, max_bytes: int, *_unused: Any, **_options: Any) -> bytes:
        state = _current_state()
        late = errors.FateUnknown(FailureCode.READ_TIMEOUT)
        try:
            data: bytes = self._when_ready(self._sock.recv, max_bytes, select.POLLIN, state.read_s, late)
        except OSError:
            raise state.failure(FailureCode.WRITE if self._peer_takes_no_more else FailureCode.RESET) from None
        state.closed = not data
        return data

    def write(self, buffer: bytes, *_unused: Any, **_options: Any) -> None:
        """Send everything. Once the server takes no more, the rest is dropped without an error: a server that refuses
        a body halfway sends its answer before it hangs up, and the answer says more than the error."""
        state = _current_state()
        if not state.sent:
            state.check_deadline()
            state.sent = True
        rest = memoryview(buffer)
        while rest and not self._peer_takes_no_more:
            late = errors.FateUnknown(FailureCode.WRITE)
            try:
                sent = self._when_ready(self._sock.send, rest[:SLICE_BYTES], select.POLLOUT, state.write_s, late)
            except OSError:
                self._peer_takes_no_more = True
            else:
                rest = rest[sent:]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_unused: Any, **_options: Any
    ) -> "SocketStream":
        try:
            secure = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        except (OSError, ValueError):
            self.close()
            raise errors.NotSent(FailureCode.TLS) from None
        stream = SocketStream(secure)
        try:
            late = errors.NotSent(FailureCode.CONNECT_TIMEOUT)
            connect_s = _current_state().connect_s
            stream._when_ready(lambda _: secure.do_handshake(), None, select.POLLIN, connect_s, late)
        except (OSError, errors.TransportError) as error:
            stream.close()
            raise (error if isinstance(error, errors.TransportError) else errors.NotSent(FailureCode.TLS)) from None
        return stream

    def get_extra_info(self, info: str) -> Any:
        """httpcore asks for `is_readable` on an idle connection: true means that the connection cannot be used again,
        because the server has hung up or takes no more."""
        if info == "is_readable":
            return self._peer_takes_no_more or _is_ready(self._sock, select.POLLIN, 0)
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        return None

    def _when_ready(
        self, act: Callable[[_Given], _Got], given: _Given, event: int, limit_s: float, late: errors.TransportError
    ) -> _Got:
        """`act(given)` as soon as the socket allows it. Raises `late` after `limit_s` without progress.

        The deadline is checked right before each try: a process that wakes from a freeze notices before it sends.
        """
        state = _current_state()
        ends_s = time.monotonic() + limit_s
        while True:
            if state.deadline.left_s() <= 0:
                raise self._abandoned(state.failure(FailureCode.DEADLINE))
            try:
                return act(given)
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except BlockingIOError:
                wanted = event
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                raise self._abandoned(late)
            _is_ready(self._sock, wanted, min(left_s, state.deadline.left_s(), CHECK_EVERY_S))

    def _abandoned(self, error: errors.TransportError) -> errors.TransportError:
        """The same error, after the socket was told to send nothing more of what the kernel holds."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return error


class NetworkBackend(httpcore.NetworkBackend):
    """Makes the connections for httpcore, within the limits of the exchange's state."""

    def __init__(self, egress: Egress = DIRECT) -> None:
        self._egress = egress

    def connect_tcp(self, host: str, port: int, *_unused: Any, **_options: Any) -> SocketStream:
        """The name is looked up once: the addresses that are checked are the addresses that are connected to. A proxy
        looks the names up that are not checked here."""
        state = _current_state()
        state.check_deadline()
        ends_s = time.monotonic() + state.connect_s
        proxy = self._egress.proxy_for(host)
        if proxy is not None and not state.public_only:
            return self._connect_through(proxy, host, port, ends_s)
        addresses = _look_up(host, port, _left_s(state, ends_s))
        if state.public_only and not all(is_public(address[1][0]) for address in addresses):
            raise errors.NotSent(FailureCode.FORBIDDEN_URL)
        if proxy is not None:
            return self._connect_through(proxy, addresses[0][1][0], port, ends_s)
        return self._connect(addresses, ends_s)

    def _connect_through(self, proxy: Proxy, host: str, port: int, ends_s: float) -> SocketStream:
        """A tunnel to a host. Nothing of the request is sent yet, whatever goes wrong."""
        state = _current_state()
        try:
            stream = self._connect(_look_up(proxy.host, proxy.port, _left_s(state, ends_s)), ends_s)
        except errors.NotSent as problem:
            is_late = problem.reason == FailureCode.DEADLINE
            raise errors.NotSent(problem.reason if is_late else FailureCode.PROXY) from None
        try:
            proxy.open_tunnel(stream, host, port)
        except BaseException:
            stream.close()
            raise
        finally:
            state.sent = state.closed = False
        return stream

    def _connect(self, addresses: Sequence[_Address], ends_s: float) -> SocketStream:
        """A connection to the first of the addresses that takes one."""
        state, reason = _current_state(), FailureCode.CONNECT_TIMEOUT
        for position, (family, address) in enumerate(addresses):
            left_s = _left_s(state, ends_s)
            if left_s <= 0:
                break
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                # Each address gets an equal share of the time left, so that a dead one leaves time for the next.
                sock.settimeout(left_s / (len(addresses) - position))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                sock.close()
                reason = FailureCode.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else FailureCode.CONNECT
            else:
                return SocketStream(sock)
        state.check_deadline()
        raise errors.NotSent(reason)


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet. An IPv4 address inside an IPv6 address is unpacked first:
    `::ffff:127.0.0.1` is not public."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
    special = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not special


def _look_up(host: str, port: int, limit_s: float) -> list[_Address]:
    """The addresses of a host. Raises `NotSent` if there are none within `limit_s`.

    The system's resolver has no time-out, so a thread of its own asks it; a thread that hangs is left behind.
    """
    answers: queue.SimpleQueue[list[_Address]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        answers.put([(family, address) for family, _, _, _, address in found])

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    with contextlib.suppress(queue.Empty):
        if addresses := answers.get(timeout=max(limit_s, 0.001)):
            return addresses
    raise errors.NotSent(FailureCode.DNS)


def _left_s(state: ExchangeState, ends_s: float) -> float:
    return min(ends_s - time.monotonic(), state.deadline.left_s())


def _is_ready(sock: socket.socket, event: int, timeout_s: float) -> bool:
    """Wait until the socket is ready for `event` (`select.POLLIN` or `POLLOUT`). A closed socket counts as ready."""
    if sock.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(sock, event)
    return bool(poller.poll(max(timeout_s, 0) * 1000))
