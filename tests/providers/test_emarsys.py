"""Emarsys's wire contract, byte for byte, and what each of its replies means."""

import base64
import random

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.errors import FieldsNeeded, Refused, SettingError
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import (
    AllFailed,
    Done,
    FieldTable,
    Healthy,
    Limited,
    Named,
    Rejected,
    Retry,
    RowError,
    Stop,
    TooLarge,
)
from contact_ingest.packing.payload import Payload
from contact_ingest.providers import registry
from contact_ingest.providers.base import SigningContext, Token, TokenAuth
from contact_ingest.providers.emarsys.auth import OAuth, Wsse, credentials, password_digest
from contact_ingest.providers.emarsys.identity import Identity
from contact_ingest.providers.emarsys.lane import lane_options
from contact_ingest.providers.emarsys.provider import account as make_account

OAUTH = OAuth(SecretStr("made-up-client"), SecretStr("made-up:secret"))
WSSE = Wsse(SecretStr("acme001"), SecretStr("s3cr3t"))
EXTERNAL = Identity(key_field="external_id", external_id_field="4711")
PLAIN = Lane("news", "crm")
LISTED = Lane("news", "crm", {"contact_list_id": 123456})
NOW_S = 1_795_000_000.0
DATE = "Wed, 18 Nov 2026 11:06:40 GMT"  # NOW_S

#: What an account lists: system fields and its own.
LISTING = [
    {"id": "0", "name": "Interests", "application_type": "interests"},
    {"id": "1", "name": "First Name", "application_type": "shorttext"},
    {"id": "3", "name": "E-Mail", "application_type": "longtext"},
    {"id": "4", "name": "Date of Birth", "application_type": "birthdate"},
    {"id": "31", "name": "Opt-In", "application_type": "special"},
    {"id": "32", "name": "User status", "application_type": "special"},
    {"id": "37", "name": "Mobile", "application_type": "shorttext"},
    {"id": 4711, "name": "CRM number", "application_type": "shorttext", "string_id": "crm_number"},
    {"id": "5001", "name": "Plan", "application_type": "shorttext"},
    {"id": "5002", "name": "Note", "application_type": "longtext"},
    {"id": "5003", "name": "Story", "application_type": "largetext"},
    {"id": "5004", "name": "Seats", "application_type": "numeric"},
    {"id": "5005", "name": "Since", "application_type": "date"},
    {"id": "5006", "name": "Size", "application_type": "singlechoice"},
    {"id": "5007", "name": "Topics", "application_type": "multichoice"},
    {"id": "5008", "name": "Homepage", "application_type": "url"},
    {"id": "5009", "name": "Voucher", "application_type": "voucher"},
    {"id": "5010", "name": "Twice", "application_type": "shorttext"},
    {"id": "5011", "name": "twice", "application_type": "numeric"},
    {"id": "5012", "name": "5001", "application_type": "longtext"},
    {"id": "5013", "name": "Odd", "application_type": "hologram"},
]

#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def emarsys(signs=OAUTH, **config):
    return make_account(credentials=signs, **config)


def envelope(code=0, data="", text="OK"):
    return {"replyCode": code, "replyText": text, "data": data}


def reply(status, body=None, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 5)


FIELDS = emarsys().read_definitions(reply(200, envelope(0, LISTING)), 77)


def prepared(record, table=FIELDS, **config):
    return emarsys(**config).prepare(orjson.dumps(record), table)


def sent(record, **config):
    return orjson.loads(prepared({"email": "a@x.org", **record}, **config).encoded)


def refused(record, **config):
    with pytest.raises(Refused) as caught:
        prepared(record, **config)
    return caught.value.field, caught.value.code


def verdict(status, body=None, signs=OAUTH, **headers):
    return emarsys(signs).read_upsert(reply(status, body, **headers), NOW_S)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"max_body_bytes": 8_000_001}, "max_body_bytes"),
        ({"max_body_bytes": 65_535}, "max_body_bytes"),
        ({"base_url": "api.emarsys.net"}, "base_url"),
        ({"base_url": "https://api.emarsys.net/api/v3"}, "base_url"),
        ({"unknown_fields": "ignore"}, "unknown_fields"),
        ({"colour": "blue"}, "colour"),
        ({"token_url": "auth.emarsys.net"}, "token_url"),
        ({"key_field": "external_id"}, "external_id_field"),
        ({"source_id": "x"}, "source_id"),
        ({"client_id": None}, "client_id"),
        ({"client_secret": None}, "client_secret"),
    ],
)
def test_a_wrong_setting_is_named(config, name):
    keys = {"client_id": SecretStr("c"), "client_secret": SecretStr("s")}
    with pytest.raises(SettingError) as caught:
        registry.build("emarsys", **{**keys, **config})
    assert caught.value.name == name


def test_flat_settings_make_an_account():
    keys = {"client_id": SecretStr("made-up-client"), "client_secret": SecretStr("x"), "token_url": "http://a.org/t"}
    account = registry.build("emarsys", **keys, key_field="external_id", external_id_field="4711", source_id=9)
    assert account.account == emarsys().account
    assert account.token_request().url == "http://a.org/t"
    assert account.prepare(b'{"external_id":"C-1"}', FIELDS).encoded == b'{"4711":"C-1","source_id":9}'
    wsse = registry.build("emarsys", username=SecretStr("acme001"), secret=SecretStr("s3cr3t"))
    assert wsse.account == emarsys(WSSE).account
    assert wsse.probe().url == "https://api.emarsys.net/api/v2/settings"


