"""The contact that is to be erased, and whether a record is about it. Pure: it reads no store.

A record counts if one of its identifiers says so, as enqueued or as its destination renames it. The text of a record is
looked through first: to read every record of a long lane as JSON would take ten times as long.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from unicodedata import normalize

import orjson
from email_validator import EmailNotValidError, validate_email

from worker.errors import SettingError
from worker.rules import FieldRules


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    """Who is meant: any one of these is enough. Addresses are compared without regard to letter case."""

    email: str = ""
    external_id: str = ""
    phone_number_id: str = ""
    anonymous_id: str = ""

    def __post_init__(self) -> None:
        if not any(getattr(self, field.name).strip() for field in fields(self)):
            raise SettingError("erase", "name the contact: EMAIL, --external-id, --phone-number-id or --anonymous-id")

    def __repr__(self) -> str:
        return "Subject()"

    @property
    def identities(self) -> tuple[str, ...]:
        """As the index of contacts in flight may know them."""
        others = ((name, getattr(self, name)) for name in ("external_id", "phone_number_id", "anonymous_id"))
        return (*(f"email:{form}" for form in self._forms()), *(f"{name}:{value}" for name, value in others if value))

    def matcher(self, rules: FieldRules) -> "Matcher":
        return Matcher(self, rules)

    def _forms(self) -> tuple[str, ...]:
        """The address in whatever way it may have been written."""
        return tuple(sorted(_forms(self.email))) if self.email.strip() else ()


class Matcher:
    """Whether records of one destination are about the subject."""

    def __init__(self, subject: Subject, rules: FieldRules) -> None:
        self._rules = rules
        self._emails = frozenset(subject._forms())  # noqa: SLF001 - the two are one
        self._others = {
            name: value
            for name in ("external_id", "phone_number_id", "anonymous_id")
            if (value := getattr(subject, name))
        }
        # An address may be written with its domain in other letters than those it is asked for by: then its first part
        # is what to look for.
        first = {form.partition("@")[0] for form in self._emails}
        sought = {normalize(form, text) for text in first for form in ("NFC", "NFD")} | set(self._others.values())
        self._signs = tuple({orjson.dumps(text).decode()[1:-1].lower() for text in sought})

    def may_hold(self, text: bytes) -> bool:
        """A quick look: False is certain."""
        lower = text.decode(errors="replace").lower()
        return any(sign in lower for sign in self._signs)

    def is_about(self, raw: bytes) -> bool:
        """Whether a record, as enqueued, is about the subject."""
        if not self.may_hold(raw):
            return False
        return self._says_so(orjson.loads(raw)) or (
            not self._rules.is_empty and self._says_so(orjson.loads(self._rules.apply(raw)))
        )

    def _says_so(self, record: Any) -> bool:
        if not isinstance(record, Mapping):
            return False
        if any(_text(record.get(name)) == value for name, value in self._others.items()):
            return True
        return bool(self._emails) and any(not self._emails.isdisjoint(_forms(text)) for text in _addresses(record))


def _text(value: Any) -> str:
    """A number in the place of an identifier is refused by platforms, and lies among the failures."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _addresses(record: Mapping[str, Any]) -> Iterator[str]:
    others = record.get("alternate_emails")
    for value in (record.get("email"), *(others if isinstance(others, list) else ())):
        if isinstance(value, str):
            yield value


def _forms(text: str) -> set[str]:
    """An address as given and, where its letters or its domain can be written in two ways, in either."""
    folded = text.strip().lower()
    if folded.isascii() and "xn--" not in folded:
        return {folded}
    try:
        read = validate_email(folded, check_deliverability=False)
    except (EmailNotValidError, UnicodeError):
        return {folded}
    return {folded, read.normalized.lower(), f"{read.local_part}@{read.ascii_domain}".lower()}
