"""A client of the sandbox, for the tests that speak to a stand-in as a program with an HTTP library would."""

import contextlib
from collections.abc import Iterator

import httpx

from contact_ingest.sandbox.process import SandboxProcess


@contextlib.contextmanager
def client_of(sandbox: SandboxProcess, path: str = "", token: str = "SG.test") -> Iterator[httpx.Client]:
    """A client whose addresses begin with `path`, and whose requests bring this bearer token."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=sandbox.url + path, headers=headers, trust_env=False, timeout=20) as client:
        yield client