@pytest.mark.parametrize(
    ("given_now", "name"),
    [
        ({}, "client_id"),
        ({"client_id": "c"}, "client_secret"),
        ({"client_secret": "s"}, "client_id"),
        ({"username": "u"}, "secret"),
        ({"secret": "s"}, "username"),
        ({"client_id": "c", "client_secret": ""}, "client_secret"),
        ({"client_id": "c", "username": "u", "secret": "s"}, "client_secret"),
        ({"client_id": "hidden:id", "client_secret": "s"}, "client_id"),
        ({"client_id": "c", "client_secret": "hidden\n"}, "client_secret"),
        ({"username": 'hid"den', "secret": "s"}, "username"),
    ],
)
def test_missing_and_impossible_credentials_are_named(given_now, name):
    with pytest.raises(SettingError) as caught:
        credentials(**{key: SecretStr(value) for key, value in given_now.items()})
    assert caught.value.name == name
    assert "hid" not in str(caught.value)


def test_oauth_comes_before_wsse():
    names = ("client_id", "client_secret", "username", "secret")
    all_four = {name: SecretStr(name) for name in names}
    assert isinstance(credentials(**all_four), OAuth)
    assert isinstance(credentials(username=SecretStr("u"), secret=SecretStr("s")), Wsse)
    with pytest.raises(SettingError, match="token_url"):
        OAuth(SecretStr("c"), SecretStr("s"), "auth.example.org")


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ({"key_field": "phone"}, "key_field"),
        ({"key_field": "external_id"}, "external_id_field"),
        ({"key_field": "external_id", "external_id_field": "crm_number"}, "external_id_field"),
        ({"key_field": "external_id", "external_id_field": "31"}, "external_id_field"),
        ({"key_field": "external_id", "external_id_field": "0"}, "external_id_field"),
        ({"external_id_field": "uid"}, "external_id_field"),
        ({"source_id": 0}, "source_id"),
        ({"source_id": True}, "source_id"),
    ],
)
def test_a_wrong_identity_is_named(identity, name):
    with pytest.raises(SettingError) as caught:
        Identity(**identity)
    assert caught.value.name == name


def test_credentials_show_nowhere():
    for signs in (OAUTH, WSSE):
        account = emarsys(signs)
        request = account.upsert(PLAIN, [b"{}"])
        signed = account.sign(request, SigningContext("made-up-token", NOW_S, "0" * 32))
        shown = f"{account!r} {account.account} {request!r} {signed!r} {signs!r}"
        shown += repr(account.token_request()) if isinstance(account, TokenAuth) else ""
        for secret in ("made-up", "acme", "s3cr3t"):
            assert secret not in shown


def test_an_account_is_its_user_and_its_address_not_its_secret():
    names = {
        emarsys().account,
        emarsys(WSSE).account,
        emarsys(Wsse(SecretStr("acme002"), SecretStr("s3cr3t"))).account,
        emarsys(base_url="https://elsewhere.example.org/api").account,
    }
    assert len(names) == 4
    renewed = OAuth(SecretStr("made-up-client"), SecretStr("another"))
    assert emarsys(renewed, identity=EXTERNAL, base_url="https://api.emarsys.net/api/").account == emarsys().account


# --- lanes, limits, requests ----------------------------------------------------------------------------------------


def test_a_contact_list_is_a_number():
    assert lane_options(contact_list_id=5) == lane_options(contact_list_id="5") == {"contact_list_id": 5}
    assert lane_options() == lane_options(contact_list_id=None) == {}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        *(({"contact_list_id": bad}, "contact_list_id") for bad in (0, -1, True, 1.5, "x", "", [5], "5" * 17, 2**60)),
        ({"key_id": "3"}, "key_id"),
        ({"source_id": 5}, "source_id"),
        ({"list_ids": [5]}, "list_ids"),
    ],
)
def test_a_wrong_lane_option_is_named(options, name):
    with pytest.raises(SettingError) as caught:
        lane_options(**options)
    assert caught.value.name == name


def test_limits_are_the_documented_ones_and_a_learned_cap_only_lowers_them():
    limits = emarsys().limits(PLAIN)
    assert (limits.max_contacts, limits.max_bytes) == (1_000, 7_920_000)
    assert limits.prefix == b'{"key_id":"3","contacts":['
    assert limits.suffix == b"]}"
    assert emarsys(max_body_bytes=8_000_000).limits(PLAIN).max_bytes == 8_000_000
    assert emarsys().limits(PLAIN, 1_000_000).max_bytes == 1_000_000
    assert emarsys(max_body_bytes=500_000).limits(PLAIN, 1_000_000).max_bytes == 500_000
    assert emarsys(identity=EXTERNAL).limits(LISTED).prefix == (
        b'{"key_id":"4711","contact_list_id":123456,"contacts":['
    )


def test_the_rate_is_the_documented_one_unless_told_otherwise():
    assert emarsys().rates == {"upsert": (1_000, 60.0)}
    assert emarsys(rates={"upsert": (200, 60.0)}).rates == {"upsert": (200, 60.0)}


def test_an_upsert_is_these_bytes():
    rows = [
        prepared({"last_name": "Selvig", "email": "Erik.Selvig@example.com"}).encoded,
        b",",
        prepared({"email": "ian.boothby@example.com", "last_name": "Boothby"}).encoded,
    ]
    request = emarsys().upsert(LISTED, rows)
    assert (request.method, request.url, request.endpoint) == (
        "PUT",
        "https://api.emarsys.net/api/v3/contact/?create_if_not_exists=1",
        "upsert",
    )
    assert request.headers == {"accept": "application/json", "content-type": "application/json"}
    assert b"".join(request.body) == (
        b'{"key_id":"3","contact_list_id":123456,"contacts":['
        b'{"3":"erik.selvig@example.com","2":"Selvig"},{"3":"ian.boothby@example.com","2":"Boothby"}]}'
    )


