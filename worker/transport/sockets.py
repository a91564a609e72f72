"""Sockets that keep a deadline: name look-up, connection, TLS, and every read and write under one exchange.

Promises that no byte leaves after the deadline, however long the process was frozen, and that each failure says
whether the request had begun to leave. It leaves HTTP to `transport`, which puts `Backend` under its HTTP library.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from contact_ingest import errors

#: The clocks are looked at between pieces of this size, and at least once in so many seconds.
PIECE_BYTES = 65_536
LOOK_EVERY_S = 1.0
#: Closing with this option throws away what the kernel has not sent yet: the other side sees a broken request.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Given = TypeVar("_Given")
_Got = TypeVar("_Got")
_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on two clocks. The monotonic one stands still while a virtual machine sleeps, the other may be set back:
    whichever is later counts."""

    monotonic_s: float
    unix_s: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds, time.time() + seconds)

    def left_s(self) -> float:
        return min(self.monotonic_s - time.monotonic(), self.unix_s - time.time())


@dataclass(slots=True)
class ExchangeState:
    """What one exchange may still do, and what it has done so far: `sent` once its first byte may have left, `closed`
    once the other side has hung up."""

    deadline: Deadline
    connect_s: float
    write_s: float
    read_s: float
    public_only: bool = False
    sent: bool = False
    closed: bool = False

    def failure(self, reason: str) -> errors.TransportError:
        return errors.FateUnknown(reason) if self.sent else errors.NotSent(reason)

    def check(self) -> None:
        if self.deadline.left_s() <= 0:
            raise self.failure("deadline")


_current = threading.local()


@contextlib.contextmanager
def use_state(turn: ExchangeState) -> Iterator[None]:
    """Every socket this thread uses inside the block obeys `turn`."""
    _current.turn = turn
    try:
        yield
    finally:
        del _current.turn


def _state() -> ExchangeState:
    turn: ExchangeState = _current.turn
    return turn


class Stream:
    """One connection, in the shape httpcore asks of a network stream; the time-outs it hands in are not used."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._half_dead = False

    def read(self, max_bytes: int, **_unused: object) -> bytes:
        turn = _state()
        late = errors.FateUnknown("read_timeout")
        try:
            data: bytes = self._until(self._sock.recv, max_bytes, select.POLLIN, turn.read_s, late)
        except OSError:
            raise turn.failure("write" if self._half_dead else "reset") from None
        turn.closed = not data
        return data

    def write(self, buffer: bytes, **_unused: object) -> None:
        """Send it all. Once the other side takes no more, the rest is dropped in silence: a server that refuses a body
        halfway answers before it hangs up, and the answer is worth more than the error."""
        turn = _state()
        if not turn.sent:
            turn.check()
            turn.sent = True
        rest = memoryview(buffer)
        while rest and not self._half_dead:
            late = errors.FateUnknown("write")
            try:
                sent = self._until(self._sock.send, rest[:PIECE_BYTES], select.POLLOUT, turn.write_s, late)
            except OSError:
                self._half_dead = True
            else:
                rest = rest[sent:]

    def close(self) -> None:
        self._sock.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str, **_unused: object) -> "Stream":
        try:
            secure = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        except (OSError, ValueError):
            self.close()
            raise errors.NotSent("tls") from None
        stream = Stream(secure)
        try:
            late = errors.NotSent("connect_timeout")
            stream._until(lambda _: secure.do_handshake(), None, select.POLLIN, _state().connect_s, late)
        except (OSError, errors.TransportError) as error:
            stream.close()
            raise (error if isinstance(error, errors.TransportError) else errors.NotSent("tls")) from None
        return stream

    def get_extra_info(self, info: str) -> Any:
        """`is_readable` asks, of an idle connection, whether the other side has hung up; a half-dead one counts too."""
        if info == "is_readable":
            return self._half_dead or _ready(self._sock, select.POLLIN, 0)
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        return None

    def _until(
        self, act: Callable[[_Given], _Got], given: _Given, event: int, limit_s: float, late: errors.TransportError
    ) -> _Got:
        """Do `act` as soon as the socket lets it; `late` if that takes `limit_s`. The deadline is looked at right
        before each try, so a process that wakes from a freeze finds out before it sends, not after."""
        turn = _state()
        gives_up_s = time.monotonic() + limit_s
        while True:
            if turn.deadline.left_s() <= 0:
                raise self._abandoned(turn.failure("deadline"))
            try:
                return act(given)
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except BlockingIOError:
                wanted = event
            patience_s = gives_up_s - time.monotonic()
            if patience_s <= 0:
                raise self._abandoned(late)
            _ready(self._sock, wanted, min(patience_s, turn.deadline.left_s(), LOOK_EVERY_S))

    def _abandoned(self, error: errors.TransportError) -> errors.TransportError:
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return error


class NetworkBackend:
    """Makes connections, in the shape httpcore asks of a network backend."""

    def connect_tcp(self, host: str, port: int, **_unused: object) -> Stream:
        """The addresses are looked up once: those that are checked are those that are connected to."""
        turn = _state()
        turn.check()
        ends_s = time.monotonic() + turn.connect_s
        addresses = _look_up(host, port, _left_s(turn, ends_s))
        if turn.public_only and not all(is_public(address[1][0]) for address in addresses):
            raise errors.NotSent("forbidden_url")
        reason = "connect_timeout"
        for position, (family, address) in enumerate(addresses):
            left_s = _left_s(turn, ends_s)
            if left_s <= 0:
                break
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                # A dead address must not eat the time of those behind it.
                sock.settimeout(left_s / (len(addresses) - position))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                sock.close()
                reason = "connect_timeout" if isinstance(error, TimeoutError) else "connect"
            else:
                return Stream(sock)
        turn.check()
        raise errors.NotSent(reason)


def is_public(text: str) -> bool:
    """Whether an IP address is one of the open internet, also when it hides inside an IPv6 one."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            hidden = ipaddress.IPv4Address(address.packed[-4:])
        if hidden is not None:
            return is_public(str(hidden))
    inside = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not inside


def _look_up(host: str, port: int, limit_s: float) -> list[_Address]:
    """The system's resolver knows no time-out, so it is asked from a thread that may be left behind."""
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
    raise errors.NotSent("dns")


def _left_s(turn: ExchangeState, ends_s: float) -> float:
    return min(ends_s - time.monotonic(), turn.deadline.left_s())


def _ready(sock: socket.socket, event: int, timeout_s: float) -> bool:
    if sock.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(sock, event)
    return bool(poller.poll(max(timeout_s, 0) * 1000))
