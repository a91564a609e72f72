"""How refusals speak of what they refuse: fields by name where that is safe, values by their kind alone."""

import re

from contact_ingest.model.failure_codes import FailureCode

#: Other text may be somebody's address or number in the wrong place.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_CUSTOM = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,99}")
_WORDS = {bool: "a boolean", dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}


def field_label(name: str) -> str:
    """How a top-level field is called in a refusal."""
    return name if _FIELD.fullmatch(name) else "record"


def custom_label(name: str) -> str:
    """How a custom field is called in a refusal."""
    return f"custom_fields.{name}" if _CUSTOM.fullmatch(name) else "custom_fields"


def kind_of(value: object) -> str:
    return _WORDS.get(type(value), "null")


def type_code(value: object) -> str:
    """The code of a refusal because of a value's type."""
    return FailureCode.NULL if value is None else FailureCode.WRONG_TYPE
