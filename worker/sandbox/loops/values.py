"""Checks of single values: addresses, dates, the four types of properties, and the length of keys and values.

Source: contacts/properties and api-reference/intro (loops.so/docs), checked 2026-11-22. A date is Unix time in
milliseconds, as an integer or a numeric string, or a text in one of the listed ECMA-262 layouts.
"""

import re
from datetime import datetime
from typing import Any

import orjson

from contact_ingest.sandbox.loops.dials import LoopsDials

KINDS = ("string", "number", "boolean", "date")
#: Characters, with the quotes around a text.
MAX_LENGTH = 500
#: The latest moment of ECMA-262 in Unix milliseconds; the earliest is its negative.
MAX_DATE_MS = 8_640_000_000_000_000
SECONDS_DIGITS = 10

ADDRESS = re.compile(r"(?=.{3,254}\Z)[^\s@\"<>(),;:]{1,64}@(?:[^\s@.\"<>(),;:]{1,63}\.)+[^\s@.\"<>(),;:]{2,63}")
DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{3})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
WHOLE = re.compile("-?[0-9]{1,16}")


def is_too_long(value: Any, dials: LoopsDials) -> bool:
    """Whether a key or a single value is longer than `MAX_LENGTH`."""
    if dials.loops_length_of == "characters" and type(value) is str:
        return len(value) + 2 > MAX_LENGTH
    return len(orjson.dumps(value).decode()) > MAX_LENGTH


def suits(kind: str, value: Any, dials: LoopsDials) -> bool:
    """Whether a value has the type of its property."""
    if kind == "string":
        return type(value) is str
    if kind == "number":
        return type(value) in (int, float)
    if kind == "boolean":
        return type(value) is bool
    return _is_date(value, dials)


def _is_date(value: Any, dials: LoopsDials) -> bool:
    text = str(value) if type(value) is int else value
    if type(text) is not str:
        return False
    if WHOLE.fullmatch(text):
        seconds = len(text.removeprefix("-")) == SECONDS_DIGITS and dials.loops_seconds_as_date == "400"
        return abs(int(text)) <= MAX_DATE_MS and not seconds
    if not DATE.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
