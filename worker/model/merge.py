"""Merging records of one contact, and "newest wins" field by field.

`merge_records` makes one record of two. `without_newer_fields` takes from an older record, which has failed, the fields
that a newer one sets.

On one lane the record with the higher number is newer. Numbers of two lanes cannot be compared: there the record that
left its lane later is newer (`packed_version`), and a record that has not left yet is newer than all that have.

A merged record remembers for each field which record set it (`field_versions`). So a record that failed between two
merged ones keeps the fields that only it sets, and loses the fields that were set after it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from contact_ingest.model.identity import IDENTIFIERS
from contact_ingest.model.letter_case import folded
from contact_ingest.model.record import MAP_FIELDS, QueuedRecord
from contact_ingest.model.verdicts import FieldTable

_CUSTOM = "custom_fields"
#: Which record set a field: its number, and the version with which it left its lane (0: it has not left).
FieldVersion = tuple[int, int]


def _as_given(path: str) -> str:
    return path


def merge_records(older: QueuedRecord, newer: QueuedRecord, field_of: Callable[[str], str] = _as_given) -> QueuedRecord:
    """Both records as one, with the newer one's number. The numbers must be of one lane.

    `field_of` gives the field that a path names at the platform: `phone` and `phone_number` may be one field. Of two
    names of one field the newer record's stays.

    A field that the newer record has from a record older than `older` gives way to that of `older`.
    """
    if newer.field_versions:
        # Identifiers that both set are the same, so they may be taken from the older record as well.
        newer = without_newer_fields(newer, older, same_lane=True, identifiers=(), field_of=field_of)
    old, new = orjson.loads(older.raw), orjson.loads(newer.raw)
    set_by_newer = set(field_paths(new))
    _remove_other_names(old, set_by_newer, field_of)
    known = _known_versions(older)
    inherited = (
        (path, *known.get(path, (older.seq, older.packed_version)))
        for path in field_paths(old)
        if path not in set_by_newer
    )
    # A copy: the bytes that orjson returns keep 4 KB of memory alive, however short they are.
    raw = b"%b" % orjson.dumps(merge_fields(old, new))
    return replace(
        newer,
        raw=raw,
        merged=(*older.merged, older.seq, *newer.merged),
        attempts=max(older.attempts, newer.attempts),
        first_ms=older.first_ms or newer.first_ms,
        field_versions=(*(known for known in newer.field_versions if known[0] in set_by_newer), *inherited),
    )


def merge_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Both records as one: the newer value of each field, and of each custom field and mailing list."""
    both = {**old, **new}
    for field in MAP_FIELDS:
        before, after = old.get(field), new.get(field)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            both[field] = {**before, **after}
    return both


def with_packed_version(queued: QueuedRecord, version: int) -> QueuedRecord:
    """The record as it leaves its lane with that version. Versions that are set already stay."""
    field_versions = tuple((path, seq, known or version) for path, seq, known in queued.field_versions)
    return replace(queued, packed_version=queued.packed_version or version, field_versions=field_versions)


def without_newer_fields(
    old: QueuedRecord,
    newer: QueuedRecord,
    *,
    same_lane: bool,
    identifiers: Collection[str] = IDENTIFIERS,
    field_of: Callable[[str], str] = _as_given,
) -> QueuedRecord:
    """The old record without the fields for which the other one has a newer value.

    `identifiers` are the paths of what identifies a contact at the platform, as records name it. They stay.
    `field_of` is that of `merge_records`.
    """
    record = orjson.loads(old.raw)
    rivals: dict[str, FieldVersion] = {}
    for path, version in _field_versions(newer, orjson.loads(newer.raw)).items():
        name = _comparable(field_of(path))
        if name not in rivals or _is_newer(version, rivals[name], same_lane=same_lane):
            rivals[name] = version
    overridden = [
        path
        for path, version in _field_versions(old, record).items()
        if path not in identifiers and _is_overridden(field_of(path), version, rivals, same_lane=same_lane)
    ]
    if not overridden:
        return old
    for path in overridden:
        _remove(record, path)
    return replace(old, raw=orjson.dumps(record))


def with_spellings(queued: QueuedRecord, fields: FieldTable) -> QueuedRecord:
    """The record with each custom field under all its names, as `without_newer_fields` needs a newer record: an older
    one may have given the field by its id, and this one by its name."""
    record = orjson.loads(queued.raw)
    given = record.get(_CUSTOM) if isinstance(record, Mapping) else None
    if not isinstance(given, Mapping):
        return queued
    others = {name: [other for other in fields.spellings(name) if other != name] for name in given}
    if not any(others.values()):
        return queued
    record[_CUSTOM] = {**{other: given[name] for name in others for other in others[name]}, **given}
    known = _known_versions(queued)
    more = (
        (f"{_CUSTOM}.{other}", *known[path])
        for name, found in others.items()
        if (path := f"{_CUSTOM}.{name}") in known
        for other in found
    )
    return replace(queued, raw=orjson.dumps(record), field_versions=(*more, *queued.field_versions))


def _known_versions(queued: QueuedRecord) -> dict[str, FieldVersion]:
    return {path: (seq, packed_version) for path, seq, packed_version in queued.field_versions}


def _field_versions(queued: QueuedRecord, record: Mapping[str, Any]) -> dict[str, FieldVersion]:
    """Each field that the record sets, with the record that set it."""
    known, own = _known_versions(queued), (queued.seq, queued.packed_version)
    return {path: known.get(path, own) for path in field_paths(record)}


def _is_overridden(path: str, version: FieldVersion, rivals: Mapping[str, FieldVersion], *, same_lane: bool) -> bool:
    """Whether a rival sets the field later. A whole map and its entries override each other."""
    names = {_comparable(path), path.partition(".")[0]} & rivals.keys()
    if path in MAP_FIELDS:
        names |= {name for name in rivals if name.startswith(f"{path}.")}
    return any(_is_newer(rivals[name], version, same_lane=same_lane) for name in names)


def _is_newer(one: FieldVersion, other: FieldVersion, *, same_lane: bool) -> bool:
    if same_lane:
        return one[0] > other[0]
    return one[1] == 0 or one[1] > other[1]


def field_paths(record: Mapping[str, Any]) -> Iterator[str]:
    """The fields that a record sets, and the entries of its maps: `city`, `custom_fields.plan`. Identifiers too.

    A field whose own name contains such a dot is left out: no platform has one, so nothing overrides it.
    """
    for name, value in record.items():
        head, dot, _ = name.partition(".")
        if dot and head in MAP_FIELDS:
            continue
        if name in MAP_FIELDS and isinstance(value, Mapping):
            yield from (f"{name}.{entry}" for entry in value)
        else:
            yield name


def _comparable(path: str) -> str:
    """The path as it is compared: names of custom fields do not differ by case."""
    return folded(path) if path.startswith("custom_fields.") else path


def _remove_other_names(old: dict[str, Any], set_by_newer: Collection[str], field_of: Callable[[str], str]) -> None:
    """Take from the older record the fields that the newer one sets under another name."""
    others = set(map(field_of, set_by_newer))
    for path in list(field_paths(old)):
        if path not in set_by_newer and field_of(path) in others:
            _remove(old, path)


def _remove(record: dict[str, Any], path: str) -> None:
    head, dot, entry = path.partition(".")
    if not dot or head not in MAP_FIELDS:
        del record[path]
        return
    del record[head][entry]
    if not record[head]:
        del record[head]
