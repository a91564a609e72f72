"""The contacts of a team. They are found by e-mail address or userId and changed property by property.

Upsert semantics, checked 2026-11-22 (api-reference/update-contact, loops.so/docs): a contact matches on either
identifier and takes over the other one; omitted properties keep their value; null resets a property. `subscribed: true`
resubscribes a contact who had opted out. A list does not accept a contact who has opted out or has left that list.
"""

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from contact_ingest.sandbox.loops.dials import LoopsDials
from contact_ingest.sandbox.loops.replies import refusal
from contact_ingest.sandbox.loops.rules import ContactChange
from contact_ingest.sandbox.messages import Rejected

NOT_FOUND = "userId not found and cannot create a new contact without an email."


@dataclass(slots=True, repr=False)
class Contact:
    """A contact. `left` has the lists that the contact left in the preference centre."""

    id: str
    email: str | None = None
    user_id: str | None = None
    subscribed: bool = True
    values: dict[str, Any] = field(default_factory=lambda: {"source": "API"})
    lists: set[str] = field(default_factory=set)
    left: frozenset[str] = frozenset()

    def public(self) -> dict[str, Any]:
        """The contact as replies show it. `mailingLists` has only the lists that the contact is in."""
        return {
            "id": self.id,
            "email": self.email,
            "userId": self.user_id,
            "subscribed": self.subscribed,
            **self.values,
            "mailingLists": dict.fromkeys(sorted(self.lists), True),
            "optInStatus": None,
        }


class Contacts:
    """The contacts, indexed by address and by userId. `counts` is a part of /sandbox/totals."""

    def __init__(self) -> None:
        self._all: list[Contact] = []
        self._by_email: dict[str, Contact] = {}
        self._by_user_id: dict[str, Contact] = {}
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def after(self, n: int, limit: int) -> list[dict[str, Any]]:
        return [{"n": number, **each.public()} for number, each in enumerate(self._all[n : n + limit], n + 1)]

    def find(self, email: str | None, user_id: str | None, dials: LoopsDials) -> Contact | None:
        by_email = self._by_email.get(_key(email, dials)) if email is not None else None
        return by_email or (self._by_user_id.get(user_id) if user_id is not None else None)

    def create(self, change: ContactChange, dials: LoopsDials) -> Contact:
        if self.find(change.email, change.user_id, dials):
            raise Rejected(refusal(409))
        return self._apply(self._add(), change, dials)

    def update(self, change: ContactChange, dials: LoopsDials) -> Contact:
        by_email = self.find(change.email, None, dials)
        by_user_id = self.find(None, change.user_id, dials)
        if by_email and by_user_id and by_email is not by_user_id:
            if dials.loops_cross_match != "email":
                raise Rejected(refusal(int(dials.loops_cross_match), "email and userId belong to different contacts"))
            by_user_id.user_id = None
        found = by_email or by_user_id
        if found is None and change.email is None and dials.loops_user_id_alone == "400":
            raise Rejected(refusal(400, NOT_FOUND))
        return self._apply(found or self._add(), change, dials)

    def delete(self, contact: Contact, dials: LoopsDials) -> None:
        self._all.remove(contact)
        if contact.email is not None:
            self._by_email.pop(_key(contact.email, dials), None)
        if contact.user_id is not None:
            self._by_user_id.pop(contact.user_id, None)

    def seed(self, given: dict[str, Any], dials: LoopsDials) -> None:
        """Add a contact past all rules, in the form that `public` gives, and optionally with `left`."""
        own = {"id", "n", "email", "userId", "subscribed", "mailingLists", "optInStatus", "left"}
        values = {name: value for name, value in given.items() if name not in own}
        contact = self._add()
        self._apply(contact, ContactChange(given.get("email"), given.get("userId"), None, values), dials)
        contact.lists.update(name for name, inside in given.get("mailingLists", {}).items() if inside)
        contact.subscribed = bool(given.get("subscribed", True))
        contact.left = frozenset(given.get("left", ()))

    def _add(self) -> Contact:
        contact = Contact("c" + secrets.token_hex(12))
        self._all.append(contact)
        return contact

    def _apply(self, contact: Contact, change: ContactChange, dials: LoopsDials) -> Contact:
        if change.email is not None:
            if contact.email is not None:
                self._by_email.pop(_key(contact.email, dials), None)
            contact.email = change.email
            self._by_email[_key(change.email, dials)] = contact
        if change.user_id is not None:
            if contact.user_id is not None:
                self._by_user_id.pop(contact.user_id, None)
            contact.user_id = change.user_id
            self._by_user_id[change.user_id] = contact
        contact.values.update(change.values)
        self._subscribe(contact, change)
        self.counts["unknown_properties"] += change.unknown
        self.counts["unsuited_values"] += change.unsuited
        return contact

    def _subscribe(self, contact: Contact, change: ContactChange) -> None:
        if change.subscribed is not None:
            self.counts["resubscribed"] += change.subscribed and not contact.subscribed
            contact.subscribed = change.subscribed
        for list_id, wanted in change.lists.items():
            if not wanted:
                contact.lists.discard(list_id)
            elif not contact.subscribed or list_id in contact.left:
                self.counts["list_adds_ignored"] += 1
            else:
                contact.lists.add(list_id)


def _key(email: str, dials: LoopsDials) -> str:
    return email.lower() if dials.loops_email_case == "folded" else email
