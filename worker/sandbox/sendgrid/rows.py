"""The rules of one contact in an upsert: fields, types, lengths, identifiers and custom values.

Source: the schema ContactRequest (github.com/twilio/sendgrid-oai) and the reserved fields of the field definitions,
checked 2026-11-22. A field that is null is invalid: the schema says string.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contact_ingest.sandbox.sendgrid.dials import SendGridDials
from contact_ingest.sandbox.sendgrid.values import PHONE, address_test, length_measure, wrong_custom_value

IDENTIFIERS = ("email", "phone_number_id", "external_id", "anonymous_id")
UNLIMITED = 1 << 62
MAX_ALTERNATES = 5
ADDRESS_LIMIT = 254

TEXT_LIMITS = {
    "email": ADDRESS_LIMIT,
    "phone_number_id": UNLIMITED,
    "external_id": 254,
    "anonymous_id": 254,
    "first_name": 50,
    "last_name": 50,
    "address_line_1": 100,
    "address_line_2": 100,
    "city": 60,
    "state_province_region": 50,
    "country": 50,
    "postal_code": UNLIMITED,
    "phone_number": UNLIMITED,
    "whatsapp": UNLIMITED,
    "line": UNLIMITED,
    "facebook": UNLIMITED,
    "unique_name": UNLIMITED,
}
#: All keys of a contact.
KEYS = frozenset({*TEXT_LIMITS, "alternate_emails", "custom_fields"})


@dataclass(frozen=True, slots=True, repr=False)
class BrokenRule:
    """The rule that a row breaks. With `import_only` the request is accepted, and the row fails in the import job."""

    field: str
    message: str
    import_only: bool = False


class RowRules:
    """The rules for the rows of one request. `kinds` has the type of each custom field by its id.

    `unknown_ids` collects the ids of custom fields that do not exist.
    """

    def __init__(self, kinds: Mapping[str, str], dials: SendGridDials) -> None:
        self.unknown_ids: dict[str, None] = {}
        self._kinds = kinds
        self._dials = dials
        self._is_address = address_test(dials)
        self._measure = length_measure(dials)

    def check(self, contact: Any) -> BrokenRule | None:
        """The first rule that a contact breaks, if any."""
        if type(contact) is not dict:
            return BrokenRule("contact", "must be an object")
        measure, limits = self._measure, TEXT_LIMITS
        later = None
        for name, value in contact.items():
            limit = limits.get(name)
            if limit is not None:
                if type(value) is not str:
                    return BrokenRule(name, "must be a string")
                if measure(value) > limit:
                    return BrokenRule(name, f"must be at most {limit} long")
            elif wrong := self._check_structured(name, value):
                if not wrong.import_only:
                    return wrong
                later = wrong
        return self._check_identifiers(contact) or later

    def _check_identifiers(self, contact: dict[str, Any]) -> BrokenRule | None:
        email = contact.get("email")
        if email is not None and not self._is_address(email):
            return BrokenRule("identifier", f"email '{email}' is not valid")
        for name in ("phone_number_id", "phone_number"):
            phone = contact.get(name)
            if phone is not None and not PHONE.fullmatch(phone):
                return BrokenRule(
                    "identifier" if name == "phone_number_id" else name, "must be a phone number in E.164"
                )
        given = [contact[name] for name in IDENTIFIERS if name in contact]
        if not given:
            return BrokenRule("identifier", "at least one identifier is required")
        return None if all(given) else BrokenRule("identifier", "must not be empty")

    def _check_structured(self, name: str, value: Any) -> BrokenRule | None:
        if name == "custom_fields":
            return self._check_custom(value)
        if name != "alternate_emails":
            return BrokenRule(name, "unknown field")
        if type(value) is not list or len(value) > MAX_ALTERNATES:
            return BrokenRule(name, f"must be an array of at most {MAX_ALTERNATES}")
        for address in value:
            if type(address) is not str:
                return BrokenRule(name, "must hold strings")
            if self._measure(address) > ADDRESS_LIMIT or not self._is_address(address):
                return BrokenRule(name, f"email '{address}' is not valid")
        return None

    def _check_custom(self, values: Any) -> BrokenRule | None:
        if type(values) is not dict:
            return BrokenRule("custom_fields", "must be an object")
        kinds, dials = self._kinds, self._dials
        for field_id, value in values.items():
            kind = kinds.get(field_id)
            if kind is None:
                self.unknown_ids[field_id] = None
            elif wrong := wrong_custom_value(kind, value, dials):
                return BrokenRule("custom_fields", f"{field_id}: {wrong}", import_only=dials.wrong_value != "request")
        return None
