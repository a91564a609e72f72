"""Finds in a table of unknown columns which contact each row means, and why it failed.

Only text that is an identifier of the batch (`known` says so) names a contact, and only in a column that holds
identifiers:

| the text | names a contact in |
|---|---|
| an address, or a number that begins with + | any column: nothing else looks so |
| a text with a letter and a digit, such as `C-7` | a column named like an identifier, or one without a name |
| any other text, such as `42` or `anna` | a column named `external_id`, `anonymous_id`, `identifier` or `user_id` |

A file may name other contacts beside the one that failed: a suggestion, the owner of a merged contact, a conflict. A
column such as `suggested_email` or `conflicts_with`, and a column of reasons, names nobody where a column with a plain
name, such as `email` or `identifier`, holds addresses or identifiers of the batch.

A file may list all rows with a status each. Where a column such as `status` says `ok` of a row, only rows with another
status, or with text in a column such as `error`, have failed.

Lines, rows, statuses, codes and counts are numbers too, so a bare number elsewhere names nobody, even if a contact has
the same number as its external_id. Reading the table out of a file is the task of `reader`.
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
#: A text with a letter and a digit.
_MIXED = re.compile(r"[^\W\d_].*\d|\d.*[^\W\d_]", re.DOTALL)
#: Names of columns that hold identifiers for certain, of those that may, and of those that hold something else though
#: a word in their name says otherwise: `external_id_count`, `identifier type`, `user status`.
_SURELY_WHO = re.compile(r"identifier|external|anonymous|(?:^|[\W_])user[\W_]?id", re.IGNORECASE)
_WHO = re.compile(r"e-?mail|identifier|phone|external|anonymous|contact|user|value|^id$", re.IGNORECASE)
_NOT_WHO = re.compile(
    r"(?:^|[^a-z])(?:rows?|lines?|index|position|number|count|total|code|status|type|kind|errors?|attempts?|time)"
    r"(?:[^a-z]|$)|(?-i:(?<=[a-z])(?:Row|Line|Index|Position|Number|Count|Code|Status|Type|Kind|Error)s?$)",
    re.IGNORECASE,
)
#: Names of columns that hold another contact than the one that failed.
_OTHER = re.compile(
    r"suggest|merge|conflict|duplicat|altern|replac|correct|propos|exist|similar|match|canonical|previous|original|owner"
    r"|manager|sender|refer|twin|(?:^|[\W_])(?:new|old|other|into|with|kept|keep|by|of|from|second|secondary|backup|dup)"
    r"(?:[\W_]|$)|(?-i:^(?:new|old|other|kept|secondary|backup)[A-Z]|(?:Of|With|Into|By)$)",
    re.IGNORECASE,
)
#: The plain names of the column of addresses. Beside one, `billing_email` is another address.
_EMAIL = re.compile(
    r"(?:(?:contact|user|subscriber|recipient|member|customer)[\W_]*)?e-?mails?(?:[\W_]*address(?:es)?)?", re.IGNORECASE
)
#: Names of columns that say how each row went, and what they say of a row that did not fail.
_OUTCOME = re.compile(
    r"(?:^|[\W_])(?:status|state|result|outcome|success|ok|succeeded)$|(?-i:Status|Result)$", re.IGNORECASE
)
_FINE = frozenset(
    {
        "ok",
        "okay",
        "success",
        "successful",
        "succeeded",
        "succeed",
        "valid",
        "accepted",
        "imported",
        "created",
        "updated",
    }
    | {
        "done",
        "complete",
        "completed",
        "processed",
        "unchanged",
        "upserted",
        "added",
        "true",
        "yes",
        "200",
        "201",
        "202",
    }
)
#: What stands for no text.
_NOTHING = frozenset({"", "-", "--", "none", "null", "nil", "n/a", "na"})
_NUMBER = re.compile(r"number", re.IGNORECASE)
_WHY = re.compile(r"message|reason|detail|descri|cause|problem|why", re.IGNORECASE)
_ERROR = re.compile(r"err|fail|invalid", re.IGNORECASE)


def named(rows: list[Row], known: Known) -> list[RowError]:
    """One error for each contact that the rows name, with the first reason that says anything."""
    who, why = _identifier_columns(rows, known), _reason_columns(rows, known)
    has_outcomes = any(_is_fine(name, cell) for row in rows for name, cell in row)
    found: dict[str, str] = {}
    for row in rows:
        if has_outcomes and not _has_failed(row):
            continue
        hits = {name: _bare(cell) for name, cell in reversed(row) if names_contact(name, cell, known)}
        value = next((hits[name] for name in who if name in hits), "")
        if value and found.get(value, NO_REASON) == NO_REASON:
            found[value] = _reason(row, why, known)
    return [RowError(FailureCode.IMPORT_ERROR, reason, value) for value, reason in found.items()]


def without_addresses(text: str) -> str:
    """A platform's words without the addresses in them, because reasons are grouped, counted and shown."""
    return ADDRESS.sub("<address>", text)


