"""A server that does what a test says, byte by byte."""

import contextlib
import socket
import ssl
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import pytest
import trustme

from contact_ingest import errors
from contact_ingest.model import http_message

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "hidden-from-every-text"


class Peer:
    """The server's end of one connection."""

    def __init__(self, conn: socket.socket, over: threading.Event) -> None:
        self.conn = conn
        self.over = over
        self.requests: list[tuple[bytes, bytes]] = []

    def read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.conn.recv(1)
            if not byte:
                raise ConnectionError
            head += byte
        return head

    def read_request(self) -> None:
        head = self.read_head()
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        body = bytearray()
        while len(body) < length:
            piece = self.conn.recv(min(length - len(body), 1_000_000))
            if not piece:
                raise ConnectionError
            body += piece
        self.requests.append((head, bytes(body)))

    def read_to_end(self) -> int:
        """The number of bytes that arrive until the client hangs up."""
        count = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := self.conn.recv(1_000_000):
                count += len(piece)
        return count

    def drip(self, data: bytes, every_s: float = 0.02) -> None:
        for byte in data:
            self.conn.sendall(bytes([byte]))
            if self.over.wait(every_s):
                return

    def reset(self) -> None:
        self.conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.conn.close()

    def wait(self) -> None:
        self.over.wait(30)


class Server:
    """Accepts connections until the end of the `with` block, and runs the script for each in a thread of its own."""

    def __init__(self, script: Callable[[Peer], None], tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.tls = tls
        self.peers: list[Peer] = []
        self.over = threading.Event()
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.origin = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/v1/contacts"
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for sock in [self.listener, *(peer.conn for peer in self.peers)]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()

    def _spawn(self, act: Callable[..., None], *given: object) -> None:
        self.threads.append(threading.Thread(target=act, args=given, daemon=True))
        self.threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._spawn(self._serve, self.listener.accept()[0])

    def _serve(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.tls:
                conn = self.tls.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)
            peer = Peer(conn, self.over)
            self.peers.append(peer)
            self.script(peer)
        conn.close()


def answer(reply: bytes = OK) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.conn.sendall(reply)

    return script


def then(*steps: Callable[[Peer], object]) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        for step in steps:
            step(peer)

    return script


def reply(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(url: str, body: Sequence[bytes] = (), **more) -> http_message.Request:
    method = "POST" if body else "GET"
    return http_message.Request(method, url, "contacts", {"Authorization": f"Bearer {SECRET}"}, body, **more)


def wait_until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    ends_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends_s, "it never became true"
        time.sleep(0.01)


@contextlib.contextmanager
def fails(kind: type[errors.TransportError], reason: str | set[str], within_s: float = 5.0) -> Iterator[None]:
    """The block must raise exactly this error, with one of these reasons, in time. The error must hold nothing of the
    request."""
    began_s = time.monotonic()
    with pytest.raises(errors.TransportError) as caught:
        yield
    assert type(caught.value) is kind, caught.value.reason
    assert caught.value.reason in ({reason} if isinstance(reason, str) else reason)
    assert time.monotonic() - began_s < within_s
    assert str(caught.value) == caught.value.reason
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    # No frame below holds the request for an error reporter to show.
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "exchange"


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
