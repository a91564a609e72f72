"""What goes into a walk over a lane and comes out of it: records made ready, closed bodies, and how far it came."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.contact import Entry
from worker.errors import Refused
from worker.packing import Packed

#: In the place of `encoded` once the bytes are in a body, or are not needed: what orjson returns keeps 4 KB alive,
#: however short it is.
TAKEN = b""


@dataclass(slots=True, repr=False)
class Item:
    """A record ready for the walk. `encoded` is its place in a body; None if `refused` says why it has none.
    `identities` are `kind:value`, `digests` the same in eight bytes each."""

    entry: Entry
    encoded: bytes | None
    identities: tuple[str, ...]
    digests: tuple[bytes, ...]
    refused: Refused | None = None
    dropped: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class ClosedBody:
    """A body, the records behind its rows, and the digests of all its contacts."""

    packed: Packed
    items: Sequence[Item]

    @property
    def entries(self) -> bytes:
        """The records, a line each."""
        return b"\n".join([item.entry.to_bytes() for item in self.items])

    @property
    def keys(self) -> bytes:
        return b"".join([digest for item in self.items for digest in item.digests])


@dataclass(slots=True)
class Mark:
    """How far a walk had come when a body closed: records of the lane, and retried ones that leave for good."""

    consumed: int = 0
    taken: int = 0
    tombs: int = 0
    merged: int = 0
    dropped: int = 0
    held: list[Item] = field(default_factory=list)
    refused: int = 0
