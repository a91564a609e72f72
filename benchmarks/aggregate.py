"""Aggregation: from the raw bytes of waiting records to closed bodies, step by step, and a full round on a real server.

    python -m benchmarks aggregate [--contacts N] [--rounds R] [--json]

Yardsticks: `orjson.loads` and `orjson.dumps` of each record, which any path that looks at records and re-encodes them
must pay; and `orjson.dumps` of the whole list. Once with records that need nothing changed and once with records that
need mapping: an upper-case address, a renamed field, custom fields by name.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
from support.tables import Table, show

from benchmarks.measure import Step, Timing, interleave, parser_of
from benchmarks.records import FIELDS, mapped, plain
from benchmarks.stage import stage_without_sandbox
from contact_ingest import enqueue
from contact_ingest.engine import Engine
from contact_ingest.model.identity import digests
from contact_ingest.model.lane import Lane
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.packer import EncodedRecord, FinishedPayload, Packer
from contact_ingest.packing.payload import Limits, PackedBytes
from contact_ingest.pipeline.aggregate_lane import AggregationPolicy, LaneAggregation
from contact_ingest.pipeline.encode import RecordEncoder
from contact_ingest.store.aggregation import AggregationCommit, AggregationStore

SALT = b"benchmark-salt-1"
NOBODY: frozenset[bytes] = frozenset()
LANE = Lane.of("sendgrid", {})
ALL_BODIES = 1_000
PAIR, WHOLE = "orjson.loads + orjson.dumps, each", "orjson.dumps, whole list"
ROUND = "full round on a server"


class TimedStore(AggregationStore):
    """An aggregation store that times its own round trips, in seconds."""

    def __init__(self, store: AggregationStore) -> None:
        super().__init__(store._store)  # noqa: SLF001 - the same store, watched
        self.seconds = {"read": 0.0, "stage": 0.0, "commit": 0.0}

    def read_waiting(self, lane: str, start: int, count: int, *, heavy: bool = False) -> list[bytes]:
        began = time.perf_counter()
        found = super().read_waiting(lane, start, count, heavy=heavy)
        self.seconds["read"] += time.perf_counter() - began
        return found

    def stage(
        self, packed: PackedBytes, record_lines: bytes, digests: bytes, *, may_exceed_memory: bool = False
    ) -> int:
        began = time.perf_counter()
        number = super().stage(packed, record_lines, digests, may_exceed_memory=may_exceed_memory)
        self.seconds["stage"] += time.perf_counter() - began
        return number

    def commit(self, commit: AggregationCommit) -> bool:
        began = time.perf_counter()
        committed = super().commit(commit)
        self.seconds["commit"] += time.perf_counter() - began
        return committed


class Bout:
    """The steps over one set of records."""

    def __init__(self, engine: Engine, make: Callable[[int], dict[str, Any]], contacts: int) -> None:
        self._engine = engine
        self._records = [make(number) for number in range(contacts)]
        self._raws = [b"%b" % orjson.dumps(record) for record in self._records]
        self._provider = engine.runtime("sendgrid").provider
        now_ms = time.time_ns() // 1_000_000
        self._fields = FieldTable(FIELDS, now_ms)
        self._encoder = RecordEncoder(self._provider, SALT, self._fields, frozenset(), now_ms)
        self._limits = self._provider.limits(LANE)
        # One body, however large, so that finishing it is timed apart from packing.
        self._endless = Limits(contacts, 1 << 31, self._limits.prefix, self._limits.suffix)
        self._names = [self._provider.prepare(raw, self._fields).identities for raw in self._raws]
        self.parts_of_rounds: dict[str, list[float]] = {"read": [], "stage": [], "commit": []}

    @property
    def mean_bytes(self) -> int:
        return round(sum(map(len, self._raws)) / len(self._raws))

    def steps(self) -> list[Step]:
        count = len(self._raws)
        return [
            Step(PAIR, count, self._decode_and_encode),
            Step(WHOLE, count, lambda _: orjson.dumps(self._records)),
            Step("prepare", count, self._prepare),
            Step("digests", count, self._digest),
            Step("pack", count, lambda given: self._feed(*given), self._packer_and_records),
            Step("finish", count, lambda packer: packer.flush(), self._filled),
            Step("records and digests of a body", count, self._describe, self._closed),
            Step("all of these, real limits", count, self._aggregate),
            Step(ROUND, count, lambda _: self._round(), self._refill),
        ]

    def _decode_and_encode(self, _: object) -> None:
        for raw in self._raws:
            orjson.dumps(orjson.loads(raw))

    def _prepare(self, _: object) -> None:
        prepare, fields = self._provider.prepare, self._fields
        for raw in self._raws:
            prepare(raw, fields)

    def _digest(self, _: object) -> None:
        for names in self._names:
            digests(SALT, names)

    def _encoded(self) -> list[EncodedRecord]:
        return [self._encoder.encode(QueuedRecord(seq, raw)) for seq, raw in enumerate(self._raws)]

    def _packer(self, limits: Limits) -> Packer:
        return Packer(limits, self._encoder.encode, max_held=5_000, max_refused=1_000)

    def _packer_and_records(self) -> tuple[Packer, list[EncodedRecord]]:
        return self._packer(self._endless), self._encoded()

    def _feed(self, packer: Packer, records: Sequence[EncodedRecord]) -> None:
        for record in records:
            packer.add(record, NOBODY)

    def _filled(self) -> Packer:
        packer, records = self._packer_and_records()
        self._feed(packer, records)
        return packer

    def _closed(self) -> FinishedPayload:
        closed = self._filled().flush()
        assert closed is not None
        return closed

    def _describe(self, closed: FinishedPayload) -> None:
        assert closed.record_lines
        closed.digests  # noqa: B018 - made when asked for

    def _aggregate(self, _: object) -> None:
        packer = self._packer(self._limits)
        for seq, raw in enumerate(self._raws):
            closed = packer.add(self._encoder.encode(QueuedRecord(seq, raw)), NOBODY)
            if closed is not None:
                self._describe(closed)
        if (last := packer.flush()) is not None:
            self._describe(last)

    def _refill(self) -> None:
        self._engine.client.flushall()
        enqueue(self._records)

    def _round(self) -> float:
        """Read, encode, pack, stage and commit, as a worker does on one wake-up. Returns seconds."""
        store = TimedStore(AggregationStore(self._engine.runtime("sendgrid").store))
        began = time.perf_counter()
        snapshot = store.read_snapshot("sendgrid")
        encoder = replace(self._encoder, salt=snapshot.salt, now_ms=snapshot.now_ms)
        done = LaneAggregation(store, snapshot, LANE, encoder, AggregationPolicy(max_wait_ms=0)).run(ALL_BODIES)
        took = time.perf_counter() - began
        if done is None or not done.committed or self._engine.client.llen(store._keys("waiting:sendgrid")):  # noqa: SLF001
            raise AssertionError("the round has left something")
        for name, seconds in store.seconds.items():
            self.parts_of_rounds[name].append(seconds)
        return took


def timed(engine: Engine, make: Callable[[int], dict[str, Any]], contacts: int, rounds: int) -> Table:
    bout = Bout(engine, make, contacts)
    found = interleave(bout.steps(), rounds)
    says = {"read": "LRANGE", "stage": "SET of bodies and their rows", "commit": "one script"}
    for name, seconds in bout.parts_of_rounds.items():
        label = f"  of which {name} ({says[name]})"
        found[label] = Timing(label, [s / contacts for s in seconds[-rounds:]])
    return Table(
        f"aggregating {contacts:,} records of {bout.mean_bytes} bytes, {make.__name__}, {rounds} rounds",
        ("step", "µs/record", "to loads+dumps", "to whole list"),
        [(t.name, t.micros, t.ratio(found[PAIR]), t.ratio(found[WHOLE])) for t in found.values()],
        (
            f"yardsticks: {PAIR}; and {WHOLE}; in the same rounds.",
            "prepare: decode, check, map, encode. pack: in-flight and same-contact look-ups, counting, appending.",
        ),
    )


def main(arguments: Sequence[str]) -> int:
    given = parser_of(__doc__, contacts=20_000, rounds=7).parse_args(arguments)
    with stage_without_sandbox() as where:
        tables = [timed(where.engine, make, given.contacts, given.rounds) for make in (plain, mapped)]
    show(tables, as_json=given.json)
    return 0
