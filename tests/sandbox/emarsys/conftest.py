"""Fixtures of the tests in this folder."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.stand_in import client_of
from support.stand_in_emarsys import FIELDS, ask_token

from contact_ingest.sandbox.process import SandboxProcess


@pytest.fixture(scope="module")
def dials() -> dict[str, Any]:
    return {"emarsys_fields": FIELDS, "emarsys_lists": [5], "emarsys_sources": [3]}


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    with client_of(sandbox, "/api", ask_token(sandbox).json()["access_token"]) as client:
        yield client
