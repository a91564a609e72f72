"""Writes failed records as a CSV file that a spreadsheet shows and does not execute.

A cell that a spreadsheet may execute as a formula, or whose own apostrophe it would drop, gets an apostrophe in front,
which makes it text: `needs_mark` says which cells. Every cell is quoted. The apostrophe changes the value of, for
example, a telephone number that begins with +; `enqueue FILE` takes it off again, and JSON lines change nothing.
"""

import csv
import io
from collections.abc import Iterable
from typing import Any, BinaryIO

import orjson

from contact_ingest.model.cell import unmarked
from contact_ingest.model.failure import Failure
from contact_ingest.model.identity import IDENTIFIERS
from contact_ingest.model.record import FIELDS
from contact_ingest.sources.cells import needs_mark

#: The columns about the failure, in front of those of the record.
ABOUT = ("record", "lane", "code", "reason", "stage", "batch", "request_id", "attempts", "first_at", "last_at")
#: Custom fields with a column of their own: a sheet has room for 16,384 columns. The column "other" has the rest.
MOST_CUSTOM = 16_000
CUSTOM = "custom_fields"


def harmless(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet could execute or change the cell."""
    return f"'{cell}" if needs_mark(cell) else cell


class Sheet:
    """Writes failures as CSV to `out`. `custom` are the custom fields that get a column each.

    `changed` is the number of cells that got an apostrophe.
    """

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
        other: Any = dict(record) if isinstance(record, dict) else record
        known: list[Any] = [other.pop(name, "") if isinstance(other, dict) else "" for name in self._fields]
        custom = other.pop(CUSTOM, {}) if isinstance(other, dict) else {}
        if isinstance(custom, dict):
            known += [custom.pop(name, "") for name in self._custom]
        else:
            known += [""] * len(self._custom)
        if custom:
            other[CUSTOM] = custom
        self._row([*("" if about[name] is None else about[name] for name in ABOUT), *known, other or ""])

    def close(self) -> None:
        """Finish the table. The file stays open: the caller opened it and closes it."""
        self._text.detach()

    def _row(self, values: Iterable[Any]) -> None:
        cells = [_text(value) for value in values]
        safe = list(map(harmless, cells))
        self.changed += sum(one is not other for one, other in zip(cells, safe, strict=True))
        self._writer.writerow(safe)


def custom_names(failures: Iterable[Failure]) -> set[str]:
    """The names of the custom fields of these records, at most about `MOST_CUSTOM`."""
    names: set[str] = set()
    for failed in failures:
        record = orjson.loads(failed.raw)
        custom = record.get(CUSTOM) if isinstance(record, dict) else None
        if isinstance(custom, dict) and len(names) < MOST_CUSTOM:
            names.update(custom)
    return names


def _text(value: Any) -> str:
    """A value as a cell: text as it is, null as `null`, several addresses with `;` as `enqueue FILE` reads them."""
    value = unmarked(value)
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, list) and value and all(isinstance(item, str) and not {*";|,"} & {*item} for item in value):
        return ";".join(value)
    return orjson.dumps(value).decode()
