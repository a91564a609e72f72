"""Lists, subscriptions, limits and faults of the Loops stand-in."""

import httpx
import pytest
from support.stand_in_loops import ANN, refused, stored, update

from contact_ingest.sandbox.process import SandboxProcess


def test_lists_are_what_the_team_has(client, sandbox):
    assert client.get("/v1/lists").json() == []
    sandbox.dials(loops_lists={"l1": "News"})
    assert client.get("/v1/lists").json() == [{"id": "l1", "name": "News", "description": None, "isPublic": True}]


def test_lists_named_are_joined_or_left_and_others_stay(client, sandbox):
    sandbox.dials(loops_lists={"l1": "One", "l2": "Two"})
    update(client, **ANN, mailingLists={"l1": True, "l2": True})
    update(client, **ANN, mailingLists={"l2": False})
    update(client, **ANN, mailingLists={})
    assert stored(sandbox)[0]["mailingLists"] == {"l1": True}


@pytest.mark.parametrize("lists", [["l1"], {"l1": "true"}, {"l1": None}, "l1"])
def test_mailing_lists_must_map_ids_to_booleans(client, sandbox, lists):
    sandbox.dials(loops_lists={"l1": "One"})
    assert refused(update(client, **ANN, mailingLists=lists))


def test_null_for_mailing_lists_changes_no_list(client, sandbox):
    sandbox.dials(loops_lists={"l1": "One"})
    update(client, **ANN, mailingLists={"l1": True})
    assert update(client, **ANN, mailingLists=None).status_code == 200
    assert stored(sandbox)[0]["mailingLists"] == {"l1": True}


@pytest.mark.parametrize("named", [{"email": "ann@example.com"}, {"userId": "u-1"}])
def test_a_contact_is_deleted_by_one_identifier(client, sandbox, named):
    update(client, **ANN, userId="u-1")
    assert client.post("/v1/contacts/delete", json={**ANN, "userId": "u-1"}).status_code == 400
    assert client.post("/v1/contacts/delete", json={}).status_code == 400
    assert client.post("/v1/contacts/delete", json=named).json()["success"] is True
    assert stored(sandbox) == []
    assert client.post("/v1/contacts/delete", json=named).status_code == 404


def test_an_unknown_list_is_refused_or_ignored(client, sandbox):
    assert refused(update(client, **ANN, mailingLists={"l9": True}))
    sandbox.dials(loops_unknown_list="ignore")
    assert update(client, **ANN, mailingLists={"l9": True}).status_code == 200
    assert stored(sandbox)[0]["mailingLists"] == {}


def test_lists_take_in_nobody_who_opted_out_or_left(client, sandbox):
    sandbox.dials(loops_lists={"l1": "One", "l2": "Two"})
    sandbox.seed("loops", [{"email": "out@x.io", "subscribed": False}, {"email": "left@x.io", "left": ["l1"]}])
    for email in ("out@x.io", "left@x.io"):
        assert update(client, email=email, mailingLists={"l1": True, "l2": True}).status_code == 200
    assert [contact["mailingLists"] for contact in stored(sandbox)] == [{}, {"l2": True}]
    assert sandbox.totals()["list_adds_ignored"] == 3


def test_subscribed_brings_back_who_opted_out_and_that_is_counted(client, sandbox):
    update(client, **ANN, subscribed=True)
    assert sandbox.totals()["resubscribed"] == 0
    update(client, **ANN, subscribed=False)
    update(client, **ANN, firstName="Ann")
    assert stored(sandbox)[0]["subscribed"] is False
    update(client, **ANN, subscribed=True)
    assert stored(sandbox)[0]["subscribed"] is True
    assert sandbox.totals()["resubscribed"] == 1


@pytest.mark.parametrize("value", ["true", 1, None])
def test_subscribed_must_be_a_boolean(client, value):
    assert refused(update(client, **ANN, subscribed=value))


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_planted_contact_is_answered_with_its_status(client, sandbox, status):
    assert refused(update(client, **ANN, firstName=f"a [[loops-{status}]]"), status)
    assert stored(sandbox) == []


def test_a_team_has_ten_requests_a_second_for_everything_together(client, sandbox):
    sandbox.dials(limits={"loops": {"limit": 10, "window_s": 60}})
    paths = ["/v1/lists", "/v1/api-key"] * 5
    replies = [client.get(path, headers={"Authorization": f"Bearer {n}"}) for n, path in enumerate(paths)]
    assert [reply.status_code for reply in replies] == [200] * 10
    over = update(client, **ANN)
    assert (over.status_code, over.text) == (429, "Too Many Requests")
    assert sandbox.totals()["by_note"] == {"limit": 1}
    with SandboxProcess() as fresh:
        assert fresh.dials()["limits"]["loops"] == {"limit": 10, "window_s": 1}


def test_limits_are_told_without_a_moment_of_reset(client, sandbox):
    reply = client.get("/v1/lists")
    told = {name: value for name, value in reply.headers.items() if "rate" in name or "retry" in name}
    assert told == {"x-ratelimit-limit": "10000", "x-ratelimit-remaining": "9999"}
    sandbox.dials(rate_headers="none")
    assert not [name for name in client.get("/v1/lists").headers if "rate" in name]


def test_the_body_of_a_429_has_the_dialled_shape(client, sandbox):
    sandbox.dials(rate_429=1, loops_429_body="json")
    assert refused(update(client, **ANN), 429)
    sandbox.dials(loops_429_body="empty")
    assert update(client, **ANN).content == b""


def test_faults_reach_loops_by_endpoint_or_by_team_and_others_not(client, sandbox):
    sandbox.dials(faults_on=["loops.update"], rate_5xx=1)
    assert client.get("/v1/lists").status_code == 200
    assert update(client, **ANN).status_code >= 500
    sandbox.dials(faults_on=["loops"])
    assert client.get("/v1/lists").status_code >= 500
    sendgrid = {"Authorization": "Bearer SG.x"}
    assert httpx.get(f"{sandbox.url}/v3/marketing/lists", headers=sendgrid, trust_env=False).status_code == 200


def test_scripts_of_drops_and_unreadable_successes_act_as_they_say(client, sandbox):
    sandbox.dials(script=["drop_before", "503", "unreadable", "drop_after"])
    with pytest.raises(httpx.TransportError):
        update(client, email="a@x.io")
    assert update(client, email="b@x.io").text.startswith("<html>")
    with pytest.raises(ValueError, match="Expecting"):
        update(client, email="c@x.io").json()
    with pytest.raises(httpx.TransportError):
        update(client, email="d@x.io")
    assert [contact["email"] for contact in stored(sandbox)] == ["c@x.io", "d@x.io"]


def test_the_journal_counts_a_contact_a_request(client, sandbox):
    update(client, **ANN)
    [entry] = sandbox.journal()
    assert [entry[name] for name in ("endpoint", "account", "contacts", "status")] == ["loops.update", "loops", 1, 200]


def test_a_seed_that_makes_no_sense_is_refused(sandbox):
    for account, contacts in (("sendgrid", []), ("loops", [7]), ("emarsys", [{"lists": []}])):
        with pytest.raises(ValueError, match="400"):
            sandbox.seed(account, contacts)
