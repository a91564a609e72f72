"""Reads a source into a lane. A run can stop at any moment, and the next run continues without counting a record twice.

Records go to Redis in calls; each call is atomic. A record that is refused is counted and written to the rejects file
together with the call that holds its neighbours, and the position to resume from moves in the same step. Ctrl-C waits
for the end of that step. The id of a call is made of the key and the position: if the reply to a call was lost, the
next run makes the call again under the same id, and Redis does not count it again. If the source has changed in
between, the call has other records under the same id, and Redis refuses it.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import BinaryIO, Self

from contact_ingest.errors import FieldsNeeded, Refused, SettingError
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import validate_record
from contact_ingest.pipeline.encode import prepare
from contact_ingest.pipeline.enqueue import EnqueueBuffer, RefusedRecord, answer_to
from contact_ingest.sources.files import Source
from contact_ingest.sources.rows import RejectedRow, SourceError, SourceRow, write_reject
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply
from contact_ingest.sync.destination_fields import DestinationFields

#: Rejected rows that are kept for the next call. So many of them are written down without a call.
MAX_PENDING_REJECTS = 500
#: A dry run shows its progress every so many records.
PROGRESS_EVERY = 500
#: How many refused records a summary lists.
LISTED = 10


@dataclass(frozen=True, slots=True, order=True)
class SourcePosition:
    """The position in a source to resume from: `line`, after skipping the first `records` that begin on that line.

    Lines are 1-based; 0 is the beginning. `records` is needed for JSON arrays, which may have all their records on one
    line. Written `120`, or `1:4711` with records.
    """

    line: int = 0
    records: int = 0

    @classmethod
    def parse(cls, text: str) -> "SourcePosition":
        line, colon, records = text.partition(":")
        if not line.isdecimal() or (colon and not records.isdecimal()):
            raise SettingError("--from-line", "is a line number, or LINE:RECORDS as a stopped run has printed it")
        return cls(int(line), int(records or 0))

    def __str__(self) -> str:
        return f"{self.line}:{self.records}" if self.records else str(self.line)


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where a load goes. `key` names the load: the same source under the same key is not counted again within a day.

    `send` makes one call to Redis and blocks. `show_progress` is called after each call and before each wait.
    """

    buffer: EnqueueBuffer
    key: str
    send: Callable[[EnqueueCall], EnqueueReply]
    show_progress: Callable[[], None]


class DelayedInterrupt:
    """Delays Ctrl-C to the end of a `with` block. A second Ctrl-C interrupts the block at once."""

    def __init__(self) -> None:
        self._interrupted = False
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._on_signal) if self._is_main else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)
        if self._interrupted and error is None:
            raise KeyboardInterrupt

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True


