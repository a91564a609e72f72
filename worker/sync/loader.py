"""Reading a source into a lane, so that it can stop at any moment and go on from there without counting anything twice.

Records go in calls, each atomic. A rejected record is counted and written down together with the call around it, and
the place to go on from moves in the same breath, with Ctrl-C kept waiting. A call is named after the key, the place in
the source and its records, so that one whose reply was lost is not counted again by the next run.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import FrameType, TracebackType
from typing import BinaryIO, Self

from contact_ingest.errors import FieldsNeeded, Refused, SettingError
from contact_ingest.model.record import validate_record
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.enqueue import EnqueueBuffer, RefusedRecord, answer_to
from contact_ingest.providers.base import Provider
from contact_ingest.sources.files import Source
from contact_ingest.sources.rows import Reject, Row, write_reject
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply

#: Rejects kept for the next call; more of them make a call by themselves.
MOST_PENDING = 500
#: Rejects that a summary shows.
LISTED = 10


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A point in a source: before a line, or behind so many of the records that begin on it (a JSON array may have all
    of its records on one line)."""

    line: int = 0
    records: int = 0

    @classmethod
    def parse(cls, text: str) -> "Place":
        line, colon, records = text.partition(":")
        if not line.isdecimal() or (colon and not records.isdecimal()):
            raise SettingError("--from-line", "is a line number, or LINE:RECORDS as a stopped run has printed it")
        return cls(int(line), int(records or 0))

    def __str__(self) -> str:
        return f"{self.line}:{self.records}" if self.records else str(self.line)


class Interrupts:
    """Ctrl-C waits for the end of a `with` block; a second one does not."""

    def __init__(self) -> None:
        self._asked = False
        self._held = False
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        self._held = True
        self._before = signal.signal(signal.SIGINT, self._heard) if self._is_main else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)
        if self._asked and error is None:
            raise KeyboardInterrupt

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


class Load:
    """One reading of one source. `go_on` is the place from which the next run has to go on."""

    def __init__(self, source: Source, rejects: BinaryIO | None, start: Place) -> None:
        self._source = source
        self._rejects = rejects
        self._start = start
        self._row: Row | None = None
        self._pending: list[tuple[Reject, str]] = []
        self._line, self._records = -1, 0
        self.go_on = start
        self.read = 0
        self.refused = 0
        self.first_refused: list[dict[str, object]] = []
        self.unready = 0
        self.checked = 0
        self.dropped = 0

    def refuse(self, said: RefusedRecord) -> None:
        """The door refuses the record in hand."""
        assert self._row is not None
        self._pending.append((Reject(self._row.line, said.field, said.rule, self._row.record), said.code))

    def run(
        self, filling: EnqueueBuffer, key: str, send: Callable[[EnqueueCall], EnqueueReply], show: Callable[[], None]
    ) -> None:
        """Enqueue all. Raises `IntakeError`, or `KeyboardInterrupt`, with `go_on` in its place."""
        for item in self._items():
            full = False
            if isinstance(item, Row):
                self._row = item
                full = filling.add(item.record)
            else:
                self._pending.append((item, "unreadable"))
            if full or len(self._pending) >= MOST_PENDING:
                self._flush(filling, key, send, show)
        self._flush(filling, key, send, show)

    def check(self, provider: Provider, table: FieldTable, max_bytes: int, show: Callable[[], None]) -> None:
        """Apply every rule and enqueue nothing."""
        for item in self._items():
            if isinstance(item, Row):
                self._check(item, provider, table, max_bytes)
            else:
                self._pending.append((item, "unreadable"))
            if self._pending:
                self._write_down()
            if self.read % MOST_PENDING == 0:
                show()

    def _check(self, row: Row, provider: Provider, table: FieldTable, max_bytes: int) -> None:
        try:
            self.dropped += len(provider.prepare(validate_record(row.record, max_bytes), table).dropped)
        except FieldsNeeded:
            self.unready += 1
        except Refused as refused:
            # What the account's own fields are cannot be known without having asked.
            if refused.code == "unknown_field" and refused.field.startswith("custom_fields") and not table.fetched_ms:
                self.unready += 1
            else:
                self._pending.append((Reject(row.line, refused.field, refused.rule, row.record), refused.code))
        else:
            self.checked += 1

    def _items(self) -> Iterator[Row | Reject]:
        """What lies behind the start; where each stands is kept as plain numbers, since this runs for every record."""
        line, records = 0, 0
        first_line, passed = self._start.line, self._start.records
        for item in self._source:
            records = records + 1 if item.line == line else 1
            line = item.line
            if line > first_line or (line == first_line and records > passed):
                self.read += 1
                self._line, self._records = line, records
                yield item

    def _behind(self) -> Place:
        """The place behind the record in hand."""
        if self._line < 0:
            return self._start
        return Place(self._line, self._records) if self._source.format == "json" else Place(self._line + 1)

    def _flush(
        self, filling: EnqueueBuffer, key: str, send: Callable[[EnqueueCall], EnqueueReply], show: Callable[[], None]
    ) -> None:
        append = filling.next_call()
        if append is not None:
            digest = blake2b(b"\n".join(append.records), digest_size=8).hexdigest()
            append = replace(append, call=f"{key}:{append.lane}:{self.go_on}:{digest}", keyed=True)
        while (pause_s := self._attempt(filling, append, send)) is not None:
            show()
            time.sleep(pause_s)  # here Ctrl-C need not wait: what this call would move is where it was
        show()

    def _attempt(
        self, filling: EnqueueBuffer, append: EnqueueCall | None, send: Callable[[EnqueueCall], EnqueueReply]
    ) -> float | None:
        """Make the call, if there is one; returns for how long to wait before it is made again."""
        with Interrupts():
            pause_s = None if append is None else filling.answered(answer_to(append, send))
            if pause_s is None:
                self._write_down()
        return pause_s

    def _write_down(self) -> None:
        for reject, code in self._pending:
            if self._rejects is not None:
                write_reject(self._rejects, reject)
            if len(self.first_refused) < LISTED:
                said = {"line": reject.line, "field": reject.field, "rule": reject.rule, "code": code}
                self.first_refused.append(said)
        self.refused += len(self._pending)
        self._pending.clear()
        self.go_on = self._behind()
