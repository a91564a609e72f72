"""Writing a settlement down: the destination's state first, then the batch with its failed rows, then one log line.

More failed rows than one script may carry are written in several steps, each of which leaves the batch whole.
"""

import logging
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from contact_ingest.errors import KeysLost, describe_bug
from contact_ingest.model.batch import Batch, BatchState, Settlement
from contact_ingest.model.failure import FailureReason, FailureStage
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.identity import digests
from contact_ingest.model.row_ranges import rows, size, without
from contact_ingest.model.verdicts import RowError
from contact_ingest.pipeline.encode import identities_of
from contact_ingest.providers.base import Provider
from contact_ingest.store.batches import BatchStore
from contact_ingest.store.failures import FailedRecord, failure
from contact_ingest.store.schedule import DestinationState, WakeUp

log = logging.getLogger("contact_ingest.batches")

#: Failures written in one step: they travel inside the script.
FAILURES_AT_ONCE = 1_000
#: A task goes on to the next batch as long as this: small exchanges follow each other without a wake-up for each.
SLICE_S = 1.0
#: Why a lane is paused whose options are gone.
OPTIONS_LOST = (
    "the options of the lane, such as its lists, are gone from Redis: `contact-ingest doctor --repair`, or enqueue one "
    "record with the same options; then resume the lane"
)


@dataclass(frozen=True, slots=True)
class Settler:
    """Writes down what became of batches of one destination."""

    batch_store: BatchStore
    state: DestinationState
    provider: Provider
    field_mapping: FieldMapping

    def settle(self, batch: Batch, settlement: Settlement, now_ms: int, sent_bytes: int = 0) -> None:
        """Write a settlement down. `now_ms` is the server's clock at the claim, `sent_bytes` the size of the request.

        Raises `StaleFence` if somebody else has taken the batch over."""
        self._tell_destination(settlement)
        reasons = settlement.reasons_by_row
        records = self._failed_records(batch, reasons, now_ms) if reasons else {}
        numbers = list(reasons)
        current = batch
        while len(numbers) > FAILURES_AT_ONCE:
            first, numbers = numbers[:FAILURES_AT_ONCE], numbers[FAILURES_AT_ONCE:]
            current = self._fail_some(current, [records[row] for row in first], first)
        self.batch_store.settle(current, settlement, [records[row] for row in numbers])
        if settlement.ended and not settlement.children:
            _log_end(batch, settlement, now_ms, sent_bytes)

    def settle_lost(self, batch: Batch, lost: KeysLost, now_ms: int) -> None:
        """Keys of a claimed batch are gone. Without the options of its lane it would reach the wrong lists, so the lane
        is paused. Without its bytes its rows fail, or end as unattributed where the records are gone too.

        Raises `StaleFence`."""
        log.critical("keys of a batch are gone", extra={"lane": batch.lane, "batch": batch.number, "part": lost.part})
        if lost.part == "options":
            self.state.pause(batch.lane, OPTIONS_LOST)
            self.batch_store.hand_back(batch)
            return
        left = tuple(rows(batch.bisect.all))
        stage = FailureStage.DISPATCH if batch.state is BatchState.SENDING else FailureStage.POLL
        why = FailureReason(FailureCode.KEYS_LOST, FailureCode.KEYS_LOST.sentence, stage, batch.number)
        ended = replace(batch, state=BatchState.DONE, code=FailureCode.KEYS_LOST)
        try:
            self.settle(batch, Settlement(ended, reasons_by_row=dict.fromkeys(left, why)), now_ms)
        except KeysLost:
            self.settle(batch, Settlement(ended, delivered=len(left), unattributed=len(left)), now_ms)

    def log_bug(self, batch: Batch, problem: Exception) -> None:
        """A mistake of our own is told by its type and place: its text may quote the platform, or a contact."""
        log.error("internal", extra={"lane": batch.lane, "batch": batch.number, "problem": describe_bug(problem)})

    def _tell_destination(self, settlement: Settlement) -> None:
        if settlement.stop is not None:
            self.state.stop(settlement.stop.code, settlement.stop.why)
        if settlement.max_body_bytes is not None:
            self.state.learn_cap(settlement.max_body_bytes)
        if settlement.custom_fields_stale:
            self.batch_store.forget_custom_fields()

    def _fail_some(self, batch: Batch, failed: Sequence[FailedRecord], numbers: Sequence[int]) -> Batch:
        """Fail some rows and keep the batch, still claimed, without them. Returns it as it is now."""
        old = batch.bisect
        sending, suspects, parked = (without(part, numbers) for part in (old.sending, old.suspects, old.parked))
        left = replace(batch, bisect=replace(old, sending=sending, suspects=suspects, parked=parked))
        if batch.platform_failed_count:  # whoever goes on after a crash counts the rows that are left
            left = replace(left, platform_failed_count=max(0, batch.platform_failed_count - len(numbers)))
        self.batch_store.settle(batch, Settlement(left, delay_ms=self.batch_store.terms.lease_ms), failed)
        return replace(left, fence=batch.fence + 1)

    def _failed_records(
        self, batch: Batch, reasons: Mapping[int, FailureReason], now_ms: int
    ) -> dict[int, FailedRecord]:
        try:
            body, offsets = self.batch_store.body(batch)
        except KeysLost:
            body, offsets = b"", array("I")
        salt = self.batch_store.identity_salt()
        found = {}
        for row, record in self.batch_store.records(batch, reasons).items():
            mapped = body[offsets[row] : offsets[row + 1] - 1] if offsets else b""
            keys = b"".join(digests(salt, identities_of(record.raw, self.provider, self.field_mapping)))
            found[row] = failure(batch.lane, record, reasons[row], now_ms, keys, mapped)
        return found


def locate_rows(
    batch_store: BatchStore, provider: Provider, batch: Batch, errors: Sequence[RowError]
) -> tuple[dict[int, RowError], int]:
    """The rows of `batch.bisect.sending` that the errors prove, each with the first error that proves it; and how many
    errors prove none. A hint alone proves nothing."""
    if not errors:
        return {}, 0
    body, offsets = batch_store.body(batch)
    numbers = list(rows(batch.bisect.sending))
    encoded = [body[offsets[row] : offsets[row + 1] - 1] for row in numbers]
    places = provider.find_rows(encoded, errors)
    located: dict[int, RowError] = {}
    for error, found in zip(errors, places, strict=True):
        for place in found:
            located.setdefault(numbers[place], error)
    return located, sum(not found for found in places)


def run_for_slice(once: Callable[..., tuple[WakeUp, ...]], destination: str) -> tuple[WakeUp, ...]:
    """Do it again and again while there is something to do, for about a second; returns the wake-ups to send."""
    ends_s = monotonic() + SLICE_S
    wakeups = once(destination)
    while wakeups and monotonic() < ends_s:
        wakeups = once(destination, consume_wakeup=False)
    return wakeups


def _log_end(batch: Batch, settlement: Settlement, now_ms: int, sent_bytes: int) -> None:
    """One line for a batch that has ended: counts and times, never contents."""
    after = settlement.batch
    log.info(
        "batch ended",
        extra={
            "lane": batch.lane,
            "batch": batch.number,
            "rows": size(batch.bisect.all),
            "bytes": sent_bytes or after.sent_bytes,
            "delivered": settlement.delivered,
            "failed": len(settlement.reasons_by_row),
            "unattributed": settlement.unattributed,
            "attempts": after.attempts,
            "ms": now_ms - (batch.sent_ms if batch.state is not BatchState.SENDING else batch.created_ms),
            "request_id": after.request_id,
        },
    )
