"""Batches after the cut: claiming what is due, reading their bytes, writing down what became of them.

A claim is a lease with a fence; its due time is the lease. Every verdict is one script that refuses a stale fence and
moves the books with the records.
"""

import contextlib
import logging
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson
from redis.exceptions import OutOfMemoryError

from contact_ingest.errors import StaleFence
from contact_ingest.model.merge import with_packed_version
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.bisect import BisectState, Ranges, read_bisect_state, slices
from contact_ingest.packing.payload import read_offsets
from contact_ingest.store.failures import FailedRecord
from contact_ingest.store.schedule import BELL_SILENCE_MS
from contact_ingest.store.scripts import Arg, Store

log = logging.getLogger("contact_ingest.batches")

#: When a batch is tried again that replicas did not acknowledge in time.
UNACKNOWLEDGED_MS = 1_000


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """How long a claim lasts, how long an orphan keeps its contacts busy, exchanges at once per destination, and how
    many replicas must know of a claim before anything is sent."""

    lease_ms: int
    orphan_ms: int
    slots: int
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A claimed batch. `fields` and `root_fields` are the hashes as they were at the claim."""

    number: int
    token: str
    now_ms: int
    fields: dict[str, str]
    root_fields: Mapping[str, str]

    @property
    def lane(self) -> str:
        return self.fields["lane"]

    @property
    def root(self) -> int:
        return int(self.fields["root"])

    @property
    def search(self) -> BisectState:
        return read_bisect_state(self.fields)

    def queue(self, name: str) -> str:
        """Where it waits for its turn, `due` to be sent or `polls` to be asked about: behind others if it is one of
        many parts of a body."""
        return f"due:{name}:low" if self.count("low_priority") else f"due:{name}"

    def count(self, name: str) -> int:
        return int(self.fields.get(name, 0))


@dataclass(frozen=True, slots=True)
class NoClaim:
    """Nothing to do: `why` is none, busy, paused, stopped, unacknowledged, or probe (ask whether the destination works
    again)."""

    why: str
    token: str


@dataclass(slots=True)
class Settlement:
    """What becomes of a claimed batch. `set` are fields of its hash; `children` new batches with rows of their own."""

    set: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    zset: str = "due:dispatch"
    delay_ms: int = 0
    delivered: int = 0
    unattributed: int = 0
    refund: bool = False
    orphan_ms: int = 0
    children: list["NewBatch"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A new batch that takes over rows of its parent."""

    set: Mapping[str, Any]
    zset: str
    delay_ms: int = 0


