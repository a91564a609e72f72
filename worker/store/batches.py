"""Batches after they were packed: claiming what is due, reading their bytes, writing down what became of them.

A claim is a lease with a fence: the due time of a claimed batch is the end of its lease. A settlement is one script
that refuses a stale fence and moves the books together with the records.
"""

import contextlib
import logging
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import uuid4

import orjson
from redis.exceptions import OutOfMemoryError

from contact_ingest.errors import KeysLost, StaleFence
from contact_ingest.model.batch import Batch, BatchState, Settlement
from contact_ingest.model.merge import with_packed_version
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.row_ranges import Ranges
from contact_ingest.packing.bisect import slices
from contact_ingest.packing.lane_history import LaneHistory
from contact_ingest.packing.payload import read_offsets
from contact_ingest.store.failures import FailedRecord
from contact_ingest.store.lanes import lane_options
from contact_ingest.store.schedule import WAKEUP_SILENCE_MS
from contact_ingest.store.scripts import Arg, Store

log = logging.getLogger("contact_ingest.batches")

#: When a batch is tried again that replicas did not acknowledge in time, ms.
UNACKNOWLEDGED_MS = 1_000


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """How claims work at one destination. `lease_ms` is how long a claim lasts, `orphan_ms` how long a request of
    unknown fate keeps its contacts in flight, `slots` how many exchanges may be under way at once, and `replicas` how
    many replicas must know of a claim before anything is sent."""

    lease_ms: int
    orphan_ms: int
    slots: int
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that this worker holds until its lease ends. `now_ms` is the server's clock at the claim, `history` how
    its lane and account stood then."""

    batch: Batch
    now_ms: int
    history: LaneHistory = field(default_factory=LaneHistory)


@dataclass(frozen=True, slots=True)
class NoClaim:
    """There is nothing to do now. `why` is none, busy, paused, stopped, unacknowledged, or probe: ask whether the
    destination works again, and give `token` back afterwards."""

    why: str
    token: str


class BatchStore:
    """The batches of one destination."""

    def __init__(self, store: Store, terms: LeasePolicy) -> None:
        self._store = store
        self._terms = terms

    @property
    def terms(self) -> LeasePolicy:
        return self._terms

    def claim(self, stage: str, *, consume_wakeup: bool = True) -> Claim | NoClaim:
        """Claim the next due batch of a stage, `dispatch` or `poll`.

        `consume_wakeup` says that this answers a wake-up message. Where replicas are asked for, a batch is handed out
        only once they know of the claim: the replica that takes over after a failover must know that a job may exist,
        and which permits are spent."""
        token = uuid4().hex
        terms = self._terms
        args = (stage, terms.lease_ms, token, terms.orphan_ms, terms.slots, WAKEUP_SILENCE_MS if consume_wakeup else 0)
        acknowledged = True
        if terms.replicas:
            answer, acknowledged = self._store.run_acknowledged(terms.replicas, "batch_claim", *args)
        else:
            answer = self._store.run("batch_claim", *args)
        what, now_ms = answer[0].decode(), int(answer[1])
        if what != "ok":
            return NoClaim(what, token)
        batch = Batch.from_fields(int(answer[2]), _hash(answer[3]), _hash(answer[4]))
        if acknowledged:
            return Claim(batch, now_ms, LaneHistory.read(answer[5]))
        log.warning("nothing is sent: too few replicas answer", extra={"wanted": terms.replicas})
        self.hand_back(batch)
        return NoClaim("unacknowledged", token)

    def claim_without_batch(self) -> str | None:
        """Ask to have one exchange under way that concerns no batch. None while the destination has enough of them."""
        token = uuid4().hex
        return token if self._store.run("claim_without_batch", self._terms.lease_ms, token, self._terms.slots) else None

    def release_claim(self, token: str) -> None:
        """End a claim that took no batch."""
        self._store.client.zrem(self._store.keys("claims"), token)

    def settle(self, batch: Batch, settlement: Settlement, failed: Sequence[FailedRecord] = ()) -> list[int]:
        """Write down what became of a claimed batch; returns the numbers of new batches.

        `failed` are the failures of all rows in `settlement.reasons_by_row`. Raises `StaleFence` if somebody else has
        taken the batch over."""
        plan = {
            "set": settlement.batch.changed_fields(batch),
            "ended": settlement.ended,
            "zset": settlement.due_set,
            "delay_ms": settlement.delay_ms,
            "delivered": settlement.delivered,
            "unattributed": settlement.unattributed,
            "refund": settlement.refund,
            "orphan_ms": settlement.orphan_ms,
            "children": [
                {"set": child.to_fields(), "zset": child.batch.due_set, "delay_ms": child.delay_ms}
                for child in settlement.children
            ],
            "failed": len(failed),
            "accepted": settlement.accepted,
            "doubt": settlement.doubt,
            "account_doubt": settlement.account_doubt,
        }
        if settlement.stop_lane is not None:
            plan["stop_lane"] = asdict(settlement.stop_lane)
        args: list[Arg] = [batch.number, batch.fence, batch.token, orjson.dumps(plan)]
        for record in failed:
            args += [record.id, record.digests, record.blob]
        answer = self._store.run("batch_settle", *args)
        if answer[0] != b"ok":
            raise StaleFence(f"batch {batch.number} was taken over")
        return [int(number) for number in answer[1:]]

    def note_phase(self, batch: Batch, phase: str) -> None:
        """Write down how far the claim has come: `sent` just before the request goes out, `replied` after its reply."""
        self._store.run("write", "none", "HSET", f"batch:{batch.number}", "phase", phase)

    def body(self, batch: Batch) -> tuple[bytes, "array[int]"]:
        """The root's body and its row offsets. Raises `StaleFence` if the root has ended meanwhile,
        `KeysLost` if its keys are gone."""
        body, offsets = self._blobs(batch, "body", "offsets")
        return body, read_offsets(offsets)

    def contacts(self, batch: Batch, ranges: Ranges) -> list[bytes]:
        """The bytes of some rows, as `slices` has them. The body is read from the first of them to the last, no more: a
        search asks for a few rows at a time. Raises `StaleFence` if the root has ended meanwhile."""
        offsets = read_offsets(self._blobs(batch, "offsets")[0])
        first, last = offsets[ranges[0][0]], offsets[ranges[-1][1]] - 1
        body = self._store.client.getrange(self._store.keys(f"batch:{batch.root}:body"), first, last - 1)
        if len(body) != last - first:
            raise self._gone(batch)
        return slices(body, offsets, ranges, first)

    def records(self, batch: Batch, rows: Iterable[int]) -> dict[int, QueuedRecord]:
        """The records behind some rows, as of when they left their lane."""
        lines = self._blobs(batch, "records")[0].split(b"\n")
        return {row: with_packed_version(QueuedRecord.from_bytes(lines[row]), batch.packed_version) for row in rows}

    def keep(self, batch: Batch, part: str, content: bytes, ttl_ms: int) -> None:
        """Store something fetched for this batch, so that a crash does not lose what can be fetched only once."""
        with contextlib.suppress(OutOfMemoryError):  # then the worker that has it now is the only one to read it
            self._store.client.set(self._store.keys(f"batch:{batch.number}:{part}"), content, px=ttl_ms)

    def kept(self, batch: Batch, part: str) -> bytes | None:
        content = self._store.client.get(self._store.keys(f"batch:{batch.number}:{part}"))
        return None if content is None else bytes(content)

    def forget_custom_fields(self) -> None:
        """The cached custom fields have proved wrong."""
        self._store.client.delete(self._store.keys("custom_fields"))

    def identity_salt(self) -> bytes:
        return bytes(self._store.client.get(self._store.keys("identity_salt")) or b"")

    def options(self, lane: str) -> dict[str, Any]:
        """What the platform takes per request for this lane. Raises `KeysLost` if the lane's name says that it has
        options, and there are none."""
        found = lane_options(self._store, lane)
        if not found and "+" in lane:
            raise KeysLost("options")
        return found

    def hand_back(self, batch: Batch) -> None:
        """End a claim as if it had not been made."""
        self.settle(batch, _handed_back(batch))

    def _blobs(self, batch: Batch, *parts: str) -> list[bytes]:
        values = self._store.client.mget([self._store.keys(f"batch:{batch.root}:{part}") for part in parts])
        if any(value is None for value in values):
            raise self._gone(batch)
        return [bytes(value) for value in values]

    def _gone(self, batch: Batch) -> StaleFence | KeysLost:
        """Why parts of a body are not there: the root has ended, another worker has the batch, or keys are lost."""
        pipe = self._store.client.pipeline(transaction=False)
        pipe.hget(self._store.keys(f"batch:{batch.root}"), "parts")
        pipe.hget(self._store.keys(f"batch:{batch.number}"), "token")
        parts, token = pipe.execute()
        if token == batch.token.encode() and (parts is None or int(parts) > 0):
            return KeysLost("body")
        return StaleFence(f"batch {batch.root} has ended")


def _handed_back(batch: Batch) -> Settlement:
    """The batch as it was before the claim, due again in a moment."""
    if batch.state is BatchState.SENDING:
        return Settlement(replace(batch, state=BatchState.READY), delay_ms=UNACKNOWLEDGED_MS, refund=True)
    return Settlement(batch, delay_ms=UNACKNOWLEDGED_MS)


def _hash(flat: Any) -> dict[str, str]:
    if isinstance(flat, Mapping):
        return {name.decode(): value.decode() for name, value in flat.items()}
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
