"""Contact records out of a file or standard input: CSV, a JSON array or JSON lines, each also gzipped.

What cannot be read at all is a `SourceError` at opening, before anything is enqueued; what cannot be read of one
record is a `Reject` with its line, and the rest goes on. Whether a record is a good contact is for intake to say.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from contact_ingest.sources.byte_stream import Stream, open_stream
from contact_ingest.sources.columns import check_targets
from contact_ingest.sources.csv_reader import Table
from contact_ingest.sources.json_reader import Objects
from contact_ingest.sources.phones import Phones
from contact_ingest.sources.rows import Reject, Row, SourceError

FORMATS = ("csv", "json", "jsonl")
_ENDINGS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Source:
    """Iterate it once for rows and rejects; ask it meanwhile how far it has come."""

    def __init__(self, stream: Stream, reader: Table | Objects, format_name: str) -> None:
        self._stream = stream
        self._reader = reader
        self.format = format_name

    @property
    def size_bytes(self) -> int | None:
        """Size on the disk, compressed if the file is; None when nobody can know, as with standard input."""
        return self._stream.size_bytes

    @property
    def position_bytes(self) -> int:
        """How many of these bytes have been taken in. Reading runs ahead of the rows by a buffer's length."""
        return self._stream.tape.position

    @property
    def ignored_columns(self) -> tuple[str, ...]:
        """Columns of a table that are neither named like a field nor mapped."""
        return self._reader.ignored_columns

    @property
    def unseen_columns(self) -> frozenset[str]:
        """Mapped keys that no JSON object has had so far: at the end, most likely misspelt."""
        return self._reader.unseen_columns

    def __iter__(self) -> Iterator[Row | Reject]:
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
) -> Source:
    """Open `path` (`-` is standard input) and decide its columns. Close it by leaving the `with` block."""
    if format_name is not None and format_name not in FORMATS:
        raise SourceError(f"--format {format_name}", f"is not one of {', '.join(FORMATS)}")
    mapping = mapping or {}
    check_targets(mapping)
    phones = Phones(region)
    stream = open_stream(path)
    try:
        kind = _format(stream, format_name)
        if kind == "csv":
            return Source(stream, Table(stream, mapping, phones, delimiter), kind)
        return Source(stream, Objects(stream, mapping, phones, array=kind == "json"), kind)
    except BaseException:
        stream.close()
        raise


def _format(stream: Stream, asked: str | None) -> str:
    """As asked, or by the ending of the name, or by the first character. `.json` may hold either kind of JSON."""
    kind = asked or _ENDINGS.get(Path(stream.name.lower().removesuffix(".gz")).suffix)
    first = stream.head[:1]
    if kind in (None, "json") and first in (b"[", b"{"):
        return "json" if first == b"[" else "jsonl"
    return kind or "csv"