class BatchStore:
    """The batches of one destination."""

    def __init__(self, store: Store, terms: LeasePolicy) -> None:
        self._store = store
        self._terms = terms

    @property
    def terms(self) -> LeasePolicy:
        return self._terms

    def claim(self, kind: str, *, consume_wakeup: bool = True) -> Batch | NoClaim:
        """Take the next due batch; `kind` is dispatch or poll, and `heard` says that this answers a bell. A batch is
        handed out only once the replicas that are asked for know of it: the one that takes over after a failover must
        know that its job may exist, and which permits are spent."""
        token = uuid4().hex
        terms = self._terms
        args = (kind, terms.lease_ms, token, terms.orphan_ms, terms.slots, BELL_SILENCE_MS if consume_wakeup else 0)
        acknowledged = True
        if terms.replicas:
            answer, acknowledged = self._store.run_acknowledged(terms.replicas, "batch_claim", *args)
        else:
            answer = self._store.run("batch_claim", *args)
        what, now_ms = answer[0].decode(), int(answer[1])
        if what != "ok":
            return NoClaim(what, token)
        batch = Batch(int(answer[2]), token, now_ms, _hash(answer[3]), _hash(answer[4]))
        if acknowledged:
            return batch
        log.warning("nothing is sent: too few replicas answer", extra={"wanted": terms.replicas})
        back = Settlement(zset=batch.queue("poll"), delay_ms=UNACKNOWLEDGED_MS)
        if kind == "dispatch":
            back = Settlement({"state": "ready"}, zset=batch.queue("dispatch"), delay_ms=UNACKNOWLEDGED_MS, refund=True)
        self.settle(batch, back)
        return NoClaim("unacknowledged", token)

    def claim_slot(self) -> str | None:
        """Ask to have one exchange under way that concerns no batch; None while the destination has enough of them."""
        token = uuid4().hex
        return token if self._store.run("claim_without_batch", self._terms.lease_ms, token, self._terms.slots) else None

    def let_go(self, token: str) -> None:
        """End a claim that took no batch."""
        self._store.client.zrem(self._store.keys("claims"), token)

    def settle(self, batch: Batch, plan: Settlement, failed: Sequence[FailedRecord] = ()) -> list[int]:
        """Write it down; returns the numbers of new batches. Raises `StaleFence` if the batch was taken over."""
        body = {
            "set": _texts(plan.set),
            "ended": plan.ended,
            "zset": plan.zset,
            "delay_ms": plan.delay_ms,
            "delivered": plan.delivered,
            "unattributed": plan.unattributed,
            "refund": plan.refund,
            "orphan_ms": plan.orphan_ms,
            "children": [
                {"set": _texts(child.set), "zset": child.zset, "delay_ms": child.delay_ms} for child in plan.children
            ],
            "failed": len(failed),
        }
        args: list[Arg] = [batch.number, batch.fields["fence"], batch.token, orjson.dumps(body)]
        for record in failed:
            args += [record.id, record.digests, record.blob]
        answer = self._store.run("batch_settle", *args)
        if answer[0] != b"ok":
            raise StaleFence(f"batch {batch.number} was taken over")
        return [int(number) for number in answer[1:]]

    def body(self, batch: Batch) -> tuple[bytes, "array[int]"]:
        """The root's body and its row offsets. Raises `StaleFence` if the root has ended meanwhile."""
        body, offsets = self._blobs(batch.root, "body", "offsets")
        return body, read_offsets(offsets)

    def contacts(self, batch: Batch, ranges: Ranges) -> list[bytes]:
        """The bytes of some rows, as `slices` has them. No more of the body is read than from the first of them to the
        last: a search asks for a few rows at a time. Raises `StaleFence` if the root has ended meanwhile."""
        offsets = read_offsets(self._blobs(batch.root, "offsets")[0])
        first, last = offsets[ranges[0][0]], offsets[ranges[-1][1]] - 1
        body = self._store.client.getrange(self._store.keys(f"batch:{batch.root}:body"), first, last - 1)
        if len(body) != last - first:
            raise StaleFence(f"batch {batch.root} has ended")
        return slices(body, offsets, ranges, first)

    def entries(self, batch: Batch, numbers: Iterable[int]) -> dict[int, QueuedRecord]:
        """The records behind some rows, as of when they left their lane."""
        lines = self._blobs(batch.root, "records")[0].split(b"\n")
        version = int(batch.root_fields["packed_version"])
        return {row: with_packed_version(QueuedRecord.from_bytes(lines[row]), version) for row in numbers}

    def keep(self, batch: Batch, part: str, content: bytes, ttl_ms: int) -> None:
        """Put something fetched aside for this batch, so that a crash does not lose what can be fetched only once."""
        with contextlib.suppress(OutOfMemoryError):  # then the one who has it now is the only one to read it
            self._store.client.set(self._store.keys(f"batch:{batch.number}:{part}"), content, px=ttl_ms)

    def kept(self, batch: Batch, part: str) -> bytes | None:
        content = self._store.client.get(self._store.keys(f"batch:{batch.number}:{part}"))
        return None if content is None else bytes(content)

    def forget_fields(self) -> None:
        """The cached field definitions have proved wrong."""
        self._store.client.delete(self._store.keys("custom_fields"))

    def salt(self) -> bytes:
        return bytes(self._store.client.get(self._store.keys("identity_salt")) or b"")

    def options(self, lane: str) -> dict[str, Any]:
        """What the platform takes per request for this lane."""
        return dict(orjson.loads(self._store.client.hget(self._store.keys("lanes"), lane) or b"{}"))

    def _blobs(self, root: int, *parts: str) -> list[bytes]:
        values = self._store.client.mget([self._store.keys(f"batch:{root}:{part}") for part in parts])
        if any(value is None for value in values):
            raise StaleFence(f"batch {root} has ended")
        return [bytes(value) for value in values]


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else str(value) for name, value in values.items()}


def _hash(flat: Any) -> dict[str, str]:
    if isinstance(flat, Mapping):
        return {name.decode(): value.decode() for name, value in flat.items()}
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
