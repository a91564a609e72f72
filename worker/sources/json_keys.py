r"""The keys of a JSON object: names that mean a field, names that --map gives, and names that occur twice.

    {"EMAIL": "ann@example.com", "custom_fields.plan": "pro"} -> {"email": "ann@example.com", "custom_fields": {...}}

A key that means no field stays as it is. An object that gives a key twice is refused: JSON does not say which counts.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import FIELDS
from contact_ingest.sources.names import (
    CUSTOM,
    CUSTOM_PREFIX,
    disguised_field,
    field_of_key,
    safe_label,
    trim,
    visible,
)

TOO_DEEP = "nested too deeply: no platform takes that"
#: Keys whose meaning is remembered. Keys beyond that are worked out each time.
_REMEMBERED = 10_000


class KeyNames:
    """Gives the keys of objects the names of fields. `mapping` is what --map said.

    `unseen` are the mapped keys that no object has had so far.
    """

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = mapping
        self._known: dict[str, str | None] = {}
        self.unseen = set(mapping)

    def name_fields(self, record: dict[str, Any]) -> None:
        """Give keys that mean a field its name, in place. Raises `Refused` if two keys would become one field."""
        renamed = {key: target for key in record if (target := self._target(key)) is not None}
        if renamed:
            _rename(record, renamed)

    def apply_mapping(self, record: dict[str, Any]) -> None:
        """Rename the keys that --map names, in place. Raises `Refused` if two keys would become one field."""
        self.unseen.difference_update(record)
        _rename(record, self._mapping)

    def _target(self, key: str) -> str | None:
        """The other name that a key gets: that of a field, or itself without what is invisible, if --map has that."""
        try:
            return self._known[key]
        except KeyError:
            target = self._worked_out(key)
            if len(self._known) < _REMEMBERED:
                self._known[key] = target
            return target

    def _worked_out(self, key: str) -> str | None:
        if key in FIELDS or key in self._mapping:
            return None
        if (trimmed := trim(key)) in self._mapping:
            return trimmed
        field = field_of_key(key)
        if field is None and (disguised := disguised_field(key)) is not None:
            raise Refused(
                disguised,
                f"its key is written '{visible(key)}': take out or replace the characters that are shown by their code",
                FailureCode.BAD_NAME,
            )
        return field


def _rename(record: dict[str, Any], targets: Mapping[str, str]) -> None:
    moved = [(target, record.pop(key)) for key, target in targets.items() if key in record]
    moved.sort(key=lambda pair: pair[0].startswith(CUSTOM_PREFIX))  # a whole `custom_fields` before its entries
    for target, value in moved:
        if not target:
            continue
        holder, field = record, target
        owner, _, entry = target.partition(".")
        if entry:
            holder, field = record.setdefault(owner, {}), entry
            if not isinstance(holder, dict):
                raise Refused(owner, f"an object is expected, {type(holder).__name__} found", FailureCode.INVALID)
        if field in holder:
            raise Refused(safe_label(target), "given twice: by two keys that mean it", FailureCode.GIVEN_TWICE)
        holder[field] = value


def refuse_key_given_twice(data: bytes | str, record: dict[str, Any]) -> None:
    r"""Raise `Refused` if an object of `data` gives a key twice. `record` is what `data` was read as, unchanged.

    A key that is lost in reading takes its colon with it. So two counts of colons tell for nearly every record that no
    key is lost; what remains (a colon written as \u003a, deep nesting) is read a second time.
    """
    is_bytes = isinstance(data, bytes)
    colons = data.count(b":" if is_bytes else ":")  # type: ignore[arg-type]  # bytes in bytes, text in text
    custom = record.get(CUSTOM)
    if colons == len(record) + (len(custom) if type(custom) is dict else 0):
        return
    try:
        written = orjson.dumps(record).count(b":")
    except orjson.JSONEncodeError:
        written = -1
    if colons == written and (b"\\u003" if is_bytes else "\\u003") not in data:  # type: ignore[operator]
        return
    try:
        _STRICT.decode(data if isinstance(data, str) else data.decode())
    except RecursionError:
        raise Refused("record", TOO_DEEP, FailureCode.INVALID) from None


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Refused(
                safe_label(key),
                "the key occurs twice in one object, and JSON does not say which counts: leave one out",
                FailureCode.GIVEN_TWICE,
            )
        seen.add(key)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_refuse_twice, parse_int=str, parse_float=str, parse_constant=str, strict=False
)
