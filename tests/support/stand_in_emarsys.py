"""Requests to the Emarsys stand-in."""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from contact_ingest.sandbox.process import SandboxProcess

PUT = "/v3/contact?create_if_not_exists=1"
SETTINGS_V2, SETTINGS_V3 = "/v2/settings", "/v3/settings"
ANN = {"3": "ann@example.com"}
FIELDS = [
    {"id": 101, "name": "Customer", "kind": "shorttext", "indexed": True},
    {"id": 102, "name": "Shy", "kind": "shorttext"},
    {"id": 103, "name": "Score", "kind": "numeric"},
    {"id": 104, "name": "Tags", "kind": "multichoice", "choices": {"7": "seven", "9": "nine"}},
    {"id": 105, "name": "Voucher", "kind": "voucher"},
    {"id": 106, "name": "Notes", "kind": "largetext"},
]


def ask_token(sandbox: SandboxProcess, **changes: Any) -> httpx.Response:
    asked = {"data": {"grant_type": "client_credentials"}, "auth": ("sandbox-client", "sandbox-secret"), **changes}
    return httpx.post(f"{sandbox.url}/oauth2/token", trust_env=False, **asked)


def wsse(**changes: str) -> dict[str, str]:
    parts = {"user": "sandbox001", "nonce": uuid4().hex, "secret": "sandbox-secret"}
    parts["created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts |= changes
    text = hashlib.sha1((parts["nonce"] + parts["created"] + parts["secret"]).encode()).hexdigest()
    made = base64.b64encode(text.encode()).decode()
    named = f'Username="{parts["user"]}", PasswordDigest="{parts.get("digest", made)}"'
    return {"X-WSSE": f'UsernameToken {named}, Nonce="{parts["nonce"]}", Created="{parts["created"]}"'}


def enter(sandbox: SandboxProcess, headers: dict[str, str], path: str = SETTINGS_V2) -> int:
    return httpx.get(f"{sandbox.url}/api{path}", headers=headers, trust_env=False).status_code


def put(client: httpx.Client, *rows: dict[str, Any], key: Any = "3", **more: Any) -> httpx.Response:
    return client.put(PUT, json={"key_id": key, "contacts": list(rows), **more})


def errors(reply: httpx.Response) -> dict[str, dict[str, str]]:
    assert reply.status_code == 200
    content = reply.json()
    assert (content["replyCode"], content["replyText"]) == (0, "OK")
    found = content["data"].get("errors") or {}
    return {key: dict(each) for key, each in found.items()}


def codes(reply: httpx.Response) -> dict[str, list[str]]:
    return {key: list(each) for key, each in errors(reply).items()}


def refused(reply: httpx.Response, status: int = 400) -> int:
    content = reply.json()
    assert (reply.status_code, content["data"]) == (status, "")
    assert content["replyText"]
    return int(content["replyCode"])


def stored(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    return list(sandbox.contacts("emarsys"))
