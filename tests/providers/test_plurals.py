"""Refusals count in the singular and in the plural."""

import pytest

from contact_ingest.errors import Refused
from contact_ingest.providers.email_address import address
from contact_ingest.providers.refusal_text import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 characters"), (1, "1 character"), (2, "2 characters")])
def test_one_is_one(number, said):
    assert counted(number, "character") == said


@pytest.mark.parametrize(("text", "said"), [("a", "(1 character)"), ("ab", "(2 characters)"), ("@", "(1 character)")])
def test_an_address_of_one_character_has_one_character(text, said):
    with pytest.raises(Refused, match="is not an e-mail address") as refused:
        address(text, "email")

    assert said in refused.value.rule
