"""A lane as the aggregator sees it at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LaneLook:
    """A lane as one transaction saw it. Everything read later is checked by `version` at the commit."""

    version: bytes
    now_ms: int
    known: bool
    options: Mapping[str, Any]
    head: int
    waiting: int
    waiting_bytes: int
    again: int
    again_at: int
    held: int
    flush: int
    held_at: int | None
    paused: bool
    dest: Mapping[str, str]
    busy: int
    failed: int
    unsent: int
    open: int
    salt: bytes
    marks: tuple[tuple[int, int], ...]

    def age_ms(self, seq: int) -> int:
        """How long the record at `seq` has waited, give or take the second between marks."""
        since = max((ms for first, ms in self.marks if first <= seq), default=self.now_ms)
        return self.now_ms - since
