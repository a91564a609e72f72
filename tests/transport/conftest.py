"""Fixtures of the tests in this folder."""

from collections.abc import Iterator

import pytest
import trustme

from contact_ingest.transport.client import HttpClient


@pytest.fixture
def transport() -> Iterator[HttpClient]:
    made = HttpClient()
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[HttpClient]:
    made = HttpClient(connect_s=0.3, write_s=0.3, read_s=0.3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()
