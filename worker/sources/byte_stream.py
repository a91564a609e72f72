"""The bytes of a file or of standard input: decompressed if they are gzip, counted, and with their beginning inspected.

A damaged or truncated gzip file ends where the damage begins: the stream delivers everything before it, and `damaged`
becomes true. CsvReader and JsonReader read the content.
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

#: Bytes (JSON lines) or characters (CSV). A longer line is refused, and not read into memory: no platform takes a
#: request of this size.
MAX_LINE = 10_000_000
DAMAGED = "the compressed file is damaged or ends too early: nothing from this line on could be read"
NOT_UTF8 = "bytes that are not UTF-8: save the file as UTF-8 (iconv can)"
#: The character that programs put in the place of what they cannot decode.
REPLACEMENT = "\ufffd"
DECODED_WRONGLY = "has U+FFFD, which stands for text that a program before could not decode: export it again, as UTF-8"
BOM = b"\xef\xbb\xbf"

#: How many bytes are read at most to find the first line that is not empty.
_HEAD_BYTES = 65_536
_BUFFER_BYTES = 262_144
_UNPACK = "unpack it first"
#: First bytes of formats that cannot be read here, and what to tell the user. Longer beginnings come first.
_FOREIGN_FORMATS = {
    b"\xff\xfe\0\0": "is UTF-32: save it as UTF-8",
    b"\0\0\xfe\xff": "is UTF-32: save it as UTF-8",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
    b"PK\x03\x04": "is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save the sheet as CSV in UTF-8",
    b"PAR1": "is a Parquet file: export it as CSV or JSON lines",
    b"\x1f\x8b": f"is compressed with gzip twice: {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"is compressed with zstd: {_UNPACK}",
    b"BZh": f"is compressed with bzip2: {_UNPACK}",
    b"\xfd7zXZ": f"is compressed with xz: {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"is a 7z archive: {_UNPACK}",
    b"<!DOCTYPE": "is a web page: download the file itself",
    b"<!doctype": "is a web page: download the file itself",
    b"<html": "is a web page: download the file itself",
    b"<?xml": "is XML: export it as CSV or JSON lines",
    b"%PDF": "is a PDF: export it as CSV or JSON lines",
}
#: Encodings of wider units, by which of its first four bytes are zero.
_WIDE = {
    (False, True, True, True): "UTF-32",
    (True, True, True, False): "UTF-32",
    (False, True, False, True): "UTF-16",
    (True, False, True, False): "UTF-16",
}


def without_bom(data: bytes) -> bytes:
    """The data without its byte order marks. Programs that add one to a file that has one leave several."""
    while data.startswith(BOM):
        data = data[len(BOM) :]
    return data


class CountingReader(io.RawIOBase):
    """A raw stream of `prefix` (bytes that were read before) and then of what `read` returns.

    `position` is the number of bytes handed out so far.
    """

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


class GzipContent:
    """The content of a gzip stream. Damage ends the content, without an exception, and sets `damaged`."""

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
class ByteStream:
    """An open file, or standard input.

    `body` is the whole content from its first byte. `head` is a copy of the beginning: the first line that is not
    empty, without byte order marks. `name` is the path, or `-` for standard input.
    """

    name: str
    head: bytes
    body: io.BufferedReader
    file: BinaryIO
    counter: CountingReader
    gzip_content: GzipContent | None

    @property
    def size_bytes(self) -> int | None:
        """The size on the disk, compressed if the file is compressed. None for standard input, pipes and devices."""
        if self.name == "-":
            return None
        status = os.fstat(self.file.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    @property
    def position_bytes(self) -> int:
        """How many of the bytes on the disk have been read so far."""
        return self.counter.position

    @property
    def damaged(self) -> bool:
        return self.gzip_content is not None and self.gzip_content.damaged

    def close(self) -> None:
        if self.name != "-":
            self.file.close()


def open_stream(path: str) -> ByteStream:
    """Open a file, or standard input for `-`. Raises `SourceError` if the content cannot be text."""
    file = _open(path)
    try:
        return _inspect(path, file)
    except BaseException:
        if path != "-":
            file.close()
        raise


def _open(path: str) -> Any:
    if path == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")  # ByteStream.close closes it
    except OSError as error:
        raise SourceError(path, error.strerror or "cannot be opened") from error


def _inspect(path: str, file: Any) -> ByteStream:
    magic = file.read(2)
    counter = CountingReader(file.read1, magic)
    content = _buffered(counter)
    gzip_content = GzipContent(content) if magic == b"\x1f\x8b" else None
    if gzip_content is not None:
        content = _buffered(CountingReader(gzip_content.read))
    start = _first_lines(content)
    if problem := _foreign_format(start):
        raise SourceError(path, problem)
    head = without_bom(start).strip()
    if not head:
        damaged = gzip_content is not None and gzip_content.damaged
        raise SourceError(path, "the compressed file is damaged at its very beginning" if damaged else "is empty")
    body = _buffered(CountingReader(content.read1, start))
    return ByteStream(path, head, body, file, counter, gzip_content)


def _foreign_format(start: bytes) -> str:
    """What to tell about a file that begins with `start` and is no text in UTF-8; empty if it may be."""
    for foreign, problem in _FOREIGN_FORMATS.items():
        if start.startswith(foreign):
            return problem
    zeros = tuple(byte == 0 for byte in start[:4])
    wide = next((name for pattern, name in _WIDE.items() if pattern == zeros), None)
    return f"is {wide} without a byte order mark: save it as UTF-8" if wide else ""


def _first_lines(content: io.BufferedReader) -> bytes:
    """The lines up to and including the first one that is not empty, at most about `_HEAD_BYTES`."""
    start = line = content.readline(_HEAD_BYTES)
    while line and len(start) < _HEAD_BYTES and not without_bom(start).strip():
        line = content.readline(_HEAD_BYTES)
        start += line
    return start


def _buffered(raw: Any) -> io.BufferedReader:
    return io.BufferedReader(raw, _BUFFER_BYTES)
