"""Requests of which no byte went out: the platform cannot have acted, and the error says so."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from support.wire_server import SECRET, Peer, Server, answer, ask, fails, then, wait_until

from contact_ingest import errors
from contact_ingest.model import http_message
from contact_ingest.transport.client import HttpClient


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
