"""Settings of a SendGrid account, and its requests, byte by byte."""

import string

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from support.provider_sendgrid import FIELDS, KEY, NOW_S, PATIENT, prepared, sendgrid

from contact_ingest.errors import SettingError
from contact_ingest.model.lane import Lane
from contact_ingest.packing.payload import Payload
from contact_ingest.providers import registry
from contact_ingest.providers.base import SigningContext
from contact_ingest.providers.sendgrid.provider import SendGrid
from contact_ingest.providers.sendgrid.request_limits import lane_options

LISTS = ("0b1a2c3d-0000-4000-8000-000000000001", "0b1a2c3d-0000-4000-8000-000000000002")
PLAIN = Lane("news", "crm")
LISTED = Lane("news", "crm", {"list_ids": LISTS})


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"max_body_bytes": 6_000_001}, "max_body_bytes"),
        ({"max_body_bytes": 65_535}, "max_body_bytes"),
        ({"base_url": "api.sendgrid.com"}, "base_url"),
        ({"base_url": "https://user:secret@api.sendgrid.com"}, "base_url"),
        ({"base_url": "https://api.sendgrid.com:port"}, "base_url"),
        ({"on_behalf_of": "sub\nuser"}, "on_behalf_of"),
        ({"unknown_fields": "ignore"}, "unknown_fields"),
        ({"api_key": SecretStr(" ")}, "api_key"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_setting_is_named(config, name):
    with pytest.raises(SettingError) as caught:
        registry.build("sendgrid", **{"api_key": SecretStr(KEY), **config})
    assert caught.value.name == name
    assert "secret" not in str(caught.value)


def test_a_missing_key_and_an_unknown_platform_are_named():
    for platform, name in (("sendgrid", "api_key"), ("carrier-pigeon", "platform")):
        with pytest.raises(SettingError) as caught:
            registry.build(platform)
        assert caught.value.name == name


def test_the_key_shows_nowhere():
    account = sendgrid(on_behalf_of="sub")
    shown = f"{account!r} {account.account} {account.upsert(PLAIN, [b'{}'])!r} {account.job('1')!r}"
    assert KEY not in shown
    assert "sub" not in shown


def test_an_account_is_its_key_its_address_and_its_subuser():
    names = {
        sendgrid().account,
        sendgrid(on_behalf_of="sub").account,
        sendgrid(base_url="https://api.eu.sendgrid.com").account,
        SendGrid(api_key=SecretStr("SG.other")).account,
    }
    assert len(names) == 4
    assert sendgrid().account == sendgrid(base_url="https://api.sendgrid.com/", max_body_bytes=100_000).account


def test_list_ids_are_lower_case_sorted_and_single():
    assert lane_options(list_ids=[LISTS[1].upper(), LISTS[0], LISTS[1]]) == {"list_ids": LISTS}
    assert lane_options() == lane_options(list_ids=[]) == {}


@pytest.mark.parametrize(
    ("options", "name", "says"),
    [
        ({"list_ids": [LISTS[0], "news"]}, "list_ids", "item 2"),
        ({"list_ids": [LISTS[0], None]}, "list_ids", "item 2"),
        ({"list_ids": LISTS[0]}, "list_ids", "text"),
        ({"list_ids": [f"{n:08x}-0000-0000-0000-000000000000" for n in range(1_001)]}, "list_ids", "1001"),
        ({"lists": LISTS}, "lists", "list_ids"),
    ],
)
def test_a_wrong_lane_option_is_named_with_its_position(options, name, says):
    with pytest.raises(SettingError) as caught:
        lane_options(**options)
    assert caught.value.name == name
    assert says in caught.value.problem


def test_limits_are_the_documented_ones_and_a_learned_cap_only_lowers_them():
    limits = sendgrid().limits(LISTED)
    assert (limits.max_contacts, limits.max_bytes) == (30_000, 6_000_000)
    assert limits.prefix == b'{"list_ids":["%b","%b"],"contacts":[' % tuple(item.encode() for item in LISTS)
    assert sendgrid().limits(PLAIN).prefix == b'{"contacts":['
    assert sendgrid().limits(PLAIN, 1_000_000).max_bytes == 1_000_000
    assert sendgrid(max_body_bytes=500_000).limits(PLAIN, 1_000_000).max_bytes == 500_000


def test_an_upsert_is_these_bytes():
    rows = [prepared({"email": "Ann@Example.org"}).encoded, b",", prepared({"external_id": "c-2"}).encoded]
    request = sendgrid(on_behalf_of="sub").upsert(PLAIN, rows)
    assert (request.method, request.url, request.endpoint) == (
        "PUT",
        "https://api.sendgrid.com/v3/marketing/contacts",
        "upsert",
    )
    assert request.headers == {
        "accept": "application/json",
        "content-type": "application/json",
        "on-behalf-of": "sub",
    }
    assert b"".join(request.body) == b'{"contacts":[{"email":"ann@example.org"},{"external_id":"c-2"}]}'
    assert "on-behalf-of" not in sendgrid().upsert(PLAIN, rows).headers


def test_requests_are_built_without_the_key_and_signed_with_it():
    account = sendgrid(on_behalf_of="sub")
    signing = SigningContext("", NOW_S, "0" * 32)
    built = (account.upsert(PLAIN, [b"{}"]), account.job("1"), account.definitions(), account.create_field("x", 1))
    for request in built:
        assert "authorization" not in request.headers
        signed = account.sign(request, signing)
        assert signed.headers == {**request.headers, "authorization": f"Bearer {KEY}"}
        assert (signed.method, signed.url, signed.body) == (request.method, request.url, request.body)
        assert KEY not in repr(signed)


def test_the_other_requests_are_these():
    account = sendgrid(base_url="http://127.0.0.1:8025/")
    job, probe, made = account.job("a/../b"), account.probe(), account.create_field("seats", 3)
    assert (job.method, job.url, job.endpoint) == (
        "GET",
        "http://127.0.0.1:8025/v3/marketing/contacts/imports/a%2F..%2Fb",
        "job",
    )
    assert (probe.method, probe.url, probe.endpoint, probe.body) == (
        "GET",
        "http://127.0.0.1:8025/v3/marketing/field_definitions",
        "definitions",
        (),
    )
    assert (made.method, made.url, b"".join(made.body)) == (
        "POST",
        "http://127.0.0.1:8025/v3/marketing/field_definitions",
        b'{"name":"seats","field_type":"Number"}',
    )


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://api.sendgrid.com", "https://api.sendgrid.com:443"),
        ("http://127.0.0.1:8025", "http://127.0.0.1:8025"),
        ("http://[::1]:8025", "http://[::1]:8025"),
    ],
)
def test_an_error_file_is_fetched_without_credentials_even_from_the_platform(base_url, origin):
    request = sendgrid(base_url=base_url, on_behalf_of="sub").error_file(f"{base_url}/errors/1")
    assert request.headers == {"accept": "*/*"}
    assert sendgrid(base_url=base_url).sign(request, SigningContext("", NOW_S, "0" * 32)).headers == {"accept": "*/*"}
    assert request.public_only
    assert request.allowed_origin == origin
    assert request.max_reply_bytes == 10_000_000


