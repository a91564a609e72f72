"""The aggregator's side of the store: look at a lane, stage bodies, commit what was cut.

Bodies are staged under fresh numbers with an expiry and made permanent by the commit, so that megabytes never travel
inside a script; a crash before the commit leaves only keys that expire.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson
from redis.exceptions import OutOfMemoryError

from contact_ingest.errors import StoreFull
from contact_ingest.model.identity import split_digests
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.payload import PackedBytes
from contact_ingest.store.failures import FailedRecord
from contact_ingest.store.redis_server import Memory
from contact_ingest.store.redis_server import read_memory as look_at_memory
from contact_ingest.store.scripts import Arg, Store


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """A lane as one transaction saw it. Everything read later is checked by `version` at the commit."""

    version: bytes
    now_ms: int
    known: bool
    options: Mapping[str, Any]
    head: int
    waiting: int
    waiting_bytes: int
    again: int
    retry_cursor: int
    held: int
    flush: int
    held_at: int | None
    paused: bool
    dest: Mapping[str, str]
    busy: int
    failed: int
    unsent: int
    open: int
    salt: bytes
    marks: tuple[tuple[int, int], ...]

    def age_ms(self, seq: int) -> int:
        """How long the record at `seq` has waited, give or take the second between marks."""
        since = max((ms for first, ms in self.marks if first <= seq), default=self.now_ms)
        return self.now_ms - since


#: How long a staged body may wait for its commit.
STAGED_MS = 300_000
#: Records read from a lane at a time, and their bytes: a lane may hold thousands of the largest. What waits in a lane
#: that holds no more than so many bytes in all needs no counting.
CHUNK = 2_000
CHUNK_BYTES = 4_000_000
HEAVY_BYTES = 32_000_000
#: How much of a body is sent at a time.
PIECE_BYTES = 1_000_000


@dataclass(slots=True, repr=False)
class AggregationCommit:
    """One aggregation, to be committed in one step."""

    lane: str
    version: bytes
    cut: int = 0
    cancelled: int = 0
    bytes: int = 0
    taken: Sequence[int] = ()
    retry_cursor: int = -1
    held: Sequence[QueuedRecord] | None = None
    held_delta: int = 0
    merged: int = 0
    dropped: int = 0
    bodies: list[tuple[int, int, int]] = field(default_factory=list)
    refused: Sequence[FailedRecord] = ()
    superseded: Sequence[FailedRecord] = ()
    due_ms: int = -1

    @property
    def moves(self) -> bool:
        """Whether a commit would change anything."""
        return bool(self.bodies or self.cut or self.taken or self.held is not None)


class AggregationStore:
    """Looking, staging, committing for one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = store.client
        self._keys = store.keys

    def look(self, lane: str) -> LaneSnapshot:
        k = self._keys
        if not self._client.exists(k("identity_salt")):
            self._store.run("write", "none", "SET", "identity_salt", secrets.token_bytes(16), "NX")
        pipe = self._client.pipeline(transaction=True)
        pipe.get(k("version"))
        pipe.time()
        pipe.get(k("clock_offset"))
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
        pipe.get(k("identity_salt"))
        pipe.lrange(k(f"arrivals:{lane}"), 0, 99)
        pipe.lrange(k(f"arrivals:{lane}"), -100, -1)
        version, time, offset, options, state, waiting, again, held, dest, busy, failed, due, polls, salt, *marks = (
            pipe.execute()
        )
        return LaneSnapshot(
            version=version or b"0",
            now_ms=time[0] * 1000 + time[1] // 1000 + int(offset or 0),
            known=options is not None,
            options=orjson.loads(options or b"{}"),
            head=int(state.get(b"head", 0)),
            waiting=waiting,
            waiting_bytes=int(state.get(b"bytes", 0)),
            again=again,
            retry_cursor=int(state.get(b"again_at", 0)),
            held=held,
            flush=int(state.get(b"flush", -1)),
            held_at=int(state[b"held_at"]) if b"held_at" in state else None,
            paused=b"paused" in state,
            dest={name.decode(): value.decode() for name, value in dest.items()},
            busy=busy,
            failed=failed,
            unsent=due,
            open=due + polls,
            salt=salt,
            marks=tuple((int(first), int(ms)) for first, _, ms in (m.partition(b":") for m in chain(*marks))),
        )

    def waiting(self, lane: str, start: int, count: int, *, heavy: bool = False) -> list[bytes]:
        """At most `count` waiting records. Where all together are `heavy`, fewer if these are large, which is slower to
        find out; but one at least, if there is any."""
        if heavy:
            return self._read(f"waiting:{lane}", start, count)
        return list(self._client.lrange(self._keys(f"waiting:{lane}"), start, start + min(count, CHUNK) - 1))

    def held(self, lane: str, count: int) -> list[QueuedRecord]:
        found: list[QueuedRecord] = []
        while len(found) < count and (lines := self._read(f"held:{lane}", len(found), count - len(found))):
            found += map(QueuedRecord.from_bytes, lines)
        return found

    def _read(self, name: str, start: int, count: int) -> list[bytes]:
        return list(self._store.run("read", name, start, min(count, CHUNK), CHUNK_BYTES))

    def retried(self, lane: str, first: int, count: int) -> list[tuple[int, list[bytes]]]:
        """Records of the lane that are to be tried again, by their numbers from `first` on: each with its digests."""
        k = self._keys
        seqs = list(map(int, self._client.zrangebyscore(k(f"retry:{lane}"), first, "+inf", start=0, num=count)))
        keys = self._client.hmget(k("failures:digests"), [f"{lane}:{seq}" for seq in seqs]) if seqs else []
        return [(seq, split_digests(key or b"")) for seq, key in zip(seqs, keys, strict=True)]

    def blobs(self, ids: Sequence[str]) -> list[bytes | None]:
        return list(self._client.hmget(self._keys("failures"), list(ids))) if ids else []

    def go_on_at(self, lane: str, seq: int) -> None:
        """Where the next round begins to look among the retried, unless that is as before (-1). A hint: it is of no
        consequence if it is lost."""
        if seq >= 0:
            self._store.run("write", f"aggregate:{lane}", "HSET", f"lane:{lane}", "again_at", seq)

    def busy(self, digests: Sequence[bytes]) -> set[bytes]:
        """Which of these identities are in flight."""
        found = self._client.hmget(self._keys("inflight"), digests) if digests else []
        return {digest for digest, root in zip(digests, found, strict=True) if root is not None}

    def failed(self, digests: Sequence[bytes]) -> list[FailedRecord]:
        """Records of these contacts that have failed, those included that are to be tried again."""
        k = self._keys
        found = self._client.hmget(k("failures:by_digest"), digests) if digests else []
        ids = list({id_ for text in found if text for id_ in text.decode().split()})
        if not ids:
            return []
        blobs, keys = self._client.hmget(k("failures"), ids), self._client.hmget(k("failures:digests"), ids)
        found = zip(ids, keys, blobs, strict=True)
        return [FailedRecord(id_, key, blob) for id_, key, blob in found if blob is not None and key]

    def memory(self) -> Memory:
        return look_at_memory(self._client)

    def stage(self, packed: PackedBytes, entries: bytes, keys: bytes, *, beyond: bool = False) -> int:
        """Store a body under a fresh number, to be made permanent by the commit; returns the number. Raises `StoreFull`
        with nothing left behind, unless a small body may go `beyond` the memory there is."""
        if beyond:
            return int(self._store.run("aggregate_stage", STAGED_MS, packed.body, packed.offsets, entries, keys))
        number = 0
        try:
            number = int(self._client.incr(self._keys("batch_seq")))
            for part, value in (
                ("body", packed.body),
                ("offsets", packed.offsets),
                ("records", entries),
                ("digests", keys),
            ):
                self._put(self._keys(f"batch:{number}:{part}"), value)
        except OutOfMemoryError:
            self.unstage([number])
            raise StoreFull("no room to stage a body") from None
        return number

    def _put(self, name: str, value: bytes) -> None:
        """In pieces: a client copies what it sends, and the first piece brings the expiry for all of them."""
        self._client.set(name, value[:PIECE_BYTES], px=STAGED_MS)
        for start in range(PIECE_BYTES, len(value), PIECE_BYTES):
            self._client.append(name, value[start : start + PIECE_BYTES])

    def unstage(self, numbers: Iterable[int]) -> None:
        names = [self._keys(f"batch:{n}:{part}") for n in numbers for part in ("body", "offsets", "records", "digests")]
        if names:
            self._client.delete(*names)

    def commit(self, cut: AggregationCommit) -> bool:
        """True if it took; False if somebody else was faster and the walk must start over."""
        plan = {
            "lane": cut.lane,
            "version": cut.version.decode(),
            "cut": cut.cut,
            "tombs": cut.cancelled,
            "bytes": cut.bytes,
            "taken": list(cut.taken),
            "again_at": cut.retry_cursor,
            "held": -1 if cut.held is None else len(cut.held),
            "held_delta": cut.held_delta,
            "merged": cut.merged,
            "dropped": cut.dropped,
            "bodies": [{"n": n, "rows": rows, "bytes": size} for n, rows, size in cut.bodies],
            "refused": len(cut.refused),
            "strips": len(cut.superseded),
            "due_ms": cut.due_ms,
        }
        args: list[Arg] = [orjson.dumps(plan)]
        args += [entry.to_bytes() for entry in cut.held or ()]
        for record in cut.refused:
            args += [record.id, record.digests, record.blob]
        for record in cut.superseded:
            args += [record.id, record.blob]
        return bool(self._store.run("aggregate_commit", *args) == b"ok")
