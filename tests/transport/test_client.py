"""The HTTP client against servers that misbehave. A server is a raw socket on loopback that follows a small script."""

import contextlib
import gzip
import logging
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import pytest
import trustme
from support.product import ROOT

from contact_ingest import errors
from contact_ingest.model import http_message
from contact_ingest.transport import client, sockets
from contact_ingest.transport.client import HttpClient

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


@pytest.fixture
def transport() -> Iterator[HttpClient]:
    made = HttpClient()
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[HttpClient]:
    made = HttpClient(connect_s=0.3, write_s=0.3, read_s=0.3)
    yield made
    made.close()


# What is sent


def test_the_exact_bytes_arrive_with_their_length_declared(transport):
    body = [b"{", os.urandom(300_000), b"", b"}" * 65_536]
    with Server(answer()) as server:
        response = transport.exchange(ask(server.url, body))
    assert (response.status, response.body, response.truncated) == (200, b"ok", False)
    [(head, arrived)] = server.peers[0].requests
    assert arrived == b"".join(body)
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/contacts HTTP/1.1"
    assert {line.split(":")[0].lower(): line.split(": ")[1] for line in lines[1:-2]} == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "contact-ingest/0.1",
        "accept-encoding": "identity",
        "authorization": f"Bearer {SECRET}",
        "content-length": str(len(b"".join(body))),
    }


def test_a_request_without_a_body_declares_none(transport):
    with Server(answer()) as server:
        transport.exchange(ask(server.url))
        assert b"content-length" not in server.peers[0].requests[0][0].lower()


def test_a_post_without_a_body_declares_a_length_of_zero(transport):
    with Server(answer()) as server:
        transport.exchange(http_message.Request("POST", server.url, "contacts"))
        assert b"content-length: 0\r\n" in server.peers[0].requests[0][0].lower()


def test_a_header_of_the_request_replaces_a_default_of_the_same_name(transport):
    with Server(answer()) as server:
        transport.exchange(http_message.Request("GET", server.url, "contacts", {"user-agent": "mine"}))
        assert server.peers[0].requests[0][0].lower().count(b"user-agent: mine\r\n") == 1
        assert b"contact-ingest" not in server.peers[0].requests[0][0]


def test_an_idle_connection_past_its_keep_alive_is_not_used_again(transport, monkeypatch):
    monkeypatch.setattr(client, "KEEPALIVE_S", -1.0)
    with Server(answer()) as server:
        for _ in range(2):
            assert transport.exchange(ask(server.url, [b"x"])).status == 200
        assert len(server.peers) == 2


def test_one_connection_serves_many_requests_and_keeps_no_cookie(transport):
    with Server(answer(reply(b"ok", "Set-Cookie: id=1; Path=/"))) as server:
        for _ in range(3):
            transport.exchange(ask(server.url, [b"x"]))
        assert len(server.peers) == 1
        assert not any(b"cookie" in head.lower() for head, _ in server.peers[0].requests)


def test_a_connection_the_server_closed_while_idle_is_not_used_again(transport):
    with Server(then(Peer.read_request, lambda peer: peer.conn.sendall(OK))) as server:
        for count in range(1, 4):
            assert transport.exchange(ask(server.url, [b"x"])).status == 200
            wait_until(lambda: server.peers[-1].conn.fileno() < 0)
            assert len(server.peers) == count


def test_proxies_named_in_the_environment_are_ignored(transport, monkeypatch):
    with Server(answer()) as server, Server(answer()) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
            monkeypatch.setenv(name.lower(), proxy.origin)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert transport.exchange(ask(server.url)).status == 200
        assert not proxy.peers


def test_nothing_is_logged_even_at_debug(transport, caplog):
    caplog.set_level(logging.DEBUG)
    with Server(answer()) as server:
        transport.exchange(ask(server.url, [b"x"]))
        with fails(errors.NotSent, "deadline"):
            transport.exchange(ask(server.url, [b"x"]), deadline_s=0)
    assert not caplog.records


