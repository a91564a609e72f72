"""The contacts of the account. They are found by any field and changed field by field; keys need not be unique."""

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from contact_ingest.sandbox.emarsys.fields import EMAIL, OPT_IN
from contact_ingest.sandbox.emarsys.values import is_empty

FIRST_ID = 100_001


@dataclass(slots=True, repr=False)
class Contact:
    """A contact. `fields` has the values that are not empty, as they were sent, by field id."""

    id: int
    uid: str
    fields: dict[str, Any] = field(default_factory=dict)
    lists: set[int] = field(default_factory=set)
    source: int | None = None

    def value(self, key: str) -> Any:
        return {"id": self.id, "uid": self.uid}.get(key) or self.fields.get(key)


class Contacts:
    """The contacts. The index of a key is built when the key is first used, and kept up to date from then on."""

    def __init__(self) -> None:
        self._all: list[Contact] = []
        self._indexes: dict[str, dict[str, list[Contact]]] = {}
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def after(self, n: int, limit: int) -> list[dict[str, Any]]:
        return [
            {"n": n, "id": c.id, "uid": c.uid, "fields": c.fields, "lists": sorted(c.lists), "source_id": c.source}
            for n, c in enumerate(self._all[n : n + limit], n + 1)
        ]

    def find(self, key: str, value: Any) -> list[Contact]:
        if key not in self._indexes:
            index: dict[str, list[Contact]] = {}
            for contact in self._all:
                _enter(index, key, contact)
            self._indexes[key] = index
        return self._indexes[key].get(indexed(key, value), [])

    def add(self) -> Contact:
        contact = Contact(FIRST_ID + len(self._all), secrets.token_hex(5))
        self._all.append(contact)
        for key in self._indexes.keys() & {"id", "uid"}:
            _enter(self._indexes[key], key, contact)
        return contact

    def change(self, contact: Contact, values: Iterable[tuple[str, Any]]) -> None:
        """Change the given fields. An empty value empties its field."""
        for name, value in values:
            index = self._indexes.get(name)
            if index is not None and name in contact.fields:
                index[indexed(name, contact.fields[name])].remove(contact)
            if is_empty(value):
                self.counts["consent_cleared"] += name == OPT_IN and name in contact.fields
                contact.fields.pop(name, None)
            else:
                contact.fields[name] = value
                if index is not None:
                    _enter(index, name, contact)


def indexed(key: str, value: Any) -> str:
    """A value in the form in which keys are compared: text, and addresses in lower case."""
    return str(value).lower() if key == EMAIL else str(value)


def _enter(index: dict[str, list[Contact]], key: str, contact: Contact) -> None:
    value = contact.value(key)
    if value is not None:
        index.setdefault(indexed(key, value), []).append(contact)
