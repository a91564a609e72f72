"""Reads a CSV file with a header, row by row, with physical line numbers and strict quoting.

A broken row is rejected by itself; the rows after it are read. Every cell stays the text it is, so leading zeros
survive. Custom fields stay text as well: only the provider knows a field's type. The columns are decided before the
first row is read.
"""

import csv
import io
from collections import deque
from collections.abc import Iterator, Mapping

from contact_ingest.errors import Refused
from contact_ingest.sources.byte_stream import DAMAGED, MAX_LINE, ByteStream
from contact_ingest.sources.columns import ColumnPlan, field_named, plan_columns
from contact_ingest.sources.phones import PhoneParser
from contact_ingest.sources.rows import WHOLE_RECORD, RejectedRow, SourceError, SourceRow, escape_undecodable

_DELIMITERS = (",", ";", "\t", "|")
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t"}
_TOO_LONG = f"a line longer than {MAX_LINE:,} characters"
_NUL = "a NUL byte"
_NOT_UTF8 = "bytes that are not UTF-8: save the file as UTF-8 (iconv can)"


class PhysicalLines:
    """The physical lines of a CSV file, as an iterator for `csv.reader`.

    `number` is the line that was handed out last (1-based). `record` holds the lines of the current record, and `flaw`
    what is wrong with one of them. Lines of a record whose quotes never close can be handed out again, so that a stray
    quote does not swallow the rows after it. `tail` is the incomplete last line of a damaged gzip file.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        # Undecodable bytes become lone surrogates, which valid UTF-8 never gives: only their line is rejected.
        self._text = io.TextIOWrapper(stream.body, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._handed_back: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []
        self.flaw: str | None = None
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
            if not text.isascii() and not _is_utf8(text):
                self.flaw = _NOT_UTF8
            if "\0" in text:
                self.flaw = _NUL
            self.number += 1
            self.record.append(text)
            yield text

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

    def __init__(
        self, stream: ByteStream, mapping: Mapping[str, str], phones: PhoneParser, delimiter: str | None
    ) -> None:
        self._stream = stream
        self._phones = phones
        self._lines = PhysicalLines(stream)
        self._delimiter = _delimiter(delimiter, stream, mapping)
        header = self._header()
        self._plan: ColumnPlan = plan_columns(stream.name, header, mapping)
        self._width = len(header)
        self.ignored_columns = self._plan.ignored
        self.unseen_columns: frozenset[str] = frozenset()

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
        if len(cells) != self._width:
            return self._rejected(f"{self._width} columns expected, {len(cells)} found")
        record = self._plan.record(cells)
        try:
            for field in self._plan.phones:
                if field in record:
                    record[field] = self._phones.to_e164(field, record[field])
        except Refused as refused:
            return self._rejected(refused.rule, refused.field)
        return SourceRow(lines.first_line, record)

    def _rejected(self, rule: str, field: str = WHOLE_RECORD) -> RejectedRow:
        return RejectedRow(self._lines.first_line, field, rule, self._lines.raw())

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self._delimiter, skipinitialspace=True, strict=True)

    def _header(self) -> list[str]:
        lines = self._lines
        try:
            header = next((cells for cells in self._reader() if any(map(str.strip, cells))), [])
        except csv.Error as error:
            raise SourceError(self._stream.name, f"the header has broken quoting: {error}") from None
        if lines.flaw is not None:
            raise SourceError(self._stream.name, f"the header has {lines.flaw}")
        lines.clear_record()
        return [column.strip() for column in header]


def _is_utf8(text: str) -> bool:
    """Whether the line's bytes were valid UTF-8: no lone surrogates in the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _delimiter(asked: str | None, stream: ByteStream, mapping: Mapping[str, str]) -> str:
    """The delimiter asked for, or else the one that gives the most known columns, and then the most columns."""
    if asked is not None:
        asked = _NAMED_DELIMITERS.get(asked, asked)
        if len(asked) != 1 or asked in '"\r\n ':
            raise SourceError("--delimiter", "give one character, such as ; or | or tab")
        return asked
    line = stream.head.splitlines()[0].decode("utf-8", "replace")

    def columns_recognised(delimiter: str) -> tuple[int, int]:
        columns = [column.strip() for column in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
        return sum(column in mapping or field_named(column) is not None for column in columns), len(columns)

    return max(_DELIMITERS, key=columns_recognised)
