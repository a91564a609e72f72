"""Emarsys' endpoints: their paths and limits, the check of the credentials, and the code that answers each.

Source: the official Postman collections (emartech) and the guide pages on authentication and rate limits, checked
2026-11-22. /api/v2 takes WSSE and /api/v3 takes tokens; the paths below them are the same, with or without a slash at
the end. An API user may make 1,000 requests a minute, over all endpoints together.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from contact_ingest.sandbox.dials import Dials
from contact_ingest.sandbox.emarsys.bodies import OWN_KEYS, UpsertRequest, check_field_ids, json_object, read_upsert
from contact_ingest.sandbox.emarsys.contacts import Contacts
from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.emarsys.fields import AccountFields, Field, list_choices, list_fields
from contact_ingest.sandbox.emarsys.lookups import check_ids, get_data
from contact_ingest.sandbox.emarsys.replies import error_reply, ok, refusal
from contact_ingest.sandbox.emarsys.tokens import Tokens, basic_credentials
from contact_ingest.sandbox.emarsys.upserts import UpsertProcessor, UpsertResult
from contact_ingest.sandbox.emarsys.wsse import WsseGuard, header_values
from contact_ingest.sandbox.messages import Rejected, Reply, Request

ACCOUNT = "emarsys"
CONTACTS, FIELDS, CHOICES = "emarsys.contacts", "emarsys.fields", "emarsys.choices"
SETTINGS, TOKEN, UNKNOWN = "emarsys.settings", "emarsys.token", "emarsys.unknown"
GET_DATA, CHECK_IDS = "emarsys.getdata", "emarsys.checkids"
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

#: (requests, seconds). The limit of the token endpoint is not published.
LIMITS = {ACCOUNT: (1000, 60.0), TOKEN: (20, 60.0)}
ENDPOINTS = frozenset({ACCOUNT, CONTACTS, FIELDS, CHOICES, SETTINGS, TOKEN, GET_DATA, CHECK_IDS})

_VERSION = "/api/v[23]/"
_PATHS = {
    CONTACTS: re.compile(_VERSION + "contact/?"),
    FIELDS: re.compile(_VERSION + "field(?:/translate/[a-z]{2})?/?"),
    CHOICES: re.compile(_VERSION + "field/([0-9]+)/choice(?:/translate/[a-z]{2})?/?"),
    SETTINGS: re.compile(_VERSION + "settings/?"),
    GET_DATA: re.compile(_VERSION + "contact/getdata/?"),
    CHECK_IDS: re.compile(_VERSION + "contact/checkids/?"),
    TOKEN: re.compile(TOKEN_PATH),
}
_METHODS = {
    CONTACTS: {"PUT", "POST"},
    FIELDS: {"GET", "POST"},
    TOKEN: {"POST"},
    GET_DATA: {"POST"},
    CHECK_IDS: {"POST"},
}
_EMPTY_ERRORS = ("map", "list", "missing")


class Emarsys:
    """A `Platform`: what api.emarsys.net and auth.emarsys.net do for contacts, as far as the sandbox knows it."""

    default_account = ACCOUNT

    def __init__(self, dials: Dials) -> None:
        self._all_dials = dials
        self.reset()

    def reset(self) -> None:
        self._tokens, self._wsse = Tokens(), WsseGuard()
        self._contacts = Contacts()
        self._upserts = UpsertProcessor(self._contacts)
        self._fields = AccountFields()
        self._turns = count()

    @property
    def _dials(self) -> EmarsysDials:
        return self._all_dials.group(EmarsysDials)

    def owns(self, path: str) -> bool:
        return path.startswith(("/api/v2/", "/api/v3/")) or path == TOKEN_PATH

    def endpoint(self, method: str, path: str) -> str:
        found = next((name for name, pattern in _PATHS.items() if pattern.fullmatch(path)), UNKNOWN)
        return found if method in _METHODS.get(found, {"GET"}) else UNKNOWN

    def limit(self, endpoint: str) -> str:
        return endpoint if endpoint in {TOKEN, UNKNOWN} else ACCOUNT

    def rate_headers(self, dialled: str) -> str:
        return "none" if dialled == "none" else "epoch"

    def account(self, headers: Mapping[str, str]) -> str:
        """The API user of a request: limits are counted by user. All users of the account see the same contacts."""
        dials = self._dials
        user = header_values(headers).get("username", "")
        client = self._tokens.client(headers, dials) or basic_credentials(headers)[0]
        known = user if user in dials.emarsys_users else client if client in dials.emarsys_clients else ""
        return f"{ACCOUNT}:{known}" if known else ACCOUNT

    def refuse_caller(self, request: Request) -> Reply | None:
        dials = self._dials
        if request.path == TOKEN_PATH:
            return None
        if request.path.startswith("/api/v3/"):
            return None if self._tokens.client(request.headers, dials) else error_reply(401)
        once = dials.emarsys_nonce_reuse == "refused"
        accepted = self._wsse.accepts(request.headers, dials.emarsys_users, time.time(), once=once)
        return None if accepted else error_reply(401)

    def error_reply(self, status: int) -> Reply:
        return error_reply(status)

    def answer(self, request: Request) -> Reply:
        endpoint, dials = self.endpoint(request.method, request.path), self._dials
        if endpoint in dials.emarsys_forbidden:
            return error_reply(403)
        if endpoint == UNKNOWN:
            known = any(pattern.fullmatch(request.path) for pattern in _PATHS.values())
            return refusal(400, 1009) if known else refusal(400, 1, "action is invalid")
        if endpoint == TOKEN:
            return self._tokens.issue(request, dials)
        try:
            return self._upsert(request) if endpoint == CONTACTS else self._small(endpoint, request)
        except Rejected as rejected:
            return rejected.reply

    def _small(self, endpoint: str, request: Request) -> Reply:
        """The endpoints beside the upsert."""
        dials = self._dials
        fields = self._fields.by_id(dials)
        if request.method == "POST":
            content = json_object(request, None, dials)
            if endpoint == FIELDS:
                return self._fields.create(content, dials)
            return (get_data if endpoint == GET_DATA else check_ids)(content, self._contacts)
        if endpoint == FIELDS:
            return list_fields(fields, dials)
        if match := _PATHS[CHOICES].fullmatch(request.path):
            return list_choices(match[1], fields)
        return ok({"id": 1, "name": "sandbox", "environment": "sandbox", "timezone": "Europe/Vienna"})

    def _upsert(self, request: Request) -> Reply:
        dials = self._dials
        if dials.emarsys_reply_codes:
            code, *rest = dials.emarsys_reply_codes
            self._all_dials.change({"emarsys_reply_codes": rest})
            if code:
                return replace(refusal(dials.emarsys_reply_status, code), note="reply code")
        fields = self._fields.by_id(dials)
        upsert = read_upsert(request, self._all_dials.traffic.hidden_byte_cap, dials)
        if upsert.key not in OWN_KEYS and (upsert.key not in fields or not fields[upsert.key].indexed):
            return _bad_key(upsert, dials)
        if dials.emarsys_unknown_field == "request":
            check_field_ids(upsert, fields)
        return self._apply_upsert(upsert, fields)

    def _apply_upsert(self, upsert: UpsertRequest, fields: dict[str, Field]) -> Reply:
        dials = self._dials
        result = self._upserts.apply(upsert, fields, dials)
        if result.errors and not result.ids and (upsert.single or dials.emarsys_all_failed == 400):
            code, text = next(item for errors in result.errors.values() for item in errors.items())
            return replace(refusal(400, int(code), text), contacts=len(upsert.rows))
        if upsert.single:
            return replace(ok({"id": int(result.ids[0])}), contacts=1)
        return replace(ok(self._data(result)), contacts=len(upsert.rows))

    def _data(self, result: UpsertResult) -> dict[str, Any]:
        ids = result.ids[self._dials.emarsys_ids_left_out :]
        if result.errors:
            return {"ids": ids, "errors": result.errors}
        dialled = self._dials.emarsys_empty_errors
        shape = _EMPTY_ERRORS[next(self._turns) % len(_EMPTY_ERRORS)] if dialled == "cycle" else dialled
        if shape == "missing":
            return {"ids": ids}
        return {"ids": ids, "errors": {} if shape == "map" else []}

    def seed(self, contacts: list[dict[str, Any]]) -> None:
        """Add contacts past all rules, each with `fields` and optionally `lists`. Keys may repeat."""
        for given in contacts:
            values = given["fields"].items()
            made = self._contacts.add()
            self._contacts.change(made, values)
            made.lists.update(given.get("lists", ()))

    def advance(self) -> None:
        """Do nothing: every request takes effect at once."""

    def contacts(self, account: str, after: int, limit: int) -> list[dict[str, Any]]:
        return self._contacts.after(after, limit) if account.partition(":")[0] == ACCOUNT else []

    def counts(self) -> dict[str, int]:
        return {"contacts": len(self._contacts)} | self._contacts.counts


def _bad_key(upsert: UpsertRequest, dials: EmarsysDials) -> Reply:
    """The reply to an upsert with a bad key: every row has failed, and no row is named."""
    text = f"Invalid key field id: {upsert.key}"
    if upsert.single or dials.emarsys_bad_key == 400:
        return refusal(400, 2004, text)
    reply = ok({"ids": [], "errors": {"<NO_KEY_ID>": {"2004": text}}})
    return replace(reply, contacts=len(upsert.rows))
