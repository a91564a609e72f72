"""The custom fields of an account: found by a name in any letter case, or else by the exact id."""

import pytest

from contact_ingest.model.verdicts import FieldTable

PLAN, SEATS, LIKE_AN_ID = ("w1", "Text"), ("e2_N", "Number"), ("e7_T", "Text")
TABLE = FieldTable({"plan": PLAN, "seats": SEATS, "e2_n": LIKE_AN_ID}, 1)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("plan", PLAN),
        ("PLAN", PLAN),
        ("w1", PLAN),
        ("W1", None),
        ("e7_T", LIKE_AN_ID),
        ("e7_t", None),
        ("e2_N", LIKE_AN_ID),
        ("E2_n", LIKE_AN_ID),
        ("wor\u212a", None),
        ("p\u217can", None),
        ("", None),
    ],
)
def test_a_name_wins_in_any_letter_case_and_an_id_counts_only_as_it_is_written(given, found):
    assert TABLE.find(given) == found


def test_a_name_is_taken_by_a_field_and_by_an_id_in_any_letter_case():
    assert [name for name in ("Plan", "w1", "W1", "E7_t", "fresh", "e7", "e8_T") if TABLE.takes(name)] == [
        *("Plan", "w1", "W1", "E7_t")
    ]


def test_the_names_of_a_field_are_those_that_find_it():
    assert sorted(TABLE.spellings("PLAN")) == sorted(TABLE.spellings("w1")) == ["plan", "w1"]
    assert TABLE.spellings("seats") == ["seats"]  # its id is the name of another field
    assert sorted(TABLE.spellings("e2_N")) == ["e2_n", "e7_T"]
    assert TABLE.spellings("fresh") == []


def test_a_name_of_several_fields_is_no_id():
    table = FieldTable({"twice": ("", "several"), "5010": ("5010", "shorttext")}, 1)
    assert table.find("TWICE") == ("", "several")
    assert table.spellings("twice") == []
    assert table.find("") is None
