"""Failed records as a CSV file that a spreadsheet shows and does not execute.

A cell that a spreadsheet may read as a formula gets an apostrophe in front, which makes it text: those that begin with
= + - @, a tab, a carriage return or a line feed, also behind blanks, quotes or characters that show nothing, and in the
full-width forms that some spreadsheets take for the same. Every cell is quoted. That changes what was enqueued, a
telephone number's + for one: JSON lines is the form that loses nothing.
Source: OWASP, "CSV Injection", checked 2026-11-22.
"""

import csv
import io
import unicodedata
from collections.abc import Iterable
from typing import Any, BinaryIO

import orjson

from contact_ingest.model.identity import IDENTIFIERS
from contact_ingest.model.record import FIELDS
from contact_ingest.store.failures import Failure

#: What is said of a failure, in this order, before the record's own fields.
ABOUT = ("record", "lane", "code", "reason", "stage", "batch", "request_id", "attempts", "first_at", "last_at")
#: Custom fields get a column each, as many as a sheet has room for beside the others; what is left goes into one.
MOST_CUSTOM = 16_000
CUSTOM = "custom_fields"

_BEGINS_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b")
_BREAKS = frozenset("\t\r\n")
_QUOTES = frozenset("\"'`")


def harmless(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet could execute it."""
    for char in cell:
        if char in _BEGINS_FORMULA or char in _BREAKS:
            return f"'{cell}"
        if not (char.isspace() or char in _QUOTES or unicodedata.category(char) in ("Cc", "Cf", "Zs")):
            return cell
    return cell


class Sheet:
    """A table of failures being written. `changed` counts the cells that are no longer what they were."""

    def __init__(self, out: BinaryIO, custom: Iterable[str]) -> None:
        self._custom = sorted(set(custom))[:MOST_CUSTOM]
        self._fields = (*IDENTIFIERS, *sorted(FIELDS - {*IDENTIFIERS, CUSTOM}))
        self._text = io.TextIOWrapper(out, encoding="utf-8-sig", newline="", write_through=True)
        self._writer = csv.writer(self._text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        self.changed = 0
        self._row([*ABOUT, *self._fields, *(f"{CUSTOM}.{name}" for name in self._custom), "other"])

    def add(self, failed: Failure) -> None:
        about = failed.public(contents=False)
        record = orjson.loads(failed.raw)
        left: Any = dict(record) if isinstance(record, dict) else record
        known: list[Any] = [left.pop(name, "") if isinstance(left, dict) else "" for name in self._fields]
        custom = left.pop(CUSTOM, {}) if isinstance(left, dict) else {}
        if isinstance(custom, dict):
            known += [custom.pop(name, "") for name in self._custom]
        else:
            known += [""] * len(self._custom)
        if custom:
            left[CUSTOM] = custom
        self._row([*("" if about[name] is None else about[name] for name in ABOUT), *known, left or ""])

    def close(self) -> None:
        """The file beneath stays open: whoever opened it closes it."""
        self._text.detach()

    def _row(self, values: Iterable[Any]) -> None:
        cells = [_text(value) for value in values]
        safe = list(map(harmless, cells))
        self.changed += sum(one is not other for one, other in zip(cells, safe, strict=True))
        self._writer.writerow(safe)


def custom_names(failures: Iterable[Failure]) -> set[str]:
    """The custom fields that any of these records has: each is a column."""
    names: set[str] = set()
    for failed in failures:
        record = orjson.loads(failed.raw)
        custom = record.get(CUSTOM) if isinstance(record, dict) else None
        if isinstance(custom, dict) and len(names) < MOST_CUSTOM:
            names.update(custom)
    return names


def _text(value: Any) -> str:
    """A value as a cell: text as it is, nothing as an empty cell, several addresses as `enqueue FILE` reads them."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, list) and value and all(isinstance(item, str) and not {*";|"} & {*item} for item in value):
        return ";".join(value)
    return orjson.dumps(value).decode()
