"""The HTTP client against servers that misbehave. A server is a raw socket on loopback that follows a small script."""

import gzip
import logging
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
import zlib

import pytest
from support.product import ROOT
from support.wire_server import OK, SECRET, Peer, Server, answer, ask, fails, reply, then, wait_until

from contact_ingest import errors
from contact_ingest.model import http_message
from contact_ingest.transport import client
from contact_ingest.transport.client import HttpClient


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
        "user-agent": "contact-ingest/0.2",
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
