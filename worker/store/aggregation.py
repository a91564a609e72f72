"""The store as aggregation needs it: read a lane, stage bodies, commit.

A body is staged under a fresh batch number, with an expiry. The commit makes it permanent. So megabytes never travel
inside a script, and a crash before the commit leaves nothing but keys that expire.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any, NamedTuple, assert_never

import orjson
from redis.exceptions import OutOfMemoryError

from contact_ingest.errors import StoreFull
from contact_ingest.model.identity import split_digests
from contact_ingest.model.lane import format_record_id
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.payload import PackedBytes
from contact_ingest.store import redis_server
from contact_ingest.store.clock import now_of, request_now
from contact_ingest.store.failures import FailedRecord
from contact_ingest.store.keys import BODY_PARTS
from contact_ingest.store.redis_server import Memory
from contact_ingest.store.schedule import lane_score
from contact_ingest.store.scripts import Arg, ReadsTogether, Store

#: How long a staged body waits for its commit, ms.
STAGED_MS = 300_000
#: Most records, and about most bytes of them, in one read of a lane.
CHUNK = 2_000
CHUNK_BYTES = 4_000_000
#: A lane that holds more bytes than this is read by the script that counts bytes; others are read by plain LRANGE.
HEAVY_BYTES = 32_000_000
#: Bytes of a body in one write.
PIECE_BYTES = 1_000_000
#: Most digests in `links` before it becomes `links:old`, how long both last unused (ms), and digests in one write.
MAX_LINKS = 250_000
LINKS_MS = 7 * 86_400_000
LINKS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """A lane and its destination as they were in one moment.

    `version` is the destination's version; the commit fails if it has changed. `now_ms` is the server's clock.
    `known` is False for a lane nobody has enqueued to; `options` are the lane's. `destination_state` is the hash
    `state` of the destination.

    In the lane: `head` is the number of the first of `waiting` records, which have `waiting_bytes`. `held` and
    `retries` count held and retried records. `retry_cursor` is the record number from which retried records are read.
    Records with numbers below `flush` leave without waiting. `held_at` is the moment, in ms, since which held and
    retried records wait, None if there are none. `stopped` says that the platform has stopped the lane, `trials` how
    many trials there were since, and `put_aside` how many of its batches wait for one.

    In the destination: `in_flight` counts digests of contacts in flight, `failed` digests of failed or retried records,
    `unsent` batches due for dispatch, `open_batches` those and the ones due for a poll. `salt` is for digests. `links`
    counts digests of contacts with several identifiers.

    `arrivals` are pairs of a record number and the moment, in ms, at which that record arrived: one a second at most,
    and of a long lane only the first and the last hundred.
    """

    version: bytes
    now_ms: int
    known: bool
    options: Mapping[str, Any]
    head: int
    waiting: int
    waiting_bytes: int
    retries: int
    retry_cursor: int
    held: int
    flush: int
    held_at: int | None
    paused: bool
    stopped: bool
    trials: int
    put_aside: int
    destination_state: Mapping[str, str]
    in_flight: int
    failed: int
    unsent: int
    open_batches: int
    salt: bytes
    links: int
    arrivals: tuple[tuple[int, int], ...]

    def age_ms(self, seq: int) -> int:
        """How long the record with that number has waited, exact to about a second."""
        since = max((ms for first, ms in self.arrivals if first <= seq), default=self.now_ms)
        return self.now_ms - since


class StagedBody(NamedTuple):
    """A staged body: its batch number, its rows, its length in bytes."""

    batch: int
    rows: int
    bytes: int


@dataclass(slots=True, repr=False)
class AggregationCommit:
    """Everything that one round changes, applied by `aggregate_commit.lua` in one step.

    The first `consumed` waiting records leave the lane, with `bytes` in all; `cancelled` of them were cancelled.
    `packed_retries` are the numbers of retried records that leave. `retry_cursor` is where the next round reads retried
    records from, -1 to leave it. `held` is the new held list, None to leave it; `held_delta` is the change of the
    number of held and retried records. `merged` and `dropped` go into the books. `bodies` become batches.
    `refused` become failures. `superseded` are older failures with fewer fields, or an empty blob for one that is gone.
    `due_ms` is the delay to the lane's next round, -1 for none.
    """

    lane: str
    version: bytes
    consumed: int = 0
    cancelled: int = 0
    bytes: int = 0
    packed_retries: Sequence[int] = ()
    retry_cursor: int = -1
    held: Sequence[QueuedRecord] | None = None
    held_delta: int = 0
    merged: int = 0
    dropped: int = 0
    bodies: list[StagedBody] = field(default_factory=list)
    refused: Sequence[FailedRecord] = ()
    superseded: Sequence[FailedRecord] = ()
    due_ms: int = -1

    @property
    def has_changes(self) -> bool:
        """Whether the commit would move any record."""
        return bool(self.bodies or self.consumed or self.packed_retries or self.held is not None)

    @property
    def batches(self) -> list[int]:
        """The numbers of the staged bodies."""
        return [body.batch for body in self.bodies]

    def to_plan(self) -> dict[str, Any]:
        """The first argument of `aggregate_commit.lua`."""
        return {
            "lane": self.lane,
            "version": self.version.decode(),
            "consumed": self.consumed,
            "cancelled": self.cancelled,
            "bytes": self.bytes,
            "packed_retries": list(self.packed_retries),
            "retry_cursor": self.retry_cursor,
            "held": -1 if self.held is None else len(self.held),
            "held_delta": self.held_delta,
            "merged": self.merged,
            "dropped": self.dropped,
            "bodies": [body._asdict() for body in self.bodies],
            "refused": len(self.refused),
            "superseded": len(self.superseded),
            "due_ms": self.due_ms,
        }


class CommitReply(StrEnum):
    """What `aggregate_commit.lua` answers: applied; the version has changed; a staged body is gone or replaced."""

    OK = "ok"
    STALE = "stale"
    EXPIRED = "expired"


class AggregationStore:
    """Reads, stages and commits for one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = store.client
        self._keys = store.keys

    def read_snapshot(self, lane: str) -> LaneSnapshot:
        k = self._keys
        if not self._client.exists(k("identity_salt")):
            self._store.run("write", "none", "SET", "identity_salt", secrets.token_bytes(16), "NX")
        pipe = ReadsTogether(self._store)
        pipe.get(k("version"))
        request_now(pipe, k)
        pipe.hget(k("lanes"), lane)
        pipe.hgetall(k(f"lane:{lane}"))
        pipe.llen(k(f"waiting:{lane}"))
        pipe.zcard(k(f"retry:{lane}"))
        pipe.llen(k(f"held:{lane}"))
        pipe.hgetall(k("state"))
        pipe.hlen(k("inflight"))
        pipe.hlen(k("failures:by_digest"))
        pipe.zcard(k("due:dispatch"))
        pipe.zcard(k("due:poll"))
        pipe.zcount(k("due:dispatch:stopped"), lane_score(lane), lane_score(lane))
        pipe.get(k("identity_salt"))
        pipe.hlen(k("links"))
        pipe.hlen(k("links:old"))
        pipe.lrange(k(f"arrivals:{lane}"), 0, 99)
        pipe.lrange(k(f"arrivals:{lane}"), -100, -1)
        version, time, offset, options, of_lane, waiting, retries, held, state, *rest = pipe.execute()
        in_flight, failed, unsent, polls, put_aside, salt, links, old_links, *arrivals = rest
        return LaneSnapshot(
            version=version or b"0",
            now_ms=now_of(time, offset),
            known=options is not None,
            options=orjson.loads(options or b"{}"),
            head=int(of_lane.get(b"head", 0)),
            waiting=waiting,
            waiting_bytes=int(of_lane.get(b"bytes", 0)),
            retries=retries,
            retry_cursor=int(of_lane.get(b"retry_cursor", 0)),
            held=held,
            flush=int(of_lane.get(b"flush", -1)),
            held_at=int(of_lane[b"held_at"]) if b"held_at" in of_lane else None,
            paused=b"paused" in of_lane,
            stopped=b"stop_code" in of_lane,
            trials=int(of_lane.get(b"trials", 0)),
            put_aside=put_aside,
            destination_state={name.decode(): value.decode() for name, value in state.items()},
            in_flight=in_flight,
            failed=failed,
            unsent=unsent,
            open_batches=unsent + polls,
            salt=salt,
            links=links + old_links,
            arrivals=tuple((int(seq), int(ms)) for seq, _, ms in (line.partition(b":") for line in chain(*arrivals))),
        )

    def read_waiting(self, lane: str, start: int, count: int, *, heavy: bool = False) -> list[bytes]:
        """At most `count` waiting records from place `start` on; b"" is a cancelled one.

        A `heavy` lane is read by bytes: fewer records if they are large, one at least. That is slower.
        """
        if heavy:
            return self._read_list(f"waiting:{lane}", start, count)
        return list(self._client.lrange(self._keys(f"waiting:{lane}"), start, start + min(count, CHUNK) - 1))

    def read_held(self, lane: str, count: int) -> list[QueuedRecord]:
        """The first `count` held records."""
        found: list[QueuedRecord] = []
        while len(found) < count and (lines := self._read_list(f"held:{lane}", len(found), count - len(found))):
            found += map(QueuedRecord.from_bytes, lines)
        return found

    def _read_list(self, name: str, start: int, count: int) -> list[bytes]:
        return list(self._store.run("read", name, start, min(count, CHUNK), CHUNK_BYTES))

    def read_retries(self, lane: str, first: int, count: int) -> list[tuple[int, list[bytes]]]:
        """At most `count` retried records of the lane, from record number `first` on: number and digests of each."""
        k = self._keys
        seqs = list(map(int, self._client.zrangebyscore(k(f"retry:{lane}"), first, "+inf", start=0, num=count)))
        digests = (
            self._client.hmget(k("failures:digests"), [format_record_id(lane, seq) for seq in seqs]) if seqs else []
        )
        return [(seq, split_digests(joined or b"")) for seq, joined in zip(seqs, digests, strict=True)]

    def read_failures(self, ids: Sequence[str]) -> list[bytes | None]:
        """The stored failures with these record ids; None for one that is gone."""
        return list(self._client.hmget(self._keys("failures"), list(ids))) if ids else []

    def save_retry_cursor(self, lane: str, seq: int) -> None:
        """Save where the next round reads retried records from; -1 saves nothing. Losing the cursor does no harm."""
        if seq >= 0:
            self._store.run("write", f"aggregate:{lane}", "HSET", f"lane:{lane}", "retry_cursor", seq)

    def read_in_flight(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of the digests that belong to contacts in flight."""
        found = self._client.hmget(self._keys("inflight"), digests) if digests else []
        return {digest for digest, root in zip(digests, found, strict=True) if root is not None}

    def read_links(self, digests: Sequence[bytes]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """What `links` and `links:old` have of these digests: see packing/links.py."""
        found: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        for start in range(0, len(digests), LINKS_AT_ONCE):
            some = digests[start : start + LINKS_AT_ONCE]
            for name, links in zip(("links", "links:old"), found, strict=True):
                marks = self._client.hmget(self._keys(name), some)
                links.update((digest, joined) for digest, joined in zip(some, marks, strict=True) if joined is not None)
        return found

    def save_links(self, links: Mapping[bytes, bytes]) -> None:
        """Remember links, with full memory too: what waits has to drain. Links without their commit do no harm."""
        pairs = list(links.items())
        try:
            for start in range(0, len(pairs), LINKS_AT_ONCE):
                args = chain.from_iterable(pairs[start : start + LINKS_AT_ONCE])
                self._store.run("links_save", MAX_LINKS, LINKS_MS, *args)
        except OutOfMemoryError:
            raise StoreFull("no room to remember links") from None

    def read_failed(self, digests: Sequence[bytes]) -> list[FailedRecord]:
        """The failed records of these contacts, retried ones included."""
        k = self._keys
        found = self._client.hmget(k("failures:by_digest"), digests) if digests else []
        ids = list({id_ for text in found if text for id_ in text.decode().split()})
        if not ids:
            return []
        blobs, joined = self._client.hmget(k("failures"), ids), self._client.hmget(k("failures:digests"), ids)
        found = zip(ids, joined, blobs, strict=True)
        return [FailedRecord(id_, of_one, blob) for id_, of_one, blob in found if blob is not None and of_one]

    def read_memory(self) -> Memory:
        return redis_server.read_memory(self._client)

    def stage(
        self, packed: PackedBytes, record_lines: bytes, digests: bytes, *, may_exceed_memory: bool = False
    ) -> int:
        """Store a body under a fresh batch number, to be committed later; returns the number.

        `record_lines` and `digests` are those of `FinishedPayload`. Raises `StoreFull`, with nothing left behind. A
        small body that `may_exceed_memory` is stored by a script, which Redis runs although its memory is full.
        """
        if may_exceed_memory:
            parts = (packed.body, packed.offsets, record_lines, digests)
            return int(self._store.run("aggregate_stage", STAGED_MS, *parts))
        number = 0
        try:
            number = int(self._client.incr(self._keys("batch_seq")))
            for part, value in zip(BODY_PARTS, (packed.body, packed.offsets, record_lines, digests), strict=True):
                self._put(self._keys(f"batch:{number}:{part}"), value)
        except OutOfMemoryError:
            self.unstage([number])
            raise StoreFull("no room to stage a body") from None
        return number

    def _put(self, name: str, value: bytes) -> None:
        """Write a value piece by piece, since the client copies what it sends. The last piece is the first: with it the
        server takes exactly the memory of the whole. APPEND would take up to a megabyte more."""
        if len(value) <= PIECE_BYTES:
            self._client.set(name, value, px=STAGED_MS)
            return
        *others, last = range(0, len(value), PIECE_BYTES)
        pipe = self._client.pipeline(transaction=True)
        pipe.setrange(name, last, value[last:])
        pipe.pexpire(name, STAGED_MS)
        pipe.execute()
        for start in others:
            self._client.setrange(name, start, value[start : start + PIECE_BYTES])

    def unstage(self, batches: Iterable[int]) -> None:
        """Delete staged bodies that will not be committed."""
        names = [self._keys(f"batch:{number}:{part}") for number in batches for part in BODY_PARTS]
        if names:
            self._client.delete(*names)

    def commit(self, commit: AggregationCommit) -> bool:
        """Apply a round. False if the destination's version has changed, or a body has expired: start over."""
        args: list[Arg] = [orjson.dumps(commit.to_plan())]
        args += [record.to_bytes() for record in commit.held or ()]
        for record in commit.refused:
            args += [record.id, record.digests, record.blob]
        for record in commit.superseded:
            args += [record.id, record.blob]
        reply = CommitReply(self._store.run("aggregate_commit", *args).decode())
        match reply:
            case CommitReply.OK:
                return True
            case CommitReply.STALE | CommitReply.EXPIRED:
                return False
        assert_never(reply)
