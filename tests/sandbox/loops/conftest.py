"""Fixtures of the tests in this folder."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.stand_in import client_of

from contact_ingest.sandbox.process import SandboxProcess

WIDE = {"limits": {"loops": {"limit": 10_000, "window_s": 1}}}


@pytest.fixture(scope="module")
def dials() -> dict[str, Any]:
    return WIDE


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    with client_of(sandbox, "/api", "key") as client:
        yield client
