"""Import jobs of the SendGrid stand-in: when they end, what they apply, and what their error files say."""

import csv
import gzip
import io
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from support.waiting import wait_until

from contact_ingest.sandbox.process import SandboxProcess

PUT = "/v3/marketing/contacts"
ANN = {"email": "ann@example.com"}
BAD = {"email": "bad@example.com", "first_name": "[[fail-import]]"}
UNNAMED = {"email": "shy@example.com", "first_name": "[[fail-unnamed]]"}


def upsert(client: httpx.Client, *contacts: Any, **more: Any) -> str:
    reply = client.put(PUT, json={"contacts": list(contacts), **more})
    assert reply.status_code == 202
    return str(reply.json()["job_id"])


def status(client: httpx.Client, job_id: str) -> dict[str, Any]:
    reply = client.get(f"{PUT}/imports/{job_id}")
    assert reply.status_code == 200
    return dict(reply.json())


def stored(sandbox: SandboxProcess) -> dict[str, dict[str, Any]]:
    return {contact["email"]: contact for contact in sandbox.contacts()}


def fetched(client: httpx.Client, job_id: str) -> httpx.Response:
    return httpx.get(status(client, job_id)["results"]["errors_url"], trust_env=False)


def test_a_completed_job_has_the_counts_that_are_not_zero_and_no_error_file(client):
    upsert(client, ANN)
    job_id = upsert(client, {**ANN, "city": "Utrecht"}, {"email": "b@example.com"}, {"email": "c@example.com"})
    job = status(client, job_id)
    assert (job["id"], job["status"], job["job_type"]) == (job_id, "completed", "upsert_contacts")
    assert job["results"] == {"requested_count": 3, "created_count": 2, "updated_count": 1}
    assert job["started_at"] <= job["finished_at"]
    assert job["finished_at"].endswith("Z")


def test_a_contact_that_is_already_so_is_counted_nowhere(client):
    upsert(client, ANN)
    job = status(client, upsert(client, ANN))
    assert (job["status"], job["results"]) == ("completed", {"requested_count": 1})


def test_nothing_is_applied_while_a_job_is_pending(client, sandbox):
    sandbox.dials(job_seconds=[3600, 3600])
    job = status(client, upsert(client, ANN))
    assert (job["status"], job["results"]) == ("pending", {"requested_count": 1})
    assert "finished_at" not in job
    assert (stored(sandbox), sandbox.totals()["jobs_pending"]) == ({}, 1)


def test_jobs_apply_in_the_order_of_finishing_not_of_arrival(client, sandbox):
    sandbox.dials(job_seconds=[0.5, 0.5])
    slow = upsert(client, {**ANN, "city": "old", "country": "NL"})
    sandbox.dials(job_seconds=[0, 0])
    fast = upsert(client, {**ANN, "city": "new"})
    assert status(client, fast)["status"] == "completed"
    assert stored(sandbox)["ann@example.com"]["city"] == "new"
    wait_until(lambda: status(client, slow)["status"] == "completed")
    assert stored(sandbox)["ann@example.com"]["city"] == "old"


def test_a_job_finishes_even_if_nobody_asks(client, sandbox):
    sandbox.dials(job_seconds=[0.05, 0.05])
    job_id = upsert(client, ANN)
    asked_at = time.time() + 2.5
    wait_until(lambda: time.time() > asked_at)
    job = status(client, job_id)
    took = datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])
    assert (job["status"], took.total_seconds() <= 1) == ("completed", True)


def test_fields_that_are_left_out_keep_their_value_and_lists_are_added(client, sandbox):
    lists = [client.post("/v3/marketing/lists", json={"name": name}).json()["id"] for name in "ab"]
    for name in "xy":
        client.post("/v3/marketing/field_definitions", json={"name": name, "field_type": "Text"})
    upsert(client, {**ANN, "city": "A", "country": "NL", "custom_fields": {"e1_T": "1"}}, list_ids=lists[:1])
    upsert(client, {**ANN, "city": "", "custom_fields": {"e2_T": "2"}}, list_ids=lists[1:])
    contact = stored(sandbox)["ann@example.com"]
    assert (contact["city"], contact["country"]) == ("", "NL")
    assert contact["custom_fields"] == {"e1_T": "1", "e2_T": "2"}
    assert contact["list_ids"] == lists


