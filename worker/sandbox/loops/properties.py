"""The properties of a team's contacts: those that every team has, and custom ones with a name and a type.

Source: contacts/properties (loops.so/docs) and /v1/contacts/properties in the specification 1.21.6, checked 2026-11-22.
Names are camelCase; five are reserved. Neither the name nor the type of a property can be changed later.
"""

import re

from contact_ingest.sandbox.loops.bodies import json_object
from contact_ingest.sandbox.loops.replies import refusal
from contact_ingest.sandbox.loops.values import KINDS
from contact_ingest.sandbox.messages import Rejected, Reply, Request, json_reply

DEFAULTS = {
    "email": "string",
    "userId": "string",
    "firstName": "string",
    "lastName": "string",
    "source": "string",
    "subscribed": "boolean",
    "userGroup": "string",
    "createdAt": "date",
}
RESERVED = frozenset({"id", "listId", "softDeleteAt", "teamId", "updatedAt"})
#: Names that a custom property cannot have.
TAKEN = RESERVED | DEFAULTS.keys() | {"mailingLists", "notes", "optInStatus"}
CAMEL = re.compile("[a-z][a-zA-Z0-9]*")
WORD = re.compile("[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


class Properties:
    """The properties of the team."""

    def __init__(self) -> None:
        self._custom: dict[str, str] = {}

    def kind(self, name: str) -> str | None:
        """The type of a property; None if there is no such property."""
        return DEFAULTS.get(name) or self._custom.get(name)

    def listed(self, request: Request) -> Reply:
        which = request.query.get("list", "all")
        if which not in {"all", "custom"}:
            return refusal(400, "list must be all or custom")
        public = self._custom if which == "custom" else DEFAULTS | self._custom
        return json_reply(200, [{"key": key, "label": _label(key), "type": kind} for key, kind in public.items()])

    def create(self, request: Request) -> Reply:
        content = json_object(request)
        name, kind = content.get("name"), content.get("type")
        if content.keys() != {"name", "type"}:
            raise Rejected(refusal(400, "name and type are required"))
        if type(name) is not str or not CAMEL.fullmatch(name):
            raise Rejected(refusal(400, "name must be in camelCase"))
        if kind not in KINDS:
            raise Rejected(refusal(400, f"type must be one of {', '.join(KINDS)}"))
        if name in TAKEN or name in self._custom:
            raise Rejected(refusal(400, "this name is reserved or taken"))
        self._custom[name] = kind
        return json_reply(200, {"success": True})


def _label(key: str) -> str:
    words = WORD.findall(key)
    return " ".join(words).capitalize()