def test_the_other_requests_are_these():
    account = emarsys(WSSE, base_url="http://127.0.0.1:8025/api/")
    requests = [
        account.probe(),
        account.definitions(),
        account.create_field("Seats", 3),
        account.upsert(PLAIN, [b"{}"]),
    ]
    assert [(r.method, r.url, b"".join(r.body)) for r in requests] == [
        ("GET", "http://127.0.0.1:8025/api/v2/settings", b""),
        ("GET", "http://127.0.0.1:8025/api/v2/field/translate/en", b""),
        ("POST", "http://127.0.0.1:8025/api/v2/field", b'{"name":"Seats","application_type":"numeric"}'),
        (
            "PUT",
            "http://127.0.0.1:8025/api/v2/contact/?create_if_not_exists=1",
            b'{"key_id":"3","contacts":[{}]}',
        ),
    ]


def test_ids_that_emarsys_gives_only_update():
    account = emarsys(identity=Identity("external_id", "uid"))
    row = account.prepare(b'{"external_id":"U-1","city":"Ulm"}', FIELDS).encoded
    request = account.upsert(PLAIN, [row])
    assert request.url.endswith("contact/?create_if_not_exists=0")
    assert b"".join(request.body) == b'{"key_id":"uid","contacts":[{"uid":"U-1","11":"Ulm"}]}'


# --- access ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nonce", "created", "secret", "digest"),
    [
        (
            "a87ff679a2f3e71d9181a67b7542122c",
            "2016-07-20T12:34:56",
            "secret",
            "YzI3MWVhMDgwNjMzZDdhMjE1MjhkMzM3NTk1NTQwYjRjNmM4ZGYzMA==",
        ),
        (
            "00112233445566778899aabbccddeeff",
            "2025-01-02T03:04:05Z",
            "s3cr3t",
            "N2UyYmZhZDFkMWMxZjRhZjhmZjQ0MTE2ZDczODQzZGYyM2UwZDY3NQ==",
        ),
    ],
)
def test_a_password_digest_is_the_documented_one(nonce, created, secret, digest):
    assert password_digest(nonce, created, secret) == digest


def test_a_wsse_request_is_signed_with_these_words():
    request = emarsys(WSSE).probe()
    signed = emarsys(WSSE).sign(request, SigningContext("", 1_735_787_045.9, "00112233445566778899aabbccddeeff"))
    assert signed.headers == {
        **request.headers,
        "x-wsse": 'UsernameToken Username="acme001", '
        'PasswordDigest="N2UyYmZhZDFkMWMxZjRhZjhmZjQ0MTE2ZDczODQzZGYyM2UwZDY3NQ==", '
        'Nonce="00112233445566778899aabbccddeeff", Created="2025-01-02T03:04:05Z"',
    }
    assert not isinstance(emarsys(WSSE), TokenAuth)


def test_an_oauth_request_bears_the_token():
    request = emarsys().upsert(PLAIN, [b"{}"])
    signed = emarsys().sign(request, SigningContext("t.o.k", NOW_S, "0" * 32))
    assert signed.headers == {**request.headers, "authorization": "Bearer t.o.k"}
    assert signed.body == request.body


@pytest.mark.parametrize("signs", [OAUTH, WSSE])
def test_an_address_from_outside_gets_no_credentials(signs):
    outside = Request("GET", "https://example.org/", "file", public_only=True)
    assert emarsys(signs).sign(outside, SigningContext("token", NOW_S, "0" * 32)) == outside


