"""Settings of a Loops account, and its requests, byte by byte."""

import pytest
from pydantic import SecretStr
from support.provider_loops import KEY, loops, prepared

from contact_ingest.errors import SettingError
from contact_ingest.model.lane import Lane
from contact_ingest.packing.payload import Payload
from contact_ingest.providers import registry
from contact_ingest.providers.base import SigningContext
from contact_ingest.providers.loops.provider import Loops

LANE = Lane("app", "app")
SIGNING = SigningContext("", 1_795_000_000.0, "0" * 32)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"base_url": "app.loops.so"}, "base_url"),
        ({"base_url": "https://user:secret@app.loops.so"}, "base_url"),
        ({"base_url": "https://app.loops.so/api/v1/"}, "base_url"),
        ({"unknown_fields": "ignore"}, "unknown_fields"),
        ({"api_key": SecretStr(" ")}, "api_key"),
        ({"api_key": SecretStr("two\nlines")}, "api_key"),
        ({"source": "x" * 499}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"on_behalf_of": "sub"}, "on_behalf_of"),
    ],
)
def test_a_wrong_setting_is_named(config, name):
    with pytest.raises(SettingError) as caught:
        registry.build("loops", **{"api_key": SecretStr(KEY), **config})
    assert caught.value.name == name
    assert "secret" not in str(caught.value)


def test_the_key_shows_nowhere():
    account = loops()
    signed = account.sign(account.upsert(LANE, [b"{}"]), SIGNING)
    assert KEY not in f"{account!r} {account.account} {signed!r}"


def test_an_account_is_its_key_and_its_address():
    names = {
        loops().account,
        loops(base_url="http://127.0.0.1:8025").account,
        Loops(api_key=SecretStr("other")).account,
    }
    assert len(names) == 3
    assert loops().account == loops(base_url="https://app.loops.so/api/", source="x").account


def test_all_requests_count_against_the_one_limit_of_the_team():
    account = loops()
    built = (account.upsert(LANE, [b"{}"]), account.probe(), account.definitions(), account.create_field("x", 1))
    assert {request.endpoint for request in built} == {"upsert"}
    assert account.rates == {"upsert": (10, 1.0)}
    assert loops(rates={"upsert": (25, 1.0)}).rates == {"upsert": (25, 1.0)}


@pytest.mark.parametrize(("name", "says"), [("list_ids", "mailing_lists"), ("colour", "none")])
def test_a_lane_of_loops_takes_no_options(name, says):
    assert loops().lane_options() == {}
    with pytest.raises(SettingError, match=says) as caught:
        loops().lane_options(**{name: ["l1"]})
    assert caught.value.name == name


def test_a_body_is_one_contact_and_nothing_else():
    limits = loops().limits(LANE)
    assert (limits.max_contacts, limits.max_bytes, limits.prefix, limits.suffix) == (1, 1_000_000, b"", b"")
    assert loops().limits(LANE, 70_000).max_bytes == 70_000
    assert loops().limits(LANE, 9_000_000).max_bytes == 1_000_000
    encoded = prepared({"email": "a@x.org", "first_name": "Ann"}).encoded
    body = Payload(limits)
    body.add(encoded)
    assert not body.fits(encoded)
    assert body.close().body == encoded


def test_an_update_is_these_bytes():
    record = {"email": "Ann@Example.org", "external_id": "u-1", "custom_fields": {"planName": "pro"}}
    request = loops().upsert(LANE, [prepared(record).encoded])
    assert (request.method, request.url) == ("PUT", "https://app.loops.so/api/v1/contacts/update")
    assert request.headers == {"accept": "application/json", "content-type": "application/json"}
    assert b"".join(request.body) == b'{"email":"ann@example.org","userId":"u-1","planName":"pro"}'


def test_the_other_requests_are_these():
    account = loops(base_url="http://127.0.0.1:8025/api/")
    found = [
        (request.method, request.url, b"".join(request.body), "content-type" in request.headers)
        for request in (account.probe(), account.definitions(), account.create_field("planName", "pro"))
    ]
    base = "http://127.0.0.1:8025/api/v1"
    assert found == [
        ("GET", f"{base}/api-key", b"", False),
        ("GET", f"{base}/contacts/properties?list=custom", b"", False),
        ("POST", f"{base}/contacts/properties", b'{"name":"planName","type":"string"}', True),
    ]


def test_requests_are_built_without_the_key_and_signed_with_it():
    account = loops()
    for request in (account.upsert(LANE, [b"{}"]), account.probe(), account.definitions()):
        assert "authorization" not in request.headers
        signed = account.sign(request, SIGNING)
        assert signed.headers == {**request.headers, "authorization": f"Bearer {KEY}"}
        assert (signed.method, signed.url, signed.body) == (request.method, request.url, request.body)