class SourceLoader:
    """One reading of one source, from `start` on: either `load`, or `check`, which enqueues nothing.

    `resume_from` is where the next run has to start. The other attributes count what happened so far. `would_accept`
    and those after it are for `check` alone: `would_fail` counts records that a load accepts and aggregation refuses.
    """

    def __init__(self, source: Source, rejects: BinaryIO | None, start: SourcePosition) -> None:
        self._source = source
        self._rejects = rejects
        self._start = start
        self._row: SourceRow | None = None
        self._pending_rejects: list[RejectedRow] = []
        # The position of the current record, as two plain numbers: they change for every record.
        self._line, self._records = -1, 0
        self.resume_from = start
        self.records_read = 0
        self.refused_count = 0
        self.first_refused: list[dict[str, object]] = []
        self.would_accept = 0
        self.would_fail = 0
        self.first_failing: list[dict[str, object]] = []
        self.needs_fields = 0
        self.dropped_fields = 0

    def on_refused(self, refused: RefusedRecord) -> None:
        """Note that the buffer refused the current record. For `EnqueueOptions.on_refused`."""
        assert self._row is not None
        self._reject(self._row, refused.field, refused.rule, refused.code)

    def load(self, target: LoadTarget) -> None:
        """Enqueue every record. Raises `IntakeError` or `KeyboardInterrupt`; `resume_from` is valid then too."""
        for item in self._items():
            is_full = False
            if isinstance(item, SourceRow):
                self._row = item
                is_full = target.buffer.add(item.record)
            else:
                self._pending_rejects.append(item)
            if is_full or len(self._pending_rejects) >= MAX_PENDING_REJECTS:
                self._flush(target)
        self._flush(target)

    def check(self, fields: DestinationFields, max_record_bytes: int, show_progress: Callable[[], None]) -> None:
        """Apply every rule to every record, and enqueue nothing. Refuses and accepts what `load` does."""
        for item in self._items():
            if isinstance(item, SourceRow):
                self._check_row(item, fields, max_record_bytes)
            else:
                self._pending_rejects.append(item)
            if self._pending_rejects:
                self._commit()
            if self.records_read % PROGRESS_EVERY == 0:
                show_progress()

    def _check_row(self, row: SourceRow, fields: DestinationFields, max_record_bytes: int) -> None:
        try:
            raw = validate_record(row.record, max_record_bytes)
        except Refused as refused:
            self._reject(row, refused.field, refused.rule, refused.code)
            return
        self.would_accept += 1
        try:
            prepared = prepare(fields.provider, fields.field_mapping, raw, fields.table)
        except FieldsNeeded:
            self.needs_fields += 1
        except Refused as refused:
            # Without the account's fields, an unknown custom field may exist all the same.
            is_custom = refused.code == FailureCode.UNKNOWN_FIELD and refused.field.startswith("custom_fields")
            if is_custom and not fields.table.fetched_ms:
                self.needs_fields += 1
            else:
                self._note_failing(RejectedRow(row.line, refused.field, refused.rule, row.record, refused.code))
        else:
            self.dropped_fields += len(prepared.dropped)

    def _note_failing(self, row: RejectedRow) -> None:
        """Note a record that a load would accept and aggregation would refuse. The rejects file gets it as well."""
        self.would_fail += 1
        if len(self.first_failing) < LISTED:
            self.first_failing.append(_listed(row))
        if self._rejects is not None:
            write_reject(self._rejects, row)

    def _reject(self, row: SourceRow, field: str, rule: str, code: str) -> None:
        self._pending_rejects.append(RejectedRow(row.line, field, rule, row.record, code))

    def _items(self) -> Iterator[SourceRow | RejectedRow]:
        """The rows behind the start."""
        line, records = 0, 0
        start_line, skipped = self._start.line, self._start.records
        for item in self._source:
            records = records + 1 if item.line == line else 1
            line = item.line
            if line > start_line or (line == start_line and records > skipped):
                self.records_read += 1
                self._line, self._records = line, records
                yield item
        if not self.records_read:
            self._check_start(line, records)

    def _check_start(self, line: int, records: int) -> None:
        """Raise `SourceError` for a start beyond the end of the file, whose last `records` begin on `line`.

        The line behind the last one is a start: a run that stopped after its last record has printed it.
        """
        start, lines = self._start, self._source.lines
        if start.line > lines + 1:
            raise SourceError(
                f"--from-line {start}", "the file has 1 line" if lines == 1 else f"the file has {lines} lines"
            )
        if start.line == line and start.records > records:
            found = "1 record" if records == 1 else f"{records} records"
            raise SourceError(f"--from-line {start}", f"line {line} of the file has {found}")

    def _next_position(self) -> SourcePosition:
        """The position after the current record. Only a JSON array can have two records on one line."""
        if self._line < 0:
            return self._start
        is_array = self._source.format == "json"
        return SourcePosition(self._line, self._records) if is_array else SourcePosition(self._line + 1)

    def _flush(self, target: LoadTarget) -> None:
        """Make the call that is due, as often as it takes, and commit the position behind it."""
        call = target.buffer.next_call()
        if call is not None:
            call = replace(call, call=f"{target.key}:{call.lane}:{self.resume_from}")
        while (pause_s := self._attempt(call, target)) is not None:
            target.show_progress()
            time.sleep(pause_s)  # Ctrl-C may interrupt this: Redis did not take the call, and the position stands
        target.show_progress()

    def _attempt(self, call: EnqueueCall | None, target: LoadTarget) -> float | None:
        """Make the call, if there is one. None if it was taken; else the seconds to wait before the next attempt."""
        with DelayedInterrupt():
            pause_s = None if call is None else target.buffer.answered(answer_to(call, target.send))
            if pause_s is None:
                self._commit()
        return pause_s

    def _commit(self) -> None:
        """Write down the pending rejects, and move the position behind the current record."""
        for reject in self._pending_rejects:
            if self._rejects is not None:
                write_reject(self._rejects, reject)
            if len(self.first_refused) < LISTED:
                self.first_refused.append(_listed(reject))
        self.refused_count += len(self._pending_rejects)
        self._pending_rejects.clear()
        self.resume_from = self._next_position()


def _listed(row: RejectedRow) -> dict[str, object]:
    return {"line": row.line, "field": row.field, "rule": row.rule, "code": row.code}
