"""SendGrid's custom fields: finds the id of a name, converts a value to the field's type, reads and makes definitions.

A record may give a field by its name or by its id. A name matches in any letter case. An id, such as `e1_T` or `w1`,
matches exactly, and only where no field has that name. No field is created whose name is an id, or looks like one. The
engine decides when to fetch the definitions or to create a field.

Source for ids: schema `ContactRequest` of PUT /v3/marketing/contacts, whose example is `{"w1": "coffee"}`, checked
2026-11-25.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import orjson

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.cell import CellKind
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.letter_case import folded
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers.base import UnknownFields
from contact_ingest.providers.refusal_text import counted, custom_label, kind_of, type_code

#: Most characters of a value of a Text field.
#: Source: SendGrid's page on custom fields and Segment's own connector, checked 2026-11-22.
MAX_TEXT = 1_000
#: Letters, digits and underscores, not a digit first, 1 to 100 characters.
#: Source: POST /v3/marketing/field_definitions, checked 2026-11-22.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
#: Texts that look like an id: `e1_T`, `w33_N`, and `_rf2_T` of a reserved field. An id without a suffix, such as `w1`,
#: cannot be told from a name. Seen in accounts, checked 2026-11-25.
_LIKE_ID = re.compile(r"_?[a-z]{1,3}[0-9]+_[TND]", re.IGNORECASE)
#: Names that SendGrid keeps for itself. Source: GET /v3/marketing/field_definitions, checked 2026-11-22.
RESERVED = frozenset(
    {"first_name", "last_name", "email", "alternate_emails", "address_line_1", "address_line_2", "city"}
    | {"state_province_region", "postal_code", "country", "phone_number", "whatsapp", "line", "facebook"}
    | {"unique_name", "email_domains", "last_clicked", "last_opened", "last_emailed", "singlesend_id"}
    | {"automation_id", "created_at", "updated_at", "contact_id", "phone_number_id", "external_id"}
    | {"anonymous_id", "list_ids", "segment_ids"}
)

#: What a cell of a table becomes, by the type of its field.
CELL_KINDS: Mapping[str, CellKind] = {"number": "number", "date": "date"}

_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].+)?", re.ASCII)
#: Values of these types need no conversion in a field of the type named here.
_EXACT: dict[type, str] = {str: "Text", int: "Number", float: "Number"}


def translate(
    given: Mapping[str, Any], table: FieldTable, policy: UnknownFields
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values by field id, and the names that were left out. Raises `Refused` or `FieldsNeeded`."""
    if given and not table.fetched_ms:
        raise FieldsNeeded(dict(given))
    by_name = table.by_name
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in given.items():
        found = by_name.get(name) or table.find(name)
        if found is None:
            unknown.append(name)
            continue
        field_id, kind = found
        if field_id in values:
            raise Refused(custom_label(name), "is given twice, under two names of one field", FailureCode.TWICE)
        if _EXACT.get(type(value)) == kind and (kind != "Text" or len(value) <= MAX_TEXT):
            values[field_id] = value
        else:
            values[field_id] = _checked(name, value, kind)
    if not unknown or policy == "drop":
        return values, tuple(unknown)
    samples = {name: given[name] for name in unknown}
    for name, value in samples.items():
        if policy == "refuse":
            raise Refused(custom_label(name), "is not a custom field of this account", FailureCode.UNKNOWN_FIELD)
        if table.takes(name):
            rule = "cannot be created: an id of the account has these letters, in another case"
            raise Refused(custom_label(name), rule, FailureCode.UNKNOWN_FIELD)
        definition(name, value)
    raise FieldsNeeded(samples)


def check_name(name: str) -> None:
    """Raises `Refused` for a name by which SendGrid would not create a field."""
    if not NAME.fullmatch(name):
        length = counted(len(name), "character")
        rule = f"letters, digits and underscores, not a digit first, 1 to 100 of them; this has {length}"
        raise Refused(custom_label(name), f"cannot be created: a name is {rule}", FailureCode.UNKNOWN_FIELD)
    if name.lower() in RESERVED:
        raise Refused(custom_label(name), "cannot be created: SendGrid reserves this name", FailureCode.UNKNOWN_FIELD)
    if _LIKE_ID.fullmatch(name):
        rule = "cannot be created: this looks like the id of a field, and the account has no such id"
        raise Refused(custom_label(name), rule, FailureCode.UNKNOWN_FIELD)


def definition(name: str, value: object) -> bytes:
    """The body that creates a field of the type that suits `value`: `{"name": "seats", "field_type": "Number"}`. Raises
    `Refused`."""
    check_name(name)
    if type(value) in (int, float):
        kind = "Number"
    elif not isinstance(value, str):
        raise Refused(custom_label(name), f"must be text or a number, not {kind_of(value)}", type_code(value))
    else:
        kind = "Date" if value and us_date(value) else "Text"
    return orjson.dumps({"name": name, "field_type": kind})


def table_of(payload: object, now_ms: int) -> FieldTable | None:
    """The definitions in a decoded reply; None if it holds none. The reply of an account without custom fields has no
    list of them."""
    if not isinstance(payload, Mapping):
        return None
    by_name: dict[str, tuple[str, str]] = {}
    entries = payload.get("custom_fields")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping):
            continue
        name, field_id, kind = entry.get("name"), entry.get("id"), entry.get("field_type")
        if isinstance(name, str) and name and isinstance(field_id, str) and field_id:
            by_name[folded(name)] = (field_id, kind if isinstance(kind, str) else "")
    return FieldTable(by_name, now_ms)


def us_date(text: str) -> str | None:
    """A date or a moment as MM/DD/YYYY, with the day as it was written; None if the text is neither."""
    try:
        if match := _US_DATE.fullmatch(text):
            month, day, year = map(int, match.groups())
            found = date(year, month, day)
        elif _ISO_DATE.fullmatch(text):
            found = datetime.fromisoformat(text).date()
        else:
            return None
    except ValueError:
        return None
    return f"{found.month:02d}/{found.day:02d}/{found.year:04d}"


def _checked(name: str, value: object, kind: str) -> object:
    """The value as a field of this type takes it: the slow way, for dates, for types that are not known here, and for
    everything that is refused."""
    kind = kind.title()
    if value is None:
        raise Refused(custom_label(name), "null cannot be sent: leave the field out", FailureCode.NULL)
    if kind not in ("Text", "Number", "Date") and type(value) in (str, int, float):
        return value
    if kind == "Number" and type(value) in (int, float):
        return value
    if kind == "Number" or not isinstance(value, str):
        takes = "a number" if kind == "Number" else "text"
        raise Refused(
            custom_label(name), f"is a {kind} field and takes {takes}, not {kind_of(value)}", FailureCode.WRONG_TYPE
        )
    if len(value) > MAX_TEXT:
        raise Refused(
            custom_label(name), f"has {len(value)} characters, over the {MAX_TEXT} allowed", FailureCode.TOO_LONG
        )
    if kind != "Date":
        return value
    when = us_date(value)
    if when is None:
        rule = f"takes MM/DD/YYYY or an ISO 8601 date, not text of {counted(len(value), 'character')}"
        raise Refused(custom_label(name), f"is a Date field and {rule}", FailureCode.BAD_DATE)
    return when
