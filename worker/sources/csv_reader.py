"""CSV with a header, row by row: physical line numbers, strict quoting, and one broken row costs that row only.

Every cell is text as it stands, so leading zeros survive. Custom fields stay text too: only the provider knows the
field's type, and may refuse. The columns are decided before the first row is read.
"""

import csv
import io
from collections import deque
from collections.abc import Iterator, Mapping

from contact_ingest.errors import Refused
from contact_ingest.sources.byte_stream import DAMAGED, MAX_LINE, Stream
from contact_ingest.sources.columns import Plan, field_named, plan_columns
from contact_ingest.sources.phones import Phones
from contact_ingest.sources.rows import WHOLE, Reject, Row, SourceError, readable

_DELIMITERS = (",", ";", "\t", "|")
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t"}
_TOO_LONG = f"a line longer than {MAX_LINE:,} characters"
_NUL = "a NUL byte"
_NOT_UTF8 = "bytes that are not UTF-8: save the file as UTF-8 (iconv can)"


class Lines:
    """The physical lines of a table. `number` is the last one handed out; `record` those of the record in hand.

    `flaw` says what is wrong with a line of that record. The lines of a record whose quotes do not close can be
    handed out again, so that a stray quote does not swallow the rows after it.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        # Undecodable bytes become lone surrogates, which no decoded text holds: the line is found, the rest goes on.
        self._text = io.TextIOWrapper(stream.body, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._again: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []
        self.flaw: str | None = None
        self.tail: str | None = None

    def __iter__(self) -> Iterator[str]:
        readline, again = self._text.readline, self._again
        while text := again.popleft() if again else readline(MAX_LINE):
            if not text.endswith(("\n", "\r")):
                if len(text) >= MAX_LINE:
                    self._skip_line()
                    text += "\n"  # so that it is known again, should it be handed out twice
                elif self._stream.damaged:
                    self.tail = text
                    return
            if len(text) > MAX_LINE:
                self.flaw = _TOO_LONG
            if not text.isascii() and not _decoded(text):
                self.flaw = _NOT_UTF8
            if "\0" in text:
                self.flaw = _NUL
            self.number += 1
            self.record.append(text)
            yield text

    @property
    def first(self) -> int:
        return self.number - len(self.record) + 1

    def raw(self) -> str:
        return readable("".join(self.record))

    def forget(self) -> None:
        self.record.clear()
        self.flaw = None

    def give_up_first(self) -> None:
        """Forget the first line of the record; the others will come again."""
        self.number = self.first
        self._again.extendleft(reversed(self.record[1:]))
        self.forget()

    def _skip_line(self) -> None:
        while (rest := self._text.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
            pass


class Table:
    """The rows of a CSV file, its columns already decided."""

    def __init__(self, stream: Stream, mapping: Mapping[str, str], phones: Phones, delimiter: str | None) -> None:
        self._stream = stream
        self._phones = phones
        self._lines = Lines(stream)
        self._delimiter = _delimiter(delimiter, stream, mapping)
        header = self._header()
        self._plan: Plan = plan_columns(stream.name, header, mapping)
        self._width = len(header)
        self.ignored_columns = self._plan.ignored
        self.unseen_columns: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Row | Reject]:
        lines = self._lines
        ended = False
        while not ended:
            try:
                for cells in self._reader():
                    row = self._row(cells)
                    lines.forget()
                    if row is not None:
                        yield row
                ended = True
            except csv.Error as error:
                # One stray quote makes the rows after it look quoted: only the line that began is lost.
                yield Reject(lines.first, WHOLE, f"broken quoting: {error}", readable(lines.record[0]))
                lines.give_up_first()
        if self._stream.damaged:
            yield Reject(lines.number + 1, WHOLE, DAMAGED, readable(lines.tail) if lines.tail else None)

    def _row(self, cells: list[str]) -> Row | Reject | None:
        lines = self._lines
        if lines.flaw is not None:
            return Reject(lines.first, WHOLE, lines.flaw, lines.raw())
        if not any(map(str.strip, cells)):
            return None
        if len(cells) != self._width:
            return Reject(lines.first, WHOLE, f"{self._width} columns expected, {len(cells)} found", lines.raw())
        record = self._plan.record(cells)
        try:
            for field in self._plan.phones:
                if field in record:
                    record[field] = self._phones.e164(field, record[field])
        except Refused as refused:
            return Reject(lines.first, refused.field, refused.rule, lines.raw())
        return Row(lines.first, record)

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
        lines.forget()
        return [column.strip() for column in header]


def _decoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _delimiter(asked: str | None, stream: Stream, mapping: Mapping[str, str]) -> str:
    """The delimiter asked for, or the one that makes the most of the header: known columns first, then columns."""
    if asked is not None:
        asked = _NAMED_DELIMITERS.get(asked, asked)
        if len(asked) != 1 or asked in '"\r\n ':
            raise SourceError("--delimiter", "give one character, such as ; or | or tab")
        return asked
    line = stream.head.splitlines()[0].decode("utf-8", "replace")

    def worth(delimiter: str) -> tuple[int, int]:
        columns = [column.strip() for column in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
        return sum(column in mapping or field_named(column) is not None for column in columns), len(columns)

    return max(_DELIMITERS, key=worth)
