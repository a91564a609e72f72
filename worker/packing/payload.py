"""The body of one request, counted to the byte while it grows.

Every contact is encoded once. The size is prefix + contacts + commas + suffix, looked at before a contact goes in; what
was predicted is what is sent. A body is one bytearray with the offset of each contact: no list of small objects.
"""

import sys
from array import array
from dataclasses import dataclass

#: A body's rows are addressed by unsigned 32-bit offsets.
OFFSETS = "I"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold: contacts, bytes in all, and the bytes before the first and after the last contact. A
    body that would grow beyond `enough_bytes` takes no further contact; a single one may be larger."""

    max_contacts: int
    max_bytes: int
    prefix: bytes
    suffix: bytes
    soft_max_bytes: int = sys.maxsize

    @property
    def max_contact_bytes(self) -> int:
        return self.max_bytes - len(self.prefix) - len(self.suffix)


@dataclass(frozen=True, slots=True, repr=False)
class PackedBytes:
    """A finished body. `offsets` holds where each row begins, and one more: a byte past the comma that would follow
    the last row, so that row i is body[offsets[i] : offsets[i + 1] - 1]."""

    body: bytes
    offsets: bytes
    rows: int

    def __repr__(self) -> str:
        return f"Packed({self.rows} rows, {len(self.body)} bytes)"


class Payload:
    """A body being filled."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._enough = min(limits.max_bytes, limits.soft_max_bytes)
        self._bytes = bytearray(limits.prefix)
        self._starts = array(OFFSETS)
        self._replaced: dict[int, bytes] = {}
        # What the finished body has beside what is in the buffer: the suffix, and what replaced rows will add.
        self._overhead = len(limits.suffix)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        """The size in bytes the request would have if closed now."""
        return len(self._bytes) + self._overhead

    def fits(self, encoded: bytes) -> bool:
        limits = self._limits
        grown = len(self._bytes) + self._overhead + len(encoded) + (1 if self._starts else 0)
        most = self._enough if self._starts else limits.max_bytes
        return grown <= most and len(self._starts) < limits.max_contacts

    def add(self, encoded: bytes) -> int:
        """Append a contact that `fits`; returns its row."""
        if self._starts:
            self._bytes += b","
        self._starts.append(len(self._bytes))
        self._bytes += encoded
        return len(self._starts) - 1

    def fits_instead(self, row: int, encoded: bytes) -> bool:
        return self.size - len(self.row(row)) + len(encoded) <= self._limits.max_bytes

    def replace(self, row: int, encoded: bytes) -> None:
        """Put a merged contact in the place of a row; the bytes move when the body closes."""
        self._overhead += len(encoded) - len(self.row(row))
        self._replaced[row] = encoded

    def row(self, row: int) -> bytes:
        return self._replaced.get(row) or self._plain(row)

    def close(self) -> PackedBytes:
        if self._replaced:
            self._rebuild()
        self._starts.append(len(self._bytes) + 1)
        body = b"".join((self._bytes, self._limits.suffix))
        self._bytes = bytearray()  # megabytes, twice
        return PackedBytes(body, self._starts.tobytes(), len(self._starts) - 1)

    def _plain(self, row: int) -> bytes:
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
    """The offsets of a packed body as numbers."""
    return array(OFFSETS, offsets)
