"""Access tokens of the newer API: POST /oauth2/token issues them, and requests are checked for them.

Source: the official Postman collection for OpenID Connect (emartech/Emarsys-postman-collection), checked 2026-11-22:
grant `client_credentials`, form-encoded, the client's id and secret as HTTP Basic.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.messages import Reply, Request, json_reply

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, repr=False)
class IssuedToken:
    """A token. It is valid until `until`, in seconds of the monotonic clock, and while `revoked` equals the dial."""

    client: str
    until: float
    revoked: int


class Tokens:
    """The tokens issued so far."""

    def __init__(self) -> None:
        self._issued: dict[str, IssuedToken] = {}

    def issue(self, request: Request, dials: EmarsysDials) -> Reply:
        client, secret = basic_credentials(request.headers)
        if not secret or dials.emarsys_clients.get(client) != secret:
            return json_reply(401, {"error": "invalid_client"})
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        form = parse_qs(request.body.decode(errors="replace")) if kind == FORM else {}
        if "grant_type" not in form:
            return json_reply(400, {"error": "invalid_request"})
        if form["grant_type"] != ["client_credentials"]:
            return json_reply(400, {"error": "unsupported_grant_type"})
        token, lasts_s = secrets.token_urlsafe(32), dials.emarsys_token_lasts_s
        self._issued[token] = IssuedToken(client, time.monotonic() + lasts_s, dials.emarsys_tokens_revoked)
        content = {"access_token": token, "token_type": "bearer", "expires_in": int(lasts_s), "scope": ""}
        return json_reply(200, content)

    def client(self, headers: Mapping[str, str], dials: EmarsysDials) -> str:
        """The client whose token a request has. Empty: the token is unknown, expired or revoked."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        found = self._issued.get(token)
        if scheme != "Bearer" or found is None or found.revoked != dials.emarsys_tokens_revoked:
            return ""
        return found.client if time.monotonic() < found.until and found.client in dials.emarsys_clients else ""


def basic_credentials(headers: Mapping[str, str]) -> tuple[str, str]:
    """The name and the secret of an HTTP Basic header; two empty texts without a valid one."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    try:
        plain = base64.b64decode(text, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    name, _, secret = plain.partition(":")
    return name, secret
