"""What an upsert may hold for the Emarsys stand-in, and how it answers."""

import orjson
import pytest
from support.stand_in_emarsys import ANN, PUT, codes, errors, put, refused, stored, wsse


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


def test_an_upsert_without_a_key_is_keyed_by_the_address_or_refused(client, sandbox):
    assert errors(client.put(PUT, json={"contacts": [ANN]})) == {}
    assert [contact["fields"] for contact in stored(sandbox)] == [ANN]
    sandbox.dials(emarsys_missing_key="refuse")
    assert refused(client.put(PUT, json={"contacts": [ANN]})) == 1001


def test_the_experimental_key_needs_an_account_that_has_it(client, sandbox):
    assert codes(put(client, {"eid": "x-1"}, key="eid")) == {"<NO_KEY_ID>": ["2004"]}
    sandbox.dials(emarsys_eid=True)
    assert errors(put(client, {"eid": "x-1", "1": "Ann"}, key="eid")) == {}
    assert errors(put(client, {"eid": "x-1", "1": "Anna"}, key="eid")) == {}
    assert [contact["fields"]["1"] for contact in stored(sandbox)] == ["Anna"]
    assert all(field["id"] != "eid" for field in client.get("/v3/field").json()["data"])


def test_ids_are_left_out_of_a_reply(client, sandbox):
    sandbox.dials(emarsys_ids_left_out=2)
    reply = put(client, {"3": "a@example.com"}, {"3": "b@example.com"}, {"3": "c@example.com"})
    assert errors(reply) == {}
    assert len(reply.json()["data"]["ids"]) == 1


def test_posting_a_contact_only_creates_it(client, sandbox):
    assert client.post("/v3/contact", json={**ANN, "1": "Ann"}).json()["data"]["id"]
    assert refused(client.post("/v3/contact", json=ANN)) == 2009
    rows = [ANN, {"3": "bob@example.com"}]
    assert codes(client.post("/v3/contact", json={"key_id": "3", "contacts": rows})) == {ANN["3"]: ["2009"]}
    assert [contact["fields"] for contact in stored(sandbox)] == [{**ANN, "1": "Ann"}, {"3": "bob@example.com"}]