def test_many_threads_share_one_transport():
    def echo(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.conn.sendall(reply(peer.requests[-1][1]))

    transport, wrong = HttpClient(max_connections=4), []

    def run(name: int) -> None:
        for turn in range(20):
            body = f"{name}-{turn}".encode()
            if transport.exchange(ask(server.url, [body])).body != body:
                wrong.append(body)

    with Server(echo) as server:
        threads = [threading.Thread(target=run, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        transport.close()
        assert not wrong
        assert sum(len(peer.requests) for peer in server.peers) == 160
        assert len(server.peers) <= 4


def test_a_forked_child_makes_its_own_connections_and_leaves_the_parents_alone():
    script = """
import os, sys
from contact_ingest.model import http_message as wire
from contact_ingest.transport.client import HttpClient
transport = HttpClient()
def ask(who): assert transport.exchange(wire.Request("POST", sys.argv[1], "e", body=[who])).status == 200
ask(b"parent")
if os.fork() == 0:
    ask(b"child"); ask(b"child"); transport.close(); os._exit(0)
assert os.wait()[1] == 0
ask(b"parent")
"""
    with Server(answer()) as server:
        subprocess.run([sys.executable, "-W", "error", "-c", script, server.url], cwd=ROOT, check=True, timeout=30)
        assert [[body for _, body in peer.requests] for peer in server.peers] == [[b"parent"] * 2, [b"child"] * 2]


# What comes back


def test_a_redirect_is_an_answer_and_is_not_followed(transport):
    with Server(answer()) as elsewhere:
        moved = reply(b"", f"Location: {elsewhere.url}", status="302 Found")
        with Server(answer(moved)) as server:
            response = transport.exchange(ask(server.url))
        assert (response.status, response.headers["location"]) == (302, elsewhere.url)
        assert not elsewhere.peers


def test_a_refusal_that_comes_before_the_body_is_through_is_read(transport):
    def refuse(peer: Peer) -> None:
        peer.read_head()
        peer.conn.sendall(reply(b"too large", "Connection: close", status="413 Too Large"))
        peer.conn.shutdown(socket.SHUT_WR)
        peer.conn.recv(1_000)

    with Server(refuse) as server:
        response = transport.exchange(ask(server.url, [bytes(50_000_000)]))
    assert (response.status, response.body) == (413, b"too large")


def test_a_gigabyte_reply_is_cut_and_not_read_to_its_end(transport):
    sent = []

    def flood(peer: Peer) -> None:
        peer.read_request()
        peer.conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1_000):
            peer.conn.sendall(bytes(1_000_000))
            sent.append(1)

    with Server(flood) as server:
        response = transport.exchange(ask(server.url, max_reply_bytes=100_000))
        assert (response.status, len(response.body), response.truncated) == (200, 100_000, True)
        wait_until(lambda: server.peers[0].conn.fileno() < 0)
    assert len(sent) < 100


def test_a_reply_of_exactly_the_allowed_length_is_whole(transport):
    with Server(answer(reply(b"x" * 1_000))) as server:
        response = transport.exchange(ask(server.url, max_reply_bytes=1_000))
    assert (len(response.body), response.truncated) == (1_000, False)


def test_a_gzip_reply_is_unpacked_even_in_several_members(transport):
    packed = gzip.compress(b"first,") + gzip.compress(b"second")
    with Server(answer(reply(packed, "Content-Encoding: GZIP"))) as server:
        response = transport.exchange(ask(server.url))
    assert (response.body, response.truncated) == (b"first,second", False)


def test_a_gzip_bomb_is_cut_and_costs_no_memory(transport):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(300)) + packer.flush()
    assert len(bomb) < 400_000
    with Server(answer(reply(bomb, "Content-Encoding: gzip"))) as server:
        tracemalloc.start()
        response = transport.exchange(ask(server.url, max_reply_bytes=500_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (response.body, response.truncated) == (bytes(500_000), True)
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("encoding", "body", "expected"),
    [
        ("gzip", b"not gzip at all", b"not gzip at all"),
        ("br", b"\x8b\x02\x80ok\x03", b"\x8b\x02\x80ok\x03"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"ok")), gzip.compress(gzip.compress(b"ok"))),
        ("gzip", gzip.compress(b"o" * 1_000)[:-12], None),
    ],
    ids=["garbage", "unknown", "twice", "cut short"],
)
def test_a_body_that_cannot_be_unpacked_is_marked_and_the_status_counts(transport, encoding, body, expected):
    packed = reply(body, f"Content-Encoding: {encoding}", status="429 Slow Down")
    with Server(answer(packed)) as server:
        response = transport.exchange(ask(server.url))
    assert (response.status, response.truncated) == (429, True)
    assert expected is None or response.body == expected


def test_header_names_are_lower_case(transport):
    with Server(answer(reply(b"", "X-RateLimit-Remaining: 7"))) as server:
        assert transport.exchange(ask(server.url)).headers["x-ratelimit-remaining"] == "7"


def test_repeated_headers_are_joined_and_bytes_that_are_not_utf8_are_read_as_latin1(transport):
    with Server(answer(reply(b"", "X-Note: a", "x-note: b").replace(b"a\r", b"caf\xe9\r"))) as server:
        headers = transport.exchange(ask(server.url)).headers
    assert headers["x-note"] == "caf\xe9, b"


