"""Lower case makes no letter of another one."""

import sys
from unicodedata import name

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contact_ingest.model.letter_case import folded

EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1)]


@pytest.mark.parametrize(
    ("text", "lower"), [("Plan_ID", "plan_id"), ("GRÖSSE", "grösse"), ("ЖУК", "жук"), ("ΟΔΟΣ", "οδοσ")]
)
def test_letters_get_lower_case(text, lower):
    assert folded(text) == lower


@pytest.mark.parametrize("letter", ["\u212a", "\u0130", "\u017f", "\u2126", "\u212b", "\u01c5"])
def test_a_letter_that_would_become_another_ones_stays(letter):
    assert folded(letter) == letter, name(letter)


def test_nothing_outside_ascii_becomes_ascii_and_no_two_letters_become_one_but_a_capital_and_its_small_letter():
    before: dict[str, list[str]] = {}
    for character in EVERY_CHARACTER:
        before.setdefault(folded(character), []).append(character)
    assert len(before) < len(EVERY_CHARACTER)
    for lower, characters in before.items():
        assert lower.isascii() == all(map(str.isascii, characters))
        assert set(characters) <= {lower, lower.upper()}, characters


@given(st.text())
def test_lower_case_has_no_lower_case(text):
    assert folded(folded(text)) == folded(text)
    assert len(folded(text)) == len(text)
