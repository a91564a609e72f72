"""Turns a record into a Loops contact: checks it, renames fields, encodes it once.

    {"email": "Ann@Example.com", "first_name": "Ann", "custom_fields": {"plan": "pro"}}
    {"email": "ann@example.com", "firstName": "Ann", "plan": "pro"}

`subscribed` and `mailing_lists` are sent only if the record has them: `subscribed` true undoes an opt-out, so nothing
here ever adds it. A refusal names the field, the rule, and the length or type found, never the content. Null resets a
text, as it does in Loops; an identifier and consent cannot be null.

Source: PUT /v1/contacts/update of the official OpenAPI file 1.21.6 and the page "Update a contact", checked 2026-11-22.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import FIELDS
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers.base import Prepared, UnknownFields
from contact_ingest.providers.email_address import address
from contact_ingest.providers.loops.fields import fits, too_long, translate
from contact_ingest.providers.refusal_text import field_label, kind_of, type_code

#: Identifiers that tell contacts apart, strongest first.
IDENTIFIERS = ("email", "external_id")
CUSTOM = "custom_fields"
#: The record's name of a field, and the name that Loops has for it.
NAMES: Mapping[str, str] = {
    "email": "email",
    "external_id": "userId",
    "first_name": "firstName",
    "last_name": "lastName",
    "user_group": "userGroup",
    "source": "source",
    "subscribed": "subscribed",
    "mailing_lists": "mailingLists",
}
_NEUTRAL = {own: name for name, own in NAMES.items() if own != name}


def prepare(raw: bytes, table: FieldTable, policy: UnknownFields, source: str) -> Prepared:
    """Raises `Refused`, or `FieldsNeeded` for custom fields that the table lacks. `source` goes into contacts whose
    record names none."""
    record = _record(raw)
    contact: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in record.items():
        if name in NAMES:
            contact[NAMES[name]] = _checked(name, value)
        elif name != CUSTOM:
            _check_absent(name, policy)
            dropped.append(name)
    identities = tuple(f"{name}:{contact[NAMES[name]]}" for name in IDENTIFIERS if NAMES[name] in contact)
    if not identities:
        raise Refused("record", f"needs one of {', '.join(IDENTIFIERS)}", FailureCode.NO_IDENTIFIER)
    if source:
        contact.setdefault("source", source)
    if CUSTOM in record:
        values, left_out = translate(_custom(record[CUSTOM]), table, policy)
        contact.update(values)
        dropped += left_out
    return Prepared(orjson.dumps(contact), identities, tuple(dropped))


def _record(raw: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refused("record", "is not JSON", FailureCode.NOT_AN_OBJECT) from None
    if not isinstance(record, dict):
        raise Refused("record", f"must be an object, not {kind_of(record)}", FailureCode.NOT_AN_OBJECT)
    return record


def _checked(name: str, value: Any) -> Any:
    if name == "subscribed":
        if not isinstance(value, bool):
            raise Refused(name, f"must be true or false, not {kind_of(value)}", type_code(value))
        return value
    if name == "mailing_lists":
        return _lists(value)
    if value is None and name not in IDENTIFIERS:
        return None
    return _text(name, value)


def _text(name: str, value: Any) -> str:
    if value is None:
        raise Refused(name, "null cannot be sent: leave the field out", FailureCode.NULL)
    if not isinstance(value, str):
        raise Refused(name, f"must be text, not {kind_of(value)}", FailureCode.WRONG_TYPE)
    if not value and name in IDENTIFIERS:
        raise Refused(name, "is empty: leave the field out", FailureCode.EMPTY)
    if name == "email":
        return address(value, name)
    if not fits(value):
        raise too_long(name, value)
    return value


def _lists(value: Any) -> dict[str, bool]:
    name = "mailing_lists"
    if not isinstance(value, dict):
        raise Refused(name, f"must be an object of list ids, not {kind_of(value)}", type_code(value))
    for place, (list_id, joins) in enumerate(value.items(), 1):
        if not list_id:
            raise Refused(name, f"list {place} has no id", FailureCode.EMPTY)
        if not fits(list_id):
            raise too_long(name, list_id)
        if not isinstance(joins, bool):
            raise Refused(name, f"list {place} must be true or false, not {kind_of(joins)}", type_code(joins))
    return value


def _check_absent(name: str, policy: UnknownFields) -> None:
    """Raises `Refused` for a field that Loops lacks, unless the policy drops such fields and the name is no mistake."""
    if name in _NEUTRAL:
        raise Refused(name, f"is called {_NEUTRAL[name]} in a record", FailureCode.UNKNOWN_FIELD)
    if name not in FIELDS:
        rule = "is not a field that Loops knows: own fields go into custom_fields"
        raise Refused(field_label(name), rule, FailureCode.UNKNOWN_FIELD)
    if policy != "drop":
        raise Refused(name, "Loops has no such field: put it into custom_fields", FailureCode.UNKNOWN_FIELD)


def _custom(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(CUSTOM, f"must be an object, not {kind_of(value)}", type_code(value))
    return value
