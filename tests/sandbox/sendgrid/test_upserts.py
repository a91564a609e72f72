"""What the SendGrid stand-in refuses of a request as a whole."""

import ast

import httpx
import orjson
import pytest
from support.product import ROOT
from support.stand_in_sendgrid import ANN, PUT, stored, upsert


def raw(client: httpx.Client, body: bytes, kind: str = "application/json") -> httpx.Response:
    return client.put(PUT, content=body, headers={"Content-Type": kind})


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


def test_an_unknown_key_is_refused_or_ignored(client, sandbox):
    for body in ({"contacts": [ANN], "listIds": []}, {"contacts": [{**ANN, "id": "7"}]}):
        assert client.put(PUT, json=body).status_code == 400
    sandbox.dials(unknown_keys="ignore")
    for body in ({"contacts": [ANN], "listIds": []}, {"contacts": [{**ANN, "id": "7"}]}):
        assert client.put(PUT, json=body).status_code == 202
    assert stored(sandbox)[ANN["email"]]["id"] != "7"


def test_a_row_with_a_value_of_the_wrong_type_is_dropped_without_a_word(client, sandbox):
    sandbox.dials(wrong_value="drop", custom_fields=[{"id": "e1_N", "name": "seats", "kind": "Number"}])
    rows = [{**ANN, "custom_fields": {"e1_N": "four"}}, {"email": "bob@example.com"}]
    job = client.put(PUT, json={"contacts": rows}).json()["job_id"]
    assert list(stored(sandbox)) == ["bob@example.com"]
    status = client.get(f"{PUT}/imports/{job}").json()
    assert status["status"] == "completed"
    assert status["results"] == {"requested_count": 2, "created_count": 1}


def test_the_type_of_a_job_is_the_live_one_or_the_documented_one(client, sandbox):
    job = upsert(client, ANN).json()["job_id"]
    assert client.get(f"{PUT}/imports/{job}").json()["job_type"] == "upsert_contacts"
    sandbox.dials(job_type="upsert")
    assert client.get(f"{PUT}/imports/{job}").json()["job_type"] == "upsert"


def test_an_error_file_may_need_the_key(client, sandbox):
    sandbox.dials(error_file_key="needed")
    job = upsert(client, {"email": "bob@example.com", "city": "[[fail-import]]"}).json()["job_id"]
    stored(sandbox)
    url = client.get(f"{PUT}/imports/{job}").json()["results"]["errors_url"]
    assert httpx.get(url, trust_env=False).status_code == 401
    assert client.get(url).status_code == 200
