"""What is left of a batch that was refused, and how it goes on: searched for the record that spoils it, halved where it
is too large, dealt out in parts where many records are bad.

Nobody is failed unproved: only a row that was refused alone is.
"""

from typing import Any

from contact_ingest.packing.bisect import (
    BisectState,
    after_refusal,
    bisect_fields,
    dealt,
    halves,
    has_more,
    rows,
    size,
    union,
)
from contact_ingest.pipeline.settle import Desk
from contact_ingest.store.batches import Batch, NewBatch, Settlement
from contact_ingest.store.failures import FailureReason

#: Requests for one root after which what is left goes behind fresh traffic.
PATIENCE = 200
#: A cap learned from refusals never goes below this.
SMALLEST_CAP = 65_536


class Searching:
    """Decides how a refused batch of one destination goes on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._name = "dispatch"

    def refused(self, batch: Batch, why: FailureReason) -> None:
        """The platform wants none of it, and named nobody."""
        self._narrow(batch, why, self.counted(batch))

    def poisoned(self, batch: Batch) -> None:
        """Searched like a refusal, unsent; each part then has as many crashes before it as the whole had."""
        why = FailureReason("poison", "workers died while sending it", self._name, batch.number)
        self._narrow(batch, why, {**self.counted(batch), "claims_count": batch.count("attempts") + 1})

    def too_large(self, batch: Batch, request: str) -> None:
        search = batch.search
        if size(search.send) == 1:
            self.refused(batch, FailureReason("too_large", "the platform refuses its size", self._name, None, request))
            return
        self._desk.schedule.learn_cap(max(SMALLEST_CAP, batch.count("sent_bytes") // 2))
        parts = [*halves(search.send), union(search.rest, search.aside)]
        self._split(batch, [BisectState(part) for part in parts if part], Settlement(refund=True))

    def go_on(
        self, batch: Batch, left: BisectState, plan: Settlement, reasons_by_row: dict[int, FailureReason] | None = None
    ) -> None:
        """Settle what is known, and send what is left at once; behind fresh traffic once it has taken many requests."""
        plan.set = {**self.counted(batch), **bisect_fields(left), "state": "ready", "failures_in_a_row": 0, **plan.set}
        plan.ended = size(left.send) == 0
        plan.zset = (
            "due:dispatch:low" if int(batch.root_fields.get("requests", 0)) > PATIENCE else batch.queue("dispatch")
        )
        self._desk.fail(batch, reasons_by_row or {}, plan)
        if plan.ended and not plan.children:
            self._desk.report(batch, plan, len(reasons_by_row or {}), batch.count("created_ms"))

    def counted(self, batch: Batch) -> dict[str, Any]:
        """An answer came, or the exchange came to an end we saw."""
        first_ms = batch.count("first_ms") or batch.now_ms
        return {"attempts": batch.count("attempts") + 1, "first_ms": first_ms}

    def _narrow(self, batch: Batch, why: FailureReason, counts: dict[str, Any]) -> None:
        search = batch.search
        if has_more(search):
            self._split(batch, dealt(search), Settlement(set=counts), behind=1)
            return
        reasons_by_row = dict.fromkeys(rows(search.send), why) if size(search.send) == 1 else {}
        self.go_on(batch, after_refusal(search), Settlement(set=counts), reasons_by_row)

    def _split(self, batch: Batch, parts: list[BisectState], plan: Settlement, *, behind: int = 0) -> None:
        """Children take over all rows; the batch ends. Parts of many are searched behind fresh traffic."""
        behind = behind or batch.count("low_priority")
        zset = "due:dispatch:low" if behind else "due:dispatch"
        plan.set, plan.ended = {**plan.set, "rows": 0}, True
        plan.children = [
            NewBatch({**bisect_fields(part), "state": "ready", "low_priority": behind}, zset) for part in parts
        ]
        self._desk.batch_store.settle(batch, plan)