def is_outcome(column: str) -> bool:
    return bool(_OUTCOME.search(column))


def _is_fine(column: str, cell: str) -> bool:
    return is_outcome(column) and cell.strip().lower() in _FINE


def _has_failed(row: Row) -> bool:
    """Whether a row of a file with outcomes has an outcome that is not fine, or a text about an error."""
    for name, cell in row:
        text = cell.strip().lower()
        if is_outcome(name):
            if text not in _NOTHING and text not in _FINE:
                return True
        elif _is_reason(name) and text not in _NOTHING and text not in _FINE:
            return True
    return False


def _identifier_columns(rows: list[Row], known: Known) -> list[str]:
    """The columns that say which contact is meant, best first: those with addresses, those that are named like an
    identifier, those that name the most contacts. Columns with other names count only where no column with a plain name
    holds addresses or identifiers; those of other contacts and of reasons count only where there is nothing else."""
    hits: defaultdict[str, set[str]] = defaultdict(set)
    plain: set[str] = set()
    for row in rows:
        for name, cell in row:
            is_hit = names_contact(name, cell, known)
            if is_hit:
                hits[name].add(_bare(cell))
            if name not in plain and (is_hit or ADDRESS.fullmatch(_bare(cell))) and is_plain(name):
                plain.add(name)

    def rank(name: str) -> tuple[bool, bool, int]:
        return _typical(hits[name]), bool(_WHO.search(name)), len(hits[name])

    ranked = sorted(hits, key=rank, reverse=True)
    has_email = any(_EMAIL.fullmatch(name) for name in plain)
    best = [name for name in ranked if is_plain(name) or _is_unnamed(name)]
    if has_email:
        best = [name for name in best if _EMAIL.fullmatch(name) or not _is_address(name)]
    if best or plain:
        return best
    return [name for name in ranked if not is_of_another(name) and not _is_reason(name)] or ranked


def is_plain(column: str) -> bool:
    """Whether a column is named like an identifier of the contact that failed, such as `email` or `External ID`."""
    is_else = _NOT_WHO.search(_NUMBER.sub("", column)) or is_of_another(column) or _WHY.search(column)
    return bool(_WHO.search(column)) and not is_else


def is_of_another(column: str) -> bool:
    """Whether a column is named like one that holds another contact, such as `merged_into_email`."""
    return bool(_OTHER.search(column))


def _is_address(column: str) -> bool:
    return "mail" in column.lower()


def _is_reason(column: str) -> bool:
    return bool(_WHY.search(column) or (_ERROR.search(column) and not is_plain(column)))


def names_contact(column: str, cell: Any, known: Known) -> bool:
    """Whether the cell names a contact, by the table at the head of this file. A column without a name has its position
    as its name, such as `0`."""
    if not is_known(cell, known):
        return False
    text = _bare(cell)
    if _typical([text]):
        return True
    if _MIXED.search(text) and _is_unnamed(column):
        return True
    if _NOT_WHO.search(column):
        return False
    return bool((_WHO if _MIXED.search(text) else _SURELY_WHO).search(column))


def _is_unnamed(column: str) -> bool:
    return not column or column.isdigit()


def _typical(values: Iterable[str]) -> bool:
    return any("@" in value or value.startswith("+") for value in values)


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
