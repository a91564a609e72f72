"""The SendGrid stand-in says no when it should: what an upsert, a field, a list and a look-up may hold."""

import ast
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from support.product import ROOT

from contact_ingest.sandbox.process import SandboxProcess

PUT = "/v3/marketing/contacts"
ANN = {"email": "ann@example.com"}


def upsert(client: httpx.Client, *contacts: Any, **more: Any) -> httpx.Response:
    return client.put(PUT, json={"contacts": list(contacts), **more})


def raw(client: httpx.Client, body: bytes, kind: str = "application/json") -> httpx.Response:
    return client.put(PUT, content=body, headers={"Content-Type": kind})


def make_field(client: httpx.Client, name: str, kind: str) -> str:
    reply = client.post("/v3/marketing/field_definitions", json={"name": name, "field_type": kind})
    assert reply.status_code == 200
    return str(reply.json()["id"])


def make_list(client: httpx.Client, name: str) -> str:
    reply = client.post("/v3/marketing/lists", json={"name": name})
    assert reply.status_code == 201
    return str(reply.json()["id"])


def stored(sandbox: SandboxProcess) -> dict[str, dict[str, Any]]:
    return {contact["email"]: contact for contact in sandbox.contacts()}


def test_the_sandbox_imports_nothing_else_from_worker():
    folder = ROOT / "worker" / "sandbox"
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names.add(node.module)
            elif isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
    ours = {name for name in names if name.split(".")[0] in ("contact_ingest", "worker", "tasks")}
    assert ours
    assert all(name.startswith("contact_ingest.sandbox.") for name in ours)


@pytest.mark.parametrize("header", [None, "SG.test", "Bearer", "Bearer SG.", "Bearer test", "Basic SG.test"])
def test_a_request_without_a_key_is_refused(client, header):
    headers = {"Authorization": header} if header is not None else {}
    reply = httpx.put(client.base_url.join(PUT), json={"contacts": [ANN]}, headers=headers, trust_env=False)
    assert reply.status_code == 401
    assert reply.json() == {"errors": [{"message": "authorization required", "field": None}]}


def test_a_good_upsert_answers_202_and_is_stored_in_lower_case(client, sandbox):
    reply = upsert(client, {"email": "Ann@Example.COM", "first_name": "Ann"})
    assert reply.status_code == 202
    assert list(reply.json()) == ["job_id"]
    assert stored(sandbox)["ann@example.com"]["first_name"] == "Ann"


def test_a_body_of_six_million_bytes_passes_and_one_byte_more_does_not(client):
    contacts = [{"email": f"u{n}@example.com", "postal_code": "x" * 900} for n in range(6_000)]
    spare = 6_000_000 - len(orjson.dumps({"contacts": contacts}))
    contacts[0]["postal_code"] += "x" * spare
    body = orjson.dumps({"contacts": contacts})
    assert len(body) == 6_000_000
    assert raw(client, body).status_code == 202
    contacts[0]["postal_code"] += "x"
    reply = raw(client, orjson.dumps({"contacts": contacts}))
    assert (reply.status_code, reply.json()) == (413, {"message": "Request Too Long"})


def test_a_hidden_cap_below_the_documented_one_answers_413(client, sandbox):
    sandbox.dials(hidden_byte_cap=100)
    assert upsert(client, {**ANN, "postal_code": "x" * 100}).status_code == 413
    assert upsert(client, ANN).status_code == 202


def test_thirty_thousand_contacts_pass_and_one_more_does_not(client):
    contacts = [{"email": f"u{n}@example.com"} for n in range(30_001)]
    assert upsert(client, *contacts).status_code == 400
    assert upsert(client, *contacts[:-1]).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"contacts":[]}',
        b'{"contacts":{}}',
        b'{"contacts":null}',
        b'{"list_ids":[]}',
        b'{"contacts":[{"email":"ann@example.com"}]',
        b'{"contacts":[{"email":"ann@example.com"}],}',
        b'{"contacts":[{"email":"ann@example.com"}],"other":1}',
        b'{"contacts":[{"email":"ann@example.com"}],"list_ids":null}',
        b'{"contacts":[{"email":"ann@example.com"}],"list_ids":[1]}',
        b'{"contacts":[{"email":"ann@example.com","custom_fields":{"e1_T":NaN}}]}',
        b'\xef\xbb\xbf{"contacts":[{"email":"ann@example.com"}]}',
        b'{"contacts":[{"email":"ann@example.com","city":"\xff"}]}',
        b'{"contacts":["ann@example.com"]}',
        b'{"contacts":[null]}',
    ],
)
def test_a_body_of_another_shape_is_refused(client, body):
    reply = raw(client, body)
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["message"]


def test_another_content_type_or_a_compressed_body_is_refused(client):
    body = orjson.dumps({"contacts": [ANN]})
    assert raw(client, body, "text/plain").status_code == 400
    assert raw(client, body, "application/json; charset=utf-8").status_code == 202
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.put(PUT, content=body, headers=headers).status_code == 400


