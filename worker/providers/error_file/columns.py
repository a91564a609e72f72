"""Finds in a table of unknown columns which contact each row means, and why it failed.

A column is judged by its content first, then by its name. Only text that is an identifier of the batch (`known` says
so) names a contact. A column that counts rows, or holds codes, names nobody as long as another column does. Reading the
table out of a file is the task of `reader`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.letter_case import folded
from contact_ingest.model.verdicts import RowError

#: Whether a text, in lower case, is an identifier of a contact of the batch.
Known = Callable[[str], bool]
#: One row of a file as (column name or position, cell): `[("email", "ann@example.com"), ("error", "bad domain")]`.
Row = list[tuple[str, str]]

#: Most characters of a cell, and of a reason.
MAX_CELL = 1_000
MAX_REASON = 1_000
#: No identifier has more characters.
MAX_IDENTIFIER = 254
NO_REASON = "the import's error file gives no reason"

#: An e-mail address inside a text. The pattern begins at the start of a word, so that long text is searched once.
ADDRESS = re.compile(r"(?<![\w.!#$%&*+/=?^{|}~-])[\w.!#$%&*+/=?^{|}~-][\w.!#$%&'*+/=?^`{|}~-]{0,253}@[\w.-]{0,254}\w")
_WHO = re.compile(r"e-?mail|identifier|phone|external|anonymous|contact|user|value|^id$", re.IGNORECASE)
_WHY = re.compile(r"message|reason|detail|descri|cause|problem|why", re.IGNORECASE)
_ERROR = re.compile(r"err|fail|invalid", re.IGNORECASE)
_PLACE = re.compile(r"\brow|row\b|\blines?\b|index|position|^#$|^no\.?$", re.IGNORECASE)
_CODE = re.compile(r"number|count|code|status", re.IGNORECASE)


def named(rows: list[Row], known: Known) -> list[RowError]:
    """One error for each contact that the rows name, with the first reason that says anything."""
    who, why = _identifier_columns(rows, known), _reason_columns(rows, known)
    found: dict[str, str] = {}
    for row in rows:
        hits = {name: _bare(cell) for name, cell in reversed(row) if is_known(cell, known)}
        value = next((hits[name] for name in who if name in hits), "")
        if value and found.get(value, NO_REASON) == NO_REASON:
            found[value] = _reason(row, why, known)
    return [RowError(FailureCode.IMPORT_ERROR, reason, value) for value, reason in found.items()]


def without_addresses(text: str) -> str:
    """A platform's words without the addresses in them, because reasons are grouped, counted and shown."""
    return ADDRESS.sub("<address>", text)


def _identifier_columns(rows: list[Row], known: Known) -> list[str]:
    """The columns that say which contact is meant, best first. Row numbers and codes may look like identifiers, so
    after the best column only those follow that are named like one, or hold addresses or phone numbers."""
    hits: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        for name, cell in row:
            if is_known(cell, known):
                hits[name][_bare(cell)] = None

    def rank(name: str) -> tuple[bool, bool, bool, int]:
        values = list(hits[name])
        return not _counts_rows(name, values), _typical(values), bool(_WHO.search(name)), len(values)

    ranked = sorted(hits, key=rank, reverse=True)
    return ranked[:1] + [name for name in ranked[1:] if rank(name)[0] and any(rank(name)[1:3])]


def _typical(values: Iterable[str]) -> bool:
    return any("@" in value or value.startswith("+") for value in values)


def _counts_rows(name: str, values: list[str]) -> bool:
    if _PLACE.search(name) or (_CODE.search(name) and not _WHO.search(name)):
        return True
    if len(values) < 2 or not all(value.isascii() and value.isdigit() for value in values):
        return False
    first = int(values[0])
    return [int(value) for value in values] == list(range(first, first + len(values)))


def _reason_columns(rows: list[Row], known: Known) -> list[str]:
    """The columns that say why, best first: by their names, or by the length of their text where no name tells."""
    length: Counter[str] = Counter()
    for row in rows[:1_000]:
        for name, cell in row:
            length[name] += len(cell) if _is_text(cell, known) else 0
    called = {name: 2 if _WHY.search(name) else 1 for name in length if _WHY.search(name) or _ERROR.search(name)}
    return sorted(called or length, key=lambda name: (called.get(name, 0), length[name]), reverse=True)


def _reason(row: Row, columns: list[str], known: Known) -> str:
    texts = [(name, cell) for name, cell in row if _is_text(cell, known)]
    for column in columns:
        if found := dict.fromkeys(cell for name, cell in texts if name == column):
            return without_addresses("; ".join(found))[:MAX_REASON]
    return NO_REASON


def _is_text(cell: str, known: Known) -> bool:
    return bool(cell) and not cell.isdigit() and not is_known(cell, known) and not ADDRESS.fullmatch(cell)


def has_known(cells: Iterable[str], known: Known) -> bool:
    return any(is_known(cell, known) for cell in cells)


def is_known(cell: Any, known: Known) -> bool:
    if not isinstance(cell, str) or len(cell) > 2 * MAX_IDENTIFIER:
        return False
    bare = _bare(cell)
    return 0 < len(bare) <= MAX_IDENTIFIER and known(folded(bare))


def _bare(cell: str) -> str:
    """The cell without quotes and brackets around it; an address in lower case."""
    bare = cell.strip().strip("\"'`<>").strip()
    return folded(bare) if "@" in bare else bare
