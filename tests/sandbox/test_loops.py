"""The Loops stand-in says no when it should: what a contact may hold, whom it matches, and what it forgets silently."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from support.stand_in import client_of

from contact_ingest.sandbox.process import SandboxProcess

UPDATE, CREATE, FIND = "/v1/contacts/update", "/v1/contacts/create", "/v1/contacts/find"
PROPERTIES = "/v1/contacts/properties"
ANN = {"email": "ann@example.com"}
WIDE = {"limits": {"loops": {"limit": 10_000, "window_s": 1}}}


@pytest.fixture(scope="module")
def dials() -> dict[str, Any]:
    return WIDE


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    with client_of(sandbox, "/api", "key") as client:
        yield client


def update(client: httpx.Client, **contact: Any) -> httpx.Response:
    return client.put(UPDATE, json=contact)


def make_property(client: httpx.Client, name: str, kind: str) -> None:
    assert client.post(PROPERTIES, json={"name": name, "type": kind}).status_code == 200


def stored(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    return list(sandbox.contacts("loops"))


def refused(reply: httpx.Response, status: int = 400) -> str:
    assert reply.status_code == status
    content = reply.json()
    assert content["success"] is False
    assert content["error"] == content["message"]
    return str(content["message"])


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


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"email":"ann@example.com"}', "text/plain"),
        (b'{"email":"ann@example.com"}', ""),
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused(client, body, kind):
    assert refused(client.put(UPDATE, content=body, headers={"Content-Type": kind}))


def test_a_compressed_body_is_refused(client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert refused(client.put(UPDATE, content=orjson.dumps(ANN), headers=headers))


def test_a_body_above_the_hidden_cap_is_413(client, sandbox):
    sandbox.dials(hidden_byte_cap=len(orjson.dumps(ANN)))
    assert update(client, **ANN).status_code == 200
    assert refused(update(client, **ANN, firstName="x"), 413)


TOO_LONG = "Some body key or value is longer than allowable"


def test_a_key_or_value_has_at_most_500_characters_with_its_quotes(client, sandbox):
    assert update(client, **ANN, firstName="x" * 498).status_code == 200
    assert refused(update(client, **ANN, firstName="x" * 499)) == TOO_LONG
    assert update(client, **ANN, firstName="é" * 498).status_code == 200
    assert refused(update(client, **ANN, **{"k" * 499: "x"})) == TOO_LONG
    assert refused(update(client, **ANN, mailingLists={"l" * 499: True})) == TOO_LONG


def test_escapes_count_unless_dialled(client, sandbox):
    assert refused(update(client, **ANN, firstName="x" * 497 + '"')) == TOO_LONG
    sandbox.dials(loops_length_of="characters")
    assert update(client, **ANN, firstName="x" * 497 + '"').status_code == 200


@pytest.mark.parametrize("value", [["x"], {"a": 1}, []])
@pytest.mark.parametrize("name", ["custom", "firstName", "unknown"])
def test_arrays_and_objects_are_refused(client, name, value):
    make_property(client, "custom", "string")
    assert refused(update(client, **ANN, **{name: value}))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["x", ""], [1, True]),
        ("number", [1, -2.5], ["1", True]),
        ("boolean", [True, False], ["true", 1]),
        (
            "date",
            [
                1_700_000_000_000,
                "1700000000000",
                "2026-01-31",
                "2026-01-31T10:20",
                "2026-01-31 10:20:30",
                "2026-01-31T10:20:30.123",
                "2026-01-31T10:20:30+02:00",
                "2026-01-31T10:20:30Z",
            ],
            [
                1_700_000_000,
                "1700000000",
                1_700_000_000_000.5,
                10**16,
                "2026-02-30",
                "31.01.2026",
                "2026-01-31+02:00",
                "2026-01-31T10:20:30.1",
                "2026-01-31T25:00",
                "yesterday",
                "",
                True,
            ],
        ),
    ],
)
def test_a_value_must_suit_the_type_of_its_property(client, kind, good, bad):
    make_property(client, "custom", kind)
    assert [value for value in good if update(client, **ANN, custom=value).status_code != 200] == []
    assert [value for value in bad if update(client, **ANN, custom=value).status_code != 400] == []


def test_a_default_property_has_a_type_too(client):
    assert refused(update(client, **ANN, firstName=7))
    assert refused(update(client, **ANN, createdAt="soon"))


def test_a_value_of_the_wrong_type_can_be_dropped_or_stored(client, sandbox):
    sandbox.dials(loops_wrong_type="drop")
    assert update(client, **ANN, firstName=7).status_code == 200
    assert "firstName" not in stored(sandbox)[0]
    assert (sandbox.totals()["unsuited_values"], sandbox.journal()[-1]["note"]) == (1, "unsuited value")
    sandbox.dials(loops_wrong_type="store", loops_seconds_as_date="store")
    update(client, **ANN, firstName=7, createdAt=1_700_000_000)
    assert (stored(sandbox)[0]["firstName"], stored(sandbox)[0]["createdAt"]) == (7, 1_700_000_000)


def test_seconds_are_taken_as_a_date_when_dialled(client, sandbox):
    sandbox.dials(loops_seconds_as_date="store")
    assert update(client, **ANN, createdAt=1_700_000_000).status_code == 200


def test_an_unknown_property_is_forgotten_under_a_success_and_counted(client, sandbox):
    assert update(client, **ANN, plna="gold", id="x", firstName="Ann").status_code == 200
    [contact] = stored(sandbox)
    assert "plna" not in contact
    assert (contact["firstName"], len(contact["id"])) == ("Ann", 25)
    assert sandbox.totals()["unknown_properties"] == 2
    assert sandbox.totals()["by_note"] == {"unknown property": 1}


def test_an_unknown_property_can_be_refused_or_stored(client, sandbox):
    sandbox.dials(loops_unknown_property="400")
    assert refused(update(client, **ANN, plna="gold"))
    sandbox.dials(loops_unknown_property="store")
    assert update(client, **ANN, plna="gold").status_code == 200
    assert stored(sandbox)[0]["plna"] == "gold"


def test_properties_are_listed_custom_or_all(client):
    make_property(client, "favoriteColor", "string")
    assert client.get(PROPERTIES, params={"list": "custom"}).json() == [
        {"key": "favoriteColor", "label": "Favorite color", "type": "string"}
    ]
    every = client.get(PROPERTIES).json()
    assert {"key": "firstName", "label": "First name", "type": "string"} in every
    assert len(every) == 9
    assert refused(client.get(PROPERTIES, params={"list": "some"}))


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Plan", "type": "string"},
        {"name": "plan_name", "type": "string"},
        {"name": "1plan", "type": "string"},
        {"name": "", "type": "string"},
        {"name": 7, "type": "string"},
        {"name": "plan", "type": "text"},
        {"name": "plan", "type": ["string"]},
        {"name": "plan"},
        {"name": "plan", "type": "string", "label": "Plan"},
        {"name": "taken", "type": "number"},
        *({"name": name, "type": "string"} for name in ("id", "listId", "softDeleteAt", "teamId", "updatedAt")),
        {"name": "email", "type": "string"},
        {"name": "mailingLists", "type": "string"},
    ],
)
def test_a_property_needs_a_free_camel_case_name_and_one_of_four_types(client, body):
    make_property(client, "taken", "string")
    assert refused(client.post(PROPERTIES, json=body))


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


@pytest.mark.parametrize("lists", [["l1"], {"l1": "true"}, {"l1": None}, None, "l1"])
def test_mailing_lists_must_map_ids_to_booleans(client, sandbox, lists):
    sandbox.dials(loops_lists={"l1": "One"})
    assert refused(update(client, **ANN, mailingLists=lists))


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
