"""Contact records from a file or standard input: CSV, a JSON array or JSON lines, each also gzipped.

A file that cannot be read at all raises `SourceError` when it is opened, before anything is enqueued. A record that
cannot be read is a `RejectedRow` with its line, and reading continues. `validate_record` decides whether a record is a
valid contact.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from contact_ingest.sources.byte_stream import ByteStream, open_stream
from contact_ingest.sources.cells import CellOptions, CellReader
from contact_ingest.sources.columns import check_targets
from contact_ingest.sources.csv_reader import CsvReader
from contact_ingest.sources.json_layout import is_one_object
from contact_ingest.sources.json_reader import JsonReader
from contact_ingest.sources.phones import PhoneParser
from contact_ingest.sources.rows import RejectedRow, SourceError, SourceRow

FORMATS = ("csv", "json", "jsonl")
_ENDINGS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Source:
    """An open file of contact records. Iterating it gives rows and rejects, once."""

    def __init__(self, stream: ByteStream, reader: CsvReader | JsonReader, format_name: str) -> None:
        self._stream = stream
        self._reader = reader
        self.format = format_name

    @property
    def size_bytes(self) -> int | None:
        """The size on the disk, compressed if the file is compressed. None where it is unknown (standard input)."""
        return self._stream.size_bytes

    @property
    def position_bytes(self) -> int:
        """How many of these bytes have been read. Reading is ahead of the rows by at most a buffer (256 KiB)."""
        return self._stream.position_bytes

    @property
    def lines(self) -> int:
        """How many lines have been read so far: all lines of the file after the last row."""
        return self._reader.lines

    @property
    def ignored_columns(self) -> tuple[str, ...]:
        """Columns of a CSV file that are neither named like a field nor mapped; keys that only a platform writes."""
        return self._reader.ignored_columns

    @property
    def unseen_columns(self) -> frozenset[str]:
        """Mapped keys that no JSON object has had so far. A key left at the end is most likely misspelt."""
        return self._reader.unseen_columns

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know of the file, in sentences. Complete after the last row."""
        return self._reader.notices

    def __iter__(self) -> Iterator[SourceRow | RejectedRow]:
        try:
            yield from self._reader
        except OSError as error:
            raise SourceError(self._stream.name, f"reading stopped: {error.strerror or 'input error'}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def open_source(
    path: str,
    *,
    mapping: Mapping[str, str] | None = None,
    region: str | None = None,
    format_name: str | None = None,
    delimiter: str | None = None,
    cells: CellOptions | None = None,
) -> Source:
    """Open `path` (`-` is standard input) and decide its columns. The end of the `with` block closes the file.

    `mapping` is {column: field} from `parse_mapping`, `region` the country of national telephone numbers (`US`),
    `format_name` one of `FORMATS` and `delimiter` one character; without them both are recognised from the file.
    `cells` says how the cells of CSV are read.
    """
    if format_name is not None and format_name not in FORMATS:
        raise SourceError(f"--format {format_name}", f"is not one of {', '.join(FORMATS)}")
    mapping = mapping or {}
    check_targets(mapping)
    phones = PhoneParser(region)
    stream = open_stream(path)
    try:
        kind = _format(stream, format_name)
        if kind == "csv":
            reader = CellReader(cells or CellOptions(), phones)
            return Source(stream, CsvReader(stream, mapping, reader, delimiter), kind)
        _check_cell_options(cells or CellOptions(), mapping)
        return Source(stream, JsonReader(stream, mapping, phones, array=kind == "json"), kind)
    except BaseException:
        stream.close()
        raise


def _check_cell_options(cells: CellOptions, mapping: Mapping[str, str]) -> None:
    """The options of cells are for CSV; keys of JSON are mapped by the same rule as columns."""
    for option, value in (("--clear", cells.clear), ("--dates", cells.dates)):
        if value is not None:
            raise SourceError(option, "is for cells of CSV: JSON has values of its own for this")
    cells.check({target: column for column, target in mapping.items() if target})


def _format(stream: ByteStream, asked: str | None) -> str:
    """The format asked for, or else that of the file name's ending, or else that of the first character.

    A `.json` file may hold an array, JSON lines or one object around an array: the first line tells which.
    """
    name = stream.name.lower().removesuffix(".gz").removesuffix(".gzip")
    kind = asked or _ENDINGS.get(Path(name).suffix)
    first = stream.head[:1]
    if kind in (None, "json") and first in (b"[", b"{"):
        return "json" if first == b"[" or is_one_object(stream.head) else "jsonl"
    return kind or "csv"