LETTERS = st.text(string.ascii_letters + 'ßé"\\\n\t😀', min_size=1, max_size=20)
GOOD_RECORD = st.fixed_dictionaries(
    {"external_id": LETTERS},
    optional={
        "email": st.from_regex(r"\A[a-zA-Z0-9]{1,20}@[a-z]{1,20}\.(org|com)\Z"),
        "first_name": LETTERS,
        "city": st.just("") | LETTERS,
        "custom_fields": st.fixed_dictionaries(
            {}, optional={"plan": LETTERS, "seats": st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15)}
        ),
    },
)


@PATIENT
@given(records=st.lists(GOOD_RECORD, min_size=1, max_size=20), listed=st.booleans())
def test_the_body_is_what_encoding_the_whole_would_give(records, listed):
    account, lane = sendgrid(), LISTED if listed else PLAIN
    body = Payload(account.limits(lane))
    for record in records:
        body.add(account.prepare(orjson.dumps(record), FIELDS).encoded)
    size, packed = body.size, body.close()
    whole = orjson.loads(packed.body)
    assert orjson.dumps(whole) == packed.body
    assert len(packed.body) == size
    assert [contact["external_id"] for contact in whole["contacts"]] == [record["external_id"] for record in records]
    start, end = len(account.limits(lane).prefix), len(packed.body) - len(account.limits(lane).suffix)
    assert b"".join(account.upsert(lane, [packed.body[start:end]]).body) == packed.body
