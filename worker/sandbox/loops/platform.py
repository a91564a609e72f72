"""Loops' endpoints: their paths and the limit, the check of the key, and the code that answers each.

Source: the specification 1.21.6 and api-reference/intro (loops.so/docs), checked 2026-11-22. One bearer key opens
everything of one team. A team may make 10 requests a second, over all endpoints together.
"""

from collections.abc import Mapping
from typing import Any

from contact_ingest.sandbox.dials import Dials
from contact_ingest.sandbox.loops.bodies import json_object
from contact_ingest.sandbox.loops.contacts import Contacts
from contact_ingest.sandbox.loops.dials import LoopsDials
from contact_ingest.sandbox.loops.properties import Properties
from contact_ingest.sandbox.loops.replies import contact_saved, method_not_allowed, refusal, too_many_requests
from contact_ingest.sandbox.loops.rules import BodyRules, ContactChange
from contact_ingest.sandbox.messages import Rejected, Reply, Request, json_reply

TEAM, ROOT = "loops", "/api/v1"
CREATE, UPDATE, FIND, DELETE = "loops.create", "loops.update", "loops.find", "loops.delete"
PROPERTIES, LISTS, KEY, UNKNOWN = "loops.properties", "loops.lists", "loops.api_key", "loops.unknown"

LIMITS = {TEAM: (10, 1.0)}
ENDPOINTS = frozenset({TEAM, CREATE, UPDATE, FIND, DELETE, PROPERTIES, LISTS, KEY})

_PATHS = {
    f"{ROOT}/contacts/create": CREATE,
    f"{ROOT}/contacts/update": UPDATE,
    f"{ROOT}/contacts/find": FIND,
    f"{ROOT}/contacts/delete": DELETE,
    f"{ROOT}/contacts/properties": PROPERTIES,
    f"{ROOT}/lists": LISTS,
    f"{ROOT}/api-key": KEY,
}
_METHODS = {CREATE: {"POST"}, UPDATE: {"PUT"}, DELETE: {"POST"}, PROPERTIES: {"GET", "POST"}}


class Loops:
    """A `Platform`: what app.loops.so does for contacts, as far as the sandbox knows it."""

    default_account = TEAM

    def __init__(self, dials: Dials, keys: frozenset[str]) -> None:
        self._all_dials = dials
        self._keys = keys
        self._contacts = Contacts()
        self._properties = Properties()

    @property
    def _dials(self) -> LoopsDials:
        return self._all_dials.group(LoopsDials)

    def owns(self, path: str) -> bool:
        return path.startswith(f"{ROOT}/")

    def endpoint(self, method: str, path: str) -> str:
        found = _PATHS.get(path, UNKNOWN)
        return found if method in _METHODS.get(found, {"GET"}) else UNKNOWN

    def limit(self, endpoint: str) -> str:
        return endpoint if endpoint == UNKNOWN else TEAM

    def rate_headers(self, dialled: str) -> str:
        """Loops documents headers for the limit and the remainder, and none for the reset."""
        return "none" if dialled == "none" else "bare"

    def account(self, headers: Mapping[str, str]) -> str:  # noqa: ARG002 - all keys belong to one team
        return TEAM

    def refuse_caller(self, request: Request) -> Reply | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        accepted = key in self._keys if self._keys else bool(key.strip())
        return None if scheme == "Bearer" and accepted else refusal(401)

    def error_reply(self, status: int) -> Reply:
        return too_many_requests(self._dials.loops_429_body) if status == 429 else refusal(status)

    def answer(self, request: Request) -> Reply:
        endpoint = self.endpoint(request.method, request.path)
        if endpoint == UNKNOWN:
            return method_not_allowed() if request.path in _PATHS else refusal(404)
        try:
            return self._route(endpoint, request)
        except Rejected as rejected:
            return rejected.reply

    def _route(self, endpoint: str, request: Request) -> Reply:
        if endpoint in {CREATE, UPDATE}:
            return self._save(endpoint, request)
        if endpoint == FIND:
            return self._find(request)
        if endpoint == DELETE:
            return self._delete(request)
        if endpoint == PROPERTIES:
            return self._properties.create(request) if request.method == "POST" else self._properties.listed(request)
        if endpoint == LISTS:
            lists = self._dials.loops_lists.items()
            public = [{"id": each, "name": name, "description": None, "isPublic": True} for each, name in lists]
            return json_reply(200, public)
        return json_reply(200, {"success": True, "teamName": "Sandbox"})

    def _save(self, endpoint: str, request: Request) -> Reply:
        dials, cap = self._dials, self._all_dials.traffic.hidden_byte_cap
        if cap is not None and len(request.body) > cap:
            raise Rejected(refusal(413))
        change = BodyRules(self._properties, dials).read(json_object(request))
        if change.email is None and (endpoint == CREATE or change.user_id is None):
            raise Rejected(
                refusal(400, "An email or userId is required" if endpoint == UPDATE else "email is required")
            )
        save = self._contacts.create if endpoint == CREATE else self._contacts.update
        return contact_saved(save(change, dials).id, _note(change))

    def _find(self, request: Request) -> Reply:
        email, user_id = request.query.get("email"), request.query.get("userId")
        if (email is None) == (user_id is None):
            raise Rejected(refusal(400, "exactly one of email and userId is required"))
        found = self._contacts.find(email, user_id, self._dials)
        return json_reply(200, [found.public()] if found else [])

    def _delete(self, request: Request) -> Reply:
        """Delete a contact, named by exactly one of its identifiers (api-reference/delete-contact)."""
        content = json_object(request)
        given = {name: content[name] for name in ("email", "userId") if content.get(name)}
        if len(given) != 1 or not all(type(value) is str for value in given.values()):
            raise Rejected(refusal(400, "exactly one of email and userId is required"))
        found = self._contacts.find(given.get("email"), given.get("userId"), self._dials)
        if found is None:
            raise Rejected(refusal(404, "Contact not found."))
        self._contacts.delete(found, self._dials)
        return json_reply(200, {"success": True, "message": "Contact deleted."})

    def seed(self, contacts: list[dict[str, Any]]) -> None:
        for contact in contacts:
            self._contacts.seed(contact, self._dials)

    def advance(self) -> None:
        """Do nothing: every request takes effect at once."""

    def contacts(self, account: str, after: int, limit: int) -> list[dict[str, Any]]:
        return self._contacts.after(after, limit) if account == TEAM else []

    def counts(self) -> dict[str, int]:
        return {"contacts": len(self._contacts)} | self._contacts.counts

    def reset(self) -> None:
        self._contacts = Contacts()
        self._properties = Properties()


def _note(change: ContactChange) -> str:
    if change.unknown:
        return "unknown property"
    return "unsuited value" if change.unsuited else ""
