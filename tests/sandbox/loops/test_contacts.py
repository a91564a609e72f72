"""Whom an update or a look-up concerns at the Loops stand-in, and who may ask."""

import httpx
import pytest
from support.stand_in_loops import ANN, CREATE, FIND, PROPERTIES, UPDATE, refused, stored, update

from contact_ingest.sandbox.process import SandboxProcess


@pytest.mark.parametrize("header", [{}, {"Authorization": "key"}, {"Authorization": "Basic key"}])
def test_without_a_bearer_key_nothing_opens(sandbox, header):
    reply = httpx.get(sandbox.url + "/api/v1/api-key", headers=header, trust_env=False)
    assert refused(reply, 401)


def test_given_keys_are_the_only_ones_accepted():
    with SandboxProcess(key=["SG.mine", "mine"]) as sandbox:
        for key, status in (("mine", 200), ("other", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{sandbox.url}/api/v1/api-key", headers=headers, trust_env=False).status_code == status


def test_the_key_names_its_team(client):
    assert client.get("/v1/api-key").json() == {"success": True, "teamName": "Sandbox"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", UPDATE), ("PUT", CREATE), ("POST", FIND), ("DELETE", PROPERTIES), ("POST", "/v1/lists"), ("GET", UPDATE)],
)
def test_a_wrong_verb_is_405_without_a_body(client, method, path):
    reply = client.request(method, path, json=ANN)
    assert (reply.status_code, reply.content) == (405, b"")


def test_an_unknown_path_is_not_found(client):
    assert refused(client.get("/v1/contacts/update/"), 404)


def test_an_update_creates_then_changes_only_what_is_given(client, sandbox):
    made = update(client, **ANN, firstName="Ann", lastName="Lee").json()
    again = update(client, **ANN, firstName="Anna").json()
    assert made == again == {"success": True, "id": made["id"]}
    [contact] = stored(sandbox)
    assert contact == {
        "n": 1,
        "id": made["id"],
        "email": "ann@example.com",
        "userId": None,
        "subscribed": True,
        "source": "API",
        "firstName": "Anna",
        "lastName": "Lee",
        "mailingLists": {},
        "optInStatus": None,
    }


def test_null_resets_a_property(client, sandbox):
    update(client, **ANN, firstName="Ann")
    assert update(client, **ANN, firstName=None).status_code == 200
    assert stored(sandbox)[0]["firstName"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"firstName": "Ann"},
        {"email": None, "userId": "1"},
        {"email": "ann@example.com", "userId": None},
        {"email": "ann@example.com", "userId": 7},
        {"email": "ann@example.com", "userId": ""},
        {"email": "", "userId": "1"},
        {"email": "ann"},
        {"email": "ann@example"},
        {"email": " ann@example.com"},
        {"email": "ann@example.com\n"},
        {"email": ["ann@example.com"]},
    ],
)
def test_an_update_without_proper_identifiers_is_refused(client, sandbox, body):
    assert refused(client.put(UPDATE, json=body))
    assert stored(sandbox) == []


def test_an_unknown_user_id_alone_cannot_create(client, sandbox):
    message = refused(update(client, userId="7"))
    assert message == "userId not found and cannot create a new contact without an email."
    sandbox.dials(loops_user_id_alone="create")
    assert update(client, userId="7").status_code == 200


@pytest.mark.parametrize("match", [{"email": "ann@example.com", "userId": "8"}, {"email": "new@x.io", "userId": "7"}])
def test_a_match_on_either_identifier_takes_over_the_other(client, sandbox, match):
    first = update(client, **ANN, userId="7").json()["id"]
    assert update(client, **match).json()["id"] == first
    [contact] = stored(sandbox)
    assert {name: contact[name] for name in match} == match
    old = {"email": ANN["email"], "userId": "7"}
    [changed] = [name for name in old if old[name] != match[name]]
    assert client.get(FIND, params={changed: old[changed]}).json() == []


def test_identifiers_of_two_contacts_are_refused_or_joined_as_dialled(client, sandbox):
    update(client, **ANN)
    update(client, email="bob@example.com", userId="7")
    both = {**ANN, "userId": "7"}
    assert refused(update(client, **both))
    sandbox.dials(loops_cross_match="409")
    assert refused(update(client, **both), 409)
    assert [contact["userId"] for contact in stored(sandbox)] == [None, "7"]
    sandbox.dials(loops_cross_match="email")
    assert update(client, **both).status_code == 200
    assert [contact["userId"] for contact in stored(sandbox)] == ["7", None]


def test_addresses_match_whatever_their_case_unless_dialled(client, sandbox):
    update(client, **ANN)
    update(client, email="Ann@Example.com")
    assert [contact["email"] for contact in stored(sandbox)] == ["Ann@Example.com"]
    sandbox.dials(loops_email_case="exact")
    update(client, email="ANN@example.com")
    assert len(stored(sandbox)) == 2


def test_create_needs_an_address_and_refuses_what_exists(client, sandbox):
    assert refused(client.post(CREATE, json={"userId": "7"}))
    assert client.post(CREATE, json={**ANN, "userId": "7"}).json()["success"] is True
    assert refused(client.post(CREATE, json=ANN), 409)
    assert refused(client.post(CREATE, json={"email": "bob@example.com", "userId": "7"}), 409)
    assert len(stored(sandbox)) == 1


def test_find_takes_exactly_one_identifier_and_shows_only_lists_that_hold(client, sandbox):
    sandbox.dials(loops_lists={"l1": "One", "l2": "Two"})
    update(client, email="a+b@example.com", userId="7", mailingLists={"l1": True, "l2": False})
    assert refused(client.get(FIND))
    assert refused(client.get(FIND, params={"email": "a+b@example.com", "userId": "7"}))
    [found] = client.get(FIND, params={"email": "a+b@example.com"}).json()
    assert (found["userId"], found["mailingLists"]) == ("7", {"l1": True})
    assert client.get(FIND, params={"userId": "8"}).json() == []
