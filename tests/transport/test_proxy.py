"""A proxy and further authorities on the way out: by settings only, and with every check that a direct way has."""

import socket
import ssl
from collections.abc import Iterator

import pytest
from support.connect_proxy import ConnectProxy
from support.diagnosis import closed_port
from support.wire_server import Peer, Server, answer, ask, fails, server_tls, then

from contact_ingest import errors
from contact_ingest.errors import SettingError
from contact_ingest.transport import sockets
from contact_ingest.transport.client import HttpClient
from contact_ingest.transport.egress import Egress, Proxy, is_loopback, trusting

PASSWORD = "p%40ssw0rd"


@pytest.fixture
def tls(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def through(tls) -> Iterator[object]:
    """Makes clients that go through a proxy."""
    made = []

    def make(port: int, user: str = "", **limits: float) -> HttpClient:
        proxy = Proxy.parse("PROXY", f"http://{user}127.0.0.1:{port}")
        made.append(HttpClient(egress=Egress(proxy, tls), **limits))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_https_goes_through_a_tunnel_and_the_connection_is_kept(through, authority):
    body = b"x" * 300_000
    with (
        Server(answer(), server_tls(authority, "api.example")) as server,
        ConnectProxy({"api.example:443": server.port}) as proxy,
    ):
        client = through(proxy.port)
        for _ in range(2):
            assert client.exchange(ask("https://api.example/v3/contacts", [body])).status == 200
        client.close()

        assert [arrived for _, arrived in server.peers[0].requests] == [body, body]
        [head] = proxy.asked
        assert head.startswith(b"CONNECT api.example:443 HTTP/1.1\r\n")
        assert b"uthorization" not in head


def test_the_proxy_hears_its_own_password_and_nothing_of_the_request(through, authority):
    with (
        Server(answer(), server_tls(authority, "api.example")) as server,
        ConnectProxy({"api.example:8443": server.port}) as proxy,
    ):
        client = through(proxy.port, user=f"me:{PASSWORD}@")
        client.exchange(ask("https://api.example:8443/v3", [b"x"]))
        client.close()

        [head] = proxy.asked
        assert b"Proxy-Authorization: Basic bWU6cEBzc3cwcmQ=" in head  # me:p@ssw0rd
        assert b"/v3" not in head
        assert all(b"Proxy-Authorization" not in head for head, _ in server.peers[0].requests)
        assert PASSWORD not in repr(vars(client))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_goes_without_the_proxy(through, host):
    with Server(answer()) as server:
        client = through(closed_port())
        assert client.exchange(ask(f"http://{host}:{server.port}/")).status == 200
        client.close()


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.9.9.9", True), ("::1", True), ("app.localhost", True), ("10.0.0.1", False), ("localhost.example", False)],
)
def test_only_this_machine_is_loopback(host, is_own):
    assert is_loopback(host) is is_own


@pytest.mark.parametrize(
    "refusal",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n",
        b"no http at all\r\n\r\n",
        b"",
    ],
)
def test_a_proxy_that_refuses_means_that_nothing_was_sent(through, refusal):
    with ConnectProxy({}, refusal) as proxy, fails(errors.NotSent, "proxy"):
        through(proxy.port).exchange(ask("https://api.example/", [b"x"]))


def test_a_proxy_that_is_away_means_that_nothing_was_sent(through):
    with fails(errors.NotSent, "proxy"):
        through(closed_port()).exchange(ask("https://api.example/", [b"x"]))


def test_a_proxy_that_says_nothing_means_that_nothing_was_sent(through):
    with Server(then(Peer.read_head, Peer.wait)) as silent:
        with fails(errors.NotSent, "proxy", within_s=3):
            through(silent.port, read_s=0.3).exchange(ask("https://api.example/", [b"x"]))
        with fails(errors.NotSent, "deadline", within_s=3):
            through(silent.port).exchange(ask("https://api.example/", [b"x"]), deadline_s=0.3)


def test_a_certificate_for_another_name_is_refused_behind_a_proxy_too(through, authority):
    with (
        Server(answer(), server_tls(authority, "other.example")) as server,
        ConnectProxy({"api.example:443": server.port}) as proxy,
        fails(errors.NotSent, "tls"),
    ):
        through(proxy.port).exchange(ask("https://api.example/", [b"x"]))


def test_a_request_that_was_sent_through_a_tunnel_has_an_unknown_fate_as_without(through, authority):
    with (
        Server(then(Peer.read_request, Peer.wait), server_tls(authority, "api.example")) as server,
        ConnectProxy({"api.example:443": server.port}) as proxy,
    ):
        client = through(proxy.port, read_s=0.3)
        with fails(errors.FateUnknown, "read_timeout", within_s=3):
            client.exchange(ask("https://api.example/", [b"x"]))
        client.close()


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "169.254.169.254", "::1"])
def test_an_address_from_a_reply_is_checked_before_the_proxy_is_asked(through, monkeypatch, address):
    with ConnectProxy({}) as proxy:
        client, look_up = through(proxy.port), socket.getaddrinfo
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *more, **named: found if host == "files.example" else look_up(host, *more, **named),
        )
        with fails(errors.NotSent, "forbidden_url"):
            client.exchange(ask("https://files.example/errors", public_only=True))

        assert proxy.asked == []


def test_the_proxy_is_asked_for_the_checked_address_and_not_for_its_name(through, authority, monkeypatch):
    with (
        Server(answer(), server_tls(authority, "files.example")) as server,
        ConnectProxy({"93.184.216.34:443": server.port}) as proxy,
    ):
        client, look_up = through(proxy.port), sockets._look_up
        found = [(socket.AF_INET, ("93.184.216.34", 443))]
        monkeypatch.setattr(
            sockets, "_look_up", lambda host, *more: found if host == "files.example" else look_up(host, *more)
        )
        assert client.exchange(ask("https://files.example/errors", public_only=True)).status == 200
        client.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.example:3128",
        "https://proxy.example:3128",
        "socks5://proxy.example:1080",
        "http://proxy.example",
        "http://:3128",
        "http://proxy.example:0",
        "http://proxy.example:port",
        "http://me:s3cret@proxy.example:3128/path",
        "http://me:s3cret@proxy.example:3128?x=1",
        "http://[::1",
        "http://pröxy.example:3128",
    ],
)
def test_an_address_that_is_no_proxys_is_refused_by_its_setting_and_not_quoted(url):
    with pytest.raises(SettingError, match=r"^CONTACT_INGEST_HTTP_PROXY: must be http://host:port") as refused:
        Proxy.parse("CONTACT_INGEST_HTTP_PROXY", url)

    assert "s3cret" not in str(refused.value)


def test_a_private_authority_is_trusted_beside_the_public_ones(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    client = HttpClient(egress=Egress(tls=trusting("CA", path)))
    with Server(answer(), server_tls(authority, "127.0.0.1")) as server:
        assert client.exchange(ask(server.url, [b"x"])).status == 200
        client.close()
    assert trusting("CA", path).cert_store_stats()["x509_ca"] > 50


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_a_file_without_authorities_is_refused_by_its_setting(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingError, match=r"^CONTACT_INGEST_CA_FILE: .*ca\.pem"):
        trusting("CONTACT_INGEST_CA_FILE", path)


def test_the_environments_proxies_are_not_read(transport, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    with Server(answer()) as server:
        assert transport.exchange(ask(server.url, [b"x"])).status == 200
