"""Emarsys's fields: finds the number of a name, checks a value against the field's type, reads and makes definitions.

System fields and custom fields are one list, known by number. A name matches in any letter case; the number and the
string id name a field too. The engine decides when to fetch the list or to create a field.

Sources: the developer documentation on system fields, on creating and listing fields; checked 2026-11-22.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import orjson

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.cell import CellKind
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.letter_case import folded
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers.base import UnknownFields
from contact_ingest.providers.refusal_text import counted, custom_label, kind_of, type_code

#: The record's name of a field, its number at Emarsys and its type. `phone` is the telephone (15), never the mobile
#: (37): a mobile number can be sent text messages, so only a record that names field 37 sets it.
NEUTRAL = {
    "email": ("3", "email"),
    "first_name": ("1", "shorttext"),
    "last_name": ("2", "shorttext"),
    "address_line_1": ("10", "longtext"),
    "city": ("11", "shorttext"),
    "state_province_region": ("12", "shorttext"),
    "postal_code": ("13", "shorttext"),
    "country": ("14", "singlechoice"),
    "phone": ("15", "shorttext"),
    "phone_number": ("15", "shorttext"),
    "opt_in": ("31", "optin"),
}
NEUTRAL_BY_ID = {field_id: name for name, (field_id, _) in reversed(NEUTRAL.items())}
#: A name of a field that has another name, to that one: `{"phone": "phone_number"}` or the reverse.
SAME_FIELDS = {name: other for name, (field_id, _) in NEUTRAL.items() if (other := NEUTRAL_BY_ID[field_id]) != name}
#: Interests, statistics, status and source: Emarsys keeps these itself.
READ_ONLY = frozenset({"0", "27", "28", "29", "30", "32", "33", "34", "36", "47", "48"})
_READ_ONLY_KINDS = frozenset({"interests", "voucher"})
#: Most characters of a text, by type. Other types have no documented limit.
MAX_TEXT = {"shorttext": 60, "longtext": 255}
#: Most digits of a number.
MAX_DIGITS = 24
#: Stands for the type of a name that several fields have.
SEVERAL = "several"

#: What a cell of a table becomes, by the type of its field.
CELL_KINDS: Mapping[str, CellKind] = {
    "numeric": "digits",
    "date": "date",
    "birthdate": "date",
    "singlechoice": "choice",
    "multichoice": "choices",
    "optin": "opt_in",
}

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII).fullmatch
_CHOICE = re.compile(r"\d{1,10}", re.ASCII).fullmatch
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].+)?", re.ASCII).fullmatch
#: The number of a field. A longer one may be a telephone number, and is not shown in a refusal.
_SHORT_ID = re.compile(r"\d{1,6}", re.ASCII).fullmatch
_ID = re.compile(r"\d{1,10}", re.ASCII).fullmatch


def label(name: str) -> str:
    """A custom field in a refusal, by name or by number: `custom_fields.Plan`, `custom_fields.4712`."""
    return f"custom_fields.{name}" if _SHORT_ID(name) else custom_label(name)


def translate(
    given: Mapping[str, Any], table: FieldTable, policy: UnknownFields
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values by field number, and the names that were left out. Raises `Refused` or `FieldsNeeded`."""
    if given and not table.fetched_ms:
        raise FieldsNeeded(dict(given))
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in given.items():
        found = table.by_name.get(name) or table.find(name)
        if found is None:
            unknown.append(name)
            continue
        field_id, kind = found
        _check_place(name, field_id, kind)
        plain = type(value) is str and len(value) <= MAX_TEXT.get(kind, -1)
        sent = value if plain else checked(label(name), value, kind)
        if values.setdefault(field_id, sent) != sent:
            raise Refused(label(name), "is given twice under two names, with two values", FailureCode.GIVEN_TWICE)
    if not unknown or policy == "drop":
        return values, tuple(unknown)
    for name in unknown:
        if policy == "refuse":
            raise Refused(label(name), "is not a field of this account", FailureCode.UNKNOWN_FIELD)
        definition(name, given[name])
    raise FieldsNeeded({name: given[name] for name in unknown})


def checked(name: str, value: object, kind: str) -> Any:
    """The value as a field of this type takes it. Empty text empties a field, except an opt-in. Raises `Refused`."""
    if type(value) is str and len(value) <= MAX_TEXT.get(kind, -1):
        return value
    if value is None:
        raise Refused(name, "null cannot be sent: leave the field out, or empty it with empty text", FailureCode.NULL)
    if kind == "multichoice":
        return _choices(name, value)
    if kind == "optin":
        return _opt_in(name, value)
    if type(value) not in (str, int, float):
        raise Refused(name, f"takes text or a number, not {kind_of(value)}", FailureCode.WRONG_TYPE)
    return value if value == "" else _CHECKS.get(kind, _text)(name, value, kind)


