"""Applies an upsert row by row. A row that fails is named by the value of its key; the others are applied.

Source: the Swagger file of the contacts endpoints, contact_multiple_update.rst and the registry of reply codes, checked
2026-11-22. `ids` holds texts for contacts that existed and integers for new ones, in no order to rely on.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from contact_ingest.sandbox.emarsys.bodies import OWN_KEYS, UpsertRequest
from contact_ingest.sandbox.emarsys.contacts import Contact, Contacts, indexed
from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.emarsys.fields import Field
from contact_ingest.sandbox.emarsys.values import as_text, is_empty, suits

#: The marker of a row that a test made bad on purpose, such as [[emarsys-2007]]: the row fails with this reply code.
MARKER = re.compile(r"\[\[emarsys-(2[0-9]{3})\]\]")
#: The reply code of a race. A marked row meets it once for each key, as if another request had just made the contact.
RACE = 2009


class RowFailed(Exception):  # noqa: N818 - a verdict on a row
    """A row fails with a reply code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True, repr=False)
class UpsertResult:
    """The ids of created and of existing contacts, and the errors: {key value: {reply code: text}}."""

    created: list[int] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def ids(self) -> list[int | str]:
        """New contacts first: the platform finds the existing ones, creates the rest, and then updates."""
        return [*self.created, *self.existing]


class UpsertProcessor:
    """Applies upserts to the contacts."""

    def __init__(self, contacts: Contacts) -> None:
        self._contacts = contacts
        self._raced: set[str] = set()

    def apply(self, upsert: UpsertRequest, fields: dict[str, Field], dials: EmarsysDials) -> UpsertResult:
        result, seen = UpsertResult(), set[str]()
        for row in upsert.rows:
            shown = as_text(row.get(upsert.key)) or ""
            try:
                _check_key(upsert.key, row, fields)
                self._check_planted(row, shown)
                found = self._match(upsert, shown, set() if dials.emarsys_duplicate_rows == "apply" else seen)
                _check_values(upsert.key, row, fields, dials)
            except RowFailed as failure:
                result.errors.setdefault(shown, {})[str(failure.code)] = failure.message
                continue
            if found is None:
                found = self._contacts.add()
                result.created.append(found.id)
            else:
                result.existing.append(str(found.id))
            self._change(found, row, upsert)
        return result

    def _match(self, upsert: UpsertRequest, value: str, seen: set[str]) -> Contact | None:
        """The contact that a row changes; None if the row makes a new one. `seen` are the keys of earlier rows."""
        key, found = upsert.key, self._contacts.find(upsert.key, value)
        repeats = indexed(key, value) in seen
        seen.add(indexed(key, value))
        if len(found) > 1 or repeats:
            raise RowFailed(2010, f"More contacts found with the external id: {key} - {value}")
        if found and not upsert.updates:
            raise RowFailed(2009, f"Contact with the external id already exists: {key}")
        if found:
            return found[0]
        if not upsert.creates:
            raise RowFailed(2008, f"No contact found with the external id: {key} - {value}")
        if key in OWN_KEYS:
            raise RowFailed(2004, "Cannot use id or uid as key on contact creation")
        return None

    def _change(self, contact: Contact, row: dict[str, Any], upsert: UpsertRequest) -> None:
        source = row.get("source_id", upsert.source_id)
        contact.source = contact.source if source is None else source
        own = {*OWN_KEYS, "source_id"}
        self._contacts.change(contact, ((name, value) for name, value in row.items() if name not in own))
        if upsert.list_id is not None:
            contact.lists.add(upsert.list_id)

    def _check_planted(self, row: dict[str, Any], key_value: str) -> None:
        for value in row.values():
            found = MARKER.search(value) if type(value) is str and "[[" in value else None
            if found is None:
                continue
            code = int(found[1])
            if code != RACE or key_value not in self._raced:
                self._raced.add(key_value)
                raise RowFailed(code, f"Planted: {code}")


def _check_key(key: str, row: dict[str, Any], fields: dict[str, Field]) -> None:
    value = row.get(key)
    if is_empty(value):
        raise RowFailed(2005, f"No value provided for key field: {key}")
    if as_text(value) is None or (key in fields and not suits(fields[key], value, times_of_day=False)):
        raise RowFailed(2005, f"Invalid value provided for key field: {key}")


def _check_values(key: str, row: dict[str, Any], fields: dict[str, Field], dials: EmarsysDials) -> None:
    for name, value in row.items():
        if name in OWN_KEYS and name != key:
            raise RowFailed(2007, "Cannot set id or uid")
        if name == "source_id" or name in OWN_KEYS:
            continue
        known = fields.get(name)
        if known is None:
            raise RowFailed(2006, f"Invalid field id: {name}")
        if known.read_only or not suits(known, value, times_of_day=dials.emarsys_times_of_day):
            raise RowFailed(dials.emarsys_bad_value_code, f"Invalid value for field: {name}")
