"""The body of one request, counted to the byte while it grows.

A body is `prefix row,row,row suffix`, for example `{"contacts":[{"email":"a@x.cd"},{"email":"b@x.cd"}]}`. Each contact
is encoded once, by the caller. The size is checked before a contact goes in, so the size that was counted is the size
that is sent. The rows lie in one bytearray, with the offset of each row in an array: there is no list of small objects.
"""

import sys
from array import array
from dataclasses import dataclass

#: The type code of row offsets: unsigned 32-bit.
OFFSETS = "I"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold.

    `max_contacts` rows; `max_bytes` in all; `prefix` and `suffix` are the bytes before the first and after the last
    row. A body takes no second row beyond `soft_max_bytes`; a single row may be larger than that.
    """

    max_contacts: int
    max_bytes: int
    prefix: bytes
    suffix: bytes
    soft_max_bytes: int = sys.maxsize

    @property
    def max_contact_bytes(self) -> int:
        """Most bytes of one row."""
        return self.max_bytes - len(self.prefix) - len(self.suffix)


@dataclass(frozen=True, slots=True, repr=False)
class PackedBytes:
    """A finished body of `rows` rows.

    `offsets` are rows + 1 numbers, packed with the type code `OFFSETS`. Number i is where row i begins; the last number
    is where a further row would begin, after its comma. Row i is `body[offsets[i] : offsets[i + 1] - 1]`.
    """

    body: bytes
    offsets: bytes
    rows: int

    def __repr__(self) -> str:
        return f"PackedBytes({self.rows} rows, {len(self.body)} bytes)"


class Payload:
    """A body that is being filled. Its length is the number of its rows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._soft_max = min(limits.max_bytes, limits.soft_max_bytes)
        self._bytes = bytearray(limits.prefix)
        self._starts = array(OFFSETS)
        self._replaced: dict[int, bytes] = {}
        # Bytes that the finished body has beside the buffer: the suffix, and what replacing rows adds.
        self._overhead = len(limits.suffix)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        """Bytes of the body if it were finished now."""
        return len(self._bytes) + self._overhead

    def fits(self, encoded: bytes) -> bool:
        """Whether one more row may go in."""
        limits = self._limits
        grown = len(self._bytes) + self._overhead + len(encoded) + (1 if self._starts else 0)
        most = self._soft_max if self._starts else limits.max_bytes
        return grown <= most and len(self._starts) < limits.max_contacts

    def add(self, encoded: bytes) -> int:
        """Append a row that `fits`; returns its number, from 0."""
        if self._starts:
            self._bytes += b","
        self._starts.append(len(self._bytes))
        self._bytes += encoded
        return len(self._starts) - 1

    def fits_instead(self, row: int, encoded: bytes) -> bool:
        """Whether `encoded` may take the place of a row."""
        return self.size - len(self.row(row)) + len(encoded) <= self._limits.max_bytes

    def replace(self, row: int, encoded: bytes) -> None:
        """Put `encoded` in the place of a row. The buffer is rebuilt once, in `close`."""
        self._overhead += len(encoded) - len(self.row(row))
        self._replaced[row] = encoded

    def row(self, row: int) -> bytes:
        """The bytes of a row as they will be sent."""
        return self._replaced.get(row) or self._buffered(row)

    def close(self) -> PackedBytes:
        """Finish the body. The payload cannot be used after that."""
        if self._replaced:
            self._rebuild()
        self._starts.append(len(self._bytes) + 1)
        body = b"".join((self._bytes, self._limits.suffix))
        self._bytes = bytearray()  # frees megabytes: the body is a copy
        return PackedBytes(body, self._starts.tobytes(), len(self._starts) - 1)

    def _buffered(self, row: int) -> bytes:
        last = row + 1 == len(self._starts)
        return bytes(self._bytes[self._starts[row] : len(self._bytes) if last else self._starts[row + 1] - 1])

    def _rebuild(self) -> None:
        rows = [self.row(row) for row in range(len(self._starts))]
        self._bytes = bytearray(self._limits.prefix)
        self._starts = array(OFFSETS)
        self._replaced = {}
        self._overhead = len(self._limits.suffix)
        for encoded in rows:
            self.add(encoded)


def read_offsets(offsets: bytes) -> "array[int]":
    """The offsets of a finished body as numbers."""
    return array(OFFSETS, offsets)