# Failures before anything was sent


def test_a_name_that_does_not_resolve_was_not_sent(transport, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, SECRET)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with fails(errors.NotSent, "dns"):
        transport.exchange(ask("http://nowhere.example/"))


def test_a_resolver_that_hangs_does_not_hold_the_exchange(hasty, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30) and [])
    with fails(errors.NotSent, "dns", within_s=2):
        hasty.exchange(ask("http://slow.example/"))
    over.set()


def test_a_refused_connection_was_not_sent(transport):
    with Server(answer()) as server:
        pass
    with fails(errors.NotSent, "connect"):
        transport.exchange(ask(server.url, [b"x"]))


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: another connection is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_that_takes_too_long_was_not_sent(hasty, full_port):
    with fails(errors.NotSent, "connect_timeout", within_s=2):
        hasty.exchange(ask(f"http://127.0.0.1:{full_port}/", [b"x"]))


def test_a_dead_address_leaves_time_for_the_next(hasty, full_port, monkeypatch):
    with Server(answer()) as server:
        ports = [full_port, server.port]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert hasty.exchange(ask("http://two.example/", [b"x"])).status == 200


def test_the_deadline_ends_a_connection_attempt(transport, full_port):
    with fails(errors.NotSent, "deadline", within_s=2):
        transport.exchange(ask(f"http://127.0.0.1:{full_port}/", [b"x"]), deadline_s=0.3)


def test_a_deadline_that_is_over_connects_to_nobody(transport):
    with Server(answer()) as server:
        with fails(errors.NotSent, "deadline"):
            transport.exchange(ask(server.url, [b"x"]), deadline_s=0)
        assert not server.peers


def test_a_full_pool_was_not_sent():
    transport = HttpClient(max_connections=1, connect_s=0.2)
    with Server(then(Peer.read_request, Peer.wait)) as server:
        first: list[str] = []

        def hold() -> None:
            try:
                transport.exchange(ask(server.url, [b"first"]))
            except errors.FateUnknown as error:
                first.append(error.reason)

        holder = threading.Thread(target=hold)
        holder.start()
        wait_until(lambda: bool(server.peers and server.peers[0].requests))
        with fails(errors.NotSent, "pool"):
            transport.exchange(ask(server.url, [b"second"]))
        server.over.set()
        holder.join()
        assert first == ["closed"]
    transport.close()


@pytest.mark.parametrize(
    "broken",
    [{"Bad": "line\r\nbreak"}, {"Bad": "caf\u00e9 \u2603"}, {"Bad name": "x"}],
    ids=["line break", "not ascii", "name"],
)
def test_a_request_that_cannot_be_written_was_not_sent(transport, broken):
    with Server(answer()) as server, fails(errors.NotSent, {"invalid_request", "protocol"}):
        transport.exchange(http_message.Request("GET", server.url, "contacts", broken))


@pytest.mark.parametrize(
    "url", ["http://[::1", "ftp://127.0.0.1/", "127.0.0.1", "http:///x", "http://127.0.0.1:99999/"]
)
def test_a_url_that_is_none_was_not_sent(transport, url):
    with fails(errors.NotSent, {"invalid_request", "protocol"}):
        transport.exchange(http_message.Request("GET", url, "contacts"))


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def trusting(authority) -> Iterator[HttpClient]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    made = HttpClient(tls=context, connect_s=0.5, read_s=0.5)
    yield made
    made.close()


def test_over_tls_the_exact_bytes_arrive_and_the_connection_is_kept(trusting, authority):
    body = os.urandom(3_000_000)
    with Server(answer(), server_tls(authority, "127.0.0.1")) as server:
        for _ in range(2):
            assert trusting.exchange(ask(server.url, [body])).status == 200
        assert [arrived for _, arrived in server.peers[0].requests] == [body, body]


def test_an_unknown_authority_was_not_sent(transport, authority):
    with Server(answer(), server_tls(authority, "127.0.0.1")) as server, fails(errors.NotSent, "tls"):
        transport.exchange(ask(server.url, [b"x"]))


def test_a_certificate_for_another_name_was_not_sent(trusting, authority):
    with Server(answer(), server_tls(authority, "other.example")) as server, fails(errors.NotSent, "tls"):
        trusting.exchange(ask(server.url, [b"x"]))


