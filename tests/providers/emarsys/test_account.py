"""Settings and credentials of an Emarsys account, and how its requests are signed."""

import base64

import pytest
from pydantic import SecretStr
from support.provider_emarsys import DATE, EXTERNAL, FIELDS, LISTED, NOW_S, OAUTH, PLAIN, WSSE, emarsys, reply

from contact_ingest.errors import SettingError
from contact_ingest.model.http_message import Request
from contact_ingest.model.verdicts import (
    Limited,
    Retry,
    Stop,
)
from contact_ingest.providers import registry
from contact_ingest.providers.base import SigningContext, Token, TokenAuth
from contact_ingest.providers.emarsys.auth import OAuth, Wsse, credentials, password_digest
from contact_ingest.providers.emarsys.identity import Identity
from contact_ingest.providers.emarsys.request_limits import lane_options


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
        (403, b"<html>blocked", {"retry_after": "7"}, Retry("token_403", 7.0)),
        (400, b"", {}, Retry("token_400")),
        (400, {"message": "Bad Request"}, {}, Retry("token_400")),
    ],
)
def test_a_token_that_cannot_be_had_says_why(status, body, headers, means):
    assert emarsys().read_token(reply(status, body, **headers)) == means


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_credentials_stop(status):
    stop = emarsys().read_token(reply(status, {"error": "invalid_client"}))
    assert (type(stop), stop.code) == (Stop, "unauthorized")
    assert "token_url" in emarsys().read_token(reply(404)).why
