"""Lists, subusers, field definitions, searches and planted records of the SendGrid stand-in."""

from uuid import uuid4

import httpx
import pytest
from support.stand_in_sendgrid import ANN, PUT, make_field, stored, upsert


def make_list(client: httpx.Client, name: str) -> str:
    reply = client.post("/v3/marketing/lists", json={"name": name})
    assert reply.status_code == 201
    return str(reply.json()["id"])


def test_a_list_that_does_not_exist_refuses_the_request(client, sandbox):
    known = make_list(client, "News")
    assert upsert(client, ANN, list_ids=[known]).status_code == 202
    for wrong in (str(uuid4()), "News", ""):
        reply = upsert(client, ANN, list_ids=[known, wrong])
        assert (reply.status_code, reply.json()) == (400, {"errors": [{"message": "invalid JSON"}]})
    sandbox.dials(list_error="named")
    assert upsert(client, ANN, list_ids=[str(uuid4())]).json()["errors"][0]["field"] == "list_ids"


def test_a_list_that_is_gone_refuses_the_request_until_it_is_back(client, sandbox):
    known, other = make_list(client, "News"), make_list(client, "Offers")
    sandbox.dials(lists_gone=[known])
    assert upsert(client, ANN, list_ids=[known]).status_code == 400
    assert upsert(client, ANN, list_ids=[other]).status_code == 202
    assert [entry["note"] for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"] == ["list", ""]
    sandbox.dials(lists_gone=[])
    assert upsert(client, ANN, list_ids=[known]).status_code == 202


def test_a_trailing_slash_is_a_400_and_an_unknown_path_a_404(client):
    assert client.put(PUT + "/", json={"contacts": [ANN]}).status_code == 400
    assert client.get("/v3/marketing/field_definitions/").status_code == 400
    assert client.get("/v3/marketing/nothing").status_code == 404
    assert client.get("//v3/marketing/lists").status_code == 404
    assert client.post(PUT, json={"contacts": [ANN]}).status_code == 405


def test_planted_records_refuse_the_request_each_in_its_way(client, sandbox):
    silent = upsert(client, ANN, {"email": "b@example.com", "first_name": "x [[reject-silent]]"})
    assert (silent.status_code, silent.json()) == (400, {"errors": [{"message": "invalid request"}]})
    [named] = upsert(client, ANN, {"email": "b@example.com", "city": "[[reject-named]]"}).json()["errors"]
    assert (named["message"], named["field"]) == ("email 'b@example.com' is not valid", "contacts[1].identifier")
    [by_index] = upsert(client, ANN, {"email": "b@example.com", "city": "[[reject-index]]"}).json()["errors"]
    assert by_index["field"] == "contacts[1].identifier"
    assert "@" not in by_index["message"]
    field = make_field(client, "note", "Text")
    assert upsert(client, {**ANN, "custom_fields": {field: "[[reject-silent]]"}}).status_code == 400
    assert stored(sandbox) == {}


def test_the_texts_of_the_markers_are_a_dial(client, sandbox):
    sandbox.dials(markers={"reject_silent": "[[no]]"})
    assert upsert(client, {**ANN, "first_name": "[[no]]"}).status_code == 400
    assert upsert(client, {**ANN, "first_name": "[[reject-silent]]"}).status_code == 202


def test_each_subuser_has_an_account_of_its_own(client, sandbox):
    make_field(client, "plan", "Text")
    other = {"on-behalf-of": "sub one"}
    assert "custom_fields" not in client.get("/v3/marketing/field_definitions", headers=other).json()
    body = {"name": "plan", "field_type": "Text"}
    assert client.post("/v3/marketing/field_definitions", json=body, headers=other).json()["id"] != "e1_T"
    client.put(PUT, json={"contacts": [ANN]}, headers=other)
    assert list(sandbox.contacts()) == []
    assert [contact["email"] for contact in sandbox.contacts("sendgrid:sub one")] == ["ann@example.com"]


def test_fields_are_made_with_type_suffixes_and_listed_beside_the_reserved_ones(client):
    made = [make_field(client, name, kind) for name, kind in (("a", "Text"), ("b", "Number"), ("c", "Date"))]
    assert made == ["e1_T", "e2_N", "e3_D"]
    shown = client.get("/v3/marketing/field_definitions").json()
    assert [entry["id"] for entry in shown["custom_fields"]] == made
    reserved = {entry["name"]: entry["id"] for entry in shown["reserved_fields"]}
    assert (reserved["first_name"], reserved["unique_name"]) == ("_rf0_T", "_rf14_T")
    assert reserved["external_id"] == "_rf25_T"


@pytest.mark.parametrize(
    "name", ["", "1plan", "my plan", "plän", "x" * 101, "plan-b", "PLAN", "Email", "created_at", None]
)
def test_a_bad_taken_or_reserved_field_name_is_refused(client, name):
    make_field(client, "plan", "Text")
    reply = client.post("/v3/marketing/field_definitions", json={"name": name, "field_type": "Text"})
    assert reply.status_code == 400


def test_a_field_type_beyond_the_three_and_a_field_too_many_are_refused(client, sandbox):
    for kind in ("Boolean", "text", None):
        body = {"name": "x", "field_type": kind}
        assert client.post("/v3/marketing/field_definitions", json=body).status_code == 400
    sandbox.dials(most_fields=1)
    make_field(client, "plan", "Text")
    body = {"name": "second", "field_type": "Text"}
    assert client.post("/v3/marketing/field_definitions", json=body).status_code == 400


def test_a_fresh_field_is_unknown_until_it_is_usable(client, sandbox):
    sandbox.dials(field_usable_after_s=3600)
    field = make_field(client, "plan", "Text")
    assert upsert(client, {**ANN, "custom_fields": {field: "x"}}).status_code == 400


def test_lists_are_paged_counted_and_unique(client, sandbox):
    ids = [make_list(client, f"List {n}") for n in range(3)]
    assert client.post("/v3/marketing/lists", json={"name": "List 0"}).status_code == 400
    assert client.post("/v3/marketing/lists", json={"name": "x" * 101}).status_code == 400
    upsert(client, ANN, list_ids=ids[:1])
    assert stored(sandbox)["ann@example.com"]["list_ids"] == ids[:1]
    first = client.get("/v3/marketing/lists", params={"page_size": 2}).json()
    assert [(entry["name"], entry["contact_count"]) for entry in first["result"]] == [("List 0", 1), ("List 1", 0)]
    last = client.get(first["_metadata"]["next"]).json()
    assert [entry["id"] for entry in last["result"]] == ids[2:]
    assert "next" not in last["_metadata"]
    assert client.get("/v3/marketing/lists", params={"page_size": 1001}).status_code == 400
    assert client.get(f"/v3/marketing/lists/{ids[1]}").json()["name"] == "List 1"
    assert client.get(f"/v3/marketing/lists/{uuid4()}").status_code == 404


def test_addresses_are_searched_in_any_case_alternates_included(client):
    upsert(
        client, {**ANN, "alternate_emails": ["A2@example.com"], "custom_fields": {make_field(client, "p", "Text"): "x"}}
    )
    client.get("/v3/marketing/lists")
    body = {"emails": ["ANN@example.com", "a2@Example.com", "b@example.com"]}
    result = client.post(PUT + "/search/emails", json=body).json()["result"]
    assert result["ann@example.com"]["contact"]["custom_fields"] == {"p": "x"}
    assert result["a2@example.com"]["contact"]["last_name"] == ""
    assert result["b@example.com"] == {"error": "contact not found"}
    assert client.post(PUT + "/search/emails", json={"emails": ["b@example.com"]}).status_code == 404


@pytest.mark.parametrize(
    "emails", [[], ["nobody"], ["a" * 60 + "@" + "b" * 60 + ".nl"], [f"a{n}@x.nl" for n in range(101)], "ann@x.nl", [1]]
)
def test_a_search_for_invalid_or_too_many_addresses_is_refused(client, emails):
    assert client.post(PUT + "/search/emails", json={"emails": emails}).status_code == 400


def test_identifiers_are_searched_one_kind_at_a_time(client, sandbox):
    upsert(client, {"external_id": "7"})
    path = PUT + "/search/identifiers/external_id"
    found = client.post(path, json={"identifiers": ["7", "8"]})
    assert found.status_code == 200
    assert set(found.json()["result"]["7"]) == {"contact"}
    assert client.post(path, json={"identifiers": ["8"]}).status_code == 404
    assert client.post(path, json={"identifiers": [{"external_id": "7"}]}).status_code == 400
    assert client.post(PUT + "/search/identifiers/name", json={"identifiers": ["7"]}).status_code == 400


def test_identifiers_are_searched_in_the_older_form_too(client, sandbox):
    sandbox.dials(search_items="objects")
    upsert(client, {"external_id": "7"})
    path = PUT + "/search/identifiers/external_id"
    assert client.post(path, json={"identifiers": [{"external_id": "7"}]}).status_code == 200
    assert client.post(path, json={"identifiers": [{"email": "ann@example.com"}]}).status_code == 400
    assert client.post(path, json={"identifiers": ["7"]}).status_code == 400


def test_an_account_has_a_field_with_a_chosen_id(client, sandbox):
    sandbox.dials(custom_fields=[{"id": "w1", "name": "drink"}, {"id": "e7_N", "name": "seats", "kind": "Number"}])
    listed = client.get("/v3/marketing/field_definitions").json()["custom_fields"]
    assert [(each["id"], each["name"], each["field_type"]) for each in listed] == [
        ("w1", "drink", "Text"),
        ("e7_N", "seats", "Number"),
    ]
    assert upsert(client, {**ANN, "custom_fields": {"w1": "tea", "e7_N": 4}}).status_code == 202
    assert upsert(client, {**ANN, "custom_fields": {"drink": "tea"}}).status_code == 400
    made = client.post("/v3/marketing/field_definitions", json={"name": "Drink", "field_type": "Text"})
    assert made.status_code == 400


def test_a_path_that_does_not_exist_is_answered_in_either_way(client, sandbox):
    assert client.get("/v3/v3/marketing/contacts").status_code == 404
    sandbox.dials(unknown_path="400")
    reply = client.put("/v3/v3/marketing/contacts", json={})
    assert (reply.status_code, reply.json()) == (400, {"message": "Not Found", "code": 404})
