"""Fields, settings, limits, faults and the journal of the Emarsys stand-in."""

import time

import httpx
import pytest
from support.stand_in_emarsys import ANN, FIELDS, SETTINGS_V3, ask_token, codes, enter, put, refused, stored, wsse


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