def definition(name: str, value: object) -> bytes:
    """The body that creates a field of the type that suits `value`: `{"name": "Plan", "application_type": "longtext"}`.
    Fields with choices cannot be created over the interface. Raises `Refused`."""
    if not name.strip() or not name.isprintable() or len(name) > MAX_TEXT["longtext"] or name.isdecimal():
        rule = f"a name is printable, not a number, and at most {MAX_TEXT['longtext']} characters"
        raise Refused(label(name), f"cannot be created: {rule}", FailureCode.UNKNOWN_FIELD)
    if type(value) in (int, float):
        kind = "numeric"
    elif not isinstance(value, str):
        raise Refused(label(name), f"must be text or a number, not {kind_of(value)}", type_code(value))
    elif _day(value):
        kind = "date"
    else:
        kind = "longtext" if len(value) <= MAX_TEXT["longtext"] else "largetext"
    return orjson.dumps({"name": name, "application_type": kind})


def table_of(data: object, now_ms: int) -> FieldTable | None:
    """The fields in the data of a reply; None if there are none that can be read."""
    entries = data if isinstance(data, list) else list(data.values()) if isinstance(data, Mapping) else None
    if entries is None:
        return None
    names: dict[str, tuple[str, str]] = {}
    others: dict[str, tuple[str, str]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        name, field_id, kind = entry.get("name"), str(entry.get("id")), str(entry.get("application_type", ""))
        if not isinstance(name, str) or not _ID(field_id):
            continue
        found = (field_id, "".join(filter(str.isalnum, kind.lower())))
        names[folded(name)] = found if names.get(folded(name), found) == found else ("", SEVERAL)
        others[field_id] = found
        if isinstance(string_id := entry.get("string_id"), str) and string_id:
            others.setdefault(folded(string_id), found)
    return FieldTable({**others, **names}, now_ms) if others else None


def _check_place(name: str, field_id: str, kind: str) -> None:
    """Raises `Refused` for a field that custom fields may not set."""
    if kind == SEVERAL:
        raise Refused(
            label(name), "is the name of several fields: give the number of the one", FailureCode.AMBIGUOUS_FIELD
        )
    if field_id in NEUTRAL_BY_ID:
        raise Refused(
            label(name), f"is a field of every record: give it as {NEUTRAL_BY_ID[field_id]}", FailureCode.RESERVED_FIELD
        )
    if field_id in READ_ONLY or kind in _READ_ONLY_KINDS:
        raise Refused(label(name), "is read-only: Emarsys keeps it by itself", FailureCode.READ_ONLY)


def _text(name: str, value: Any, kind: str) -> Any:
    length, most = len(str(value)), MAX_TEXT.get(kind)
    if most and length > most:
        raise Refused(name, f"has {length} characters, over the {most} allowed", FailureCode.TOO_LONG)
    return value


def _number(name: str, value: Any, kind: str) -> Any:
    if isinstance(value, int):
        return value  # orjson takes 64 bits, which are 20 digits at most
    if isinstance(value, str) and not _NUMBER(value):
        raise Refused(
            name,
            f"is a {kind} field and takes digits, not text of {counted(len(value), 'character')}",
            FailureCode.BAD_NUMBER,
        )
    digits = sum(map(str.isdigit, value if isinstance(value, str) else f"{value:f}".rstrip("0")))
    if digits > MAX_DIGITS:
        raise Refused(name, f"has {digits} digits, over the {MAX_DIGITS} allowed", FailureCode.TOO_LONG)
    return value


def _date(name: str, value: Any, kind: str) -> Any:
    day = _day(value) if isinstance(value, str) else ""
    if not day:
        rule = f"text of {counted(len(value), 'character')}" if isinstance(value, str) else "a number"
        raise Refused(name, f"is a {kind} field and takes YYYY-MM-DD, not {rule}", FailureCode.BAD_DATE)
    return day


def _day(text: str) -> str:
    """A date as YYYY-MM-DD, or the day of a moment as it was written; empty if the text is neither."""
    match = _DATE(text)
    try:
        return date.fromisoformat(match[1]).isoformat() if match else ""
    except ValueError:
        return ""


def _choice(name: str, value: Any, kind: str) -> Any:
    if isinstance(value, float) or (isinstance(value, int) and value < 0) or not _CHOICE(str(value)):
        raise Refused(name, f"is a {kind} field and takes the number of a choice, not its text", FailureCode.BAD_CHOICE)
    return value


def _choices(name: str, value: object) -> Any:
    if not isinstance(value, list):
        raise Refused(name, f"takes a list of numbers of choices, not {kind_of(value)}", FailureCode.WRONG_TYPE)
    if not value:
        raise Refused(name, "is an empty list, which Emarsys refuses: leave the field out", FailureCode.EMPTY)
    for item in value:
        if type(item) not in (int, str):
            raise Refused(name, f"takes a list of numbers of choices, not of {kind_of(item)}", FailureCode.WRONG_TYPE)
        _choice(name, item, "multichoice")
    return value


def _opt_in(name: str, value: object) -> Any:
    """An opt-in is 1 or 2. Empty text would clear a consent silently, and booleans mean nothing to Emarsys."""
    if value not in (1, 2, "1", "2") or type(value) not in (int, str):
        what = "empty text" if value == "" else kind_of(value)
        rule = "takes 1 (yes) or 2 (no)"
        raise Refused(
            name, f"{rule}, not {'another value' if type(value) in (int, float) else what}", FailureCode.BAD_OPT_IN
        )
    return value


_CHECKS: dict[str, Callable[[str, Any, str], Any]] = {
    "numeric": _number,
    "date": _date,
    "birthdate": _date,
    "singlechoice": _choice,
}
