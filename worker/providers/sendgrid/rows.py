"""Finds the rows of a body that a complaint concerns: those with the quoted identifier, or with the refused field.

A quoted value must equal an identifier; a part of one does not count. A row number is a hint for the engine and proves
nothing here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from contact_ingest.model.letter_case import folded
from contact_ingest.model.verdicts import RowError
from contact_ingest.providers.email_address import comparable
from contact_ingest.providers.sendgrid.contact import IDENTIFIERS

#: Up to this number of texts a search in the bytes is quicker than an index over all rows.
FEW = 8


def find_rows(rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
    """For each error the positions in `rows` that it concerns; none for an error that has only a row number."""
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
    """A test whether a text in lower case is an identifier of one of these contacts. The domain of an address may be
    spelled in Unicode."""
    texts = {folded(text) for row in rows for text in _identifiers(orjson.loads(row.strip(b",")))}
    return lambda text: text in texts or ("@" in text and not text.isascii() and comparable(text) in texts)


def _places(error: RowError, by_value: dict[str, list[int]], by_field: dict[str, list[int]]) -> list[int]:
    found = {place for field_id in error.fields for place in by_field.get(field_id, ())}
    if error.value:
        found.update(place for value in _spellings(error.value) for place in by_value.get(value, ()))
    return sorted(found)


def _spellings(value: str) -> tuple[str, ...]:
    """The value as quoted, and if it may be an address also as it was sent: in lower case, with a domain in ASCII."""
    sent = comparable(value) if "@" in value else value
    return (value, sent) if sent != value else (value,)


def _identifiers(contact: dict[str, Any]) -> Iterator[str]:
    for name in IDENTIFIERS:
        if value := contact.get(name):
            yield value
    yield from contact.get("alternate_emails", ())
