"""What a contact may hold at the Loops stand-in, and what is forgotten silently."""

import httpx
import orjson
import pytest
from support.stand_in_loops import ANN, PROPERTIES, UPDATE, refused, stored, update


def make_property(client: httpx.Client, name: str, kind: str) -> None:
    assert client.post(PROPERTIES, json={"name": name, "type": kind}).status_code == 200


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