def test_a_token_is_asked_for_with_these_bytes():
    signs = OAuth(SecretStr("made-up-client"), SecretStr("made-up:secret"), "https://acme.example.org/oauth2/token")
    request = emarsys(signs).token_request()
    assert (request.method, request.url) == ("POST", "https://acme.example.org/oauth2/token")
    assert b"".join(request.body) == b"grant_type=client_credentials"
    assert request.headers == {
        "authorization": "Basic " + base64.b64encode(b"made-up-client:made-up:secret").decode(),
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert emarsys(signs).sign(request, SigningContext("token", NOW_S, "0" * 32)) == request
    assert emarsys().token_request().url == "https://auth.emarsys.net/oauth2/token"


@pytest.mark.parametrize(
    ("expires_in", "lasts_s"),
    [(3600, 3540), ("3600", 3540), (100, 50), (30, 15), (None, 240), ("x", 240), (1e9, 86_400)],
)
def test_a_token_is_put_away_before_it_lapses(expires_in, lasts_s):
    body = {"access_token": "t.o.k", "token_type": "bearer", "expires_in": expires_in, "scope": ""}
    assert emarsys().read_token(reply(200, body)) == Token("t.o.k", lasts_s)


@pytest.mark.parametrize(
    ("status", "body", "headers", "means"),
    [
        (200, b"<html>", {}, Retry("unreadable_token")),
        (200, [], {}, Retry("unreadable_token")),
        (200, {"access_token": ""}, {}, Retry("unreadable_token")),
        (200, {"access_token": "a\nb", "expires_in": 60}, {}, Retry("unreadable_token")),
        (200, {"access_token": "t", "expires_in": -1}, {}, Retry("unreadable_token")),
        (503, b"", {"retry_after": "7"}, Retry("token_503", 7.0)),
        (429, b"", {"retry_after": "7"}, Limited(7.0)),
        (429, b"", {"date": DATE, "x_ratelimit_reset": str(int(NOW_S) + 20)}, Limited(20.0)),
        (429, b"", {}, Limited(None)),
    ],
)
def test_a_token_that_cannot_be_had_says_why(status, body, headers, means):
    assert emarsys().read_token(reply(status, body, **headers)) == means


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_credentials_stop(status):
    stop = emarsys().read_token(reply(status, {"error": "invalid_client"}))
    assert (type(stop), stop.code) == (Stop, "unauthorized")
    assert "token_url" in emarsys().read_token(reply(404)).why


# --- a contact ------------------------------------------------------------------------------------------------------


def test_a_whole_contact_is_sent_in_the_words_of_emarsys():
    record = {
        "first_name": "Ánn",
        "last_name": "",
        "address_line_1": "x" * 255,
        "city": "Ulm",
        "state_province_region": "BW",
        "postal_code": "89073",
        "country": 65,
        "phone": "+4930999999",
        "opt_in": 2,
        "external_id": "C-1",
        "email": "Ann.O'Neil+x@Example.ORG",
        "custom_fields": {
            "PLAN": "gold",
            "seats": 0,
            "Since": "2026-01-31T23:30:00-05:00",
            "5006": "2",
            "topics": [1, "2"],
            "date of birth": "1990-01-02",
            "mobile": "+4917099",
        },
    }
    done = prepared(record, identity=Identity(external_id_field="4711", source_id=9))
    assert done.encoded.startswith(b'{"3":"ann.o\'neil+x@example.org","1":')
    assert orjson.loads(done.encoded) == {
        "1": "Ánn",
        "2": "",
        "10": "x" * 255,
        "11": "Ulm",
        "12": "BW",
        "13": "89073",
        "14": 65,
        "15": "+4930999999",
        "31": 2,
        "4711": "C-1",
        "3": "ann.o'neil+x@example.org",
        "5001": "gold",
        "5004": 0,
        "5005": "2026-01-31",
        "5006": "2",
        "5007": [1, "2"],
        "4": "1990-01-02",
        "37": "+4917099",
        "source_id": 9,
    }
    assert done.identities == ("email:ann.o'neil+x@example.org",)
    assert done.dropped == ()


def test_the_key_alone_says_who_a_contact_is():
    done = prepared({"email": "A@x.org", "external_id": "C-1"}, identity=EXTERNAL)
    assert done.identities == ("external_id:C-1",)
    assert done.encoded == b'{"4711":"C-1","3":"a@x.org"}'
    assert emarsys(identity=EXTERNAL).identifiers == ("external_id",)
    assert emarsys().identifiers == ("email",)


@pytest.mark.parametrize(
    ("record", "identity", "field", "code"),
    [
        ({"first_name": "Ann"}, Identity(), "email", "no_identifier"),
        ({"external_id": "C-1"}, Identity(external_id_field="4711"), "email", "no_identifier"),
        ({"email": "a@x.org"}, EXTERNAL, "external_id", "no_identifier"),
        ({"email": "a@x.org", "external_id": "C-1"}, Identity(), "external_id", "unknown_field"),
        ({"email": None}, Identity(), "email", "null"),
        ({"email": ""}, Identity(), "email", "empty"),
        ({"email": "nobody"}, Identity(), "email", "bad_email"),
        ({"email": "x" * 250 + "@x.org"}, Identity(), "email", "too_long"),
        ({"external_id": 7}, EXTERNAL, "external_id", "wrong_type"),
        ({"external_id": ""}, EXTERNAL, "external_id", "empty"),
        ({"external_id": "x" * 256}, EXTERNAL, "external_id", "too_long"),
        ({"external_id": "x", "custom_fields": {"crm number": "y"}}, EXTERNAL, "custom_fields", "reserved_field"),
    ],
)
def test_every_record_needs_the_key(record, identity, field, code):
    assert refused(record, identity=identity) == (field, code)


@pytest.mark.parametrize(
    ("extra", "field", "code"),
    [
        ({"first_name": "x" * 61}, "first_name", "too_long"),
        ({"address_line_1": "x" * 256}, "address_line_1", "too_long"),
        ({"address_line_2": "x"}, "address_line_2", "unknown_field"),
        ({"alternate_emails": []}, "alternate_emails", "unknown_field"),
        ({"anonymous_id": "x"}, "anonymous_id", "unknown_field"),
        ({"country": "Germany"}, "country", "bad_choice"),
        ({"phone": "+49301", "phone_number": "+49302"}, "phone_number", "given_twice"),
        ({"first_name": ["x"]}, "first_name", "wrong_type"),
        ({"a@x.org": "x"}, "record", "unknown_field"),
        ({"custom_fields": []}, "custom_fields", "wrong_type"),
        ({"custom_fields": None}, "custom_fields", "null"),
        ({"custom_fields": {"note": "x" * 256}}, "custom_fields.note", "too_long"),
        ({"custom_fields": {"seats": "many"}}, "custom_fields.seats", "bad_number"),
        ({"custom_fields": {"seats": "1" * 25}}, "custom_fields.seats", "too_long"),
        ({"custom_fields": {"seats": 1e25}}, "custom_fields.seats", "too_long"),
        ({"custom_fields": {"since": "02/30/2026"}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"since": "2026-02-30"}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"since": 20260101}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"size": "XL"}}, "custom_fields.size", "bad_choice"),
        ({"custom_fields": {"size": 1.5}}, "custom_fields.size", "bad_choice"),
        ({"custom_fields": {"size": -1}}, "custom_fields.size", "bad_choice"),
        ({"custom_fields": {"topics": [1, "jazz"]}}, "custom_fields.topics", "bad_choice"),
        ({"custom_fields": {"topics": [1, None]}}, "custom_fields.topics", "wrong_type"),
        ({"custom_fields": {"topics": 1}}, "custom_fields.topics", "wrong_type"),
        ({"custom_fields": {"interests": "x"}}, "custom_fields.interests", "read_only"),
        ({"custom_fields": {"User status": "x"}}, "custom_fields.User status", "read_only"),
        ({"custom_fields": {"voucher": "x"}}, "custom_fields.voucher", "read_only"),
        ({"custom_fields": {"First Name": "x"}}, "custom_fields.First Name", "reserved_field"),
        ({"custom_fields": {"31": 1}}, "custom_fields.31", "reserved_field"),
        ({"custom_fields": {"opt-in": 1}}, "custom_fields.opt-in", "reserved_field"),
        ({"custom_fields": {"twice": 1}}, "custom_fields.twice", "ambiguous_field"),
        ({"custom_fields": {"plan": "a", "PLAN": "b"}}, "custom_fields.PLAN", "given_twice"),
        ({"custom_fields": {"9999": "a"}}, "custom_fields.9999", "unknown_field"),
        ({"custom_fields": {"+4930123456": "a"}}, "custom_fields", "unknown_field"),
        ({"custom_fields": {"odd": {}}}, "custom_fields.odd", "wrong_type"),
    ],
)
def test_what_breaks_a_documented_rule_is_refused_by_field_and_code(extra, field, code):
    assert refused({"email": "a@x.org", **extra}) == (field, code)


