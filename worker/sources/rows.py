"""What a source gives: a `SourceRow` that can be enqueued, or a `RejectedRow` that says why a record was not taken.

Both have the physical line that the record began on. A source that cannot be read at all raises `SourceError`. The
contents of a record may go to the user's own rejects file and nowhere else: no repr and no message here has them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from contact_ingest.errors import IngestError
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.sources.private_file import open_private

#: The `field` of a rejected row that is wrong as a whole.
WHOLE_RECORD = "record"


class SourceError(IngestError):
    """A source cannot be read as asked. `name` is the file or the option to correct."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One record as it was read, and the line it began on (1-based)."""

    line: int
    record: dict[str, Any] = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One record that was not taken.

    `field` and `rule` say what is wrong, `code` is the reason's code. `raw` is the record as text, or as an object
    where it could be read, for the rejects file only.
    """

    line: int
    field: str
    rule: str
    raw: str | dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    code: FailureCode | str = FailureCode.UNREADABLE


def escape_undecodable(text: str) -> str:
    """The text with lone surrogates (bytes that were not UTF-8) as backslash escapes: `\\udcff`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def open_rejects(path: str, *, source: str) -> BinaryIO:
    """Open a new rejects file, readable by its owner only: it holds contacts. Never overwrites the source."""
    target = Path(path)
    try:
        if target.exists() and source != "-" and target.samefile(source):
            raise SourceError(f"--rejects {path}", "is the file to be read: give another name")
        return open_private(target)
    except OSError as error:
        raise SourceError(f"--rejects {path}", error.strerror or "cannot be written") from error


def write_reject(out: BinaryIO, reject: RejectedRow) -> None:
    """Append one JSON line: {"line": 7, "field": "email", "rule": "is no address", "record": {...}}."""
    entry = {"line": reject.line, "field": reject.field, "rule": reject.rule, "record": reject.raw}
    out.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
