"""Requests that went out and were not answered, and the deadline that ends every exchange."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest
from support.product import ROOT
from support.wire_server import OK, Peer, Server, ask, fails, server_tls, then, wait_until

from contact_ingest import errors
from contact_ingest.transport import sockets


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
from contact_ingest.transport.egress import Egress
context = ssl.create_default_context(cafile=sys.argv[2])
client = HttpClient(egress=Egress(tls=context), deadline_s=1.5)
try:
    client.exchange(wire.Request("POST", sys.argv[1], "e", body=[bytes(300_000_000)]))
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