@pytest.mark.parametrize(
    ("name", "null", "empty", "zero", "false"),
    [
        ("plan", "null", "", 0, "wrong_type"),
        ("note", "null", "", 0, "wrong_type"),
        ("story", "null", "", 0, "wrong_type"),
        ("homepage", "null", "", 0, "wrong_type"),
        ("odd", "null", "", 0, "wrong_type"),
        ("seats", "null", "", 0, "wrong_type"),
        ("since", "null", "", "bad_date", "wrong_type"),
        ("size", "null", "", 0, "wrong_type"),
        ("topics", "null", "wrong_type", "wrong_type", "wrong_type"),
    ],
)
def test_what_null_empty_text_zero_and_false_mean_to_each_type(name, null, empty, zero, false):
    (field_id,) = {entry["id"] for entry in LISTING if entry["name"].lower() == name}
    for value, means in ((None, null), ("", empty), (0, zero), (False, false)):
        record = {"email": "a@x.org", "custom_fields": {name: value}}
        if isinstance(means, str) and means:
            assert refused(record) == (f"custom_fields.{name}", means)
        else:
            found = sent(record)[field_id]
            assert (found, type(found)) == (means, type(means))
    assert refused({"email": "a@x.org", "custom_fields": {"topics": []}}) == ("custom_fields.topics", "empty")


@pytest.mark.parametrize("value", [1, 2, "1", "2"])
def test_a_consent_is_sent_as_it_was_given(value):
    assert sent({"opt_in": value})["31"] == value


@pytest.mark.parametrize("value", [None, "", 0, 3, 1.0, "yes", "1 ", True, False, [], {}, [1]])
def test_any_other_consent_is_refused(value):
    field, code = refused({"email": "a@x.org", "opt_in": value})
    assert (field, code) == ("opt_in", "null" if value is None else "bad_opt_in")


def test_ten_thousand_records_without_a_consent_set_none():
    dice = random.Random(5)
    values = {
        "first_name": ["", "31", "Ann"],
        "country": [1, 31, ""],
        "phone": ["", "+4931"],
        "city": ["Ulm", "opt_in"],
        "custom_fields": [{}, {"plan": "31"}, {"topics": [31]}, {"37": "31", "seats": 31}, {"opt in": 1}],
    }
    for number in range(10_000):
        chosen = dice.sample(sorted(values), dice.randint(0, len(values)))
        record = {"email": f"{number}@x.org", **{name: dice.choice(values[name]) for name in chosen}}
        assert "31" not in orjson.loads(prepared(record, unknown_fields="drop").encoded)


def test_a_name_a_number_and_a_string_id_are_one_field():
    for name in ("CRM number", "crm number", "4711", "crm_number", "CRM_Number"):
        assert sent({"custom_fields": {name: "x"}})["4711"] == "x"
    assert sent({"custom_fields": {"5001": "x"}}) == {"3": "a@x.org", "5012": "x"}  # a name comes before a number
    assert sent({"custom_fields": {"5011": 3}})["5011"] == 3  # where a name is ambiguous, the number is not
    assert sent({"custom_fields": {"plan": "x", "PLAN": "x"}})["5001"] == "x"


@pytest.mark.parametrize(
    ("text", "day"),
    [("2026-01-02", "2026-01-02"), ("2026-01-02T23:59:59Z", "2026-01-02"), ("2026-01-02 03:04", "2026-01-02")],
)
def test_a_date_is_sent_as_year_month_day(text, day):
    assert sent({"custom_fields": {"since": text}})["5005"] == day


def test_unknown_custom_fields_follow_the_policy():
    record = {"email": "a@x.org", "custom_fields": {"plan": "gold", "colour": "blue"}}
    assert refused(record) == ("custom_fields.colour", "unknown_field")
    dropping = prepared(record, unknown_fields="drop")
    assert dropping.dropped == ("colour",)
    assert dropping.encoded == b'{"3":"a@x.org","5001":"gold"}'
    with pytest.raises(FieldsNeeded) as caught:
        prepared(record, unknown_fields="create")
    assert caught.value.samples == {"colour": "blue"}
    for name, value, code in (("fresh", [1], "wrong_type"), ("9999", "x", "unknown_field"), ("", "x", "unknown_field")):
        bad = {"email": "a@x.org", "custom_fields": {name: value}}
        assert refused(bad, unknown_fields="create")[1] == code


@pytest.mark.parametrize("policy", ["refuse", "drop", "create"])
def test_a_table_never_fetched_is_asked_for_before_anybody_is_refused(policy):
    with pytest.raises(FieldsNeeded) as caught:
        prepared({"email": "a@x.org", "custom_fields": {"plan": "gold"}}, FieldTable(), unknown_fields=policy)
    assert caught.value.samples == {"plan": "gold"}
    assert prepared({"email": "a@x.org", "custom_fields": {}}, FieldTable()).encoded == b'{"3":"a@x.org"}'