@pytest.mark.parametrize("contact", [{}, {"first_name": "Ann"}, {"phone_number": "+31201234567"}, {"external_id": ""}])
def test_a_contact_without_an_identifier_is_refused(client, contact):
    reply = upsert(client, ANN, contact)
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["field"] == "contacts[1].identifier"


@pytest.mark.parametrize("identifier", ["phone_number_id", "external_id", "anonymous_id"])
def test_any_one_identifier_is_enough(client, identifier):
    assert upsert(client, {identifier: "+31201234567"}).status_code == 202


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("external_id", 254),
        ("anonymous_id", 254),
        ("first_name", 50),
        ("last_name", 50),
        ("address_line_1", 100),
        ("address_line_2", 100),
        ("city", 60),
        ("state_province_region", 50),
        ("country", 50),
    ],
)
def test_a_field_at_its_limit_passes_and_one_character_more_does_not(client, name, limit):
    assert upsert(client, {**ANN, name: "é" * limit}).status_code == 202
    reply = upsert(client, {**ANN, name: "é" * (limit + 1)})
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["field"] == f"contacts[0].{name}"


def test_an_address_of_254_passes_and_one_character_more_does_not(client):
    labels = ".".join(["d" * 60, "d" * 60, "d" * 59, "example"])
    address = "a" * 64 + "@" + labels
    assert len(address) == 254
    assert upsert(client, {"email": address}).status_code == 202
    assert upsert(client, {"email": address + "s"}).json()["errors"][0]["field"] == "contacts[0].email"


@pytest.mark.parametrize(("unit", "text"), [("utf16", "😀" * 26), ("bytes", "é" * 26)])
def test_the_unit_of_the_limits_is_a_dial(client, sandbox, unit, text):
    assert upsert(client, {**ANN, "first_name": text}).status_code == 202
    sandbox.dials(length_unit=unit)
    assert upsert(client, {**ANN, "first_name": text}).status_code == 400


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
@pytest.mark.parametrize(
    "name", ["email", "first_name", "postal_code", "custom_fields", "alternate_emails", "facebook"]
)
def test_a_value_of_another_type_is_refused_null_included(client, name, value):
    if (name, value) in (("custom_fields", {}), ("alternate_emails", [])):
        assert upsert(client, {**ANN, name: value}).status_code == 202
    else:
        assert upsert(client, {**ANN, name: value}).status_code == 400


def test_unknown_fields_are_refused_and_reserved_ones_pass(client):
    reserved = {"phone_number": "+31201234567", "whatsapp": "w", "line": "l", "facebook": "f", "unique_name": "u"}
    assert upsert(client, ANN | reserved).status_code == 202
    reply = upsert(client, {**ANN, "company": "x"})
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (400, "contacts[0].company")


@pytest.mark.parametrize(
    "phone", ["0201234567", "31201234567", "+0123456789", "+31 20 1234567", "+1234", "+" + "1" * 16]
)
@pytest.mark.parametrize("name", ["phone_number", "phone_number_id"])
def test_a_phone_number_that_is_not_e164_is_refused(client, name, phone):
    assert upsert(client, {**ANN, name: phone}).status_code == 400


def test_more_than_five_alternate_addresses_or_a_bad_one_are_refused(client):
    alternates = [f"a{n}@example.com" for n in range(6)]
    assert upsert(client, {**ANN, "alternate_emails": alternates[:5]}).status_code == 202
    assert upsert(client, {**ANN, "alternate_emails": alternates}).status_code == 400
    assert upsert(client, {**ANN, "alternate_emails": ["nobody"]}).status_code == 400
    assert upsert(client, {**ANN, "alternate_emails": [None]}).status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        *("", "ann", "ann@", "@example.com", "ann@example", "ann@@example.com", "a nn@example.com", " ann@example.com"),
        *(
            "ann@example.com\n",
            "ann.@example.com",
            "a..b@example.com",
            "ann@-example.com",
            "ann@example.c",
            "ann@1.2.3.4",
        ),
        *("änn@example.com", "ann@exämple.com", "a" * 65 + "@example.com", "Ann <ann@example.com>", "a@x.nl,b@x.nl"),
    ],
)
def test_one_invalid_address_refuses_the_whole_request_by_name(client, sandbox, address):
    reply = upsert(client, ANN, {"email": address})
    message = f"email '{address}' is not valid"
    entry = {"message": message, "field": "contacts[1].identifier", "error_id": "", "parameter": ""}
    assert (reply.status_code, reply.json()) == (400, {"errors": [entry]})
    assert stored(sandbox) == {}


@pytest.mark.parametrize("address", ["o'neil+x@mail.example.co.uk", "A_b-c@xn--exmple-cua.com", "1@2.nl"])
def test_ordinary_addresses_pass(client, address):
    assert upsert(client, {"email": address}).status_code == 202


def test_addresses_beyond_ascii_are_a_dial(client, sandbox):
    sandbox.dials(unicode_addresses=True)
    assert upsert(client, {"email": "änn@exämple.com"}).status_code == 202


