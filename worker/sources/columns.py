"""The neutral field of each column of a file, decided by the column's name or by `--map column=field`.

No column is guessed: a column that is neither named like a field nor mapped is ignored, and listed as ignored. This
module checks no values; `validate_record` does.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import CONSENT, FIELDS
from contact_ingest.sources.phones import PHONE_FIELDS
from contact_ingest.sources.rows import SourceError

CUSTOM = "custom_fields"
_CUSTOM_PREFIX = CUSTOM + "."
#: Neutral fields that hold a list. In a cell, `;` or `|` separates the values: `a@example.com;b@example.com`.
LIST_FIELDS = ("alternate_emails",)
_SEPARATOR = re.compile(r"[;|]")
#: Matches cells that no header has: an e-mail address, or a number of at least five digits.
_DATA = re.compile(r"@|^\+?\d[\d\s().-]{4,}$")


def parse_mapping(options: Iterable[str]) -> dict[str, str]:
    """Read the values of `--map`, each `column=field`, `column=custom_fields.NAME`, or `column=` to leave it out.

    Returns {column: field}; an empty field means that the column is left out.
    """
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
    """Raise `SourceError` if a column is mapped to a field that does not exist."""
    for column, target in mapping.items():
        custom_name = target.startswith(_CUSTOM_PREFIX) and target != _CUSTOM_PREFIX
        if target and target not in FIELDS and not custom_name:
            raise SourceError(
                f"--map {column}={target}",
                f"there is no field '{target}'; the fields are {', '.join(sorted(FIELDS - {CUSTOM}))} "
                f"and {_CUSTOM_PREFIX}NAME",
            )


#: Fields that need --map: a column that happens to have one of these names usually means something else.
BY_NAME_ONLY = CONSENT | {"source", "user_group"}


def field_named(column: str) -> str | None:
    """The neutral field that a column's name means without --map, if any: "First Name" is `first_name`."""
    name = column.strip()
    plain = name.lower().replace(" ", "_").replace("-", "_")
    if plain.startswith(_CUSTOM_PREFIX) and plain != _CUSTOM_PREFIX:
        return _CUSTOM_PREFIX + name[len(_CUSTOM_PREFIX) :].strip()
    return plain if plain in FIELDS - BY_NAME_ONLY else None


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How the cells of a row become a record.

    `plain` and `custom` are pairs (index of the cell, name of the field). `lists` and `phones` are the fields among
    them that hold lists and telephone numbers. `ignored` are the names of the columns that are left out unasked.
    """

    plain: tuple[tuple[int, str], ...]
    custom: tuple[tuple[int, str], ...]
    lists: tuple[str, ...]
    phones: tuple[str, ...]
    ignored: tuple[str, ...]

    def record(self, cells: Sequence[str]) -> dict[str, Any]:
        """The record of one row: {field: text without surrounding blanks}. An empty cell gives no field."""
        record: dict[str, Any] = {field: text for index, field in self.plain if (text := cells[index].strip())}
        if self.custom and (custom := {name: text for index, name in self.custom if (text := cells[index].strip())}):
            record[CUSTOM] = custom
        for field in self.lists:
            if field in record:
                record[field] = [part for piece in _SEPARATOR.split(record[field]) if (part := piece.strip())]
        return record


def plan_columns(name: str, header: Sequence[str], mapping: Mapping[str, str]) -> ColumnPlan:
    """Decide the field of every column. Raises `SourceError` with the column that cannot be decided.

    `name` is the file's name, for messages. `mapping` is what --map said.
    """
    targets = [mapping[column] if column in mapping else field_named(column) for column in header]
    if not any(targets) and any(map(_DATA.search, header)):
        raise SourceError(name, "the first line looks like data: it must name the columns")
    _check_columns(name, header, mapping, targets)
    used = [(index, target) for index, target in enumerate(targets) if target]
    fields = {target for _, target in used}
    return ColumnPlan(
        plain=tuple(pair for pair in used if not pair[1].startswith(_CUSTOM_PREFIX)),
        custom=tuple((i, t.removeprefix(_CUSTOM_PREFIX)) for i, t in used if t.startswith(_CUSTOM_PREFIX)),
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
    """Rename the top-level keys of `record` that `mapping` names, in place. Every other key stays as it is.

    Raises `Refused` if two keys would become the same field.
    """
    moved = [(target, record.pop(column)) for column, target in mapping.items() if column in record]
    for target, value in moved:
        if not target:
            continue
        holder, field = record, target
        if target.startswith(_CUSTOM_PREFIX):
            holder, field = record.setdefault(CUSTOM, {}), target.removeprefix(_CUSTOM_PREFIX)
            if not isinstance(holder, dict):
                raise Refused(CUSTOM, f"an object is expected, {type(holder).__name__} found", FailureCode.INVALID)
        if field in holder:
            raise Refused(target, "given twice: by a mapped key and by another", FailureCode.INVALID)
        holder[field] = value
