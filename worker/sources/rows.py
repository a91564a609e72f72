"""What a source hands over: a `Row` that can be enqueued, or a `Reject` that says why one could not be read.

Both carry the physical line they began on. A source that cannot be read at all raises `SourceError` instead. What is
in a record is for the user's own rejects file only: no repr and no message here holds any of it.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from contact_ingest.errors import IngestError

#: The `field` of a reject that concerns the whole record.
WHOLE = "record"


class SourceError(IngestError):
    """A source cannot be read as asked. `name` is the file or the option to mend."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it was read, with the line it began on (1-based)."""

    line: int
    record: dict[str, Any] = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that was not read. `raw` is its text, or the record itself, for the rejects file alone."""

    line: int
    field: str
    rule: str
    raw: str | dict[str, Any] | None = dataclasses.field(default=None, repr=False)


def readable(text: str) -> str:
    """Text that UTF-8 can hold: bytes that could not be decoded show as backslash escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def open_rejects(path: str, *, source: str) -> BinaryIO:
    """Open the rejects file, a new one for its owner only: it holds contacts. Never overwrites the source."""
    target = Path(path)
    try:
        if target.exists() and source != "-" and target.samefile(source):
            raise SourceError(f"--rejects {path}", "is the file to be read: give another name")
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise SourceError(f"--rejects {path}", error.strerror or "cannot be written") from error
    return open(descriptor, "wb")  # noqa: PTH123 - a descriptor, not a path


def write_reject(out: BinaryIO, reject: Reject) -> None:
    """Append one JSON line: line, field, rule, record."""
    entry = {"line": reject.line, "field": reject.field, "rule": reject.rule, "record": reject.raw}
    out.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
