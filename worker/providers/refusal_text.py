"""Words for refusals: a field by its name where the name is safe to show, a value by its kind alone.

A refusal ends in logs and tables, so it never quotes a value. A field name is text from outside as well: a name that
looks like an address or a number is not shown.
"""

import re

from contact_ingest.model.failure_codes import FailureCode

#: Names that are safe to show. Other text may be an address or a number in the wrong place.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_CUSTOM = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,99}")
_WORDS = {bool: "a boolean", dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}


def field_label(name: str) -> str:
    """The name of a top-level field in a refusal: `first_name`, or `record` where the name is not safe to show."""
    return name if _FIELD.fullmatch(name) else "record"


def custom_label(name: str) -> str:
    """The name of a custom field in a refusal: `custom_fields.plan`, or `custom_fields`."""
    return f"custom_fields.{name}" if _CUSTOM.fullmatch(name) else "custom_fields"


def kind_of(value: object) -> str:
    """What a value is, in words: `text`, `a number`, `null`."""
    return _WORDS.get(type(value), "null")


def type_code(value: object) -> str:
    """The code for a value of the wrong type; null has a code of its own."""
    return FailureCode.NULL if value is None else FailureCode.WRONG_TYPE


def counted(number: int, noun: str) -> str:
    """`1 character`, `2 characters`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
