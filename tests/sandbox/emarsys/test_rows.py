"""Rows of an upsert that fail by themselves at the Emarsys stand-in."""

from typing import Any

import pytest
from support.stand_in_emarsys import ANN, codes, errors, put, refused, stored


@pytest.mark.parametrize(
    ("row", "shown"),
    [({"1": "Ann"}, ""), ({"3": ""}, ""), ({"3": None}, ""), ({"3": ["a@x.io"]}, ""), ({"3": "ann"}, "ann")],
)
def test_a_row_without_a_proper_key_fails_alone(client, sandbox, row, shown):
    reply = put(client, row, {"3": "bob@example.com"})
    assert codes(reply) == {shown: ["2005"]}
    assert len(reply.json()["data"]["ids"]) == 1
    assert [contact["fields"]["3"] for contact in stored(sandbox)] == ["bob@example.com"]


def test_numeric_keys_are_named_as_texts(client):
    assert codes(put(client, {"101": 7, "31": True}, key=101)) == {"7": ["2007"]}
    assert len(put(client, {"101": 7}, key="101").json()["data"]["ids"]) == 1
    assert put(client, {"101": "7"}, key="101").json()["data"]["ids"][0] == "100001"


def test_own_ids_are_keys_of_known_contacts_alone(client, sandbox):
    [made] = put(client, ANN).json()["data"]["ids"]
    assert errors(put(client, {"id": made, "1": "Ann"}, key="id")) == {}
    assert errors(put(client, {"uid": stored(sandbox)[0]["uid"], "2": "Lee"}, key="uid")) == {}
    assert stored(sandbox)[0]["fields"] == {**ANN, "1": "Ann", "2": "Lee"}
    assert codes(put(client, {"id": 1, "1": "x"}, key="id")) == {"1": ["2004"]}
    assert codes(put(client, {"3": "bob@example.com", "uid": "x"})) == {"bob@example.com": ["2007"]}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("31", [1, 2, "1", "2", "", None], [True, False, 0, 3, "yes", "true", [1], 1.0]),
        ("1", ["x" * 60, 7, 1.5, ""], ["x" * 61, True, ["x"], {"a": 1}]),
        ("10", ["x" * 255], ["x" * 256]),
        ("106", ["x" * 10_000], [False]),
        ("103", ["1" * 24, -2.5, 0, None], ["1" * 25, "1,5", "one", True]),
        ("4", ["2026-01-31", None], ["2026-02-30", "31.01.2026", "2026-01-31 10:20", 20260131, True]),
        ("5", ["1", 2, ""], ["3", 0, "male", ["1"], True]),
        ("104", [["7"], [7, "9"], None], [[], "7", 7, ["8"], [True], ""]),
        ("105", [], ["code", None]),
        ("0", [], ["1"]),
        ("33", [], ["1", None]),
        ("3", [], ["ann", "ann@x", True]),
    ],
)
def test_a_value_must_suit_its_field(client, field, good, bad):
    def failed(value: Any) -> dict[str, list[str]]:
        return codes(put(client, {"101": "k", field: value}, key="101"))

    assert [value for value in good if failed(value) != {}] == []
    assert [value for value in bad if failed(value) != {"k": ["2007"]}] == []


def test_a_time_of_day_and_another_code_for_values_are_dials(client, sandbox):
    sandbox.dials(emarsys_times_of_day=True, emarsys_bad_value_code=2006)
    assert errors(put(client, {**ANN, "4": "2026-01-31 10:20"}, {"3": "b@x.io", "4": "2026-01-31 10:20:30"})) == {}
    assert codes(put(client, {**ANN, "4": "2026-01-31T10:20"})) == {"ann@example.com": ["2006"]}


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_opt_in_clears_a_consent_and_that_is_counted(client, sandbox, empty):
    put(client, {**ANN, "31": empty})
    assert sandbox.totals()["consent_cleared"] == 0
    put(client, {**ANN, "31": 1})
    put(client, {**ANN, "31": empty})
    assert "31" not in stored(sandbox)[0]["fields"]
    assert sandbox.totals()["consent_cleared"] == 1


def test_a_choice_array_replaces_the_stored_one(client, sandbox):
    put(client, {**ANN, "104": ["7", "9"]})
    put(client, {**ANN, "104": ["9"]})
    assert stored(sandbox)[0]["fields"]["104"] == ["9"]


def test_a_key_that_several_contacts_have_changes_none(client, sandbox):
    sandbox.seed("emarsys", [{"fields": ANN}, {"fields": {"3": "ANN@example.com"}, "lists": [5]}])
    assert codes(put(client, {**ANN, "1": "Ann"}, {"3": "bob@example.com"})) == {"ann@example.com": ["2010"]}
    assert [each["fields"].get("1") for each in stored(sandbox)] == [None, None, None]


def test_a_key_that_comes_twice_in_a_request_fails_the_later_row(client, sandbox):
    rows = [{**ANN, "1": "first"}, {"3": "Ann@example.com", "1": "later"}]
    reply = put(client, *rows)
    assert codes(reply) == {"Ann@example.com": ["2010"]}
    assert [each["fields"]["1"] for each in stored(sandbox)] == ["first"]
    sandbox.dials(emarsys_duplicate_rows="apply")
    assert errors(put(client, *rows)) == {}
    assert [each["fields"]["1"] for each in stored(sandbox)] == ["later"]


def test_a_changed_key_is_found_under_its_new_value_only(client, sandbox):
    [made] = put(client, {**ANN, "101": "k"}, key="101").json()["data"]["ids"]
    put(client, ANN)
    put(client, {"101": "k", "3": "new@example.com"}, key="101")
    assert put(client, {"3": "new@example.com"}).json()["data"]["ids"] == [str(made)]
    assert put(client, ANN).json()["data"]["ids"] == [made + 1]


@pytest.mark.parametrize("code", [2004, 2005, 2006, 2007, 2008, 2010])
def test_a_planted_row_fails_with_its_code_every_time(client, sandbox, code):
    rows = [{**ANN, "1": f"[[emarsys-{code}]]"}, {"3": "bob@example.com"}]
    for _ in range(2):
        assert codes(put(client, *rows)) == {"ann@example.com": [str(code)]}
    assert [each["fields"]["3"] for each in stored(sandbox)] == ["bob@example.com"]


def test_a_planted_race_is_lost_once(client, sandbox):
    row = {**ANN, "1": "[[emarsys-2009]]"}
    assert codes(put(client, row)) == {"ann@example.com": ["2009"]}
    assert stored(sandbox) == []
    assert errors(put(client, row)) == {}
    assert len(stored(sandbox)) == 1


def test_a_request_of_which_all_rows_fail_succeeds_or_names_nobody(client, sandbox):
    rows = [{**ANN, "31": True}, {"3": "bob@example.com", "31": True}]
    reply = put(client, *rows)
    assert codes(reply) == {"ann@example.com": ["2007"], "bob@example.com": ["2007"]}
    assert reply.json()["data"]["ids"] == []
    sandbox.dials(emarsys_all_failed=400)
    assert refused(put(client, *rows)) == 2007
    assert codes(put(client, *rows, {"3": "cy@example.com"})) == codes(reply)
