"""The contacts of an account. They are found by any identifier, changed field by field, and never deleted.

Upsert semantics, checked 2026-11-22 (operation PutMarketingContacts): omitted fields keep their value, addresses are
stored in lower case, contacts are added to lists and never removed, and an update must have every identifier that the
contact already has.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

IDENTIFIERS = ("email", "phone_number_id", "external_id", "anonymous_id")

Contact = dict[str, Any]


class RowFailed(Exception):  # noqa: N818 - a verdict on a row
    """A row fails in the import job. The text is the reason in the error file."""


class Contacts:
    """The contacts, with an index for each identifier. `in_list` has the number of contacts in each list."""

    def __init__(self) -> None:
        self._all: list[Contact] = []
        self._index: dict[str, dict[str, Contact]] = {name: {} for name in IDENTIFIERS}
        self._alternates: dict[str, Contact] = {}
        self.in_list: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def after(self, n: int, limit: int) -> list[Contact]:
        """The contacts with a number above `n`, at most `limit`. Numbers count from 1, in the order of creation."""
        return self._all[n : n + limit]

    def find(self, kind: str, value: str) -> Contact | None:
        if kind != "email":
            return self._index[kind].get(value)
        return self._index["email"].get(value.lower()) or self._alternates.get(value.lower())

    def upsert(self, row: Contact, list_ids: Sequence[str], *, all_identifiers: bool) -> str:
        """Apply one row. Returns `created`, `updated` or `same`.

        With `all_identifiers`, a row without an identifier that its contact has fails.
        """
        contact = self._match(row, all_identifiers)
        result = "same"
        if contact is None:
            contact = {"n": len(self._all) + 1, "id": str(uuid4()), "custom_fields": {}, "list_ids": []}
            contact["created_at"] = contact["updated_at"] = _now()
            self._all.append(contact)
            result = "created"
        if self._change(contact, row, list_ids) and result == "same":
            contact["updated_at"] = _now()
            result = "updated"
        return result

    def _match(self, row: Contact, all_identifiers: bool) -> Contact | None:
        given = {name: _stored_form(name, row[name]) for name in IDENTIFIERS if name in row}
        found: Contact | None = None
        for name, value in given.items():
            match = self._index[name].get(value)
            if found is not None and match is not None and match is not found:
                raise RowFailed("the identifiers belong to different contacts")
            found = found or match
        if found is not None:
            for name in IDENTIFIERS:
                if name in found and (all_identifiers if name not in given else given[name] != found[name]):
                    raise RowFailed("all identifiers of the contact must be present")
        return found

    def _change(self, contact: Contact, row: Contact, list_ids: Sequence[str]) -> bool:
        changed = False
        for name, given in row.items():
            if name == "custom_fields":
                custom = contact["custom_fields"]
                if not given.items() <= custom.items():
                    custom.update(given)
                    changed = True
                continue
            value = _stored_form(name, given)
            if contact.get(name) != value:
                contact[name] = value
                changed = True
                if name in self._index:
                    self._index[name][value] = contact
                elif name == "alternate_emails":
                    self._alternates.update(dict.fromkeys(value, contact))
        for list_id in list_ids:
            if list_id not in contact["list_ids"]:
                contact["list_ids"].append(list_id)
                self.in_list[list_id] += 1
                changed = True
        return changed


def _stored_form(name: str, value: Any) -> Any:
    if name == "email":
        return value.lower()
    return [address.lower() for address in value] if name == "alternate_emails" else value


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
