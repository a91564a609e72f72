"""The Emarsys stand-in says no when it should: whom it lets in, what an upsert may hold, and how rows fail."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from support.stand_in import client_of

from contact_ingest.sandbox.emarsys.wsse import WsseGuard, digest
from contact_ingest.sandbox.process import SandboxProcess

PUT = "/v3/contact?create_if_not_exists=1"
SETTINGS_V2, SETTINGS_V3 = "/v2/settings", "/v3/settings"
ANN = {"3": "ann@example.com"}
FIELDS = [
    {"id": 101, "name": "Customer", "kind": "shorttext", "indexed": True},
    {"id": 102, "name": "Shy", "kind": "shorttext"},
    {"id": 103, "name": "Score", "kind": "numeric"},
    {"id": 104, "name": "Tags", "kind": "multichoice", "choices": {"7": "seven", "9": "nine"}},
    {"id": 105, "name": "Voucher", "kind": "voucher"},
    {"id": 106, "name": "Notes", "kind": "largetext"},
]


@pytest.fixture(scope="module")
def dials() -> dict[str, Any]:
    return {"emarsys_fields": FIELDS, "emarsys_lists": [5], "emarsys_sources": [3]}


def ask_token(sandbox: SandboxProcess, **changes: Any) -> httpx.Response:
    asked = {"data": {"grant_type": "client_credentials"}, "auth": ("sandbox-client", "sandbox-secret"), **changes}
    return httpx.post(f"{sandbox.url}/oauth2/token", trust_env=False, **asked)


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    with client_of(sandbox, "/api", ask_token(sandbox).json()["access_token"]) as client:
        yield client


def wsse(**changes: str) -> dict[str, str]:
    parts = {"user": "sandbox001", "nonce": uuid4().hex, "secret": "sandbox-secret"}
    parts["created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts |= changes
    text = hashlib.sha1((parts["nonce"] + parts["created"] + parts["secret"]).encode()).hexdigest()
    made = base64.b64encode(text.encode()).decode()
    named = f'Username="{parts["user"]}", PasswordDigest="{parts.get("digest", made)}"'
    return {"X-WSSE": f'UsernameToken {named}, Nonce="{parts["nonce"]}", Created="{parts["created"]}"'}


def enter(sandbox: SandboxProcess, headers: dict[str, str], path: str = SETTINGS_V2) -> int:
    return httpx.get(f"{sandbox.url}/api{path}", headers=headers, trust_env=False).status_code


def put(client: httpx.Client, *rows: dict[str, Any], key: Any = "3", **more: Any) -> httpx.Response:
    return client.put(PUT, json={"key_id": key, "contacts": list(rows), **more})


def errors(reply: httpx.Response) -> dict[str, dict[str, str]]:
    assert reply.status_code == 200
    content = reply.json()
    assert (content["replyCode"], content["replyText"]) == (0, "OK")
    found = content["data"].get("errors") or {}
    return {key: dict(each) for key, each in found.items()}


def codes(reply: httpx.Response) -> dict[str, list[str]]:
    return {key: list(each) for key, each in errors(reply).items()}


def refused(reply: httpx.Response, status: int = 400) -> int:
    content = reply.json()
    assert (reply.status_code, content["data"]) == (status, "")
    assert content["replyText"]
    return int(content["replyCode"])


def stored(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    return list(sandbox.contacts("emarsys"))


def until(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


# Who comes in


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


# The request as a whole


@pytest.mark.parametrize("path", ["/v3/contact/", "/v3/contact", "/v2/contact/", "/v2/contact"])
def test_contacts_are_put_in_both_versions_with_and_without_a_slash(client, path):
    query = {"create_if_not_exists": 1}
    headers = wsse() if path.startswith("/v2") else {}
    reply = client.put(path, params=query, json={"key_id": 3, "contacts": [ANN]}, headers=headers)
    assert errors(reply) == {}


def test_ids_are_integers_for_new_contacts_and_texts_for_known_ones(client):
    [made] = put(client, ANN).json()["data"]["ids"]
    both = put(client, ANN, {"3": "bob@example.com"}).json()["data"]["ids"]
    assert both == [made + 1, str(made)]
    assert type(made) is int


def test_no_errors_are_written_in_three_ways_by_turns(client, sandbox):
    seen = [put(client, ANN).json()["data"].get("errors", "missing") for _ in range(6)]
    assert seen == [{}, [], "missing"] * 2
    for shape, shown in (("map", {}), ("list", []), ("missing", None)):
        sandbox.dials(emarsys_empty_errors=shape)
        assert [put(client, ANN).json()["data"].get("errors") for _ in range(2)] == [shown, shown]


def test_only_given_fields_change_and_empty_ones_are_emptied(client, sandbox):
    put(client, {**ANN, "1": "Ann", "2": "Lee", "101": 7})
    put(client, {"3": "Ann@Example.com", "1": "Anna", "2": None, "101": ""})
    [contact] = stored(sandbox)
    assert contact["fields"] == {"3": "Ann@Example.com", "1": "Anna"}


def test_without_the_query_nothing_is_created(client, sandbox):
    for path in ("/v3/contact", "/v3/contact?create_if_not_exists=0"):
        reply = client.put(path, json={"key_id": "3", "contacts": [ANN]})
        assert codes(reply) == {"ann@example.com": ["2008"]}
    assert stored(sandbox) == []
    assert refused(client.put("/v3/contact?create_if_not_exists=true", json={"key_id": "3", "contacts": [ANN]})) == 1001


def test_a_thousand_contacts_come_in_and_one_more_does_not(client, sandbox):
    rows = [{"3": f"u{n}@example.com"} for n in range(1001)]
    assert refused(put(client, *rows)) == 1000
    assert stored(sandbox) == []
    assert len(put(client, *rows[:1000]).json()["data"]["ids"]) == 1000


def sized(size: int) -> bytes:
    start = orjson.dumps({"key_id": "3", "contacts": [{**ANN, "106": ""}]})[:-4]
    return start + b"x" * (size - len(start) - 4) + b'"}]}'


def test_eight_million_bytes_come_in_and_one_more_does_not(client, sandbox):
    kind = {"Content-Type": "application/json"}
    assert errors(client.put(PUT, content=sized(8_000_000), headers=kind)) == {}
    assert client.put(PUT, content=sized(8_000_001), headers=kind).status_code == 413
    sandbox.dials(emarsys_oversize=400, hidden_byte_cap=1000)
    assert refused(client.put(PUT, content=sized(1001), headers=kind)) == 1001
    assert errors(client.put(PUT, content=sized(1000), headers=kind)) == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"contacts": [ANN]}, 1001),
        ({"key_id": None, "contacts": [ANN]}, 1001),
        ({"key_id": ["3"], "contacts": [ANN]}, 1001),
        ({"key_id": "3", "contacts": {}}, 2003),
        ({"key_id": "3", "contacts": []}, 1006),
        ({"key_id": "3", "contacts": ["ann"]}, 1016),
        ({"key_id": "3", "contacts": [ANN], "1": "Ann"}, 1001),
        ({"key_id": "3", "contacts": [ANN], "contact_list_id": 6}, 2020),
        ({"key_id": "3", "contacts": [ANN], "contact_list_id": "5"}, 1016),
        ({"key_id": "3", "contacts": [ANN], "source_id": 4}, 2013),
        ({"key_id": "3", "contacts": [{**ANN, "source_id": 4}]}, 2013),
        ({"key_id": "3", "contacts": [{**ANN, "source_id": [3]}]}, 2013),
        ([], 1016),
    ],
)
def test_a_request_that_is_wrong_as_a_whole_changes_nothing(client, sandbox, body, code):
    assert refused(client.put(PUT, json=body)) == code
    assert stored(sandbox) == []


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}],
)
def test_a_body_must_be_plain_json(client, headers):
    body = orjson.dumps({"key_id": "3", "contacts": [ANN]})
    assert refused(client.put(PUT, content=body, headers=headers)) == 1010
    assert refused(client.put(PUT, content=b"{", headers={"Content-Type": "application/json"})) == 1010


def test_a_wrong_verb_and_an_unknown_path_have_codes_of_their_own(client):
    assert refused(client.delete("/v3/contact/")) == 1009
    assert refused(client.get("/v3/contactlist/x")) == 1


def test_contacts_join_the_list_and_bear_their_source(client, sandbox):
    put(client, ANN, contact_list_id=5, source_id=3)
    put(client, {"3": "bob@example.com", "source_id": "3"}, {"3": "cy@example.com"})
    assert [(each["lists"], each["source_id"]) for each in stored(sandbox)] == [([5], 3), ([], 3), ([], None)]


def test_one_contact_beside_the_key_is_answered_with_its_id(client, sandbox):
    made = client.put(PUT, json={"key_id": 3, **ANN, "1": "Ann"}).json()["data"]["id"]
    assert client.put(PUT, json={"key_id": 3, **ANN}).json()["data"] == {"id": made}
    assert [(each["id"], each["fields"]["1"]) for each in stored(sandbox)] == [(made, "Ann")]
    assert refused(client.put(PUT, json={"key_id": 3, "1": "Ann"})) == 2005
    assert refused(client.put(PUT, json={"key_id": "email", **ANN})) == 2004
    assert refused(client.put("/v3/contact", json={"key_id": 3, "3": "new@example.com"})) == 2008


@pytest.mark.parametrize("key", ["email", "999", "102", "0", "eid"])
def test_a_key_that_is_no_indexed_field_fails_every_row_without_a_name(client, sandbox, key):
    reply = put(client, {**ANN, "102": "x"}, key=key)
    assert codes(reply) == {"<NO_KEY_ID>": ["2004"]}
    assert reply.json()["data"]["ids"] == []
    sandbox.dials(emarsys_bad_key=400)
    assert refused(put(client, {**ANN, "102": "x"}, key=key)) == 2004
    assert stored(sandbox) == []


def test_an_unknown_field_fails_the_request_or_its_row(client, sandbox):
    rows = [{**ANN, "999": "x"}, {"3": "bob@example.com"}]
    assert refused(put(client, *rows)) == 2006
    assert stored(sandbox) == []
    sandbox.dials(emarsys_unknown_field="row")
    assert codes(put(client, *rows)) == {"ann@example.com": ["2006"]}
    assert len(stored(sandbox)) == 1


def test_a_success_in_http_can_carry_another_reply_code(client, sandbox):
    sandbox.dials(emarsys_reply_codes=[2001, 0, 1003])
    assert refused(put(client, ANN), 200) == 2001
    assert stored(sandbox) == []
    assert errors(put(client, ANN)) == {}
    sandbox.dials(emarsys_reply_status=500)
    assert refused(put(client, ANN), 500) == 1003
    assert sandbox.dials()["emarsys_reply_codes"] == []
    assert sandbox.totals()["by_note"] == {"reply code": 2}


# Rows


@pytest.mark.parametrize(
    ("row", "shown"),
    [({"1": "Ann"}, ""), ({"3": ""}, ""), ({"3": None}, ""), ({"3": ["a@x.io"]}, ""), ({"3": "ann"}, "ann")],
)
def test_a_row_without_a_proper_key_fails_alone(client, sandbox, row, shown):
    reply = put(client, row, {"3": "bob@example.com"})
    assert codes(reply) == {shown: ["2005"]}
    assert len(reply.json()["data"]["ids"]) == 1
    assert [contact["fields"]["3"] for contact in stored(sandbox)] == ["bob@example.com"]


def test_numeric_keys_are_named_as_texts(client):
    assert codes(put(client, {"101": 7, "31": True}, key=101)) == {"7": ["2007"]}
    assert len(put(client, {"101": 7}, key="101").json()["data"]["ids"]) == 1
    assert put(client, {"101": "7"}, key="101").json()["data"]["ids"][0] == "100001"


def test_own_ids_are_keys_of_known_contacts_alone(client, sandbox):
    [made] = put(client, ANN).json()["data"]["ids"]
    assert errors(put(client, {"id": made, "1": "Ann"}, key="id")) == {}
    assert errors(put(client, {"uid": stored(sandbox)[0]["uid"], "2": "Lee"}, key="uid")) == {}
    assert stored(sandbox)[0]["fields"] == {**ANN, "1": "Ann", "2": "Lee"}
    assert codes(put(client, {"id": 1, "1": "x"}, key="id")) == {"1": ["2004"]}
    assert codes(put(client, {"3": "bob@example.com", "uid": "x"})) == {"bob@example.com": ["2007"]}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("31", [1, 2, "1", "2", "", None], [True, False, 0, 3, "yes", "true", [1], 1.0]),
        ("1", ["x" * 60, 7, 1.5, ""], ["x" * 61, True, ["x"], {"a": 1}]),
        ("10", ["x" * 255], ["x" * 256]),
        ("106", ["x" * 10_000], [False]),
        ("103", ["1" * 24, -2.5, 0, None], ["1" * 25, "1,5", "one", True]),
        ("4", ["2026-01-31", None], ["2026-02-30", "31.01.2026", "2026-01-31 10:20", 20260131, True]),
        ("5", ["1", 2, ""], ["3", 0, "male", ["1"], True]),
        ("104", [["7"], [7, "9"], None], [[], "7", 7, ["8"], [True], ""]),
        ("105", [], ["code", None]),
        ("0", [], ["1"]),
        ("33", [], ["1", None]),
        ("3", [], ["ann", "ann@x", True]),
    ],
)
def test_a_value_must_suit_its_field(client, field, good, bad):
    def failed(value: Any) -> dict[str, list[str]]:
        return codes(put(client, {"101": "k", field: value}, key="101"))

    assert [value for value in good if failed(value) != {}] == []
    assert [value for value in bad if failed(value) != {"k": ["2007"]}] == []


def test_a_time_of_day_and_another_code_for_values_are_dials(client, sandbox):
    sandbox.dials(emarsys_times_of_day=True, emarsys_bad_value_code=2006)
    assert errors(put(client, {**ANN, "4": "2026-01-31 10:20"}, {"3": "b@x.io", "4": "2026-01-31 10:20:30"})) == {}
    assert codes(put(client, {**ANN, "4": "2026-01-31T10:20"})) == {"ann@example.com": ["2006"]}


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_opt_in_clears_a_consent_and_that_is_counted(client, sandbox, empty):
    put(client, {**ANN, "31": empty})
    assert sandbox.totals()["consent_cleared"] == 0
    put(client, {**ANN, "31": 1})
    put(client, {**ANN, "31": empty})
    assert "31" not in stored(sandbox)[0]["fields"]
    assert sandbox.totals()["consent_cleared"] == 1


def test_a_choice_array_replaces_the_stored_one(client, sandbox):
    put(client, {**ANN, "104": ["7", "9"]})
    put(client, {**ANN, "104": ["9"]})
    assert stored(sandbox)[0]["fields"]["104"] == ["9"]


def test_a_key_that_several_contacts_have_changes_none(client, sandbox):
    sandbox.seed("emarsys", [{"fields": ANN}, {"fields": {"3": "ANN@example.com"}, "lists": [5]}])
    assert codes(put(client, {**ANN, "1": "Ann"}, {"3": "bob@example.com"})) == {"ann@example.com": ["2010"]}
    assert [each["fields"].get("1") for each in stored(sandbox)] == [None, None, None]


def test_a_key_that_comes_twice_in_a_request_fails_the_later_row(client, sandbox):
    rows = [{**ANN, "1": "first"}, {"3": "Ann@example.com", "1": "later"}]
    reply = put(client, *rows)
    assert codes(reply) == {"Ann@example.com": ["2010"]}
    assert [each["fields"]["1"] for each in stored(sandbox)] == ["first"]
    sandbox.dials(emarsys_duplicate_rows="apply")
    assert errors(put(client, *rows)) == {}
    assert [each["fields"]["1"] for each in stored(sandbox)] == ["later"]


def test_a_changed_key_is_found_under_its_new_value_only(client, sandbox):
    [made] = put(client, {**ANN, "101": "k"}, key="101").json()["data"]["ids"]
    put(client, ANN)
    put(client, {"101": "k", "3": "new@example.com"}, key="101")
    assert put(client, {"3": "new@example.com"}).json()["data"]["ids"] == [str(made)]
    assert put(client, ANN).json()["data"]["ids"] == [made + 1]


@pytest.mark.parametrize("code", [2004, 2005, 2006, 2007, 2008, 2010])
def test_a_planted_row_fails_with_its_code_every_time(client, sandbox, code):
    rows = [{**ANN, "1": f"[[emarsys-{code}]]"}, {"3": "bob@example.com"}]
    for _ in range(2):
        assert codes(put(client, *rows)) == {"ann@example.com": [str(code)]}
    assert [each["fields"]["3"] for each in stored(sandbox)] == ["bob@example.com"]


def test_a_planted_race_is_lost_once(client, sandbox):
    row = {**ANN, "1": "[[emarsys-2009]]"}
    assert codes(put(client, row)) == {"ann@example.com": ["2009"]}
    assert stored(sandbox) == []
    assert errors(put(client, row)) == {}
    assert len(stored(sandbox)) == 1


def test_a_request_of_which_all_rows_fail_succeeds_or_names_nobody(client, sandbox):
    rows = [{**ANN, "31": True}, {"3": "bob@example.com", "31": True}]
    reply = put(client, *rows)
    assert codes(reply) == {"ann@example.com": ["2007"], "bob@example.com": ["2007"]}
    assert reply.json()["data"]["ids"] == []
    sandbox.dials(emarsys_all_failed=400)
    assert refused(put(client, *rows)) == 2007
    assert codes(put(client, *rows, {"3": "cy@example.com"})) == codes(reply)


# Reading, limits, faults


def test_fields_are_listed_with_their_types(client, sandbox):
    listed = {each["id"]: each for each in client.get("/v3/field/translate/en").json()["data"]}
    assert listed["3"] == {"id": "3", "name": "E-Mail", "application_type": "longtext", "string_id": "e-mail"}
    assert listed["104"]["application_type"] == "multichoice"
    assert len(listed) == 49 + len(FIELDS)
    sandbox.dials(emarsys_field_ids="integers")
    assert client.get("/v3/field").json()["data"][3]["id"] == 3


def test_choices_of_a_field_are_listed(client):
    listed = client.get("/v3/field/104/choice/translate/en").json()["data"]
    assert listed == [{"id": "7", "choice": "seven"}, {"id": "9", "choice": "nine"}]
    assert [each["id"] for each in client.get("/v3/field/5/choice").json()["data"]] == ["1", "2"]
    assert refused(client.get("/v3/field/999/choice/translate/en")) == 1007


def test_settings_tell_the_name_of_the_account(client):
    assert client.get(SETTINGS_V3).json()["data"]["name"] == "sandbox"


def test_each_api_user_has_a_limit_for_everything_together(client, sandbox):
    assert sandbox.dials()["limits"]["emarsys"] == {"limit": 1000, "window_s": 60}
    sandbox.dials(limits={"emarsys": {"limit": 2, "window_s": 60}})
    assert [put(client, ANN).status_code, client.get(SETTINGS_V3).status_code] == [200, 200]
    over = client.get("/v3/field")
    assert refused(over, 429) == 7003
    assert (over.headers["X-RateLimit-Limit"], over.headers["X-RateLimit-Remaining"]) == ("2", "0")
    assert 50 < int(over.headers["X-RateLimit-Reset"]) - time.time() <= 61
    assert "Retry-After" not in over.headers
    assert enter(sandbox, wsse()) == 200


def test_the_token_endpoint_has_a_limit_of_its_own(sandbox):
    sandbox.dials(limits={"emarsys.token": {"limit": 1, "window_s": 60}})
    assert [ask_token(sandbox).status_code for _ in range(2)] == [200, 429]


def test_faults_of_the_way_come_in_emarsys_shapes(client, sandbox):
    sandbox.dials(script=["401", "403", "429", "500", "503", "unreadable", "drop_after"])
    assert [refused(put(client, ANN), 401), put(client, ANN).content] == [1, b""]
    assert [refused(put(client, ANN), 429), refused(put(client, ANN), 500)] == [7003, 1]
    assert put(client, ANN).text.startswith("<html>")
    assert stored(sandbox) == []
    assert put(client, ANN).text.startswith("<html>{")
    with pytest.raises(httpx.TransportError):
        put(client, {"3": "bob@example.com"})
    assert len(stored(sandbox)) == 2


def test_the_journal_knows_the_user_and_counts_rows(client, sandbox):
    put(client, ANN, {"3": "ann"})
    entry = sandbox.journal()[-1]
    shown = [entry[name] for name in ("endpoint", "account", "contacts", "status")]
    assert shown == ["emarsys.contacts", "emarsys:sandbox-client", 2, 200]


def test_a_reset_forgets_contacts_races_and_tokens(client, sandbox):
    put(client, {**ANN, "1": "[[emarsys-2009]]"}, {"3": "bob@example.com"})
    sandbox.reset()
    assert stored(sandbox) == []
    assert client.get(SETTINGS_V3).status_code == 401
    client.headers["Authorization"] = f"Bearer {ask_token(sandbox).json()['access_token']}"
    assert codes(put(client, {**ANN, "1": "[[emarsys-2009]]"})) == {"ann@example.com": ["2009"]}


def test_an_own_field_cannot_take_a_system_fields_id(sandbox):
    with pytest.raises(ValueError, match="emarsys_fields"):
        sandbox.dials(emarsys_fields=[{"id": 31, "name": "Consent", "kind": "shorttext"}])
