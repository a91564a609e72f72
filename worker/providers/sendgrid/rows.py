"""Which rows of a body a complaint concerns: those that hold the quoted value as an identifier, or the refused field.

A value counts only where it equals an identifier, never as a part of one. Row numbers are left to the engine: they
are hints and prove nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from contact_ingest.model.verdicts import RowError
from contact_ingest.providers.sendgrid.contact import IDENTIFIERS

#: Up to so many texts are searched for in the bytes; for more, one index over all rows is quicker.
FEW = 8


def find_rows(rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
    """For each error the positions in `rows`; empty where nothing matches or there is only a hint."""
    values = {value for error in failed if error.value for value in _spellings(error.value)}
    ids = {field_id for error in failed for field_id in error.fields}
    if not values and not ids:
        return [[] for _ in failed]
    if len(values) + len(ids) <= FEW:
        wanted = [orjson.dumps(text) for text in values | ids]
        places = [place for place, row in enumerate(rows) if any(text in row for text in wanted)]
    else:
        places = list(range(len(rows)))
    by_value: defaultdict[str, list[int]] = defaultdict(list)
    by_field: defaultdict[str, list[int]] = defaultdict(list)
    for place in places:
        contact = orjson.loads(rows[place].strip(b","))
        for value in set(_identifiers(contact)) & values:
            by_value[value].append(place)
        for field_id in ids.intersection(contact.get("custom_fields", ())):
            by_field[field_id].append(place)
    return [_places(error, by_value, by_field) for error in failed]


def known(rows: Sequence[bytes]) -> Callable[[str], bool]:
    """A test whether a lower-case text is an identifier of one of these contacts."""
    texts = {text.lower() for row in rows for text in _identifiers(orjson.loads(row.strip(b",")))}
    return texts.__contains__


def _places(error: RowError, by_value: dict[str, list[int]], by_field: dict[str, list[int]]) -> list[int]:
    found = {place for field_id in error.fields for place in by_field.get(field_id, ())}
    if error.value:
        found.update(place for value in _spellings(error.value) for place in by_value.get(value, ()))
    return sorted(found)


def _spellings(value: str) -> tuple[str, ...]:
    """As quoted, and lower-case if it may be an address: those are sent lower-case."""
    lower = value.lower()
    return (value, lower) if "@" in value and lower != value else (value,)


def _identifiers(contact: dict[str, Any]) -> Iterator[str]:
    for name in IDENTIFIERS:
        if value := contact.get(name):
            yield value
    yield from contact.get("alternate_emails", ())
