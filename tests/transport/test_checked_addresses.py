"""An address that a platform gives is checked before anything connects to it."""

import socket
import ssl

import pytest
from support.wire_server import Server, answer, ask, fails, reply, server_tls

from contact_ingest import errors
from contact_ingest.transport import sockets
from contact_ingest.transport.client import HttpClient
from contact_ingest.transport.egress import Egress


def test_repeated_headers_are_joined_and_bytes_that_are_not_utf8_are_read_as_latin1(transport):
    with Server(answer(reply(b"", "X-Note: a", "x-note: b").replace(b"a\r", b"caf\xe9\r"))) as server:
        headers = transport.exchange(ask(server.url)).headers
    assert headers["x-note"] == "caf\xe9, b"


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
    transport = HttpClient(egress=Egress(tls=context))
    with Server(answer(), server_tls(authority, "files.example")) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert transport.exchange(ask("https://files.example/")).status == 200
        with fails(errors.NotSent, "forbidden_url"):
            transport.exchange(ask("https://files.example/", public_only=True))
        transport.close()
