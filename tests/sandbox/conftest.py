"""A sandbox for each file of tests, and a client of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.stand_in import client_of

from contact_ingest.sandbox.process import SandboxProcess


@pytest.fixture(scope="module")
def dials() -> dict[str, Any]:
    """How the sandbox is set when it starts. A folder or a file of tests may say otherwise."""
    return {"job_seconds": [0, 0]}


@pytest.fixture(scope="module")
def running(dials: dict[str, Any]) -> Iterator[SandboxProcess]:
    """The sandbox's process, as the tests before have left it."""
    with SandboxProcess(dials=dials) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: SandboxProcess) -> SandboxProcess:
    """The sandbox, empty."""
    running.reset()
    return running


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    """A client of the SendGrid stand-in."""
    with client_of(sandbox) as client:
        yield client
