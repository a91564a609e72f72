"""Turns a record into a SendGrid contact: checks it against the documented limits, renames fields, encodes it once.

    {"email": "Ann@Example.com", "phone": "+12015550123", "custom_fields": {"plan": "pro"}}
    {"email": "ann@example.com", "phone_number": "+12015550123", "custom_fields": {"e1_T": "pro"}}

A refusal names the field, the rule, and the length or type found, never the content. Limits are counted in characters:
SendGrid does not say in which unit it counts.

Source: schema `ContactRequest` of PUT /v3/marketing/contacts (official OpenAPI file), checked 2026-11-22.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import FIELDS
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers.base import Prepared, UnknownFields
from contact_ingest.providers.email_address import address
from contact_ingest.providers.refusal_text import field_label, kind_of
from contact_ingest.providers.sendgrid.fields import translate

#: Identifiers that count, strongest first.
IDENTIFIERS = ("email", "external_id", "phone_number_id", "anonymous_id")
#: Text fields and the most characters each may have; 0 where SendGrid names no limit. `phone` is its `phone_number`.
TEXT_FIELDS = {
    "email": 254,
    "phone_number_id": 0,
    "external_id": 254,
    "anonymous_id": 254,
    "first_name": 50,
    "last_name": 50,
    "address_line_1": 100,
    "address_line_2": 100,
    "city": 60,
    "state_province_region": 50,
    "country": 50,
    "postal_code": 0,
    "phone": 0,
    "phone_number": 0,
    "whatsapp": 0,
    "line": 0,
    "facebook": 0,
    "unique_name": 0,
}
#: `phone` is sent as `phone_number`.
SAME_FIELDS = {"phone": "phone_number"}
MAX_EMAIL = 254
MAX_ALTERNATES = 5


def _text_type(max_length: int, min_length: int) -> Any:
    meta = msgspec.Meta(min_length=min_length or None, max_length=max_length or None)
    return Annotated[str, meta] | UnsetType


_ALTERNATES: Any = list[_text_type(MAX_EMAIL, 1)]  # type: ignore[misc]
_SHAPE = msgspec.defstruct(
    "_SHAPE",
    [
        *((name, _text_type(most, int(name in IDENTIFIERS)), UNSET) for name, most in TEXT_FIELDS.items()),
        ("alternate_emails", Annotated[_ALTERNATES, msgspec.Meta(max_length=MAX_ALTERNATES)] | UnsetType, UNSET),
        ("custom_fields", dict[str, Any] | UnsetType, UNSET),
    ],
    forbid_unknown_fields=True,
    gc=False,
)
_DECODER = msgspec.json.Decoder(_SHAPE)

_E164 = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch


def prepare(raw: bytes, table: FieldTable, policy: UnknownFields) -> Prepared:
    """Raises `Refused`, or `FieldsNeeded` for custom fields that the table does not know."""
    try:
        contact: Any = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refusal(raw) from None
    changed: dict[str, Any] = {}
    identities = _identities(contact, changed)
    if not identities:
        raise Refused("record", f"needs one of {', '.join(IDENTIFIERS)}", FailureCode.NO_IDENTIFIER)
    if contact.phone is not UNSET or contact.phone_number is not UNSET:
        _rename_phone(contact, changed)
    if contact.alternate_emails is not UNSET:
        changed["alternate_emails"] = [address(text, "alternate_emails") for text in contact.alternate_emails]
    dropped: tuple[str, ...] = ()
    if contact.custom_fields is not UNSET:
        values, dropped = translate(contact.custom_fields, table, policy)
        changed["custom_fields"] = values or UNSET
    return Prepared(_encode(raw, changed), tuple(identities), dropped)


def _encode(raw: bytes, changed: Mapping[str, Any]) -> bytes:
    """The contact's bytes. Without changes they are the record's own, which `enqueue` encoded with the same encoder. A
    change to UNSET takes the field away."""
    if not changed:
        return raw
    try:
        record = orjson.loads(raw)
        for name, value in changed.items():
            if value is UNSET:
                record.pop(name, None)
            else:
                record[name] = value
        return orjson.dumps(record)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        raise Refused("record", "holds a number beyond 64 bits", FailureCode.NOT_JSON) from None


def _identities(contact: Any, changed: dict[str, Any]) -> list[str]:
    """Who the contact is: `email:ann@example.com` and the like. The address goes into `changed` in lower case."""
    identities = []
    if (given := contact.email) is not UNSET:
        email = address(given, "email")
        if email != given:
            changed["email"] = email
        identities.append("email:" + email)
    if (external_id := contact.external_id) is not UNSET:
        identities.append("external_id:" + external_id)
    if (phone := contact.phone_number_id) is not UNSET:
        identities.append("phone_number_id:" + _phone(phone, "phone_number_id"))
    if (anonymous_id := contact.anonymous_id) is not UNSET:
        identities.append("anonymous_id:" + anonymous_id)
    return identities


def _phone(text: str, field: str) -> str:
    if not _E164(text):
        raise Refused(
            field,
            "is not in E.164 form (+ and 7 to 15 digits): give --region US (or the like), or write it as +…",
            FailureCode.BAD_PHONE,
        )
    return text


def _rename_phone(contact: Any, changed: dict[str, Any]) -> None:
    """Send `phone` as `phone_number`. An empty number is a value and stays."""
    if contact.phone is UNSET:
        number = contact.phone_number
    elif contact.phone_number is UNSET or contact.phone_number == contact.phone:
        number = contact.phone
    else:
        raise Refused(
            "phone", "differs from phone_number, which is the same field at SendGrid: give one", FailureCode.BAD_PHONE
        )
    if number:
        _phone(number, "phone")
    if contact.phone is not UNSET:
        changed["phone"] = UNSET
        changed["phone_number"] = number


def _refusal(raw: bytes) -> Refused:
    """The rule that a record breaks whose shape the decoder refused."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Refused("record", "is not JSON", FailureCode.NOT_AN_OBJECT)
    if not isinstance(record, Mapping):
        return Refused("record", f"must be an object, not {kind_of(record)}", FailureCode.NOT_AN_OBJECT)
    for name, value in record.items():
        if problem := _problem(name, value):
            rule, code = problem
            return Refused(field_label(name), rule, code)
    return Refused("record", "is not a contact that SendGrid takes", FailureCode.INVALID)