def test_a_row_that_lacks_an_identifier_of_its_contact_fails_in_the_job(client, sandbox):
    upsert(client, {**ANN, "external_id": "7"})
    job_id = upsert(client, {**ANN, "city": "A"}, {"email": "b@example.com"})
    assert status(client, job_id)["status"] == "errored"
    assert "ann@example.com" in fetched(client, job_id).text
    assert "city" not in stored(sandbox)["ann@example.com"]
    sandbox.dials(missing_identifiers="accept")
    assert status(client, upsert(client, {**ANN, "city": "A"}))["status"] == "completed"


def test_identifiers_of_two_contacts_in_one_row_fail_that_row(client):
    upsert(client, ANN, {"external_id": "7"})
    assert status(client, upsert(client, {**ANN, "external_id": "7"}))["status"] == "failed"


def test_failed_rows_are_counted_named_and_not_applied(client, sandbox):
    job_id = upsert(client, ANN, BAD)
    job = status(client, job_id)
    assert job["status"] == "errored"
    assert job["results"]["errored_count"] == 1
    assert list(csv.reader(io.StringIO(fetched(client, job_id).text))) == [
        ["email", "error"],
        ["bad@example.com", "the contact could not be imported"],
    ]
    assert set(stored(sandbox)) == {"ann@example.com"}


def test_unnamed_failures_are_counted_but_not_in_the_file(client, sandbox):
    job_id = upsert(client, ANN, BAD, UNNAMED)
    assert status(client, job_id)["results"]["errored_count"] == 2
    text = fetched(client, job_id).text
    assert ("bad@example.com" in text, "shy@example.com" in text) == (True, False)
    assert set(stored(sandbox)) == {"ann@example.com"}


def test_a_job_whose_rows_all_fail_has_failed(client):
    assert status(client, upsert(client, BAD))["status"] == "failed"


def test_a_wrong_custom_value_can_be_dialled_to_fail_its_row_alone(client, sandbox):
    client.post("/v3/marketing/field_definitions", json={"name": "n", "field_type": "Number"})
    sandbox.dials(wrong_value="row")
    job_id = upsert(client, ANN, {"email": "b@example.com", "custom_fields": {"e1_N": "42"}})
    assert "b@example.com" in fetched(client, job_id).text


def test_the_error_file_refuses_credentials_and_a_second_fetch(client, sandbox):
    url = status(client, upsert(client, ANN, BAD))["results"]["errors_url"]
    assert url.startswith(sandbox.url)
    assert client.get(url).status_code == 400
    assert httpx.get(url, trust_env=False).status_code == 200
    assert httpx.get(url, trust_env=False).status_code == 403
    assert httpx.get(url.replace("/files/", "/files/x"), trust_env=False).status_code == 404
    sandbox.dials(error_file_once=False)
    url = status(client, upsert(client, ANN, BAD))["results"]["errors_url"]
    assert [httpx.get(url, trust_env=False).status_code for _ in range(2)] == [200, 200]


def _nested(body: bytes) -> object:
    return orjson.loads(body)["result"]["rows"][0]["contact"]["email"]


@pytest.mark.parametrize(
    ("shape", "read", "expected"),
    [
        ("csv_semicolon", lambda body: body.splitlines()[1].split(b";")[0], b"bad@example.com"),
        ("json_array", lambda body: orjson.loads(body)[0]["email"], "bad@example.com"),
        ("json_lines", lambda body: orjson.loads(body.splitlines()[0])["email"], "bad@example.com"),
        ("nested_json", _nested, "bad@example.com"),
        ("gzip", lambda body: gzip.decompress(body).splitlines()[1].split(b",")[0], b"bad@example.com"),
        ("bom", lambda body: body[:8], b"\xef\xbb\xbfemail"),
        ("upper", lambda body: b"BAD@EXAMPLE.COM" in body, True),
        ("html", lambda body: (b"<html>" in body, b"bad@" in body), (True, False)),
        ("truncated", lambda body: (body[:5], body[-1:] == b"\n"), (b"email", False)),
    ],
)
def test_the_error_file_comes_in_the_shape_that_is_dialled(client, sandbox, shape, read, expected):
    sandbox.dials(error_file_shape=shape)
    reply = fetched(client, upsert(client, ANN, BAD))
    assert "content-encoding" not in reply.headers
    assert read(reply.content) == expected


def test_rows_without_an_address_are_named_by_another_identifier(client):
    text = fetched(client, upsert(client, ANN, {"external_id": "7", "city": "[[fail-import]]"})).text
    assert text.splitlines()[:2] == ["identifier,error", "7,the contact could not be imported"]


