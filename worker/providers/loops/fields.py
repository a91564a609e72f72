"""Loops' custom properties: finds a property by name, checks a value against its type, reads and makes definitions.

A record names a property by its key, such as `planName`. A key matches exactly, or else in any letter case, and is sent
as Loops writes it. The label that Loops shows to people (`Plan Name`) is no key: two properties may share one. The
engine decides when to fetch the definitions or to create a property.

Source: the pages "Contact properties" and "API introduction", checked 2026-11-22.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.cell import CellKind
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.letter_case import folded
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers.base import UnknownFields
from contact_ingest.providers.refusal_text import counted, custom_label, kind_of, type_code

#: Most characters of "each key and value" as JSON. The quotes count, which leaves 498 for plain text. The page does not
#: say whether an escape counts as one character; counting all its characters is safe.
#: Source: "API introduction", checked 2026-11-22.
MAX_CHARACTERS = 500
#: Names with a meaning at the top level of a contact; none can be a custom property. `optInStatus` is read-only.
#: Source: official OpenAPI file 1.21.6, `ContactUpdateRequest` and `Contact`, checked 2026-11-22.
TOP_LEVEL = frozenset(
    {"email", "userId", "firstName", "lastName", "source", "subscribed", "userGroup", "mailingLists", "optInStatus"}
)
#: Names that cannot be created. Source: "Contact properties", checked 2026-11-22.
RESERVED = frozenset({"id", "listId", "softDeleteAt", "teamId", "updatedAt"})
#: A date as a number counts milliseconds since 1970. A smaller number than the first is most likely seconds: as
#: milliseconds it would lie before May 1970. A larger number than the second lies after the year 9999: microseconds.
EARLIEST_MS = 10_000_000_000
LATEST_MS = 253_402_300_799_999

#: What a cell of a table becomes, by the type of its property.
CELL_KINDS: Mapping[str, CellKind] = {"number": "number", "boolean": "boolean", "date": "moment"}

_KEPT = frozenset(name.lower() for name in TOP_LEVEL | RESERVED)
#: Longest text that fits whatever it holds: JSON writes a character as six at most.
_SHORT = (MAX_CHARACTERS - 2) // 6
#: "camelCase". Source: POST /v1/contacts/properties, checked 2026-11-22.
_NAME = re.compile(rf"[a-z][A-Za-z0-9]{{0,{MAX_CHARACTERS - 3}}}")
_NUMERIC = re.compile(r"-?[0-9]{1,20}")
#: Date; hours and minutes; seconds; fraction of a second; offset from UTC. Without an offset the time is UTC.
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:([T ]\d{2}:\d{2})(?:(:\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)


def characters(text: str) -> int:
    """The length of a text as JSON, in characters; quotes and escapes count."""
    return len(orjson.dumps(text).decode())


def fits(text: str) -> bool:
    return len(text) <= _SHORT or characters(text) <= MAX_CHARACTERS


def too_long(field: str, text: str) -> Refused:
    return Refused(
        field, f"has {characters(text)} characters as JSON, over the {MAX_CHARACTERS} allowed", FailureCode.TOO_LONG
    )


def translate(
    given: Mapping[str, Any], table: FieldTable, policy: UnknownFields
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values by Loops' own names, and the names that were left out. Raises `Refused` or `FieldsNeeded`."""
    for name in given:
        _check_kept(name)
    if given and not table.fetched_ms:
        # A value goes along as a sample only where fields are to be created.
        raise FieldsNeeded(dict(given) if policy == "create" else dict.fromkeys(given))
    values: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in given.items():
        found = table.by_name.get(name) or table.find(name)
        if found is None:
            unknown[name] = value
        elif found[0] in values:
            raise Refused(
                custom_label(name), "is given twice, under names that differ in letter case", FailureCode.TWICE
            )
        else:
            values[found[0]] = _checked(name, value, found[1])
    if unknown and policy == "refuse":
        raise Refused(custom_label(min(unknown)), "is not a custom property of this team", FailureCode.UNKNOWN_FIELD)
    if policy == "create":
        _ask_for({name: value for name, value in unknown.items() if value is not None}, table)
    return values, tuple(unknown)


