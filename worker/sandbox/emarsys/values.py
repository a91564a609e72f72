"""Checks of single values, by the type of the field.

Source: contact_field_create.rst (lengths), the Swagger file of the contacts endpoints and the registry of reply codes,
checked 2026-11-22. Numbers may be texts. Null and an empty text empty a field. true and false are never valid.
"""

import re
from datetime import datetime
from typing import Any

from contact_ingest.sandbox.emarsys.fields import EMAIL, OPT_IN, Field

LENGTHS = {"shorttext": 60, "longtext": 255, "url": 255, "fax": 60}
MAX_DIGITS = 24

ADDRESS = re.compile(r"(?=.{3,255}\Z)[^\s@\"<>(),;:]{1,64}@(?:[^\s@.\"<>(),;:]{1,63}\.)+[^\s@.\"<>(),;:]{2,63}")
NUMBER = re.compile("-?[0-9]+(?:[.][0-9]+)?")
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
TIMED = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(?::[0-9]{2})?")


def is_empty(value: Any) -> bool:
    return value is None or value == ""


def as_text(value: Any) -> str | None:
    """A text or a number, as text; None for every other type."""
    return str(value) if type(value) in (str, int, float) else None


def suits(field: Field, value: Any, *, times_of_day: bool) -> bool:
    """Whether a value is valid for its field."""
    if field.kind == "voucher":
        return False
    if field.kind == "multichoice":
        return value is None or _are_choices(field, value)
    text = "" if value is None else as_text(value)
    if field.id == OPT_IN:
        return text in {"1", "2", ""}
    return text is not None and (text == "" or _suits_text(field, text, times_of_day))


def _suits_text(field: Field, text: str, times_of_day: bool) -> bool:
    if field.id == EMAIL:
        return ADDRESS.fullmatch(text) is not None
    if field.kind == "singlechoice":
        return text in field.choices
    if field.kind == "numeric":
        return NUMBER.fullmatch(text) is not None and sum(map(str.isdigit, text)) <= MAX_DIGITS
    if field.kind in {"date", "birthdate"}:
        return _is_day(text, times_of_day)
    return len(text) <= LENGTHS.get(field.kind, len(text))


def _are_choices(field: Field, value: Any) -> bool:
    return type(value) is list and bool(value) and all(as_text(each) in field.choices for each in value)


def _is_day(text: str, times_of_day: bool) -> bool:
    if not DAY.fullmatch(text) and not (times_of_day and TIMED.fullmatch(text)):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