def test_a_server_that_speaks_no_tls_was_not_sent(trusting):
    with Server(lambda peer: peer.conn.sendall(OK)) as server, fails(errors.NotSent, "tls"):
        trusting.exchange(ask(server.url.replace("http", "https"), [b"x"]))


def test_a_handshake_that_never_ends_was_not_sent(trusting):
    with Server(Peer.wait) as server:
        with fails(errors.NotSent, "connect_timeout", within_s=2):
            trusting.exchange(ask(server.url.replace("http", "https"), [b"x"]))
        with fails(errors.NotSent, "deadline", within_s=2):
            trusting.exchange(ask(server.url.replace("http", "https"), [b"x"]), deadline_s=0.2)


def test_over_tls_too_a_silent_server_ends_at_the_time_out(trusting, authority):
    silent = Server(then(Peer.read_request, Peer.wait), server_tls(authority, "127.0.0.1"))
    with silent as server, fails(errors.FateUnknown, "read_timeout", within_s=3):
        trusting.exchange(ask(server.url, [b"x"]))


# Failures after something was sent


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (then(Peer.read_request), "closed"),
        (then(Peer.read_request, lambda peer: peer.conn.sendall(OK[:-1])), "closed"),
        (then(Peer.read_request, lambda peer: peer.conn.sendall(OK[:20])), "closed"),
        (then(Peer.read_request, Peer.reset), "reset"),
        (then(Peer.read_request, Peer.wait), "read_timeout"),
        (then(Peer.read_request, lambda peer: peer.conn.sendall(b"SSH-2.0-x\r\n\r\n"), Peer.wait), "protocol"),
        (
            then(Peer.read_request, lambda peer: peer.conn.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)),
            "protocol",
        ),
    ],
    ids=["no reply", "half a body", "half a header", "reset", "silence", "not http", "endless header"],
)
def test_what_went_out_and_was_not_answered_has_an_unknown_fate(hasty, script, reason):
    with Server(script) as server, fails(errors.FateUnknown, reason):
        hasty.exchange(ask(server.url, [b"x"]))


def test_a_server_that_stops_reading_leaves_the_fate_unknown(hasty):
    with Server(then(Peer.read_head, Peer.wait)) as server, fails(errors.FateUnknown, "write"):
        hasty.exchange(ask(server.url, [bytes(50_000_000)]))


def test_a_connection_reset_within_the_body_leaves_the_fate_unknown(hasty):
    with Server(then(Peer.read_head, Peer.reset)) as server, fails(errors.FateUnknown, {"write", "closed"}):
        hasty.exchange(ask(server.url, [bytes(50_000_000)]))


@pytest.mark.parametrize(
    "script",
    [
        then(Peer.read_request, Peer.wait),
        then(Peer.read_request, lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2_000)),
        then(Peer.read_request, lambda peer: peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
        then(Peer.read_request, lambda peer: peer.conn.sendall(OK[:15]), lambda peer: peer.drip(b"\r\nA: b" * 500)),
        then(
            Peer.read_request,
            lambda peer: peer.conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"),
            lambda peer: peer.drip(b"x" * 2_000),
        ),
        then(
            Peer.read_request,
            lambda peer: peer.conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            lambda peer: peer.drip(b"1\r\nx\r\n" * 500),
        ),
        then(Peer.read_head, lambda peer: [peer.conn.recv(1_000) for _ in iter(lambda: peer.over.wait(0.02), True)]),
    ],
    ids=["silence", "status line", "informational", "headers", "body", "chunks", "reads slowly"],
)
def test_whatever_the_server_does_the_exchange_ends_by_its_deadline(transport, script):
    with Server(script) as server:
        request = ask(server.url, [bytes(50_000_000)])
        busy_s = time.thread_time()
        with fails(errors.FateUnknown, "deadline", within_s=2):
            transport.exchange(request, deadline_s=0.7)
        assert time.thread_time() - busy_s < 0.35  # waiting is not spinning


# The deadline and frozen processes


def test_a_slice_of_the_body_after_the_deadline_is_not_sent_even_if_only_the_wall_clock_knows(transport, monkeypatch):
    class Suspended(Sequence[bytes]):
        """A body during which the machine sleeps for an hour: the monotonic clock does not notice."""

        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> bytes:
            if index == 5:
                raise IndexError
            passes[0] += index == 0
            if passes[0] == 2 and index == 2:  # the first pass is for the length
                monkeypatch.setattr(time, "time", lambda: awake_s + 3600)
            return b"x" * 1_000

    passes, awake_s, counts = [0], time.time(), []

    def count(peer: Peer) -> None:
        peer.read_head()
        counts.append(peer.read_to_end())

    with Server(count) as server:
        with fails(errors.FateUnknown, "deadline"):
            transport.exchange(ask(server.url, Suspended()))
        wait_until(lambda: bool(counts))
    assert counts == [2_000]