def definition(name: str, value: object) -> bytes:
    """The body that creates a property of the type that suits `value`: `{"name": "planName", "type": "string"}`.
    Neither name nor type can be changed later. Raises `Refused`."""
    _check_kept(name)
    if not _NAME.fullmatch(name):
        rule = f"letters and digits in camelCase, a small letter first; this has {counted(len(name), 'character')}"
        raise Refused(custom_label(name), f"cannot be created: a name is {rule}", FailureCode.UNKNOWN_FIELD)
    if isinstance(value, bool):
        kind = "boolean"
    elif isinstance(value, int | float):
        kind = "number"
    elif isinstance(value, str):
        kind = "date" if iso_date(value) else "string"
    else:
        raise Refused(
            custom_label(name), f"must be text, a number or a boolean, not {kind_of(value)}", type_code(value)
        )
    return orjson.dumps({"name": name, "type": kind})


def table_of(payload: object, now_ms: int) -> FieldTable | None:
    """The custom properties in a decoded reply; None if it holds no list of them. A name that differs from another in
    letter case alone is kept as it is; all other names are kept in lower case."""
    if not isinstance(payload, list):
        return None
    kinds: dict[str, str] = {}
    for entry in payload:
        name, kind = (entry.get("key"), entry.get("type")) if isinstance(entry, Mapping) else (None, None)
        if isinstance(name, str) and name and name.lower() not in _KEPT:
            kinds[name] = kind.lower() if isinstance(kind, str) else ""
    times = Counter(map(folded, kinds))
    return FieldTable(
        {name if times[folded(name)] > 1 else folded(name): (name, kind) for name, kind in kinds.items()}, now_ms
    )


def iso_date(text: str) -> str | None:
    """A date or a moment in a layout that Loops reads, with a fraction of three digits; None if the text is neither."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    day, minute, second, fraction, offset = (part or "" for part in match.groups())
    return day + minute + second + (f".{fraction:0<3.3}" if fraction else "") + offset


def _check_kept(name: str) -> None:
    """Raises `Refused` for a name that Loops would read as something else: consent, or who the contact is."""
    if name.lower() in _KEPT:
        raise Refused(custom_label(name), "is a name that Loops keeps for itself", FailureCode.RESERVED)


def _ask_for(samples: dict[str, Any], table: FieldTable) -> None:
    """Raises `FieldsNeeded` for properties to be created, or `Refused` if Loops would not create one of them."""
    for name, value in samples.items():
        if table.takes(name):
            rule = "is the key of several properties, in other letter cases: write it as one of them"
            raise Refused(custom_label(name), rule, FailureCode.AMBIGUOUS_FIELD)
        definition(name, value)
    if samples:
        raise FieldsNeeded(samples)


def _checked(name: str, value: Any, kind: str) -> Any:
    """The value as its property takes it. Null resets any property."""
    if value is None:
        return None
    if kind == "date":
        return _date(name, value)
    label = custom_label(name)
    takes, types = _TAKES.get(kind, _ANY)
    if type(value) not in types:
        raise Refused(
            label, f"is a {kind or 'custom'} property and takes {takes}, not {kind_of(value)}", FailureCode.WRONG_TYPE
        )
    if isinstance(value, str) and not fits(value):
        raise too_long(label, value)
    return value


_TAKES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "string": ("text", (str,)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
}
#: For a type that is not known here.
_ANY: tuple[str, tuple[type, ...]] = ("text, a number or a boolean", (str, int, float, bool))


def _date(name: str, value: Any) -> Any:
    label = custom_label(name)
    if type(value) is int or (isinstance(value, str) and _NUMERIC.fullmatch(value)):
        if EARLIEST_MS <= abs(int(value)) <= LATEST_MS:
            return value
        rule = "is a date property and takes milliseconds since 1970"
        near = abs(int(value)) < EARLIEST_MS
        hint = "these look like seconds: use 2026-01-31, or 13 digits" if near else "these lie beyond the year 9999"
        raise Refused(label, f"{rule}; {hint}", FailureCode.BAD_DATE)
    if not isinstance(value, str):
        rule = f"takes text or whole milliseconds, not {kind_of(value)}"
        raise Refused(label, f"is a date property and {rule}", FailureCode.WRONG_TYPE)
    when = iso_date(value)
    if when is None:
        rule = f"takes 2026-01-31, 2026-01-31T23:59:59Z or null, not text of {counted(len(value), 'character')}"
        raise Refused(label, f"is a date property and {rule}", FailureCode.BAD_DATE)
    return when
