"""HTTPS: an authority, a name or a handshake that is wrong means that nothing was sent."""

import os
import ssl
from collections.abc import Iterator

import pytest
from support.wire_server import OK, Peer, Server, answer, ask, fails, server_tls, then

from contact_ingest import errors
from contact_ingest.transport.client import HttpClient
from contact_ingest.transport.egress import Egress


@pytest.fixture
def trusting(authority) -> Iterator[HttpClient]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    made = HttpClient(egress=Egress(tls=context), connect_s=0.5, read_s=0.5)
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