@pytest.mark.parametrize(
    "record",
    [
        {"email": "hidden-ann.example.org"},
        {"email": "a@x.org", "first_name": "hidden" * 20},
        {"email": "a@x.org", "country": "hidden"},
        {"email": "a@x.org", "opt_in": "hidden"},
        {"email": "a@x.org", "hidden@x.org": "x"},
        {"email": "a@x.org", "custom_fields": {"hidden@x.org": "x"}},
        {"email": "a@x.org", "custom_fields": {"since": "hidden"}},
        {"email": "a@x.org", "custom_fields": {"seats": "hidden"}},
        {"email": "a@x.org", "custom_fields": {"topics": ["hidden"]}},
    ],
)
def test_a_refusal_never_repeats_what_it_refuses(record):
    with pytest.raises(Refused) as caught:
        prepared(record)
    assert "hidden" not in str(caught.value)


def test_what_is_no_record_is_refused():
    for raw in (b"[]", b"{", b"7", b"\xff", b'{"email":"a@x.org","custom_fields":' + b"[" * 100_000):
        with pytest.raises(Refused, match="record"):
            emarsys().prepare(raw, FIELDS)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
NAMES = st.sampled_from(["email", "external_id", "phone", "phone_number", "country", "opt_in", "first_name", "city"])
TEXTS = st.text() | st.emails() | st.sampled_from(["1", "2026-01-02", "5001"])
CUSTOM = st.dictionaries(
    st.sampled_from([entry["name"] for entry in LISTING] + ["4711", "31", "colour"]) | st.text(),
    JSON | TEXTS | st.lists(st.integers(0, 9)),
)
ANY_RECORD = st.builds(
    lambda known, custom, other: {**other, "email": "a@x.org", "external_id": "C-1", **known, **custom},
    st.dictionaries(NAMES, TEXTS | JSON),
    st.fixed_dictionaries({}, optional={"custom_fields": CUSTOM}),
    st.dictionaries(st.text(), JSON, max_size=1),
)


@PATIENT
@given(
    record=ANY_RECORD,
    policy=st.sampled_from(["refuse", "drop", "create"]),
    identity=st.sampled_from([EXTERNAL, Identity(external_id_field="4711"), Identity()]),
)
def test_any_object_is_prepared_or_refused_or_asks_for_fields(record, policy, identity):
    try:
        done = prepared(record, unknown_fields=policy, identity=identity)
    except Refused as refusal:
        assert refusal.code  # noqa: PT017 - both ends are right, nothing else is
        return
    except FieldsNeeded as needed:
        assert set(needed.samples) <= set(record["custom_fields"])  # noqa: PT017
        return
    contact = orjson.loads(done.encoded)
    assert done.identities == (f"{identity.key_field}:{contact[identity.key_id]}",)
    assert ("31" in contact) == ("opt_in" in record)
    assert all(name.isdigit() for name in contact)


@PATIENT
@given(
    ids=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20, unique=True),
    lane=st.sampled_from([PLAIN, LISTED]),
)
def test_the_body_is_what_encoding_the_whole_would_give(ids, lane):
    account = emarsys(identity=EXTERNAL)
    body = Payload(account.limits(lane))
    for external_id in ids:
        body.add(account.prepare(orjson.dumps({"external_id": external_id, "city": 'ß"'}), FIELDS).encoded)
    size, packed = body.size, body.close()
    whole = orjson.loads(packed.body)
    assert orjson.dumps(whole) == packed.body
    assert len(packed.body) == size
    assert [contact["4711"] for contact in whole["contacts"]] == ids
    start, end = len(account.limits(lane).prefix), len(packed.body) - len(account.limits(lane).suffix)
    assert b"".join(account.upsert(lane, [packed.body[start:end]]).body) == packed.body


# --- what replies mean ----------------------------------------------------------------------------------------------


#: The example of the documentation on updating multiple contacts.
DOCUMENTED = {
    "replyCode": 0,
    "replyText": "OK",
    "data": {
        "ids": ["285291248", 285292533],
        "errors": {
            "erik.selvig@example.com": {"2008": "No contact found with the external id: 3 - erik.selvig@example.com"},
            "12345": {"2010": "More contacts found with the external id: 12345"},
        },
    },
}


def test_rows_that_failed_inside_a_success_are_named_without_their_keys_in_the_reason():
    assert verdict(200, DOCUMENTED) == Done(
        (
            RowError("reply_2008", "No contact found with the external id: 3 - <address>", "erik.selvig@example.com"),
            RowError("reply_2010", "More contacts found with the external id: …", "12345"),
        )
    )


@pytest.mark.parametrize("errors", [{}, [], None, ""])
@pytest.mark.parametrize("ids", [["1"], [1], ["1", 2, ["3"]]])
def test_no_errors_come_in_several_shapes(errors, ids):
    assert verdict(200, envelope(0, {"ids": ids, "errors": errors})) == Done()
    assert verdict(200, envelope(0, {"ids": ids})) == Done()


def test_errors_in_a_list_are_read_too():
    errors = [{"key": 77, "errorCode": "2008", "errorMsg": "none such"}]
    assert verdict(200, envelope(0, {"ids": [], "errors": errors})) == Done(
        (RowError("reply_2008", "none such", "77"),)
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"[]",
        b"{}",
        {"replyCode": None},
        {"replyCode": True, "data": {"ids": [1]}},
        {"replyCode": "OK", "data": {"ids": [1]}},
        envelope(0, ""),
        envelope(0, []),
        envelope(0, {}),
        envelope(0, {"ids": [], "errors": []}),
        envelope(0, {"ids": ["1"], "errors": ["odd"]}),
        envelope(0, {"ids": ["1"], "errors": 7}),
    ],
)
def test_a_success_that_cannot_be_read_is_none(body):
    assert verdict(200, body) == Retry("unreadable_reply", unknown=True)


