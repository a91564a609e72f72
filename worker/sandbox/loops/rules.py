"""The rules of the body of a create and of an update. The whole body is accepted or refused.

Source: api-reference/update-contact, contacts/properties and api-reference/intro (loops.so/docs), checked 2026-11-22.
The published schema is not followed: it forbids `mailingLists` and null, which the documentation allows.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from contact_ingest.sandbox.loops.dials import LoopsDials
from contact_ingest.sandbox.loops.properties import Properties
from contact_ingest.sandbox.loops.replies import refusal
from contact_ingest.sandbox.loops.values import ADDRESS, is_too_long, suits
from contact_ingest.sandbox.messages import Rejected

#: The marker of a record that a test made bad on purpose, such as [[loops-409]]: the reply has this status.
MARKER = re.compile(r"\[\[loops-(4[0-9]{2}|5[0-9]{2})\]\]")
TOO_LONG = "Some body key or value is longer than allowable"


@dataclass(frozen=True, slots=True, repr=False)
class ContactChange:
    """The change that a body asks for. A null in `values` resets a property; a null for `mailingLists` changes no list.

    `unknown` and `unsuited` count values that were accepted and not stored, for an unknown property or a wrong type.
    """

    email: str | None
    user_id: str | None
    subscribed: bool | None
    values: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, bool] = field(default_factory=dict)
    unknown: int = 0
    unsuited: int = 0


class BodyRules:
    """The rules for one body, given the team's properties and lists."""

    def __init__(self, properties: Properties, dials: LoopsDials) -> None:
        self._properties = properties
        self._dials = dials

    def read(self, content: dict[str, Any]) -> ContactChange:
        """The change that a body asks for. Raises `Rejected`."""
        self._check_lengths(content)
        email, user_id = _identifier(content, "email"), _identifier(content, "userId")
        if email is not None and not ADDRESS.fullmatch(email):
            raise Rejected(refusal(400, "email is not a valid email address"))
        subscribed = content.get("subscribed")
        if "subscribed" in content and type(subscribed) is not bool:
            raise Rejected(refusal(400, "subscribed must be a boolean"))
        lists = self._lists(content)
        values: dict[str, Any] = {}
        dropped = {"unknown": 0, "unsuited": 0}
        for name, value in content.items():
            if name in {"email", "userId", "subscribed", "mailingLists"}:
                continue
            if reason := self._drop_reason(name, value):
                dropped[reason] += 1
            else:
                values[name] = value
        return ContactChange(email, user_id, subscribed, values, lists, **dropped)

    def _check_lengths(self, content: dict[str, Any]) -> None:
        for name, value in content.items():
            single = [name, *(value if type(value) is dict else [value])]
            if any(is_too_long(each, self._dials) for each in single):
                raise Rejected(refusal(400, TOO_LONG))
            if type(value) is str and "[[" in value and (found := MARKER.search(value)):
                raise Rejected(refusal(int(found[1])))

    def _drop_reason(self, name: str, value: Any) -> str:
        """Why a value is accepted but not stored: `unknown` or `unsuited`. Empty: the value is stored."""
        if type(value) in (list, dict):
            raise Rejected(refusal(400, f"{name} must be a string, number or boolean"))
        kind, dials = self._properties.kind(name), self._dials
        if kind is None:
            if dials.loops_unknown_property == "400":
                raise Rejected(refusal(400, f"{name} is not a property"))
            return "unknown" if dials.loops_unknown_property == "drop" else ""
        if value is None or suits(kind, value, dials):
            return ""
        if dials.loops_wrong_type == "400":
            raise Rejected(refusal(400, f"{name} must be a {kind}"))
        return "unsuited" if dials.loops_wrong_type == "drop" else ""

    def _lists(self, content: dict[str, Any]) -> dict[str, bool]:
        given = content.get("mailingLists")
        if given is None:  # clients send null for "no lists named"
            return {}
        if type(given) is not dict or any(type(wanted) is not bool for wanted in given.values()):
            raise Rejected(refusal(400, "mailingLists must be an object of list ids and booleans"))
        known: Collection[str] = self._dials.loops_lists
        if self._dials.loops_unknown_list == "400" and given.keys() - set(known):
            raise Rejected(refusal(400, "mailingLists holds an unknown list id"))
        return {list_id: wanted for list_id, wanted in given.items() if list_id in known}


def _identifier(content: dict[str, Any], name: str) -> str | None:
    """The identifier `name`, if given. An identifier cannot be reset: null is refused like an empty text."""
    value = content.get(name)
    if name in content and (type(value) is not str or not value.strip()):
        raise Rejected(refusal(400, f"{name} must be a string"))
    return value
