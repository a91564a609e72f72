"""Bytes of a file or of standard input: unzipped if they are gzip, counted, with their beginning looked at.

A damaged or truncated gzip file ends where the damage begins, and `damaged` says so: everything before it is delivered.
What the bytes mean is for the readers of tables and objects.
"""

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from contact_ingest.sources.rows import SourceError

#: A longer line is refused, not read into memory: no platform takes a request of this size, let alone a contact.
MAX_LINE = 10_000_000
DAMAGED = "the compressed file is damaged or ends too early: nothing from this line on could be read"
BOM = b"\xef\xbb\xbf"

_HEAD_BYTES = 65_536
_BUFFER_BYTES = 262_144
_FOREIGN = {
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV in UTF-8",
    b"PAR1": "is a Parquet file: export it as CSV or JSON lines",
}


class Tape(io.RawIOBase):
    """Bytes already read, then whatever `read` still gives. `position` counts what went out."""

    def __init__(self, read: Callable[[int], bytes], prefix: bytes = b"") -> None:
        super().__init__()
        self._read = read
        self._prefix = prefix
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if self._prefix:
            chunk, self._prefix = self._prefix[:size], self._prefix[size:]
        else:
            chunk = self._read(size)
        buffer[: len(chunk)] = chunk
        self.position += len(chunk)
        return len(chunk)


class Unzipped:
    """The content of a gzip stream, which simply ends where it is damaged."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._content = gzip.GzipFile(fileobj=stream)
        self.damaged = False

    def read(self, size: int) -> bytes:
        try:
            return b"" if self.damaged else self._content.read1(size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.damaged = True
            return b""


@dataclass(frozen=True, slots=True)
class Stream:
    """`body` is everything, from the first byte; `head` repeats its beginning, up to the first line with something
    in it. `size_bytes` and `position` are those of the file as it lies on the disk."""

    name: str
    head: bytes
    body: io.BufferedReader
    size_bytes: int | None
    file: BinaryIO
    tape: Tape
    unzipped: Unzipped | None

    @property
    def damaged(self) -> bool:
        return self.unzipped is not None and self.unzipped.damaged

    def close(self) -> None:
        if self.name != "-":
            self.file.close()


def open_stream(path: str) -> Stream:
    """Open a file, or standard input for `-`."""
    file, size_bytes = _open(path)
    try:
        return _look(path, file, size_bytes)
    except BaseException:
        if path != "-":
            file.close()
        raise


def _open(path: str) -> tuple[Any, int | None]:
    if path == "-":
        return sys.stdin.buffer, None
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed by Stream.close
    except OSError as error:
        raise SourceError(path, error.strerror or "cannot be opened") from error
    status = os.fstat(file.fileno())
    return file, status.st_size if stat.S_ISREG(status.st_mode) else None


def _look(path: str, file: Any, size_bytes: int | None) -> Stream:
    magic = file.read(2)
    tape = Tape(file.read1, magic)
    content = _buffered(tape)
    unzipped = Unzipped(content) if magic == b"\x1f\x8b" else None
    if unzipped is not None:
        content = _buffered(Tape(unzipped.read))
    start = content.readline(_HEAD_BYTES)
    more = start
    while more and len(start) < _HEAD_BYTES and not start.removeprefix(BOM).strip():
        more = content.readline(_HEAD_BYTES)
        start += more
    for foreign, problem in _FOREIGN.items():
        if start.startswith(foreign):
            raise SourceError(path, problem)
    head = start.removeprefix(BOM).strip()
    if not head:
        damaged = unzipped is not None and unzipped.damaged
        raise SourceError(path, "the compressed file is damaged at its very beginning" if damaged else "is empty")
    body = _buffered(Tape(content.read1, start))
    return Stream(path, head, body, size_bytes, file, tape, unzipped)


def _buffered(tape: Any) -> io.BufferedReader:
    return io.BufferedReader(tape, _BUFFER_BYTES)
