"""Fields that requests create, and contacts that are looked up by their keys."""

import pytest
from support.stand_in_emarsys import ANN, errors, put, refused


def test_a_created_field_is_listed_and_takes_values(client):
    made = client.post("/v3/field", json={"name": "Plan", "application_type": "shorttext"}).json()["data"]["id"]
    assert (str(made), "Plan") in [(field["id"], field["name"]) for field in client.get("/v3/field").json()["data"]]
    assert errors(put(client, {**ANN, str(made): "pro"})) == {}


@pytest.mark.parametrize(
    "field",
    [
        {"name": "", "application_type": "shorttext"},
        {"name": "Plan"},
        {"name": "Plan", "application_type": "singlechoice"},
        {"name": "First Name", "application_type": "shorttext"},
        {"name": 7, "application_type": "numeric"},
    ],
)
def test_a_field_that_cannot_be_created_is_refused(client, field):
    assert refused(client.post("/v3/field", json=field)) == 1008


def test_contacts_are_read_by_their_keys(client):
    put(client, {**ANN, "1": "Ann"})
    asked = {"keyId": "3", "keyValues": ["Ann@example.com", "nobody@example.com"], "fields": ["1"]}
    data = client.post("/v3/contact/getdata", json=asked).json()["data"]
    assert [row["1"] for row in data["result"]] == ["Ann"]
    assert [(error["key"], error["errorCode"]) for error in data["errors"]] == [("nobody@example.com", 2008)]
    nobody = client.post("/v3/contact/getdata", json={"keyId": "3", "keyValues": ["nobody@example.com"]})
    assert nobody.json()["data"]["result"] is False


def test_ids_are_found_by_keys(client):
    [made] = put(client, ANN).json()["data"]["ids"]
    asked = {"key_id": "3", "external_ids": ["ann@example.com", "nobody@example.com"]}
    data = client.post("/v3/contact/checkids", json=asked).json()["data"]
    assert data["ids"] == {"ann@example.com": str(made)}
    assert list(data["errors"]["nobody@example.com"]) == ["2008"]


def test_a_look_up_without_a_key_or_with_too_many_is_refused(client):
    assert refused(client.post("/v3/contact/getdata", json={"keyValues": ["7"]})) == 1001
    assert refused(client.post("/v3/contact/getdata", json={"keyId": "3", "keyValues": "7"})) == 2003
    keys = [str(n) for n in range(1001)]
    assert refused(client.post("/v3/contact/checkids", json={"key_id": "3", "external_ids": keys})) == 2002
