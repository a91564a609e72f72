"""The state machine's hands: an engine on an empty server, two lanes of one destination, and one step at a time.

The rules and what must always hold are in state_machine.py.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize
from pydantic import SecretStr
from support.books_model import ORPHAN_S, Crash, Place, Platform, Records, missing, unsaid
from support.keyspace import assert_keyspace_is_listed
from support.peer import Peer, advance, with_http_client

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.errors import Refused
from contact_ingest.model.failure import Failure
from contact_ingest.model.lane import Lane
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.payload import Limits
from contact_ingest.pipeline import enqueue
from contact_ingest.pipeline.aggregate import Aggregator
from contact_ingest.pipeline.aggregate_lane import AggregationPolicy, LaneAggregation, RoundResult
from contact_ingest.pipeline.encode import NO_MAPPING, RecordEncoder
from contact_ingest.pipeline.enqueue import EnqueueOptions
from contact_ingest.providers.sendgrid.provider import SendGrid
from contact_ingest.store import books
from contact_ingest.store.aggregation import AggregationStore, LaneSnapshot
from contact_ingest.store.lanes import LaneLimits, append
from contact_ingest.transport.auth import AuthenticatedClient

PLAIN = Lane("sendgrid", "sendgrid")
LISTED = Lane("sendgrid+1f2e3d4c", "sendgrid", {"list_ids": ["00000000-0000-4000-8000-000000000001"]})
LANES = (PLAIN, LISTED)
#: Whom records are about: some share one identifier, some contradict each other in another.
PEOPLE = (
    {"email": "a@example.com"},
    {"email": "b@example.com"},
    {"email": "d@example.com"},
    {"email": "a@example.com", "external_id": "1"},
    {"email": "a@example.com", "external_id": "2"},
    {"email": "c@example.com", "external_id": "2"},
    {"external_id": "1"},
)
POLICY = AggregationPolicy(max_wait_ms=5_000, max_held=5, max_unsent=4, max_open=6, max_bodies=2)
ROOM = LaneLimits(1_000_000, 5_000, 3, 65_536)
LEASE_S = 45
#: Failures that nobody has to be blamed for.
NOBODY = ("gave_up", "no_verdict", "poison")

#: Everything that may be there for ever, as keys.py lists it.
PERMANENT = re.compile(
    r"version|batch_seq|epoch|identity_salt|clock_offset|clock_last|clock_setback|lanes|state|due:aggregate|due:(?:dispatch|poll)(?::low|:stopped|:trial)?"
    r"|quarantine|inflight|claims|batches|held_lanes|released|failures(?::by_time|:digests|:by_digest)?"
    r"|(?:lane|waiting|retry|held|arrivals|epochs|books):.+|batch:\d+|batch:\d+:(?:body|offsets|records|digests)"
)

SETS = st.sets(st.sampled_from(["city", "country", "line"]), min_size=1)
ARRIVALS = st.lists(
    st.tuples(st.sampled_from(PEOPLE), SETS, st.integers(0, 9).map(lambda n: n == 0)), min_size=1, max_size=5
)


class Small(SendGrid):
    """A platform that takes three contacts a request, so that a few records make many bodies. While `strict`, it has a
    rule that some records break."""

    strict = True

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        return replace(super().limits(lane, max_bytes), max_contacts=3)

    def prepare(self, raw: bytes, fields: FieldTable):
        if self.strict and b'"bad"' in raw:
            raise Refused("unique_name", "is bad", "bad")
        return super().prepare(raw, fields)


class StoreDriver(RuleBasedStateMachine):
    """A machine without rules. What one step needs is here."""

    def connect(self):
        """A client of an empty server."""
        raise AssertionError("to be said by each machine")

    @initialize()
    def start(self):
        self.client = self.connect()
        settings_ = Settings(max_wait_s=5, orphan_wait_s=ORPHAN_S, lease_s=LEASE_S)
        destination = Destination(platform="sendgrid", api_key="SG.k", base_url="http://127.0.0.1:9")
        self.engine = Engine(settings_.model_copy(update={"destinations": {"sendgrid": destination}}))
        self.engine.client = self.client
        runtime = self.engine.runtime("sendgrid")
        self.records = Records()
        self.platform = Platform(self.records)
        provider = Small(api_key=SecretStr("SG.k"), base_url="http://127.0.0.1:9")
        http_client = AuthenticatedClient(Peer(self.platform.answer), provider, runtime.store)
        self.aggregation_store = AggregationStore(runtime.store)
        aggregator = Aggregator(
            self.aggregation_store, provider, NO_MAPPING, POLICY, runtime.custom_fields, runtime.schedule
        )
        self.runtime = replace(with_http_client(runtime, http_client, provider), aggregator=aggregator)
        self.store = runtime.store
        for lane in LANES:
            self.put(lane, [(PEOPLE[n], {"city"}, False) for n in range(3)])
        self.leave(PLAIN.name)
        self.leave(LISTED.name)

    def teardown(self):
        if hasattr(self, "store"):
            try:
                self.drain()
                assert_keyspace_is_listed(self.client, self.store.keys.prefix)
            finally:
                self.engine.close()

    def put(self, lane, arrivals):
        rows = []
        for at, (about, sets, bad) in enumerate(arrivals):
            values = dict.fromkeys(sorted(sets), str(len(self.records.all) + at))
            rows.append({**about, **values, **({"unique_name": "bad"} if bad else {})})
        [receipt] = enqueue.enqueue(rows, [(EnqueueOptions(lane, ROOM, 10_000), lambda call: append(self.store, call))])
        seqs = [seq for first, last in receipt.ranges for seq in range(first, last + 1)]
        for seq, row in zip(seqs, rows, strict=True):
            self.records.add(lane.name, seq, row)

    def cut(self, lane: str) -> None:
        self.records.note_failed(self.failed())
        self.runtime.aggregator.aggregate(lane)
        self.records.see(self.on_lane())

    def leave(self, lane: str) -> None:
        self.runtime.schedule.flush(lane)
        self.cut(lane)

    def run_round(self, lane: Lane, snapshot: LaneSnapshot) -> RoundResult | None:
        if snapshot.paused or snapshot.destination_state.get("state") in ("paused", "stopped"):
            return None
        self.records.note_failed(self.failed())
        encoder = RecordEncoder(self.runtime.provider, snapshot.salt, FieldTable(), frozenset(), snapshot.now_ms)
        done = LaneAggregation(self.aggregation_store, snapshot, lane, encoder, POLICY).run(2)
        self.records.see(self.on_lane())
        return done

    def send(self, mood: str, after_s: float) -> None:
        self.platform.mood = mood
        self.advance(after_s)
        with contextlib.suppress(Crash):
            self.runtime.dispatcher.dispatch("sendgrid")

    def follow(self, mood: str, after_s: float) -> None:
        self.platform.mood = mood
        self.advance(after_s)
        with contextlib.suppress(Crash):
            self.runtime.poller.poll("sendgrid")
        k = self.store.keys
        numbers = [int(n) for zset in ("due:poll", "due:poll:low") for n in self.client.zrange(k(zset), 0, -1)]
        self.platform.abandon({self.client.hget(k(f"batch:{number}"), "job").decode() for number in numbers})

    def send_and_follow(self, after_s: float) -> None:
        self.send("pending", after_s)
        self.follow("done", 0)

    def has(self, zset: str) -> bool:
        return bool(self.lanes()) and self.client.exists(self.store.keys(zset)) == 1

    def lanes(self) -> list[str]:
        return [lane.name for lane in LANES] if hasattr(self, "store") else []

    def numbers(self, pattern: str) -> list[int]:
        found = self.client.scan_iter(match=f"*:{pattern}", count=1000)
        return [int(key.decode().split("}:batch:")[1].split(":")[0]) for key in found]

    def advance(self, seconds: float) -> None:
        self.platform.grow_older(seconds)
        advance(self.runtime, seconds)

    def held(self, lane: str) -> list[QueuedRecord]:
        return self.aggregation_store.read_held(lane, 1_000)

    def on_lane(self) -> set[Place]:
        """What waits and is held, merged ones too."""
        found: set[Place] = set()
        for lane in self.lanes():
            head = int(self.client.hget(self.store.keys(f"lane:{lane}"), "head") or 0)
            raws = self.aggregation_store.read_waiting(lane, 0, 10_000)
            found |= {(lane, head + at) for at, raw in enumerate(raws) if raw}
            found |= {(lane, seq) for entry in self.held(lane) for seq in (entry.seq, *entry.merged)}
        return found

    def not_delivered(self) -> set[Place]:
        """The same with what has failed, or is to be tried again."""
        return self.on_lane() | self.failed()

    def failed(self) -> set[Place]:
        """What has failed, or is to be tried again, merged records too."""
        found: set[Place] = set()
        for key, blob in self.client.hgetall(self.store.keys("failures")).items():
            failed = Failure.from_bytes(key.decode(), blob)
            found |= {(failed.lane, seq) for seq in (failed.queued.seq, *failed.queued.merged)}
        return found

    @contextlib.contextmanager
    def vanishing(self) -> Iterator[None]:
        """Records that are no more when this ends were discarded."""
        before = self.not_delivered()
        yield
        for lane, seq in before - self.not_delivered():
            self.records.at(lane, seq).gone = True

    def drain(self):
        """Everything works again: all that came finds its end, and all that failed goes again."""
        self.runtime.provider.strict = False
        self.settle()
        self.runtime.failures.retry(list(self.runtime.failures))
        self.settle()
        for _ in range(20):
            self.advance(ORPHAN_S + 1)
            self.runtime.schedule.tick(4)
        assert self.client.hlen(self.store.keys("inflight")) == 0
        self.books_balance_and_a_recount_says_the_same()
        totals = books.totals(books.read(self.store))
        assert totals["failed"] == 0
        assert totals["accepted"] == len(self.records.all)
        lost = [*missing(self.records, self.platform), *unsaid(self.records, self.platform)]
        assert not lost, lost

    def settle(self):
        for lane in (None, PLAIN.name, LISTED.name):
            self.runtime.state.resume(lane)
        for _ in range(300):
            totals = books.totals(books.read(self.store))
            if not any(totals[name] for name in ("waiting", "held", "batched")):
                return
            self.advance(100)
            for lane in self.lanes():
                self.leave(lane)
            for _ in range(3):
                self.send("pending", 0)
                self.follow("done", 0)
            self.runtime.schedule.tick(4)
        raise AssertionError(f"not settled: {totals}")


def has_committed(done: RoundResult | None) -> bool:
    return done is not None and done.committed
