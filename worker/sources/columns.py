"""The neutral field of each column of a file, decided by the column's name or by `--map column=field`.

No column is guessed: a column that is neither named like a field nor mapped is ignored, and listed as ignored. This
module checks no values; `validate_record` does.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from contact_ingest.model.record import FIELDS, MAP_FIELDS
from contact_ingest.sources.cells import LIST_FIELDS
from contact_ingest.sources.names import (
    CUSTOM,
    CUSTOM_PREFIX,
    field_of_column,
    likely_field,
    trim,
    visible,
)
from contact_ingest.sources.platform_export import READ_ONLY
from contact_ingest.sources.rows import SourceError

#: Most columns for which a message spells out a --map.
_SUGGESTED = 3
# Separates the values of a list in a cell: `a@example.com;b@example.com`.
_SEPARATOR = re.compile(r"[;|,]")
#: Matches cells that no header has: an e-mail address, or a number of at least five digits.
_DATA = re.compile(r"@|^\+?\d[\d\s().-]{4,}$")
#: The second column with the name "tags" is `tags#2` in --map, and the fifth column is `#5`.
_PLACE = re.compile(r"(.*)#([1-9][0-9]{0,5})", re.DOTALL)


def parse_mapping(options: Iterable[str]) -> dict[str, str]:
    """Read the values of `--map`, each `column=field`, `column=custom_fields.NAME`, or `column=` to leave it out.

    Returns {column: field}; an empty field means that the column is left out.
    """
    mapping: dict[str, str] = {}
    for option in options:
        column, equals, target = (trim(part) for part in option.rpartition("="))
        if not equals or not column:
            raise SourceError(f"--map {visible(option)}", "write it as column=field")
        if column in mapping:
            raise SourceError(f"--map {visible(option)}", f"the column '{visible(column)}' is mapped already")
        mapping[column] = target
    check_targets(mapping)
    return mapping


def check_targets(mapping: Mapping[str, str]) -> None:
    """Raise `SourceError` if a column is mapped to a field that does not exist."""
    for column, target in mapping.items():
        owner, _, entry = target.partition(".")
        if target and target not in FIELDS and not (owner in MAP_FIELDS and entry):
            raise SourceError(
                f"--map {visible(column)}={visible(target)}",
                f"there is no field '{visible(target)}'; the fields are {', '.join(sorted(FIELDS - {CUSTOM}))}, "
                f"mailing_lists.ID and {CUSTOM_PREFIX}NAME",
            )


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How the cells of a row become a record.

    `plain` and `custom` are pairs (index of the cell, name of the field). `lists` are the fields among them that hold
    lists. `ignored` are the names of the columns that are left out unasked, as messages show them, and `suggestions`
    the words of a `--map` for some of these.
    """

    plain: tuple[tuple[int, str], ...]
    custom: tuple[tuple[int, str], ...]
    lists: tuple[str, ...]
    ignored: tuple[str, ...]
    suggestions: tuple[str, ...]

    def fields(self, header: Sequence[str]) -> dict[str, str]:
        """The column of each field; `custom_fields.NAME` is a custom field."""
        plain = {field: header[index] for index, field in self.plain}
        return plain | {CUSTOM_PREFIX + name: header[index] for index, name in self.custom}

    def record(self, cells: Sequence[str]) -> dict[str, Any]:
        """The record of one row: {field: text without surrounding blanks}. An empty cell gives no field."""
        record: dict[str, Any] = {field: text for index, field in self.plain if (text := cells[index].strip())}
        if self.custom and (custom := {name: text for index, name in self.custom if (text := cells[index].strip())}):
            record[CUSTOM] = custom
        for field in self.lists:
            if field in record:
                record[field] = [part for piece in _SEPARATOR.split(record[field]) if (part := piece.strip())]
        return record

    def index_of(self, field: str) -> int | None:
        """The index of the cell that gives a field."""
        return next((index for index, name in self.plain if name == field), None)


