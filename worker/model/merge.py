"""Who is newer, field by field: what a merged record remembers of the records it was made of, and which fields a record
that leaves takes away from an older one that has failed.

On one lane the record with the higher number is newer. Across lanes the one that left its lane later is: numbers of two
lanes cannot be compared, versions of commits can, and what has not left yet is newer than all that has. A merged record
is as new in each field as the record that set it, so that one which failed in between keeps what it alone has said, and
loses what came after it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from contact_ingest.model.identity import IDENTIFIERS
from contact_ingest.model.record import MAPS, QueuedRecord

#: Which record set a field: its number, and the version by which it left its lane (0: it has not).
FieldVersion = tuple[int, int]


def merge_records(older: QueuedRecord, newer: QueuedRecord) -> QueuedRecord:
    """Both as one under the newer number. What the newer one has from a record before the older one gives way to it."""
    if newer.field_versions:
        newer = without_newer_fields(newer, older, same_lane=True)
    old, new = orjson.loads(older.raw), orjson.loads(newer.raw)
    set_anew = set(_paths(new))
    known = _origins(older)
    inherited = (
        (path, *known.get(path, (older.seq, older.packed_version))) for path in _paths(old) if path not in set_anew
    )
    # A copy: what orjson returns keeps 4 KB alive, however short it is.
    raw = b"%b" % orjson.dumps(merge_fields(old, new))
    return replace(
        newer,
        raw=raw,
        merged=(*older.merged, older.seq, *newer.merged),
        attempts=max(older.attempts, newer.attempts),
        first_ms=older.first_ms or newer.first_ms,
        field_versions=(*(origin for origin in newer.field_versions if origin[0] in set_anew), *inherited),
    )


def with_packed_version(entry: QueuedRecord, version: int) -> QueuedRecord:
    """The entry as of the commit that took it off its lane. What had left before stays as it was."""
    field_versions = tuple((path, seq, packed_version or version) for path, seq, packed_version in entry.field_versions)
    return replace(entry, packed_version=entry.packed_version or version, field_versions=field_versions)


def without_newer_fields(old: QueuedRecord, newer: QueuedRecord, *, same_lane: bool) -> QueuedRecord:
    """What of `old` is not set anew by the other. Identifiers stay: they say whom it is about."""
    record = orjson.loads(old.raw)
    setting = {_folded(path): origin for path, origin in _fields(newer, orjson.loads(newer.raw)).items()}
    before = _fields(old, record)
    gone = [path for path, origin in before.items() if _is_beaten(path, origin, setting, same_lane=same_lane)]
    if not gone:
        return old
    for path in gone:
        _remove(record, path)
    return replace(old, raw=orjson.dumps(record))


def _origins(entry: QueuedRecord) -> dict[str, FieldVersion]:
    return {path: (seq, packed_version) for path, seq, packed_version in entry.field_versions}


def _fields(entry: QueuedRecord, record: Mapping[str, Any]) -> dict[str, FieldVersion]:
    """What an entry's record sets, and which record set it so."""
    known, own = _origins(entry), (entry.seq, entry.packed_version)
    return {path: known.get(path, own) for path in _paths(record)}


def _is_beaten(path: str, old: FieldVersion, setting: Mapping[str, FieldVersion], *, same_lane: bool) -> bool:
    """A value that takes the place of a whole map takes that of each entry, and the other way round."""
    rivals = {_folded(path), path.partition(".")[0]} & setting.keys()
    if path in MAPS:
        rivals |= {name for name in setting if name.startswith(f"{path}.")}
    return any(_is_newer(setting[name], old, same_lane=same_lane) for name in rivals)


def _is_newer(one: FieldVersion, other: FieldVersion, *, same_lane: bool) -> bool:
    if same_lane:
        return one[0] > other[0]
    return one[1] == 0 or one[1] > other[1]


def _paths(record: Mapping[str, Any]) -> Iterator[str]:
    """What a record sets: its fields, and the entries of its maps one by one. A name that only looks like such an entry
    is no field of any platform: nothing takes it away."""
    for name, value in record.items():
        head, dot, _ = name.partition(".")
        if name in IDENTIFIERS or (dot and head in MAPS):
            continue
        if name in MAPS and isinstance(value, Mapping):
            yield from (f"{name}.{entry}" for entry in value)
        else:
            yield name


def _folded(path: str) -> str:
    """Custom fields are the same in whatever letters."""
    return path.lower() if path.startswith("custom_fields.") else path


def _remove(record: dict[str, Any], path: str) -> None:
    head, dot, entry = path.partition(".")
    if not dot or head not in MAPS:
        del record[path]
        return
    del record[head][entry]
    if not record[head]:
        del record[head]


def merge_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Both records in one, the newer winning field by field, custom fields and mailing lists one by one."""
    both = {**old, **new}
    for field in MAPS:
        before, after = old.get(field), new.get(field)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            both[field] = {**before, **after}
    return both
