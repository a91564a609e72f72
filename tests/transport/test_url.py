"""URLs of requests: what is refused, and what goes into the request line and the Host header."""

import pytest

from contact_ingest.errors import NotSent
from contact_ingest.model.http_message import Request
from contact_ingest.transport.url import needs_public_address, parse


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h.example", "/"),
        ("http://h.example?a=1", "/?a=1"),
        ("http://h.example/v3/marketing/contacts", "/v3/marketing/contacts"),
        ("http://h.example/a%2Fb?sig=x%2B%3D&n=1", "/a%2Fb?sig=x%2B%3D&n=1"),
        ("http://h.example/caf\u00e9?q=\u00fc", "/caf%C3%A9?q=%C3%BC"),
        ("http://h.example/a b?c d", "/a%20b?c%20d"),
        ('http://h.example/"<>`{}?"<>`{}', "/%22%3C%3E%60%7B%7D?%22%3C%3E`{}"),
        ("http://h.example/a?b=1#fragment", "/a?b=1"),
    ],
)
def test_the_target_is_percent_encoded_once_and_has_no_fragment(url, target):
    assert parse(url).target == target


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://H.Example/", "h.example"),
        ("http://h.example:80/", "h.example"),
        ("https://h.example:443/", "h.example"),
        ("https://h.example:80/", "h.example:80"),
        ("http://user:word@h.example:8080/", "h.example:8080"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_header_names_host_and_port_but_no_user(url, authority):
    assert parse(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h.example/",
        "//h.example/",
        "http:///path",
        "http://:80/",
        "ftp://h.example/",
        "http://h.example:0/",
        "http://h.example:65536/",
        "http://h.example:port/",
        "http://[::1/",
        "http://h example/",
        "http://h.example/\r\nX: y",
        " http://h.example/",
        "http://h.example/" + "x" * 70_000,
    ],
)
def test_what_no_request_can_go_to_is_refused(url):
    with pytest.raises(ValueError, match=r"."):
        parse(url)


@pytest.mark.parametrize(
    ("url", "allowed_origin", "needed"),
    [
        ("https://files.example/e.csv", "", True),
        ("https://files.example:443/e.csv", "", True),
        ("http://127.0.0.1:9000/e.csv", "http://127.0.0.1:9000", False),
        ("https://FILES.example/e.csv", "https://files.example:443", False),
    ],
)
def test_only_the_allowed_origin_needs_no_public_address(url, allowed_origin, needed):
    request = Request("GET", url, "errors", public_only=True, allowed_origin=allowed_origin)
    assert needs_public_address(request, parse(url)) is needed


@pytest.mark.parametrize("url", ["http://files.example/", "https://files.example:8443/", "https://user@files.example/"])
def test_a_public_url_that_is_wrong_on_its_face_is_refused_before_any_look_up(url):
    with pytest.raises(NotSent, match="forbidden_url"):
        needs_public_address(Request("GET", url, "errors", public_only=True), parse(url))


def test_a_url_without_the_public_rule_needs_no_public_address():
    assert needs_public_address(Request("GET", "http://127.0.0.1/", "contacts"), parse("http://127.0.0.1/")) is False