def plan_columns(
    name: str, header: Sequence[str], mapping: Mapping[str, str], problem: Callable[[str], str]
) -> ColumnPlan:
    """Decide the field of every column. Raises `SourceError` with the column that cannot be decided.

    `name` is the file's name, for messages. `header` has trimmed names. `mapping` is what --map said. `problem` says
    why the destination never takes a field, or empty text: no message suggests such a field.
    """
    mapped = _mapped(header, mapping)
    targets = [mapped[index] if index in mapped else field_of_column(column) for index, column in enumerate(header)]
    if not any(targets) and any(map(_DATA.search, header)):
        raise SourceError(name, "the first line looks like data: it must name the columns")
    suggestions = tuple(islice(_suggestions(header, targets, problem), _SUGGESTED))
    if not any(targets):
        likely = any(likely_field(column) for column in header)
        example = f", such as {suggestions[0]}" if likely and suggestions else ""
        raise SourceError(
            name,
            f"no column is named like a field: say which is which with --map column=field{example}; {_has(header)}",
        )
    _check_targets_differ(name, header, targets)
    used = [(index, target) for index, target in enumerate(targets) if target]
    fields = {target for _, target in used}
    return ColumnPlan(
        plain=tuple(pair for pair in used if not pair[1].startswith(CUSTOM_PREFIX)),
        custom=tuple((i, t.removeprefix(CUSTOM_PREFIX)) for i, t in used if t.startswith(CUSTOM_PREFIX)),
        lists=tuple(field for field in LIST_FIELDS if field in fields),
        ignored=tuple(
            visible(column) or f"(column {index + 1}, without a name)"
            for index, column in enumerate(header)
            if targets[index] is None
        ),
        suggestions=suggestions,
    )


def _has(header: Sequence[str]) -> str:
    return "it has: " + ", ".join(visible(column) for column in header if column)


def _mapped(header: Sequence[str], mapping: Mapping[str, str]) -> dict[int, str]:
    """The target of each column that --map names: {index: field}. A name that several columns have names them all."""
    mapped: dict[int, str] = {}
    named_by: dict[int, str] = {}
    for column, target in mapping.items():
        places = [index for index, found in enumerate(header) if found == column] or _at_place(header, column)
        if not places:
            raise SourceError(
                f"--map {visible(column)}={visible(target)}",
                f"the file has no column '{visible(column)}'; {_has(header)}",
            )
        for index in places:
            if index in named_by and mapped[index] != target:
                raise SourceError(
                    f"--map {visible(column)}={visible(target)}",
                    f"column {index + 1} is mapped already, as '{visible(named_by[index])}'",
                )
            mapped[index], named_by[index] = target, column
    return mapped


def _at_place(header: Sequence[str], column: str) -> list[int]:
    """The column that `#5` or `tags#2` names: the fifth column, the second one called "tags"."""
    match = _PLACE.fullmatch(column)
    if match is None:
        return []
    name, number = match[1], int(match[2]) - 1
    places = [index for index, found in enumerate(header) if not name or found == name]
    return places[number : number + 1]


def _check_targets_differ(name: str, header: Sequence[str], targets: Sequence[str | None]) -> None:
    owners: dict[str, int] = {}
    for index, (column, field) in enumerate(zip(header, targets, strict=True)):
        if not field:
            continue
        shown = visible(column)
        if field == CUSTOM:
            raise SourceError(
                f"column '{shown}'",
                f"a cell holds one custom field: name it with --map '{shown}={CUSTOM_PREFIX}NAME', "
                f"or leave it out with --map '{shown}='",
            )
        if field in owners:
            first = owners[field]
            other = header[first]
            raise SourceError(
                f"column '{shown}'",
                f"its name occurs twice in the header of {name}, in columns {first + 1} and {index + 1}: leave one out "
                f"with --map '#{index + 1}=', or make it another field with --map '#{index + 1}={CUSTOM_PREFIX}NAME'"
                if other == column
                else f"{field} would come from it and from '{visible(other)}': leave one out, "
                f"with {_option(header, first, '')}",
            )
        owners[field] = index


def _suggestions(header: Sequence[str], targets: Sequence[str | None], problem: Callable[[str], str]) -> Iterator[str]:
    """The words of a --map for columns that are ignored, likely fields first: `--map 'E-mail=email'`."""
    taken = set(targets)
    others: list[tuple[int, str]] = []
    for index, column in enumerate(header):
        if targets[index] is not None or not column:
            continue
        field = likely_field(column)
        if field is not None and field not in taken and not problem(field):
            taken.add(field)
            yield _option(header, index, field)
        elif field_of_column(column) is None and column.lower() not in READ_ONLY:
            others.append((index, CUSTOM_PREFIX + visible(column)))
    for index, target in others:
        if not problem(target):
            yield _option(header, index, target)


def _option(header: Sequence[str], index: int, target: str) -> str:
    r"""A --map that names a column by its name, or by its place if the name is not unique or cannot be typed."""
    column = header[index]
    typed = column if header.count(column) == 1 and visible(column) == column and column else f"#{index + 1}"
    word = f"{typed}={target}".replace("'", "'\\''")
    return f"--map '{word}'"