def _problem(name: str, value: Any) -> tuple[str, str] | None:
    if name not in TEXT_FIELDS and name not in ("alternate_emails", "custom_fields"):
        return _absence(name), FailureCode.UNKNOWN_FIELD
    if value is None:
        return "null cannot be sent: leave the field out", FailureCode.NULL
    if name == "custom_fields":
        return None if isinstance(value, dict) else (f"must be an object, not {kind_of(value)}", FailureCode.WRONG_TYPE)
    if name == "alternate_emails":
        return _list_problem(value)
    return _text_problem(value, TEXT_FIELDS[name], required=name in IDENTIFIERS)


def _absence(name: str) -> str:
    """What to say of a field that SendGrid lacks: another platform's field, or a mistake. No field is dropped silently,
    because some fields are about consent."""
    if name not in FIELDS:
        return "is not a field that SendGrid knows: own fields go into custom_fields"
    instead = "lists go with the lane, as list_ids" if name == "mailing_lists" else "leave it out"
    return f"is a field that SendGrid does not have: {instead}"


def _list_problem(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, list):
        return f"must be a list of addresses, not {kind_of(value)}", FailureCode.WRONG_TYPE
    if len(value) > MAX_ALTERNATES:
        return f"has {len(value)} items, over the {MAX_ALTERNATES} allowed", FailureCode.TOO_MANY
    for place, item in enumerate(value, 1):
        if problem := _text_problem(item, MAX_EMAIL, required=True):
            rule, code = problem
            return f"item {place} {rule}", code
    return None


def _text_problem(value: Any, most: int, *, required: bool) -> tuple[str, str] | None:
    if not isinstance(value, str):
        return f"must be text, not {kind_of(value)}", FailureCode.NULL if value is None else FailureCode.WRONG_TYPE
    if most and len(value) > most:
        return f"has {len(value)} characters, over the {most} allowed", FailureCode.TOO_LONG
    if required and not value:
        return "is empty: leave the field out", FailureCode.EMPTY
    return None