def test_a_success_that_was_cut_off_is_none():
    cut = Response(200, {}, orjson.dumps(DOCUMENTED), 5, truncated=True)
    assert emarsys().read_upsert(cut, NOW_S) == Retry("unreadable_reply", unknown=True)


@pytest.mark.parametrize("code", [2004, 2005, 2006, 2007, 2008, 2010, 2012, 9999])
def test_a_row_fails_by_any_code_but_that_of_the_race(code):
    body = envelope(0, {"ids": [1], "errors": {"b@x.org": {str(code): "bad"}}})
    assert verdict(200, body) == Done((RowError(f"reply_{code}", "bad", "b@x.org"),), ())


def test_a_row_that_lost_a_race_is_sent_again():
    errors = {
        "a@x.org": {"2009": "Contact with the external id already exists: 3"},
        "b@x.org": {"2007": "bad"},
        "c@x.org": {"2009": "race", "2006": "bad field"},
    }
    assert verdict(200, envelope(0, {"ids": [1], "errors": errors})) == Done(
        (RowError("reply_2007", "bad", "b@x.org"), RowError("reply_2006", "bad field", "c@x.org")),
        (RowError("reply_2009", "Contact with the external id already exists: 3", "a@x.org"),),
    )


@pytest.mark.parametrize("said", [{}, [], None, "odd words", {"x": 7}])
def test_a_row_error_without_a_code_fails_the_row_still(said):
    (error,) = verdict(200, envelope(0, {"ids": [], "errors": {"b@x.org": said}})).failed
    assert (error.code, error.value) == ("reply_unknown", "b@x.org")
    assert error.reason


@pytest.mark.parametrize(("status", "code"), [(200, 0), (200, 2004), (400, 2004)])
def test_a_key_that_is_refused_fails_all_rows(status, code):
    errors = {"<NO_KEY_ID>": {"2004": "Invalid key field id: 9"}, "b@x.org": {"2007": "bad"}}
    assert verdict(status, envelope(code, {"ids": [], "errors": errors})) == AllFailed(
        "reply_2004", "Invalid key field id: 9"
    )


ALL, REFUSED, AGAIN, SPLIT = "all fail", "refused", "again", "split"


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        (200, 2004, ALL),
        (200, 2005, REFUSED),
        (200, 2006, REFUSED),
        (200, 2007, REFUSED),
        (200, 2008, REFUSED),
        (200, 2010, REFUSED),
        (200, 1, REFUSED),
        (400, 1, REFUSED),
        (400, 1000, SPLIT),
        (400, 1001, REFUSED),
        (400, 1006, REFUSED),
        (400, 1007, REFUSED),
        (400, 1008, REFUSED),
        (400, 1010, REFUSED),
        (400, 1016, REFUSED),
        (400, 2001, AGAIN),
        (400, 2002, REFUSED),
        (400, 2003, REFUSED),
        (400, 2004, ALL),
        (400, 2005, REFUSED),
        (400, 2006, REFUSED),
        (400, 2007, REFUSED),
        (400, 2008, REFUSED),
        (404, 2008, REFUSED),
        (400, 2009, AGAIN),
        (400, 2010, REFUSED),
        (400, 2012, REFUSED),
        (400, 2013, ALL),
        (400, 2020, ALL),
        (404, 2020, ALL),
        (400, 3004, ALL),
        (404, 3004, ALL),
        (400, 3006, ALL),
        (404, 3006, ALL),
    ],
)
def test_a_reply_code_means_what_the_registry_says_of_it_under_that_status(status, code, means):
    verdicts = {
        ALL: AllFailed(f"reply_{code}", "some words"),
        REFUSED: Rejected(f"reply_{code}", "some words"),
        AGAIN: Retry(f"reply_{code}"),
        SPLIT: TooLarge(),
    }
    assert verdict(status, envelope(code, "", "some words")) == verdicts[means]


def test_a_refusal_that_names_rows_fails_those_alone():
    errors = {"b@x.org": {"2007": "bad"}, "c@x.org": {"2009": "race"}}
    assert verdict(400, envelope(2007, {"errors": errors})) == Named((RowError("reply_2007", "bad", "b@x.org"),))
    race = {"errors": {"c@x.org": {"2009": "race"}}}
    assert verdict(400, envelope(2007, race)) == Retry("reply_2009")


@pytest.mark.parametrize(
    ("status", "body", "headers", "means"),
    [
        (400, b"<html>", {}, Rejected("http_400", "Emarsys answered 400 and gave no reason")),
        (413, b"", {}, TooLarge()),
        (500, envelope(2011), {}, Retry("http_500")),
        (500, envelope(1), {}, Retry("http_500")),
        (500, envelope(1003), {}, Retry("http_500")),
        (500, envelope(7003), {}, Retry("http_500")),
        (502, b"", {}, Retry("http_502", unknown=True)),
        (503, b"", {"retry_after": "9"}, Retry("http_503", 9.0)),
        (504, b"", {}, Retry("http_504", unknown=True)),
        (408, b"", {}, Retry("http_408")),
        (423, envelope(10003), {}, Retry("http_423")),
        (429, envelope(7003), {}, Limited(None)),
        (429, b"too many requests", {"x_ratelimit_reset": str(int(NOW_S) + 17)}, Limited(17.0)),
        (429, b"", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(NOW_S) + 17)}, Limited(17.0)),
        (429, b"", {"retry_after": "3", "x_ratelimit_reset": str(int(NOW_S) + 17)}, Limited(3.0)),
        (429, envelope(15011), {}, Limited(None)),
    ],
)
def test_other_statuses_mean_what_they_say(status, body, headers, means):
    assert verdict(status, body, **headers) == means


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, envelope(1), "unauthorized"),
        (402, b"", "payment"),
        (403, b"", "forbidden"),
        (404, b"<html>", "not_found"),
        (404, envelope(1), "not_found"),
        (400, envelope(1009), "wrong_method"),
        (302, b"", "http_302"),
    ],
)
def test_what_somebody_has_to_mend_stops_the_destination(status, body, code):
    stop = verdict(status, body)
    assert (type(stop), stop.code) == (Stop, code)


