"""What a destination does to every record before the platform's own mapping: rename, drop, add constants.

Records keep the form in which they were enqueued, so that a rule mended later holds for what is retried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

CUSTOM = "custom_fields"


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """`rename` maps a field to another, `drop` names fields that are left out, `constants` are added where a record
    does not say otherwise. `custom_fields.NAME` names a custom field, on either side."""

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.rename or self.drop or self.constants)

    def apply(self, raw: bytes) -> bytes:
        """The record as this destination is to see it; what is no record stays as it is."""
        if self.is_empty:
            return raw
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw  # the platform's mapping says what is wrong with it
        if not isinstance(record, dict):
            return raw
        for name in self.drop:
            _take(record, name)
        for old, new in self.rename.items():
            found = _take(record, old)
            if found:
                _put(record, new, found[0])
        for name, value in self.constants.items():
            _put(record, name, value, over=False)
        return orjson.dumps(record)


def _place(record: dict[str, Any], name: str, *, make: bool) -> tuple[dict[str, Any], str]:
    head, _, tail = name.partition(".")
    if head != CUSTOM or not tail:
        return record, name
    inner = record.setdefault(CUSTOM, {}) if make else record.get(CUSTOM)
    return (inner if isinstance(inner, dict) else {}), tail


def _take(record: dict[str, Any], name: str) -> list[Any]:
    """The value in a list, or an empty list: null is a value."""
    place, key = _place(record, name, make=False)
    if key not in place:
        return []
    value = place.pop(key)
    if place is not record and not place:
        record.pop(CUSTOM)
    return [value]


def _put(record: dict[str, Any], name: str, value: Any, *, over: bool = True) -> None:
    place, key = _place(record, name, make=True)
    if over or key not in place:
        place[key] = value
