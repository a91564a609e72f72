"""The doctor on what the settings say of an account: lists, fields, and who answers."""

import httpx
import pytest
from support.diagnosis import KEY, LANE, run, wrong
from support.peer import Peer, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.operations.doctor import account, destination

MISSING = "8d1b0a0e-3f7e-4b52-9d0f-0f4f6a3d2c11"
OTHER = "8d1b0a0e-3f7e-4b52-9d0f-0f4f6a3d2c12"
EMARSYS = {"platform": "emarsys", "username": "acme001", "secret": "s3cr3t", "base_url": "http://127.0.0.1:9"}


@pytest.fixture
def a_list(sandbox):
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"{sandbox.url}/v3/marketing/lists"
    return httpx.post(url, json={"name": "news"}, headers=headers, trust_env=False).json()["id"]


def test_configured_lists_that_the_account_lacks_are_found_by_id(wire, a_list):
    wire(destination={"list_ids": (MISSING, a_list, OTHER)}).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["sendgrid: lists"]

    assert says == f"the account lacks 2 that lanes name: {MISSING}, {OTHER}"
    assert "destinations.sendgrid" in remedy


def test_a_list_of_a_lane_in_use_is_looked_up_too(parts):
    enqueue({"email": "a@example.com"}, list_ids=[MISSING])

    assert MISSING in wrong()["sendgrid: lists"][0]


def test_lists_that_the_account_has_are_no_finding(wire, a_list):
    wire(destination={"list_ids": (a_list,)}).workers.heartbeat("host:1", 4)

    assert "the account has all 1" in run("doctor").stdout


@pytest.mark.parametrize(
    "answer",
    [reply(404, b"<html>"), reply(403), reply(500), reply(200, {"id": OTHER}), reply(200, []), reply(429)],
    ids=lambda answer: f"{answer.status}-{len(answer.body)}",
)
def test_a_reply_that_does_not_tell_of_a_list_is_no_fault(make_harness, answer):
    harness = make_harness(destinations={LANE: {"platform": "sendgrid", "api_key": KEY, "list_ids": (MISSING,)}})
    speak_to(Peer(lambda _: answer), harness)

    [finding] = account.check_lists(harness.runtime, harness.engine.settings.destinations[LANE])

    assert finding.level == "note"


@pytest.mark.parametrize(
    ("data", "level"),
    [
        ([{"id": "4711", "name": "a"}, {"id": "4712", "name": "b"}], "ok"),
        ([{"id": 4711, "name": "a"}], "ok"),
        ([{"id": "47110", "name": "a"}], "wrong"),
        ([], "wrong"),
        ("", "note"),
        ({"4711": "a"}, "note"),
    ],
)
def test_the_contact_list_of_emarsys_is_looked_up_among_all(make_harness, data, level):
    harness = make_harness(destinations={"shop": {**EMARSYS, "lane": {"contact_list_id": 4711}}})
    peer = Peer(lambda _: reply(200, {"replyCode": 0, "replyText": "OK", "data": data}))
    speak_to(peer, harness)

    [finding] = account.check_lists(harness.runtime, harness.engine.settings.destinations["shop"])

    assert finding.level == level
    assert [request.url.rpartition("/")[2] for request in peer.heard] == ["contactlist"]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"key_field": "external_id", "external_id_field": "9999"}, ["shop: external_id_field"]),
        ({"external_id_field": "9999"}, ["shop: external_id_field"]),
        ({"key_field": "external_id", "external_id_field": "4711"}, []),
        ({"key_field": "external_id", "external_id_field": "uid"}, []),
        ({}, []),
    ],
)
def test_a_key_field_that_the_account_lacks_is_found(make_harness, settings, found):
    harness = make_harness(destinations={"shop": {**EMARSYS, **settings}})
    fields = [{"id": 4711, "name": "CRM", "application_type": "shorttext"}, {"id": "3", "name": "E-Mail"}]
    speak_to(Peer(lambda _: reply(200, {"replyCode": 0, "replyText": "OK", "data": fields})), harness)
    runtime = harness.runtime
    table = runtime.provider.read_definitions(runtime.exchanger.send(runtime.provider.definitions(), None), 1)

    findings = list(account.check_settings(runtime, table))

    assert [finding.about for finding in findings] == found
    assert not list(account.check_settings(runtime, None))


@pytest.mark.parametrize(("status", "body"), [(403, b"<html>blocked"), (406, b""), (418, {"message": "teapot"})])
def test_a_server_in_between_that_answers_for_the_platform_is_named_as_one(make_harness, status, body):
    harness = make_harness(destinations={LANE: {"platform": "sendgrid", "api_key": KEY}})
    speak_to(Peer(lambda _: reply(status, body)), harness)

    finding, table = destination.check_account(harness.runtime)

    assert (finding.level, table) == ("wrong", None)
    assert f"in between answered {status}" in finding.says
    assert "base_url" in finding.remedy


def test_a_refused_key_is_not_taken_for_a_server_in_between(make_harness):
    harness = make_harness(destinations={LANE: {"platform": "sendgrid", "api_key": KEY}})
    refusal = {"errors": [{"message": "access forbidden"}]}
    speak_to(Peer(lambda _: reply(403, refusal)), harness)

    assert "the API key is refused (403)" in destination.check_account(harness.runtime)[0].says
