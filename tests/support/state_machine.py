"""A state machine over the whole journey, against a model that knows every record and a platform that minds the order.

Two lanes of one destination share their contacts; bodies hold three; what can go wrong does. After every single step
the books balance and agree with a recount, the contacts in flight are those of the live bodies, failures can be found
by whom they are about, and nobody has failed whom nobody blamed. At the end everything works again, and every value
that should stand at the platform stands there.
"""

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from support.books_model import FIELDS, KINDS, ORPHAN_S, who
from support.store_driver import (
    ARRIVALS,
    LANES,
    LEASE_S,
    LISTED,
    NOBODY,
    PEOPLE,
    PERMANENT,
    PLAIN,
    StoreDriver,
    has_committed,
)

from contact_ingest.errors import StaleFence
from contact_ingest.model.batch import Settlement
from contact_ingest.model.identity import split_digests
from contact_ingest.store import books
from contact_ingest.store.batches import Claim
from contact_ingest.store.keys import DUE_BATCHES
from contact_ingest.store.lanes import cancel


class StoreMachine(StoreDriver):
    """All that can happen, in any order."""

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
    def every_lane_in_which_something_is_held_is_known_and_will_be_told_of_a_release(self):
        k, client = self.store.keys if self.lanes() else str, self.client
        held = {lane for lane in self.lanes() if client.exists(k(f"held:{lane}"), k(f"retry:{lane}"))}
        listed = dict(client.zrange(k("held_lanes"), 0, -1, withscores=True)) if self.lanes() else {}
        assert {lane.decode() for lane in listed} == held
        version = int(client.get(k("version")) or 0) if self.lanes() else 0
        # At the next release, `released` is the version after this one: larger than every score.
        assert all(score <= version for score in listed.values())

    @invariant()
    def what_is_not_listed_as_permanent_expires(self):
        base = self.store.keys.base if self.lanes() else ""
        for key in self.client.scan_iter(match="*", count=1000) if base else ():
            name = key.decode()
            if name.startswith(base) and self.client.ttl(key) == -1:
                assert PERMANENT.fullmatch(name.removeprefix(base)), f"{name} stays for ever"
