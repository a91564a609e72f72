"""Requests to the SendGrid stand-in."""

from typing import Any

import httpx

from contact_ingest.sandbox.process import SandboxProcess

PUT = "/v3/marketing/contacts"
ANN = {"email": "ann@example.com"}


def upsert(client: httpx.Client, *contacts: Any, **more: Any) -> httpx.Response:
    return client.put(PUT, json={"contacts": list(contacts), **more})


def make_field(client: httpx.Client, name: str, kind: str) -> str:
    reply = client.post("/v3/marketing/field_definitions", json={"name": name, "field_type": kind})
    assert reply.status_code == 200
    return str(reply.json()["id"])


def stored(sandbox: SandboxProcess) -> dict[str, dict[str, Any]]:
    return {contact["email"]: contact for contact in sandbox.contacts()}
