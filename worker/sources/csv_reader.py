"""Reads a CSV file with a header, row by row, with physical line numbers and strict quoting.

A broken row is rejected by itself; the rows after it are read. Cells that a row lacks at its end are empty; cells that
it has beyond the header must be empty. Every cell stays the text it is, so leading zeros survive; cells.py says
what a cell means beyond its text. The columns are decided before the first row is read. A first line `sep=;`, which
spreadsheets write and read, names the delimiter and is no header.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.sources.byte_stream import DAMAGED, DECODED_WRONGLY, MAX_LINE, NOT_UTF8, REPLACEMENT, ByteStream
from contact_ingest.sources.cells import CellReader
from contact_ingest.sources.columns import ColumnPlan, plan_columns
from contact_ingest.sources.names import field_of_column, trim
from contact_ingest.sources.rows import WHOLE_RECORD, RejectedRow, SourceError, SourceRow, escape_undecodable

_DELIMITERS = (",", ";", "\t", "|")
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t"}
_TOO_LONG = f"a line longer than {MAX_LINE:,} characters"
_NUL = "a NUL byte"
_BOM = "\ufeff"
#: The line that names the delimiter, as Excel writes it. A tab at its end may be gone from the head of the stream.
_SEP_LINE = re.compile(r'"?sep=(.?)\1*"?', re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*")
_BREAK = re.compile(r"\r\n|\r|\n")


class PhysicalLines:
    """The physical lines of a CSV file, as an iterator for `csv.reader`.

    `number` is the line that was handed out last (1-based). `record` holds the lines of the current record, and `flaw`
    what is wrong with one of them; `replaced` says that U+FFFD is in one of them. Lines of a record whose quotes never
    close can be handed out again, so that a stray quote does not swallow the rows after it. `tail` is the incomplete
    last line of a damaged gzip file.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        # Undecodable bytes become lone surrogates, which valid UTF-8 never gives: only their line is rejected.
        self._text = io.TextIOWrapper(stream.body, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._handed_back: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []
        self.flaw: str | None = None
        self.replaced = False
        self.tail: str | None = None

    def __iter__(self) -> Iterator[str]:
        readline, again = self._text.readline, self._handed_back
        while text := again.popleft() if again else readline(MAX_LINE):
            if not text.endswith(("\n", "\r")):
                if len(text) >= MAX_LINE:
                    self._skip_line()
                    text += "\n"  # marks the line as complete, should it be handed out again
                elif self._stream.damaged:
                    self.tail = text
                    return
            if len(text) > MAX_LINE:
                self.flaw = _TOO_LONG
            if not text.isascii():
                text = self._beyond_ascii(text)
            if "\0" in text:
                self.flaw = _NUL
            self.number += 1
            self.record.append(text)
            yield text

    def _beyond_ascii(self, text: str) -> str:
        """Check a line that is not plain ASCII, and take the marks off its beginning: programs add a byte order mark
        to a file that has one, and joined files have one in the middle."""
        if text.startswith(_BOM) and not self.record:
            text = text.lstrip(_BOM)
        if not _is_utf8(text):
            self.flaw = NOT_UTF8
        elif REPLACEMENT in text:
            self.replaced = True
        return text

    @property
    def first_line(self) -> int:
        """The number of the line that the current record began on."""
        return self.number - len(self.record) + 1

    def raw(self) -> str:
        """The text of the current record."""
        return escape_undecodable("".join(self.record))

    def clear_record(self) -> None:
        self.record.clear()
        self.flaw = None
        self.replaced = False

    def hand_back_all_but_first(self) -> None:
        """Drop the first line of the current record, and hand out its other lines again."""
        self.number = self.first_line
        self._handed_back.extendleft(reversed(self.record[1:]))
        self.clear_record()

    def _skip_line(self) -> None:
        while (rest := self._text.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
            pass


class CsvReader:
    """The rows of a CSV file. The constructor reads the header and decides the columns, or raises `SourceError`."""

    unseen_columns: frozenset[str] = frozenset()

    def __init__(
        self, stream: ByteStream, mapping: Mapping[str, str], cells: CellReader, delimiter: str | None
    ) -> None:
        self._stream = stream
        self._cells = cells
        self._lines = PhysicalLines(stream)
        named = _delimiter_named(stream)
        self._delimiter = _delimiter(named if delimiter is None else delimiter, stream, mapping)
        header_cells = self._read_header(skip_first=named is not None)
        self._header_start = header_cells[0]
        self._header = [_name(column) for column in header_cells]
        self._plan: ColumnPlan = plan_columns(stream.name, self._header, mapping, cells.problem)
        cells.take_columns(self._plan.fields(self._header))
        self._width = len(self._header)
        self._email = self._plan.index_of("email")
        self._short_rows = 0
        self._first_short = 0
        self.ignored_columns = self._plan.ignored

    @property
    def lines(self) -> int:
        return self._lines.number

    @property
    def notices(self) -> tuple[str, ...]:
        found = []
        if self._short_rows:
            rows = "1 row has" if self._short_rows == 1 else f"{self._short_rows} rows have"
            found.append(
                f"{rows} fewer cells than the header, the first on line {self._first_short}: these count as empty"
            )
        if self._plan.suggestions:
            found.append(f"to take an ignored column, give for example {' '.join(self._plan.suggestions)}")
        return tuple(found)

    def __iter__(self) -> Iterator[SourceRow | RejectedRow]:
        lines = self._lines
        ended = False
        while not ended:
            try:
                for cells in self._reader():
                    row = self._row(cells)
                    lines.clear_record()
                    if row is not None:
                        yield row
                ended = True
            except csv.Error as error:
                # A stray quote makes the rows after it look quoted: reject the line with the quote, read the others.
                yield RejectedRow(
                    lines.first_line, WHOLE_RECORD, f"broken quoting: {error}", escape_undecodable(lines.record[0])
                )
                lines.hand_back_all_but_first()
        if self._stream.damaged:
            yield RejectedRow(
                lines.number + 1, WHOLE_RECORD, DAMAGED, escape_undecodable(lines.tail) if lines.tail else None
            )

    def _row(self, cells: list[str]) -> SourceRow | RejectedRow | None:
        lines = self._lines
        if lines.flaw is not None:
            return self._rejected(lines.flaw)
        if not any(map(str.strip, cells)):
            return None
        if len(cells) != self._width or len(lines.record) > 1 or cells[0] == self._header_start:
            flaw = self._swallowed(cells) or self._fit(cells) or self._repeated(cells)
            if flaw:
                return self._rejected(flaw)
        record = self._plan.record(cells)
        wrong = _replacement_in(record) if lines.replaced else None
        try:
            self._cells.read(record)
        except Refused as refused:
            wrong = wrong or refused
        if wrong is not None:
            return RejectedRow(lines.first_line, wrong.field, wrong.rule, record, wrong.code)
        return SourceRow(lines.first_line, record)

    def _fit(self, cells: list[str]) -> str:
        """Make the row as wide as the header, in place. Returns what is wrong with the row, or an empty text."""
        beyond = cells[self._width :]
        if any(map(str.strip, beyond)):
            return (
                f"{self._width} columns expected, {len(cells)} found: quote a cell that has the delimiter in its text"
            )
        del cells[self._width :]
        if missing := self._width - len(cells):
            cells.extend([""] * missing)
            self._short_rows += 1
            self._first_short = self._first_short or self._lines.first_line
        return ""

    def _swallowed(self, cells: list[str]) -> str:
        """What to say of a cell over several lines that has rows in it, as behind a stray quote; else an empty text."""
        opened = self._lines.first_line
        for cell in cells:
            pieces = _BREAK.split(cell)
            if len(pieces) > 1 and self._has_rows(pieces[1:]):
                return (
                    f"a quote opens on line {opened} and closes {len(pieces) - 1} lines below, and the text between "
                    "looks like rows of this table: take out the stray quote"
                )
            opened += len(pieces) - 1
        return ""

    def _repeated(self, cells: list[str]) -> str:
        is_header = [_name(cell) for cell in cells] == self._header
        return "the header once more: were files joined? leave this line out" if is_header else ""

    def _has_rows(self, pieces: list[str]) -> bool:
        """Whether lines of a cell look like rows: an address where this table has its addresses, or as many cells."""
        rows = [piece.split(self._delimiter) for piece in pieces]
        place, width = self._email, self._width
        if place is not None:
            least = min(width, 2)
            return any(len(row) >= max(least, place + 1) and _ADDRESS.fullmatch(row[place].strip(' "')) for row in rows)
        # The last line may hold the beginning of a row only.
        whole = rows[:-1] or rows
        return width > (2 if len(rows) > 1 else 3) and all(len(row) == width for row in whole)

    def _rejected(self, rule: str) -> RejectedRow:
        return RejectedRow(self._lines.first_line, WHOLE_RECORD, rule, self._lines.raw())

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self._delimiter, skipinitialspace=True, strict=True)

    def _read_header(self, *, skip_first: bool) -> list[str]:
        """The cells with the names of the columns, from the first line that is not empty, or from the one behind it."""
        lines = self._lines
        try:
            if skip_first:
                next(text for text in lines if text.strip())
                lines.clear_record()
            header = next((cells for cells in self._reader() if any(map(str.strip, cells))), [])
        except csv.Error as error:
            raise SourceError(self._stream.name, f"the header has broken quoting: {error}") from None
        if lines.flaw is not None:
            raise SourceError(self._stream.name, f"the header has {lines.flaw}")
        lines.clear_record()
        if not header and self._stream.damaged:
            raise SourceError(self._stream.name, "the compressed file is damaged before the end of its first line")
        if not header:
            raise SourceError(self._stream.name, "has no line with the names of the columns")
        return header


def _name(column: str) -> str:
    """A column's name. Behind an invisible character quotes are part of the text, so they are taken off here."""
    name = trim(column)
    return trim(name[1:-1]) if name != column and len(name) > 2 and name[0] == name[-1] == '"' else name


def _replacement_in(record: dict[str, Any]) -> Refused | None:
    """The refusal of the first field that has U+FFFD; columns that are left out may have it."""
    for field, value in record.items():
        if any(REPLACEMENT in text for text in (value.values() if isinstance(value, dict) else value)):
            return Refused(field, DECODED_WRONGLY, FailureCode.UNREADABLE)
    return None


def _is_utf8(text: str) -> bool:
    """Whether the line's bytes were valid UTF-8: no lone surrogates in the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _delimiter_named(stream: ByteStream) -> str | None:
    """The delimiter that a line `sep=;` names; None if the file has no such line."""
    match = _SEP_LINE.fullmatch(stream.head.splitlines()[0].decode("utf-8", "replace"))
    return None if match is None else match[1] or "\t"


def _delimiter(asked: str | None, stream: ByteStream, mapping: Mapping[str, str]) -> str:
    """The delimiter asked for, or else the one that gives the most known columns, and then the most columns."""
    if asked is not None:
        asked = _NAMED_DELIMITERS.get(asked, asked)
        if len(asked) != 1 or asked in '"\r\n ':
            raise SourceError("--delimiter", "give one character, such as ; or | or tab")
        return asked
    line = stream.head.splitlines()[0].decode("utf-8", "replace")

    def columns_recognised(delimiter: str) -> tuple[int, int]:
        columns = [_name(column) for column in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
        return sum(column in mapping or field_of_column(column) is not None for column in columns), len(columns)

    return max(_DELIMITERS, key=columns_recognised)