def test_a_clock_that_is_set_back_does_not_prolong_the_deadline(monkeypatch):
    deadline = sockets.Deadline.after(10)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 9 < deadline.left_s() <= 10


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_process_frozen_beyond_its_deadline_sends_no_more_when_it_wakes(secure, authority, tmp_path):
    script = """
import ssl, sys
from contact_ingest import errors
from contact_ingest.model import http_message as wire
from contact_ingest.transport.client import HttpClient
context = ssl.create_default_context(cafile=sys.argv[2])
try:
    HttpClient(tls=context, deadline_s=1.5).exchange(wire.Request("POST", sys.argv[1], "e", body=[bytes(300_000_000)]))
except errors.TransportError as error:
    print(type(error).__name__, error)
"""
    frozen, awake = threading.Event(), threading.Event()
    counts: list[int] = []

    def drain(peer: Peer) -> None:
        peer.read_head()
        frozen.wait(20)
        counts.append(0)
        peer.conn.settimeout(0.5)  # what the kernel still had comes at once
        with contextlib.suppress(TimeoutError):
            while True:
                counts[0] += len(peer.conn.recv(1_000_000))
        peer.conn.settimeout(None)
        counts.append(-1)
        awake.wait(20)
        counts.append(peer.read_to_end())

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = server_tls(authority, "127.0.0.1") if secure else None
    with Server(drain, tls) as server:
        command = [sys.executable, "-c", script, server.url, str(tmp_path / "ca.pem")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as sender:
            try:
                wait_until(lambda: bool(server.peers))
                began_s = time.time()
                wait_until(lambda: time.time() > began_s + 0.5)  # long enough to fill every buffer
                sender.send_signal(signal.SIGSTOP)
                frozen.set()
                wait_until(lambda: len(counts) == 2 and time.time() > began_s + 2.5)
                awake.set()
                sender.send_signal(signal.SIGCONT)
                assert sender.communicate(timeout=20)[0].split() == [b"FateUnknown", b"deadline"]
            finally:
                sender.kill()
        wait_until(lambda: len(counts) == 3)
    assert counts[0] > 0
    assert counts[2] == 0


# Files whose address the platform gave us


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/errors.csv",
        "https://127.0.0.1:443/errors.csv",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:7f00:1::]/",
        "http://8.8.8.8/",
        "https://8.8.8.8:8443/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "https:///x",
        "https://user:word@8.8.8.8/",
        "https://user@8.8.8.8/",
    ],
)
def test_a_given_address_that_is_not_public_https_is_refused_without_a_connection(transport, monkeypatch, url):
    def connect(*_: object) -> None:
        pytest.fail("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with fails(errors.NotSent, "forbidden_url"):
        transport.exchange(ask(url, public_only=True))


def test_one_private_address_among_public_ones_is_enough_to_refuse(transport, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with fails(errors.NotSent, "forbidden_url"):
        transport.exchange(ask("https://files.example/", public_only=True))


def test_the_address_that_was_checked_is_the_one_connected_to(transport, monkeypatch):
    with Server(answer()) as server:
        answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop())
        assert transport.exchange(ask("http://rebinding.example/")).status == 200
    assert not answers


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_open_internet_is_public(address):
    assert sockets.is_public(address)


def test_the_allowed_origin_is_fetched_though_it_is_private_and_nothing_beside_it(transport):
    with Server(answer()) as server, Server(answer()) as other:
        request = ask(server.url, public_only=True, allowed_origin=server.origin)
        assert transport.exchange(request).status == 200
        for origin in (other.origin, server.origin.replace("http", "https"), f"http://localhost:{server.port}", ""):
            with fails(errors.NotSent, "forbidden_url"):
                transport.exchange(ask(server.url, public_only=True, allowed_origin=origin))
        with fails(errors.NotSent, "forbidden_url"):
            url = server.url.replace("http://", "http://user@")
            transport.exchange(ask(url, public_only=True, allowed_origin=server.origin))
        assert len(server.peers) == 1


def test_a_checked_fetch_never_uses_a_connection_that_was_made_unchecked(authority, monkeypatch):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    transport = HttpClient(tls=context)
    with Server(answer(), server_tls(authority, "files.example")) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert transport.exchange(ask("https://files.example/")).status == 200
        with fails(errors.NotSent, "forbidden_url"):
            transport.exchange(ask("https://files.example/", public_only=True))
        transport.close()