def test_a_job_of_nobody_or_of_another_account_is_not_found(client):
    job_id = upsert(client, ANN)
    assert client.get(f"{PUT}/imports/{uuid4()}").status_code == 404
    reply = client.get(f"{PUT}/imports/{job_id}", headers={"on-behalf-of": "other"})
    assert reply.status_code == 404
    assert reply.json()["errors"][0]["message"] == "not found"


def test_a_lost_job_is_never_found_though_it_works(client, sandbox):
    sandbox.dials(job_status_lost=1)
    assert client.get(f"{PUT}/imports/{upsert(client, ANN)}").status_code == 404
    assert set(stored(sandbox)) == {"ann@example.com"}


def test_a_job_can_be_not_found_at_first(client, sandbox):
    sandbox.dials(early_404_s=0.3)
    path = f"{PUT}/imports/{upsert(client, ANN)}"
    assert client.get(path).status_code == 404
    wait_until(lambda: client.get(path).status_code == 200)


def test_a_job_can_be_pending_for_ever(client, sandbox):
    sandbox.dials(job_pending_forever=1)
    assert status(client, upsert(client, ANN))["status"] == "pending"
    assert stored(sandbox) == {}


def test_a_job_can_fail_as_a_whole_without_an_error_file(client, sandbox):
    sandbox.dials(job_failed=1)
    job = status(client, upsert(client, ANN))
    assert (job["status"], job["results"]) == ("failed", {"requested_count": 1})
    assert stored(sandbox) == {}


def test_counts_can_move_while_the_status_still_says_pending(client, sandbox):
    sandbox.dials(status_lag_s=0.3)
    job_id = upsert(client, ANN)
    job = status(client, job_id)
    assert (job["status"], job["results"].get("created_count")) == ("pending", 1)
    wait_until(lambda: status(client, job_id)["status"] == "completed")


def test_counts_can_be_left_out_altogether(client, sandbox):
    sandbox.dials(omit_counts=True)
    results = status(client, upsert(client, ANN, BAD))["results"]
    assert set(results) == {"requested_count", "errors_url"}


def test_a_script_names_the_fates_of_the_next_jobs_one_by_one(client, sandbox):
    sandbox.dials(job_script=["failed", "ok", "lost", "pending"], job_failed=1)

    assert status(client, upsert(client, ANN))["status"] == "failed"
    assert status(client, upsert(client, ANN))["status"] == "completed"
    assert client.get(f"{PUT}/imports/{upsert(client, ANN)}").status_code == 404
    assert status(client, upsert(client, {"email": "never@example.com"}))["status"] == "pending"
    assert sandbox.dials()["job_script"] == []
    assert status(client, upsert(client, ANN))["status"] == "failed", "the shares count again"
    assert [entry["note"] for entry in sandbox.journal() if entry["note"]] == [
        *("job failed", "job ok", "job lost", "job pending")
    ]
    assert set(stored(sandbox)) == {ANN["email"]}


def test_a_script_says_how_many_seconds_a_job_takes(client, sandbox):
    sandbox.dials(job_script=[0, 3600], job_seconds=[1800, 1800])

    assert status(client, upsert(client, ANN))["status"] == "completed"
    assert status(client, upsert(client, {"email": "b@example.com"}))["status"] == "pending"
    assert [entry["note"] for entry in sandbox.journal() if entry["note"]] == ["job 0.0", "job 3600.0"]


@pytest.mark.parametrize(
    ("lie", "contacts", "said", "state"),
    [
        ("one_more", (ANN, {"email": "b@example.com"}), 1, "errored"),
        ("one_more", (ANN, BAD, {"email": "b@example.com"}), 2, "errored"),
        ("one_fewer", (ANN, BAD), 0, "errored"),
        ("all_failed", (ANN, {"email": "b@example.com"}), 2, "failed"),
    ],
)
def test_a_job_can_lie_about_the_rows_that_failed(client, sandbox, lie, contacts, said, state):
    sandbox.dials(job_script=[lie])

    job = status(client, upsert(client, *contacts))

    assert (job["status"], job["results"].get("errored_count", 0)) == (state, said)
    assert ("errors_url" in job["results"]) == (BAD in contacts)
    assert set(stored(sandbox)) == {contact["email"] for contact in contacts if contact is not BAD}


def test_the_journal_tells_the_shape_of_an_error_file_that_was_fetched(client, sandbox):
    sandbox.dials(error_file_shape="gzip")

    fetched(client, upsert(client, ANN, BAD))

    assert [entry["note"] for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.error_file"] == ["gzip"]
