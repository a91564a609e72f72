"""Finds the rows of external ids that Emarsys writes otherwise than they were sent: `12` for `0012`, trimmed, or in
another letter case.

A key that is quoted as it was sent is the business of `contact.find_rows`, and so is an address in any spelling. This
is the second look, at the keys that the first one did not find. A key names a row only if it fits exactly one row in
its loose form, and no other key of the reply names that row already.
"""

from collections import defaultdict
from collections.abc import Sequence

import orjson

from contact_ingest.model.letter_case import folded
from contact_ingest.model.verdicts import RowError


def find_written_otherwise(
    rows: Sequence[bytes], failed: Sequence[RowError], found: list[list[int]], key_id: str
) -> list[list[int]]:
    """`found` with the rows of further keys. `key_id` is the field that holds the key, as in `Identity.key_id`."""
    open_errors = [place for place, error in enumerate(failed) if error.value and not found[place]]
    if not open_errors:
        return found
    taken = {row for places in found for row in places}
    rows_by_key: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        rows_by_key[loose(str(orjson.loads(row.strip(b",")).get(key_id, "")))].append(place)
    errors_by_key: defaultdict[str, list[int]] = defaultdict(list)
    for place in open_errors:
        errors_by_key[loose(failed[place].value)].append(place)
    named = list(found)
    for key, places in errors_by_key.items():
        fits = rows_by_key.get(key, [])
        if key and len(fits) == len(places) == 1 and fits[0] not in taken:
            named[places[0]] = fits
    return named


def loose(key: str) -> str:
    """The key without what Emarsys may change: blanks at its ends, letter case, leading zeros.

    ` 0012` and `12` are both `12`. A character that only looks like another stays what it is.
    """
    text = folded(key.strip(" \t\r\n"))
    return text.lstrip("0") or text[:1]
