"""A file of odd shape, and what becomes of each of its records."""

import gzip
import random
from dataclasses import dataclass, field
from typing import Any

from support.odd_cells import Bad

#: Largest record that the tests let in, bytes.
MAX_RECORD_BYTES = 20_000
#: How often a bad cell that chance has drawn is drawn again.
RARE = 0.8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one record: the `contact` that goes out, or the field and a part of the rule that refuse it.

    `where` is `sent`, `door` or `aggregation`.
    """

    line: int
    where: str
    contact: dict[str, Any] | None = None
    field: str = ""
    rule: str = ""


@dataclass(slots=True)
class OddFile:
    """One file, the options of the command that reads it, and what is right.

    `unreadable` are the beginning of the error and a part of its text, for a file that is refused as a whole. `kinds`
    name what is odd about the file.
    """

    name: str
    platform: str
    content: bytes = b""
    options: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    unreadable: tuple[str, str] | None = None
    kinds: set[str] = field(default_factory=set)


def outcome(line: int, contact: dict[str, Any], wrong: tuple[str, Bad] | None) -> Outcome:
    if wrong is None:
        return Outcome(line, "sent", contact)
    name, bad = wrong
    return Outcome(line, bad.where, field=name, rule=bad.rule)


def place(record: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in a record, or in an object in it."""
    if len(path) == 2:
        record.setdefault(path[0], {})[path[1]] = value
    else:
        record[path[0]] = value


def compressed_or_not(chance: random.Random, made: OddFile, content: bytes) -> bytes:
    """The content, or the same compressed."""
    if chance.random() < 0.8:
        return content
    made.kinds.add("gzip")
    made.name += chance.choice([".gz", ""])
    return gzip.compress(content, mtime=0)