def test_only_the_first_bad_row_is_listed_unless_dialled(client, sandbox):
    rows = [ANN, {"email": "bad1"}, {"email": "bad2"}]
    assert [e["field"] for e in upsert(client, *rows).json()["errors"]] == ["contacts[1].identifier"]
    sandbox.dials(all_bad_rows_listed=True, index_shift=1)
    fields = [entry["field"] for entry in upsert(client, *rows).json()["errors"]]
    assert fields == ["contacts[2].identifier", "contacts[3].identifier"]


def test_an_anonymous_refusal_names_nobody(client, sandbox):
    sandbox.dials(anonymous_400=True)
    reply = upsert(client, ANN, {"email": "bad1"})
    assert (reply.status_code, reply.json()) == (400, {"errors": [{"message": "invalid request"}]})


def test_two_contacts_with_one_identifier_are_refused_namelessly_and_counted(client, sandbox):
    twins = [{"email": "ann@example.com", "city": "A"}, {"email": "ANN@example.com", "city": "B"}]
    reply = upsert(client, *twins)
    assert (reply.status_code, reply.json()) == (400, {"errors": [{"message": "invalid request"}]})
    assert upsert(client, {**ANN, "external_id": "7"}, {"external_id": "7"}).status_code == 400
    assert sandbox.totals()["by_note"] == {"duplicate identifiers": 2}
    assert sandbox.totals()["contacts"] == 0


@pytest.mark.parametrize(("dial", "city"), [("last", "B"), ("first", "A")])
def test_duplicates_can_be_dialled_to_pass(client, sandbox, dial, city):
    sandbox.dials(duplicates=dial)
    twins = [{"email": "ann@example.com", "city": "A"}, {"email": "ANN@example.com", "city": "B"}]
    assert upsert(client, *twins).status_code == 202
    assert stored(sandbox)["ann@example.com"]["city"] == city


def test_unknown_custom_fields_refuse_the_whole_request_with_all_their_ids(client):
    known = make_field(client, "plan", "Text")
    rows = [{**ANN, "custom_fields": {known: "x", "e9_T": "y"}}, {"email": "b@example.com", "custom_fields": {"w1": 1}}]
    reply = upsert(client, *rows)
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["message"] == "invalid custom field ids supplied - e9_T,w1"
    assert upsert(client, {**ANN, "custom_fields": {"plan": "x"}}).status_code == 400


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("Text", ["", "x" * 1000], ["x" * 1001, 1, True, None, ["x"], {}]),
        ("Number", [0, -1, 2.5, 10**18], ["42", "", True, None, [1]]),
        (
            "Date",
            ["01/31/2024", "2024-01-31", "2024-01-31T10:20:30Z", "2024-01-31T10:20:30.123456789+01:00"],
            ["31/01/2024", "1/1/2024", "2024-02-30", "20240131", "2024-W05-1", "yesterday", "", 1706659200, None],
        ),
    ],
)
def test_custom_values_must_be_of_their_fields_type(client, kind, good, bad):
    field = make_field(client, "field", kind)
    for value in good:
        assert upsert(client, {**ANN, "custom_fields": {field: value}}).status_code == 202, value
    for value in bad:
        assert upsert(client, {**ANN, "custom_fields": {field: value}}).status_code == 400, value


def test_iso_dates_are_a_dial(client, sandbox):
    field = make_field(client, "born", "Date")
    sandbox.dials(iso_dates=False)
    assert upsert(client, {**ANN, "custom_fields": {field: "2024-01-31"}}).status_code == 400
    assert upsert(client, {**ANN, "custom_fields": {field: "01/31/2024"}}).status_code == 202


def test_a_list_that_does_not_exist_refuses_the_request(client, sandbox):
    known = make_list(client, "News")
    assert upsert(client, ANN, list_ids=[known]).status_code == 202
    for wrong in (str(uuid4()), "News", ""):
        reply = upsert(client, ANN, list_ids=[known, wrong])
        assert (reply.status_code, reply.json()) == (400, {"errors": [{"message": "invalid JSON"}]})
    sandbox.dials(list_error="named")
    assert upsert(client, ANN, list_ids=[str(uuid4())]).json()["errors"][0]["field"] == "list_ids"


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
    found = client.post(path, json={"identifiers": [{"external_id": "7"}, {"external_id": "8"}]})
    assert found.status_code == 200
    assert set(found.json()["result"]["7"]) == {"contact"}
    assert client.post(path, json={"identifiers": [{"external_id": "8"}]}).status_code == 404
    assert client.post(path, json={"identifiers": [{"email": "ann@example.com"}]}).status_code == 400
    assert client.post(path, json={"identifiers": ["7"]}).status_code == 400
    assert client.post(PUT + "/search/identifiers/name", json={"identifiers": [{"name": "7"}]}).status_code == 400
    sandbox.dials(search_items="strings")
    assert client.post(path, json={"identifiers": ["7"]}).status_code == 200
