"""Fixtures of the tests in this folder."""

import pytest
from support.people import person

from contact_ingest import enqueue


def bad(number):
    return person(number, last_name="x" * 51)


@pytest.fixture
def failed(harness):
    """Two contacts that break a rule and one that the import refuses."""
    enqueue([person(1), bad(2), bad(3), person(4, last_name="[[fail-import]]")])
    harness.run_until_settled()
    assert harness.books()["failed"] == 3
    return harness
