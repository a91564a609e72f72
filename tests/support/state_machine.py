"""A state machine over the whole journey, against a model that knows every record and a platform that minds the order.

Two lanes of one destination share their contacts; bodies hold three; what can go wrong does. After every single step
the books balance and agree with a recount, the contacts in flight are those of the live bodies, failures can be found
by whom they are about, and nobody has failed whom nobody blamed. At the end everything works again, and every value
that should stand at the platform stands there.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import SecretStr
from support.books_model import FIELDS, KINDS, ORPHAN_S, Crash, Place, Platform, Records, missing, who
from support.keyspace import assert_keyspace_is_listed
from support.peer import Peer, advance, with_http_client

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.errors import Refused, StaleFence
from contact_ingest.model.batch import Settlement
from contact_ingest.model.failure import Failure
from contact_ingest.model.identity import split_digests
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
from contact_ingest.store.batches import Claim
from contact_ingest.store.keys import DUE_BATCHES
from contact_ingest.store.lanes import LaneLimits, append, cancel
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
    r"version|batch_seq|identity_salt|clock_offset|clock_last|clock_setback|lanes|state|due:aggregate|due:(?:dispatch|poll)(?::low)?"
    r"|quarantine|inflight|claims|batches|failures(?::by_time|:digests|:by_digest)?"
    r"|(?:lane|waiting|retry|held|arrivals|books):.+|batch:\d+|batch:\d+:(?:body|offsets|records|digests)"
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


class StoreMachine(RuleBasedStateMachine):
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

    # What can happen.

    @rule(lane=st.sampled_from(LANES), arrivals=ARRIVALS)
    def enqueue(self, lane, arrivals):
        self.put(lane, arrivals)

    @rule(lane=st.sampled_from(LANES))
    def aggregate(self, lane):
        self.cut(lane.name)

    @rule(lane=st.sampled_from(LANES), flush=st.booleans())
    def age(self, lane, flush):
        if flush:
            self.runtime.schedule.flush(lane.name)
        else:
            self.advance(6)
        self.cut(lane.name)

    @rule(lane=st.sampled_from(LANES), arrivals=ARRIVALS)
    def enqueue_and_aggregate(self, lane, arrivals):
        self.put(lane, arrivals)
        self.leave(lane.name)

    @rule(lane=st.sampled_from(LANES), about=st.sampled_from(PEOPLE))
    def the_second_of_three_records_is_refused(self, lane, about):
        self.put(lane, [(about, {"city"}, False), (about, {"city"}, True), (about, {"country"}, False)])
        self.leave(lane.name)

    @rule(lane=st.sampled_from(LANES), other=st.sampled_from(LANES), arrivals=ARRIVALS)
    def two_aggregators_see_the_same_version(self, lane, other, arrivals):
        for each in (lane, other):
            self.put(each, arrivals)
            self.runtime.schedule.flush(each.name)
        mine, theirs = self.aggregation_store.read_snapshot(lane.name), self.aggregation_store.read_snapshot(other.name)
        first = self.run_round(lane, mine)
        second = self.run_round(other, theirs)
        assert not (has_committed(first) and has_committed(second)), "both committed on one version"

    @rule(lane=st.sampled_from(LANES), what=st.sampled_from(["cancel", "retry", "poll"]), arrivals=ARRIVALS)
    def something_comes_between_snapshot_and_commit(self, lane, what, arrivals):
        self.put(lane, arrivals)
        self.runtime.schedule.flush(lane.name)
        snapshot = self.aggregation_store.read_snapshot(lane.name)
        version = self.client.get(self.store.keys("version"))
        if what == "cancel":
            with self.vanishing():
                moved = cancel(self.store, lane.name, [(snapshot.head, snapshot.head + 1)])
        elif what == "retry":
            moved = self.runtime.failures.retry(list(self.runtime.failures))
        else:
            self.poll("named")
            self.poll("named")
            moved = self.client.get(self.store.keys("version")) != version
        done = self.run_round(lane, snapshot)
        assert not (moved and has_committed(done)), f"a {what} in between went unnoticed"

    @precondition(lambda self: self.has("due:dispatch") or self.has("due:dispatch:low"))
    @rule(mood=st.sampled_from(["pending", "pending", "named", "rejected", "too_large", "limited", "retry", "stop"]))
    def dispatch(self, mood):
        self.send(mood, 1)

    @precondition(lambda self: self.has("due:dispatch"))
    @rule(mood=st.sampled_from(["unknown", "unreadable", "gateway", "not_sent", "crash", "crash_after"]))
    def dispatch_that_breaks_off(self, mood):
        self.send(mood, 20)

    @precondition(lambda self: self.has("due:dispatch"))
    @rule(mood=st.sampled_from(["retry", "unknown", "gateway"]))
    def dispatch_for_the_last_time(self, mood):
        """The window for the same bytes is over."""
        self.send(mood, 90_000)

    @precondition(lambda self: self.has("due:dispatch"))
    @rule(
        mood=st.sampled_from(["unknown", "gateway", "crash_after"]),
        after_s=st.sampled_from([1, 90_000]),
        lane=st.sampled_from(LANES),
        arrivals=ARRIVALS,
    )
    def a_request_breaks_off_and_newer_records_follow(self, mood, after_s, lane, arrivals):
        self.send(mood, after_s)
        self.send_and_follow(LEASE_S + 1)
        self.send_and_follow(LEASE_S + 1)
        self.put(lane, arrivals)
        self.leave(lane.name)
        self.send_and_follow(1)

    @precondition(lambda self: self.has("due:poll") or self.has("due:poll:low"))
    @rule(lane=st.sampled_from(LANES), arrivals=ARRIVALS)
    def a_job_is_given_up_and_newer_records_follow(self, lane, arrivals):
        self.follow("pending", 21_700)
        self.put(lane, arrivals)
        self.leave(lane.name)
        self.send_and_follow(1)

    @precondition(lambda self: self.has("due:poll") or self.has("due:poll:low"))
    @rule(
        mood=st.sampled_from(
            ["done", "done", "done", "named", "pending", "retry", "limited", "unreadable", "stop", "crash"]
        )
    )
    def poll(self, mood):
        self.follow(mood, 30)

    @precondition(lambda self: self.has("due:poll") or self.has("due:poll:low"))
    @rule()
    def poll_for_the_last_time(self):
        self.follow("pending", 21_700)

    @precondition(lambda self: self.has("failures:by_time"))
    @rule(data=st.data())
    def retry_failures(self, data):
        failures = list(self.runtime.failures)
        self.runtime.failures.retry(data.draw(st.lists(st.sampled_from(failures), unique_by=lambda f: f.id)))

    @precondition(lambda self: self.has("failures:by_time"))
    @rule(lane=st.sampled_from(LANES))
    def retry_all_failures(self, lane):
        self.runtime.failures.retry(list(self.runtime.failures))
        self.cut(lane.name)

    @precondition(lambda self: self.has("failures:by_time"))
    @rule(data=st.data(), retried=st.booleans())
    def a_newer_record_comes_by_the_other_lane(self, data, retried):
        failed = data.draw(st.sampled_from(list(self.runtime.failures)))
        row = orjson.loads(failed.raw)
        if retried:
            self.runtime.failures.retry([failed])
        [other] = (lane for lane in LANES if lane.name != failed.lane)
        self.put(other, [({kind: row[kind] for kind in KINDS if kind in row}, set(FIELDS) & row.keys(), False)])
        self.leave(other.name)

    @precondition(lambda self: self.has("failures:by_time"))
    @rule(data=st.data())
    def discard_failures(self, data):
        ids = [failed.id for failed in self.runtime.failures]
        with self.vanishing():
            self.runtime.failures.discard(data.draw(st.lists(st.sampled_from(ids), max_size=2)))

    @rule(lane=st.sampled_from(LANES), first=st.integers(0, 30), count=st.integers(1, 5))
    def cancel(self, lane, first, count):
        with self.vanishing():
            cancel(self.store, lane.name, [(first, first + count - 1)])

    @rule(lane=st.sampled_from([None, PLAIN.name, LISTED.name]), on=st.integers(0, 3))
    def pause_or_resume(self, lane, on):
        if on == 3:
            self.runtime.state.pause(lane, "for a test")
        else:
            self.runtime.state.resume(lane)

    @rule(strict=st.booleans())
    def a_rule_is_mended_or_comes_back(self, strict):
        self.runtime.provider.strict = strict

    @rule()
    def leases_lapse(self):
        self.advance(LEASE_S + 1)

    @rule()
    def a_worker_that_was_frozen_comes_back(self):
        claim = self.runtime.batch_store.claim("dispatch")
        if isinstance(claim, Claim):
            batch = claim.batch
            self.send("pending", LEASE_S + 1)
            if self.client.hget(self.store.keys(f"batch:{batch.number}"), "fence") != b"%d" % batch.fence:
                with pytest.raises(StaleFence):
                    self.runtime.batch_store.settle(batch, Settlement(batch, delivered=1))

    @precondition(lambda self: hasattr(self, "store") and self.platform.orphans)
    @rule(data=st.data())
    def an_orphan_job_ends(self, data):
        self.platform.finish_orphan(data.draw(st.integers(0, len(self.platform.orphans) - 1)))

    @precondition(lambda self: self.has("quarantine"))
    @rule(lane=st.sampled_from(LANES))
    def the_wait_for_orphans_ends(self, lane):
        self.advance(ORPHAN_S + 1)
        self.runtime.schedule.tick(4)
        self.cut(lane.name)

    @rule(age_s=st.sampled_from([100, 10_000]))
    def sweep(self, age_s):
        with self.vanishing():
            self.runtime.schedule.sweep(age_s * 1000, age_s * 1000)

    # What always holds.

    @invariant()
    def books_balance_and_a_recount_says_the_same(self):
        for lane in self.lanes():
            assert books.disagreements(self.store, lane) == []

    @invariant()
    def busy_contacts_are_those_of_live_bodies_each_in_one(self):
        expected = {}
        for root in self.numbers("batch:*:digests"):
            name = self.store.keys(f"batch:{root}:digests")
            if self.client.ttl(name) == -1:
                blob = self.client.get(name)
                keys = split_digests(blob)
                assert expected.keys().isdisjoint(keys), "a contact is in flight twice"
                expected |= dict.fromkeys(keys, str(root).encode())
        assert self.client.hgetall(self.store.keys("inflight")) == expected

    @invariant()
    def a_live_body_has_its_bytes_and_a_dead_one_none(self):
        k = self.store.keys
        for root in self.numbers("batch:*:body"):
            if self.client.ttl(k(f"batch:{root}:body")) == -1:
                assert int(self.client.hget(k(f"batch:{root}"), "parts")) > 0
        for number in map(int, self.client.zrange(k("batches"), 0, -1)):
            state, root = self.client.hmget(k(f"batch:{number}"), "state", "root")
            due = [zset for zset in DUE_BATCHES if self.client.zscore(k(zset), number) is not None]
            assert len(due) == (state != b"done"), "a batch has to be due exactly once until it is done"
            if state != b"done":
                assert self.client.ttl(k(f"batch:{int(root)}:body")) == -1

    @invariant()
    def contacts_of_a_request_of_unknown_fate_stay_busy(self):
        k = self.store.keys
        for number in map(int, self.client.zrange(k("batches"), 0, -1)):
            until = self.client.hget(k(f"batch:{number}"), "orphan_until")
            if until and int(until) > self.runtime.clock.now_ms() + 1_000:
                assert self.client.exists(k(f"batch:{number}:digests"))

    @invariant()
    def failures_are_listed_or_tried_again_and_known_by_whom_they_are_about(self):
        k = self.store.keys
        ids = {key.decode() for key in self.client.hkeys(k("failures"))}
        listed = {key.decode() for key in self.client.zrange(k("failures:by_time"), 0, -1)}
        again = {f"{lane}:{int(seq)}" for lane in self.lanes() for seq in self.client.zrange(k(f"retry:{lane}"), 0, -1)}
        assert listed.isdisjoint(again)
        assert ids == listed | again
        by = {}
        for record_id, blob in self.client.hgetall(k("failures:digests")).items():
            for digest in split_digests(blob):
                by.setdefault(digest, set()).add(record_id.decode())
        found = self.client.hgetall(k("failures:by_digest"))
        assert {digest: set(text.decode().split()) for digest, text in found.items()} == by

    @invariant()
    def whoever_has_failed_was_blamed_by_somebody(self):
        for failed in self.runtime.failures if self.lanes() else ():
            if failed.stage == "aggregate":
                made_of = [(failed.lane, seq) for seq in (failed.queued.seq, *failed.queued.merged)]
                assert self.records.may_be_refused(made_of, orjson.loads(failed.raw)), failed.public(contents=False)
            elif failed.code not in NOBODY:
                assert who(orjson.loads(failed.raw)) in self.platform.blamed, failed.public(contents=False)

    @invariant()
    def whatever_waits_will_be_looked_at(self):
        k = self.store.keys if self.lanes() else str
        for lane in self.lanes():
            if any(self.client.exists(k(f"{what}:{lane}")) for what in ("waiting", "retry", "held")):
                assert self.client.zscore(k("due:aggregate"), lane) is not None, f"{lane} is not armed"

    @invariant()
    def what_is_not_listed_as_permanent_expires(self):
        base = self.store.keys.base if self.lanes() else ""
        for key in self.client.scan_iter(match="*", count=1000) if base else ():
            name = key.decode()
            if name.startswith(base) and self.client.ttl(key) == -1:
                assert PERMANENT.fullmatch(name.removeprefix(base)), f"{name} stays for ever"

    # How it is driven.

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
        self.runtime.aggregator.aggregate(lane)
        self.records.see(self.on_lane())

    def leave(self, lane: str) -> None:
        self.runtime.schedule.flush(lane)
        self.cut(lane)

    def run_round(self, lane: Lane, snapshot: LaneSnapshot) -> RoundResult | None:
        if snapshot.paused or snapshot.destination_state.get("state") in ("paused", "stopped"):
            return None
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
        found = self.on_lane()
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
        lost = list(missing(self.records, self.platform))
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
