"""Requests to the Loops stand-in."""

from typing import Any

import httpx

from contact_ingest.sandbox.process import SandboxProcess

UPDATE, CREATE, FIND = "/v1/contacts/update", "/v1/contacts/create", "/v1/contacts/find"
PROPERTIES = "/v1/contacts/properties"
ANN = {"email": "ann@example.com"}


def update(client: httpx.Client, **contact: Any) -> httpx.Response:
    return client.put(UPDATE, json=contact)


def stored(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    return list(sandbox.contacts("loops"))


def refused(reply: httpx.Response, status: int = 400) -> str:
    assert reply.status_code == status
    content = reply.json()
    assert content["success"] is False
    assert content["error"] == content["message"]
    return str(content["message"])
