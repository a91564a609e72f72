"""The field mapping of a destination: rename fields, drop fields, add constants, before the platform's own mapping.

Records stay in Redis as they were enqueued, so that a mapping that is corrected later also applies to retried records.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from contact_ingest.model.cell import unmarked
from contact_ingest.model.record import MAP_FIELDS

_CUSTOM = "custom_fields"


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """`rename` maps a field to another, `drop` names fields to leave out, `constants` are set where a record has none.

    They apply in this order: drop, rename, constants. `custom_fields.NAME` names a custom field, on either side. A
    marked cell (see cell.py) that becomes a neutral field is its text there.
    Example: `FieldMapping({"company": "custom_fields.company"}, ("facebook",), {"source": "crm"})`.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.rename or self.drop or self.constants)

    def sources_of(self, names: Collection[str]) -> frozenset[str]:
        """The names under which a record has these fields before the mapping: `customer_no` for `external_id`, if that
        is what the mapping renames."""
        kept = set(names).difference(self.drop, self.rename)
        renamed = {old for old, new in self.rename.items() if new in names and old not in self.drop}
        return frozenset(kept | renamed)

    def target_of(self, path: str) -> str:
        """The name that a field has after the mapping: `city` for `town`, if that is what the mapping renames. A
        dropped field has a name that no other field has."""
        if path in self.drop:
            return f"\0{path}"
        for old, new in self.rename.items():
            if path == old:
                path = new
        return path

    @property
    def renamed_maps(self) -> frozenset[str]:
        """The names under which records have a whole map, such as `custom_fields`, that the mapping renames, or a field
        that becomes a whole map. Their entries cannot be compared one by one."""
        renamed = (name for pair in self.rename.items() if not set(pair).isdisjoint(MAP_FIELDS) for name in pair)
        return frozenset(renamed)

    def apply(self, raw: bytes) -> bytes:
        """The record as JSON, mapped. Bytes that are no JSON object stay as they are."""
        if self.is_empty:
            return raw
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw  # the provider refuses it and names the reason
        if not isinstance(record, dict):
            return raw
        for name in self.drop:
            _pop(record, name)
        for old, new in self.rename.items():
            found = _pop(record, old)
            if found:
                _set(record, new, found[0])
        for name, value in self.constants.items():
            _set(record, name, value, replaces=False)
        return orjson.dumps(record)


def _locate(record: dict[str, Any], name: str, *, creates: bool) -> tuple[dict[str, Any], str]:
    """The object that has the field, and the field's name in it."""
    head, _, tail = name.partition(".")
    if head != _CUSTOM or not tail:
        return record, name
    custom = record.setdefault(_CUSTOM, {}) if creates else record.get(_CUSTOM)
    return (custom if isinstance(custom, dict) else {}), tail


def _pop(record: dict[str, Any], name: str) -> list[Any]:
    """Remove a field. Returns its value in a list, or an empty list: the value may be None."""
    owner, key = _locate(record, name, creates=False)
    if key not in owner:
        return []
    value = owner.pop(key)
    if owner is not record and not owner:
        record.pop(_CUSTOM)
    return [value]


def _set(record: dict[str, Any], name: str, value: Any, *, replaces: bool = True) -> None:
    owner, key = _locate(record, name, creates=True)
    if replaces or key not in owner:
        owner[key] = unmarked(value) if owner is record else value
