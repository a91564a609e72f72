"""Whom the Emarsys stand-in lets in: WSSE headers, tokens, permissions."""

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import httpx
import pytest
from support.stand_in_emarsys import ANN, SETTINGS_V2, SETTINGS_V3, ask_token, enter, put, refused, wsse

from contact_ingest.sandbox.emarsys.wsse import WsseGuard, digest


def until(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("nonce", "created", "secret", "expected"),
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
def test_the_digest_is_base64_of_hexadecimal_characters(nonce, created, secret, expected):
    assert digest(nonce, created, secret) == expected


def test_a_signed_request_comes_in_and_an_unsigned_one_is_401(sandbox):
    assert enter(sandbox, wsse()) == 200
    reply = httpx.get(f"{sandbox.url}/api{SETTINGS_V2}", trust_env=False)
    assert refused(reply, 401) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "wrong"},
        {"user": "nobody001"},
        {"nonce": "short"},
        {"nonce": "g" * 32},
        {"created": "now"},
        {"created": "2026-13-01T00:00:00Z"},
        {"digest": base64.b64encode(hashlib.sha1(b"x").digest()).decode()},
    ],
)
def test_a_header_with_a_wrong_part_is_refused(sandbox, changes):
    assert enter(sandbox, wsse(**changes)) == 401


def test_the_digest_of_raw_bytes_is_refused(sandbox):
    nonce, created = uuid4().hex, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    raw = base64.b64encode(hashlib.sha1((nonce + created + "sandbox-secret").encode()).digest()).decode()
    assert enter(sandbox, wsse(nonce=nonce, created=created, digest=raw)) == 401
    assert enter(sandbox, wsse(nonce=nonce, created=created)) == 200


@pytest.mark.parametrize("shift", [-310, 310])
def test_a_moment_more_than_five_minutes_away_is_refused(sandbox, shift):
    def at(seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S+00:00")

    assert enter(sandbox, wsse(created=at(shift))) == 401
    assert enter(sandbox, wsse(created=at(shift * 0.9))) == 200


@pytest.mark.parametrize("layout", ["%Y-%m-%dT%H:%M:%S+0000", "%Y-%m-%dT%H:%M:%S.123Z", "%Y-%m-%dT%H:%M:%S+00:00"])
def test_moments_may_be_written_in_several_ways(sandbox, layout):
    assert enter(sandbox, wsse(created=datetime.now(UTC).strftime(layout))) == 200


def test_a_moment_without_a_zone_is_one_of_the_servers_time():
    made = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    guard = WsseGuard()

    def accepts(hours: int) -> bool:
        local = made.astimezone(timezone(timedelta(hours=hours))).strftime("%Y-%m-%dT%H:%M:%S")
        header = {key.lower(): value for key, value in wsse(created=local).items()}
        return guard.accepts(header, {"sandbox001": "sandbox-secret"}, made.timestamp(), once=True)

    assert [accepts(hours) for hours in (0, 1, 2)] == [False, False, True]


def test_keys_may_come_in_any_order_and_case_but_all_and_once(sandbox):
    def reordered() -> list[str]:
        return wsse()["X-WSSE"].removeprefix("UsernameToken ").split(", ")[::-1]

    pairs = [pair.replace("Nonce=", "nonce=") for pair in reordered()]
    assert enter(sandbox, {"X-WSSE": "UsernameToken " + ", ".join(pairs)}) == 200
    assert enter(sandbox, {"WSSE": "UsernameToken " + ",".join(reordered())}) == 200
    assert enter(sandbox, {"X-WSSE": "UsernameToken " + ", ".join(reordered()[1:])}) == 401
    doubled = reordered()
    assert enter(sandbox, {"X-WSSE": "UsernameToken " + ", ".join([*doubled, doubled[0]])}) == 401
    assert enter(sandbox, {"X-WSSE": ", ".join(reordered())}) == 401


def test_a_nonce_comes_once_unless_dialled(sandbox):
    header = wsse()
    assert [enter(sandbox, header) for _ in range(2)] == [200, 401]
    sandbox.dials(emarsys_nonce_reuse="accepted")
    assert enter(sandbox, header) == 200


def test_a_token_opens_the_newer_api_and_each_api_takes_its_own(sandbox, client):
    bearer = {"Authorization": client.headers["Authorization"]}
    assert enter(sandbox, bearer, SETTINGS_V3) == 200
    assert enter(sandbox, bearer, SETTINGS_V2) == 401
    assert enter(sandbox, wsse(), SETTINGS_V3) == 401
    assert enter(sandbox, {"Authorization": "Bearer made-up"}, SETTINGS_V3) == 401


def test_a_token_tells_for_how_long_it_is_good_and_ends_then(sandbox):
    assert ask_token(sandbox).json()["expires_in"] == 3600
    sandbox.dials(emarsys_token_lasts_s=0.2)
    token = ask_token(sandbox).json()
    assert token["token_type"].lower() == "bearer"
    until(lambda: enter(sandbox, {"Authorization": f"Bearer {token['access_token']}"}, SETTINGS_V3) == 401)


def test_all_tokens_are_revoked_by_a_dial(sandbox, client):
    sandbox.dials(emarsys_tokens_revoked=1)
    assert refused(client.get(SETTINGS_V3), 401) == 1
    again = {"Authorization": f"Bearer {ask_token(sandbox).json()['access_token']}"}
    assert enter(sandbox, again, SETTINGS_V3) == 200


def test_taking_a_client_away_ends_its_tokens(sandbox, client):
    sandbox.dials(emarsys_clients={"other": "secret"})
    assert client.get(SETTINGS_V3).status_code == 401
    assert ask_token(sandbox).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"auth": ("sandbox-client", "wrong")}, 401, "invalid_client"),
        ({"auth": ("nobody", "sandbox-secret")}, 401, "invalid_client"),
        ({"auth": ("nobody", "")}, 401, "invalid_client"),
        ({"auth": None}, 401, "invalid_client"),
        ({"auth": None, "headers": {"Authorization": "Basic %%%"}}, 401, "invalid_client"),
        ({"data": {"grant_type": "password"}}, 400, "unsupported_grant_type"),
        ({"data": {}}, 400, "invalid_request"),
        ({"data": None, "json": {"grant_type": "client_credentials"}}, 400, "invalid_request"),
    ],
)
def test_a_token_is_given_for_basic_credentials_and_a_form_alone(sandbox, changes, status, error):
    reply = ask_token(sandbox, **changes)
    assert (reply.status_code, reply.json()) == (status, {"error": error})


def test_without_permission_the_answer_is_a_bare_403(client, sandbox):
    sandbox.dials(emarsys_forbidden=["emarsys.contacts"])
    reply = put(client, ANN)
    assert (reply.status_code, reply.content) == (403, b"")
    assert client.get(SETTINGS_V3).status_code == 200
    with pytest.raises(ValueError, match="emarsys_forbidden"):
        sandbox.dials(emarsys_forbidden=["emarsys.everything"])