@pytest.mark.parametrize(
    ("signs", "off_s", "says"),
    [
        (WSSE, 301, "clock is 5 minutes ahead of"),
        (WSSE, -3600, "clock is 60 minutes behind"),
        (WSSE, 299, "check username, secret"),
        (OAUTH, 3600, "check client_id, client_secret"),
    ],
)
def test_a_clock_that_is_off_is_named_where_it_matters(signs, off_s, says):
    stop = emarsys(signs).read_upsert(reply(401, envelope(1), date=DATE), NOW_S + off_s)
    assert says in stop.why


def test_a_date_that_cannot_be_read_accuses_no_clock():
    for date in ("", "yesterday", "Wed, 99 Nov 2026 12:26:40 GMT"):
        assert "clock" not in verdict(401, b"", WSSE, date=date).why


@PATIENT
@given(status=st.integers(200, 599), content=JSON, headers=st.dictionaries(st.sampled_from(["date"]), st.text()))
def test_no_reply_raises(status, content, headers):
    for body in (content, envelope(0, content), envelope(0, {"errors": content}), envelope(2007, {"errors": content})):
        assert verdict(status, body, WSSE, **headers) is not None
        assert emarsys().read_definitions(reply(status, body), 77) is not None
        assert emarsys().read_token(reply(status, body, **headers)) is not None


# --- which rows are meant -------------------------------------------------------------------------------------------


def errors_of(*values):
    return [RowError("reply_2008", "none such", value) for value in values]


def test_rows_are_found_by_their_key_as_text_never_by_place():
    rows = [prepared({"email": mail}).encoded for mail in ("a@x.org", "b@x.org", "1@x.org")]
    found = emarsys().find_rows(
        [rows[0], b"," + rows[1], rows[2] + b","], errors_of("B@X.org", "0", "", "1@x.org", "1")
    )
    assert found == [[1], [], [], [2], []]
    external = [prepared({"external_id": key}, identity=EXTERNAL).encoded for key in ("007", "7", "Ab")]
    account = emarsys(identity=EXTERNAL)
    assert account.find_rows(external, errors_of("7", "007", "ab", "Ab")) == [[1], [0], [], [2]]
    assert account.find_rows(external, [RowError("reply_2005", "no key", hint=1)]) == [[]]


def test_a_value_that_is_not_the_key_names_nobody():
    row = prepared({"email": "a@x.org", "external_id": "C-1"}, identity=EXTERNAL).encoded
    assert emarsys(identity=EXTERNAL).find_rows([row], errors_of("a@x.org", "C-1")) == [[], [0]]


# --- custom fields --------------------------------------------------------------------------------------------------


def test_definitions_are_read_from_a_list_or_a_map():
    assert FIELDS.fetched_ms == 77
    assert FIELDS.by_name["crm number"] == FIELDS.by_name["4711"] == ("4711", "shorttext")
    holes = dict(enumerate(LISTING[:2]))
    body = envelope(0, {str(place): entry for place, entry in holes.items()})
    table = emarsys().read_definitions(reply(200, body), 77)
    assert table.by_name["first name"] == ("1", "shorttext")


def test_the_reply_to_a_probe_tells_whether_the_account_works_and_nothing_of_its_fields():
    account, body = emarsys(), envelope(0, {"id": 7, "environment": "suite.example.org", "name": "acme"})
    assert account.read_probe(reply(200, body), NOW_S) == Healthy()
    assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    for odd in (b"<html>", envelope(0, ""), envelope(0, None), ["odd"]):
        assert account.read_probe(reply(200, odd), NOW_S) == Retry("unreadable_reply")
    assert account.read_probe(reply(200, envelope(9001)), NOW_S) == Retry("reply_9001")
    assert account.read_probe(reply(503), NOW_S) == Retry("http_503")
    assert account.read_probe(reply(429, retry_after="3"), NOW_S) == Limited(3.0)
    assert account.read_probe(reply(401), NOW_S).code == "unauthorized"


def test_definitions_that_cannot_be_had_say_why():
    account = emarsys()
    for body in (b"<html>", envelope(0, ""), envelope(0, []), envelope(0, ["odd"])):
        assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    assert account.read_definitions(reply(200, envelope(9001)), 77) == Retry("reply_9001")
    assert account.read_definitions(reply(400, envelope(2001)), 77) == Retry("reply_2001")
    assert account.read_definitions(reply(503), 77) == Retry("http_503")
    assert account.read_definitions(reply(429, retry_after="3"), 77) == Limited(3.0)
    assert account.read_definitions(reply(401), 77).code == "unauthorized"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "numeric"), (0.5, "numeric"), ("x", "longtext"), ("x" * 256, "largetext"), ("2026-01-02", "date")],
)
def test_a_new_field_gets_the_type_of_its_value(value, kind):
    (body,) = emarsys().create_field("Fresh one", value).body
    assert body == b'{"name":"Fresh one","application_type":"%b"}' % kind.encode()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("fresh", True, "wrong_type"),
        ("fresh", [1], "wrong_type"),
        ("fresh", None, "null"),
        ("", "x", "unknown_field"),
        ("  ", "x", "unknown_field"),
        ("1234", "x", "unknown_field"),
        ("a\nb", "x", "unknown_field"),
        ("x" * 256, "x", "unknown_field"),
    ],
)
def test_a_field_that_cannot_be_created_is_refused(name, value, code):
    with pytest.raises(Refused) as caught:
        emarsys().create_field(name, value)
    assert caught.value.code == code
