"""Which column of a file is which neutral field: by its name, or by `--map column=field`.

No column is guessed: what is neither named like a field nor mapped is listed as ignored. Values are not judged here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contact_ingest.errors import Refused
from contact_ingest.model.record import CONSENT, FIELDS
from contact_ingest.sources.phones import PHONE_FIELDS
from contact_ingest.sources.rows import SourceError

CUSTOM = "custom_fields"
_CUSTOM_PREFIX = CUSTOM + "."
#: Neutral fields that hold several values; in a cell they are separated by `;` or `|`.
LIST_FIELDS = ("alternate_emails",)
_SEPARATOR = re.compile(r"[;|]")
#: A cell that no header has: an address, or a number of at least five digits.
_DATA = re.compile(r"@|^\+?\d[\d\s().-]{4,}$")


def parse_mapping(options: Iterable[str]) -> dict[str, str]:
    """Read the values of `--map`: `column=field`, `column=custom_fields.NAME`, or `column=` to leave one out."""
    mapping: dict[str, str] = {}
    for option in options:
        column, equals, target = (part.strip() for part in option.rpartition("="))
        if not equals or not column:
            raise SourceError(f"--map {option}", "write it as column=field")
        if column in mapping:
            raise SourceError(f"--map {option}", f"the column '{column}' is mapped already")
        mapping[column] = target
    check_targets(mapping)
    return mapping


def check_targets(mapping: Mapping[str, str]) -> None:
    for column, target in mapping.items():
        custom_name = target.startswith(_CUSTOM_PREFIX) and target != _CUSTOM_PREFIX
        if target and target not in FIELDS and not custom_name:
            raise SourceError(
                f"--map {column}={target}",
                f"there is no field '{target}'; the fields are {', '.join(sorted(FIELDS - {CUSTOM}))} "
                f"and {_CUSTOM_PREFIX}NAME",
            )


#: Fields that a column becomes only where --map says so: a column that happens to have this name means something else.
BY_NAME_ONLY = CONSENT | {"source", "user_group"}


def field_named(column: str) -> str | None:
    """The neutral field a column name stands for by itself, if any."""
    name = column.strip()
    plain = name.lower().replace(" ", "_").replace("-", "_")
    if plain.startswith(_CUSTOM_PREFIX) and plain != _CUSTOM_PREFIX:
        return _CUSTOM_PREFIX + name[len(_CUSTOM_PREFIX) :].strip()
    return plain if plain in FIELDS - BY_NAME_ONLY else None


@dataclass(frozen=True, slots=True)
class Plan:
    """How cells become a record. Pairs are (index of the cell, name of the field)."""

    plain: tuple[tuple[int, str], ...]
    custom: tuple[tuple[int, str], ...]
    lists: tuple[str, ...]
    phones: tuple[str, ...]
    ignored: tuple[str, ...]

    def record(self, cells: Sequence[str]) -> dict[str, Any]:
        """Cells as they stand, without the blanks around them; an empty cell is an absent field."""
        record: dict[str, Any] = {field: text for index, field in self.plain if (text := cells[index].strip())}
        if self.custom and (custom := {name: text for index, name in self.custom if (text := cells[index].strip())}):
            record[CUSTOM] = custom
        for field in self.lists:
            if field in record:
                record[field] = [part for piece in _SEPARATOR.split(record[field]) if (part := piece.strip())]
        return record


def plan_columns(name: str, header: Sequence[str], mapping: Mapping[str, str]) -> Plan:
    """Decide every column of the table `name`, or say which one cannot be decided."""
    targets = [mapping[column] if column in mapping else field_named(column) for column in header]
    if not any(targets) and any(map(_DATA.search, header)):
        raise SourceError(name, "the first line looks like data: it must name the columns")
    _check_columns(name, header, mapping, targets)
    taken = [(index, target) for index, target in enumerate(targets) if target]
    fields = {target for _, target in taken}
    return Plan(
        plain=tuple(pair for pair in taken if not pair[1].startswith(_CUSTOM_PREFIX)),
        custom=tuple((i, t.removeprefix(_CUSTOM_PREFIX)) for i, t in taken if t.startswith(_CUSTOM_PREFIX)),
        lists=tuple(field for field in LIST_FIELDS if field in fields),
        phones=tuple(field for field in PHONE_FIELDS if field in fields),
        ignored=tuple(
            column or f"(column {index + 1}, without a name)"
            for index, column in enumerate(header)
            if targets[index] is None
        ),
    )


def _check_columns(name: str, header: Sequence[str], mapping: Mapping[str, str], targets: list[str | None]) -> None:
    has = "it has: " + ", ".join(column[:60] for column in header if column)
    for column, target in mapping.items():
        if column not in header:
            raise SourceError(f"--map {column}={target}", f"the file has no column '{column}'; {has}")
    if not any(targets):
        raise SourceError(name, f"no column is named like a field: say which is which with --map column=field; {has}")
    owners: dict[str, str] = {}
    for column, field in zip(header, targets, strict=True):
        if not field:
            continue
        if field == CUSTOM:
            raise SourceError(
                f"column '{column}'",
                f"a cell holds one custom field: name it with --map '{column}={_CUSTOM_PREFIX}NAME', "
                f"or leave it out with --map '{column}='",
            )
        if field in owners:
            other = owners[field]
            raise SourceError(
                f"column '{column}'",
                f"its name occurs twice in the header of {name}: rename one"
                if other == column
                else f"{field} would come from it and from '{other}': leave one out, with --map '{other}='",
            )
        owners[field] = column


def rename_keys(record: dict[str, Any], mapping: Mapping[str, str]) -> None:
    """Rename the top-level keys of an object that the mapping names; every other key stays as it is."""
    moved = [(target, record.pop(column)) for column, target in mapping.items() if column in record]
    for target, value in moved:
        if not target:
            continue
        place, field = record, target
        if target.startswith(_CUSTOM_PREFIX):
            place, field = record.setdefault(CUSTOM, {}), target.removeprefix(_CUSTOM_PREFIX)
            if not isinstance(place, dict):
                raise Refused(CUSTOM, f"an object is expected, {type(place).__name__} found")
        if field in place:
            raise Refused(target, "given twice: by a mapped key and by another")
        place[field] = value
