"""The store under any interleaving of what can happen to it: after every single step the books balance, the contacts
in flight are those of the live bodies, and nothing is forgotten."""

import contextlib
import re
from collections import Counter
from dataclasses import replace

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from peer import Peer, advance, reply
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import OutOfMemoryError

from worker import intake
from worker.aggregation import Aggregation
from worker.courier import Courier
from worker.delivery import Delivery
from worker.embedded import EmbeddedServer
from worker.errors import FateUnknown, NotSent, StaleFence
from worker.intake import Door
from worker.outcome import FieldTable
from worker.packing import Limits
from worker.preparing import NO_RULES, Preparation
from worker.providers.base import Lane
from worker.providers.sendgrid import SendGrid
from worker.rounds import LaneRound, Pace
from worker.settings import Destination, Settings
from worker.store import books
from worker.store.bench import Bench
from worker.store.ledger import Plan
from worker.store.waiting import LaneRoom, append, cancel
from worker.tracking import Tracking
from worker.wiring import Wiring

PLAIN = Lane("sendgrid", "sendgrid")
LISTED = Lane("sendgrid+1f2e3d4c", "sendgrid", {"list_ids": ["00000000-0000-4000-8000-000000000001"]})
LANES = (PLAIN, LISTED)
#: Whose records come by which lane; the last contact comes by both.
PEOPLE = {PLAIN.name: ("a", "b", "c", "x"), LISTED.name: ("d", "e", "x")}
PACE = Pace(max_wait_ms=5_000, max_held=5, ahead=4, max_open=6, max_bodies=2)
ROOM = LaneRoom(1_000_000, 5_000, 3, 65_536)
LEASE_S, ORPHAN_S = 45, 600

#: Everything that may be there for ever, as keys.py lists it.
PERMANENT = re.compile(
    r"v|serial|salt|clock|seen|lead|lanes|dest|aggdue|due|later|polls|polls:later|free|busy|active|batches|failed|failed:(?:at|keys|by)"
    r"|(?:lane|wait|again|held|marks|books):.+|b:\d+|b:\d+:(?:body|rows|entries|keys)"
)


class Small(SendGrid):
    """A platform that takes three contacts a request, so that a few records make many bodies."""

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        return replace(super().limits(lane, max_bytes), max_contacts=3)


class Crash(BaseException):
    """A worker dies at this point."""


class Platform:
    """Takes requests in, applies jobs later and in any order, and minds that nothing newer is overwritten."""

    def __init__(self):
        self.mood, self.jobs, self.orphans, self.newest = "pending", {}, [], Counter()

    def answer(self, request):
        if request.method == "PUT":
            return self.upsert(orjson.loads(b"".join(request.body))["contacts"])
        if "/imports/" in request.url:
            return self.job(request.url.rpartition("/")[2])
        if request.endpoint == "error_file":
            return self.file(request.url.rpartition("/")[2])
        return reply(200, {"custom_fields": []})

    def upsert(self, contacts):
        found = {
            "named": reply(400, {"errors": [{"message": f"email '{contacts[-1].get('email')}' is not valid"}]}),
            "rejected": reply(400, {"errors": [{"message": "no"}]}),
            "too_large": reply(413),
            "limited": reply(429),
            "retry": reply(503),
            "stop": reply(401),
            "not_sent": NotSent("connect"),
            "crash": Crash(),
        }.get(self.mood)
        if found is not None:
            return found
        if self.mood in ("unknown", "unreadable", "crash_after"):
            self.orphans.append((contacts, 0))
            return {"unknown": FateUnknown("reset"), "unreadable": reply(202, b"<html>")}.get(self.mood, Crash())
        number = f"job-{len(self.jobs) + 1}"
        self.jobs[number] = contacts
        return reply(202, {"job_id": number})

    def job(self, number):
        contacts = self.jobs[number]
        counts = {"requested_count": len(contacts)}
        if self.mood == "named":
            url = f"https://example.com/{number}"
            counts |= {"errored_count": 1, "errors_url": url} if len(contacts) > 1 else {"errored_count": 1}
            self.apply(contacts[1:])
            return reply(200, {"status": "errored" if len(contacts) > 1 else "failed", "results": counts})
        if self.mood in ("pending", "retry", "limited", "stop", "unreadable", "rejected"):
            said = {"retry": 503, "limited": 429, "stop": 401, "unreadable": 404}
            return reply(said.get(self.mood, 200), {"status": "pending"})
        if self.mood in ("crash", "crash_after", "not_sent", "unknown"):
            return {"not_sent": NotSent("connect"), "unknown": FateUnknown("reset")}.get(self.mood, Crash())
        self.apply(contacts)
        return reply(200, {"status": "completed", "results": counts})

    def file(self, number):
        if self.mood in ("crash", "retry"):
            return Crash() if self.mood == "crash" else reply(503)
        return reply(200, f"email,error\n{self.jobs[number][0]['email']},no\n".encode())

    def apply(self, contacts):
        for contact in contacts:
            who, version = contact["email"], int(contact.get("city", -1))
            if who != "x@example.com" and version >= 0:
                assert version >= self.newest[who], "an older record of a contact was applied after a newer one"
                self.newest[who] = version

    def grow_older(self, seconds):
        """Jobs that nobody can ask about end by themselves, at the latest when their contacts are about to be free."""
        self.orphans = [(contacts, age_s + seconds) for contacts, age_s in self.orphans]
        while self.orphans and self.orphans[0][1] >= ORPHAN_S:
            self.finish_orphan()

    def finish_orphan(self):
        self.apply(self.orphans.pop(0)[0])


def has_committed(done):
    return done is not None and done.committed


class StoreMachine(RuleBasedStateMachine):
    url = ""

    @initialize()
    def start(self):
        self.client = Redis.from_url(self.url)
        self.client.flushall()
        settings_ = Settings(REDIS_URL=self.url, max_wait_s=5, orphan_wait_s=ORPHAN_S, lease_s=LEASE_S)
        destination = Destination(platform="sendgrid", api_key="SG.k", base_url="http://127.0.0.1:9")
        self.parts = Wiring(settings_.model_copy(update={"destinations": {"sendgrid": destination}}))
        site = self.parts.site("sendgrid")
        self.platform = Platform()
        provider = Small(api_key=SecretStr("SG.k"), base_url="http://127.0.0.1:9")
        courier = Courier(Peer(self.platform.answer), provider, site.store)
        desk = replace(site.desk, courier=courier, provider=provider)
        self.bench = Bench(site.store)
        aggregation = Aggregation(self.bench, provider, NO_RULES, PACE, site.definitions, site.schedule)
        self.site = replace(
            site,
            provider=provider,
            desk=desk,
            aggregation=aggregation,
            delivery=Delivery(desk),
            tracking=Tracking(desk),
        )
        self.store, self.version = site.store, 0
        for lane in LANES:
            self.put(lane, PEOPLE[lane.name])
            self.site.schedule.flush(lane.name)
            self.site.aggregation.aggregate(lane.name)

    def has(self, zset):
        return hasattr(self, "store") and self.client.exists(self.store.keys(zset))

    def teardown(self):
        if hasattr(self, "site"):
            try:
                self.drain()
            finally:
                self.parts.close()
                self.client.close()

    # What can happen.

    @rule(lane=st.sampled_from(LANES), who=st.data(), bad=st.integers(0, 9))
    def enqueue(self, lane, who, bad):
        more = {"first_name": "x" * 51} if bad == 0 else {}
        self.put(lane, who.draw(st.lists(st.sampled_from(PEOPLE[lane.name]), min_size=1, max_size=6)), **more)

    def put(self, lane, names, **more):
        records = []
        for name in names:
            self.version += 1
            records.append({"email": f"{name}@example.com", "city": str(self.version), **more})
        intake.enqueue(records, [(Door(lane, ROOM, 10_000), lambda call: append(self.store, call))])

    @rule(lane=st.sampled_from(LANES))
    def aggregate(self, lane):
        self.site.aggregation.aggregate(lane.name)

    @rule(lane=st.sampled_from(LANES), flush=st.booleans())
    def age(self, lane, flush):
        if flush:
            self.site.schedule.flush(lane.name)
        else:
            self.advance(6)
        self.site.aggregation.aggregate(lane.name)

    @rule(lane=st.sampled_from(LANES), other=st.sampled_from(LANES))
    def two_aggregators_see_the_same_version(self, lane, other):
        for each in (lane, other):
            self.put(each, PEOPLE[each.name])
            self.site.schedule.flush(each.name)
        mine, theirs = self.bench.look(lane.name), self.bench.look(other.name)
        first = self.run_round(lane, mine)
        second = self.run_round(other, theirs)
        assert not (has_committed(first) and has_committed(second)), "both committed on one version"

    @rule(lane=st.sampled_from(LANES), what=st.sampled_from(["cancel", "retry", "poll"]))
    def something_comes_between_look_and_commit(self, lane, what):
        self.put(lane, PEOPLE[lane.name])
        self.site.schedule.flush(lane.name)
        look = self.bench.look(lane.name)
        failed, busy = self.has("failed"), self.client.hlen(self.store.keys("busy"))
        if what == "cancel":
            moved = cancel(self.store, lane.name, [(look.head, look.head + 1)])
        elif what == "retry":
            moved = self.site.failures.retry(list(self.site.failures))
        else:
            self.poll("named")
            self.poll("named")
            moved = self.client.hlen(self.store.keys("busy")) < busy or self.has("failed") > failed
        done = self.run_round(lane, look)
        assert not (moved and has_committed(done)), f"a {what} in between went unnoticed"

    @precondition(lambda self: self.has("due") or self.has("later"))
    @rule(mood=st.sampled_from(["pending", "pending", "named", "rejected", "too_large", "limited", "retry", "stop"]))
    def dispatch(self, mood):
        self.platform.mood = mood
        self.advance(1)
        self.step(self.site.delivery.dispatch)

    @precondition(lambda self: self.has("due"))
    @rule(mood=st.sampled_from(["unknown", "unreadable", "not_sent", "crash", "crash_after"]))
    def dispatch_that_breaks_off(self, mood):
        self.platform.mood = mood
        self.advance(20)
        self.step(self.site.delivery.dispatch)

    @precondition(lambda self: self.has("polls") or self.has("polls:later"))
    @rule(
        mood=st.sampled_from(
            ["done", "done", "done", "named", "pending", "retry", "limited", "unreadable", "stop", "crash"]
        )
    )
    def poll(self, mood):
        self.platform.mood = mood
        self.advance(30)
        self.step(self.site.tracking.poll)

    @precondition(lambda self: self.has("failed"))
    @rule(data=st.data())
    def retry_failures(self, data):
        failures = list(self.site.failures)
        if failures:
            self.site.failures.retry(data.draw(st.lists(st.sampled_from(failures), unique_by=lambda f: f.id)))

    @precondition(lambda self: self.has("failed"))
    @rule(data=st.data())
    def discard_failures(self, data):
        ids = [failed.id for failed in self.site.failures]
        if ids:
            self.site.failures.discard(data.draw(st.lists(st.sampled_from(ids), max_size=2)))

    @rule(lane=st.sampled_from(LANES), first=st.integers(0, 30), count=st.integers(1, 5))
    def cancel(self, lane, first, count):
        cancel(self.store, lane.name, [(first, first + count - 1)])

    @rule(lane=st.sampled_from([None, PLAIN.name, LISTED.name]), on=st.integers(0, 3))
    def pause_or_resume(self, lane, on):
        if on == 3:
            self.site.schedule.pause(lane, "for a test")
        else:
            self.site.schedule.resume(lane)

    @rule()
    def leases_lapse(self):
        self.advance(LEASE_S + 1)

    @rule()
    def a_worker_that_was_frozen_comes_back(self):
        batch = self.site.ledger.claim("dispatch")
        if hasattr(batch, "number"):
            self.advance(LEASE_S + 1)
            self.platform.mood = "pending"
            self.step(self.site.delivery.dispatch)
            if self.client.hget(self.store.keys(f"b:{batch.number}"), "fence") != batch.fields["fence"].encode():
                with pytest.raises(StaleFence):
                    self.site.ledger.settle(batch, Plan(delivered=1))

    @precondition(lambda self: hasattr(self, "platform") and self.platform.orphans)
    @rule()
    def an_orphan_job_ends(self):
        self.platform.finish_orphan()

    @precondition(lambda self: self.has("free"))
    @rule()
    def the_wait_for_orphans_ends(self):
        self.advance(ORPHAN_S + 1)
        self.site.schedule.tick(4)

    @rule(age_s=st.sampled_from([100, 10_000]))
    def sweep(self, age_s):
        self.site.schedule.sweep(age_s * 1000, age_s * 1000)

    # What always holds.

    @invariant()
    def books_balance_and_a_recount_says_the_same(self):
        for lane in self.lanes():
            assert books.disagreements(self.store, lane) == []

    @invariant()
    def busy_contacts_are_those_of_live_bodies_each_in_one(self):
        expected = {}
        for root in self.numbers("b:*:keys"):
            name = self.store.keys(f"b:{root}:keys")
            if self.client.ttl(name) == -1:
                blob = self.client.get(name)
                keys = [blob[at : at + 8] for at in range(0, len(blob), 8)]
                assert expected.keys().isdisjoint(keys), "a contact is in flight twice"
                expected |= dict.fromkeys(keys, str(root).encode())
        assert self.client.hgetall(self.store.keys("busy")) == expected

    @invariant()
    def a_live_body_has_its_bytes_and_a_dead_one_none(self):
        k = self.store.keys
        for root in self.numbers("b:*:body"):
            if self.client.ttl(k(f"b:{root}:body")) == -1:
                assert int(self.client.hget(k(f"b:{root}"), "parts")) > 0
        for number in map(int, self.client.zrange(k("batches"), 0, -1)):
            state, root = self.client.hmget(k(f"b:{number}"), "state", "root")
            due = [
                zset
                for zset in ("due", "later", "polls", "polls:later")
                if self.client.zscore(k(zset), number) is not None
            ]
            assert len(due) == (state != b"done"), "a batch has to be due exactly once until it is done"
            if state != b"done":
                assert self.client.ttl(k(f"b:{int(root)}:body")) == -1

    @invariant()
    def contacts_of_a_request_of_unknown_fate_stay_busy(self):
        k = self.store.keys
        for number in map(int, self.client.zrange(k("batches"), 0, -1)):
            until = self.client.hget(k(f"b:{number}"), "orphan_until")
            if until and int(until) > self.site.schedule.now_ms() + 1_000:
                assert self.client.exists(k(f"b:{number}:keys"))

    @invariant()
    def whatever_waits_will_be_looked_at(self):
        k = self.store.keys
        for lane in self.lanes():
            if any(self.client.exists(k(f"{what}:{lane}")) for what in ("wait", "again", "held")):
                assert self.client.zscore(k("aggdue"), lane) is not None, f"{lane} is not armed"

    @invariant()
    def what_is_not_listed_as_permanent_expires(self):
        base = self.store.keys.base
        for key in self.client.scan_iter(match="*", count=1000):
            name = key.decode()
            if name.startswith(base) and self.client.ttl(key) == -1:
                assert PERMANENT.fullmatch(name.removeprefix(base)), f"{name} stays for ever"

    # How it is driven.

    def lanes(self):
        return [name.decode() for name in self.client.hkeys(self.store.keys("lanes"))] if hasattr(self, "store") else []

    def numbers(self, pattern):
        found = self.client.scan_iter(match=f"*:{pattern}", count=1000)
        return [int(key.decode().split("}:b:")[1].split(":")[0]) for key in found]

    def run_round(self, lane, look):
        if look.paused or look.dest.get("state") in ("paused", "stopped"):
            return None
        preparation = Preparation(self.site.provider, look.salt, FieldTable(), frozenset(), look.now_ms)
        return LaneRound(self.bench, look, lane, preparation, PACE).run(2)

    def step(self, journey):
        with contextlib.suppress(Crash):
            journey("sendgrid")

    def advance(self, seconds):
        self.platform.grow_older(seconds)
        advance(self.site, seconds)

    def drain(self):
        """Everything works again: all that came finds its end."""
        self.platform.mood = "done"
        for lane in (None, PLAIN.name, LISTED.name):
            self.site.schedule.resume(lane)
        for _ in range(300):
            totals = books.totals(books.read(self.store))
            if not any(totals[name] for name in ("waiting", "held", "batched")):
                break
            self.advance(100)
            for lane in self.lanes():
                self.site.schedule.flush(lane)
                self.site.aggregation.aggregate(lane)
            for _ in range(3):
                self.step(self.site.delivery.dispatch)
                self.step(self.site.tracking.poll)
            self.site.schedule.tick(4)
        assert not any(totals[name] for name in ("waiting", "held", "batched")), totals
        for _ in range(20):
            self.advance(ORPHAN_S + 1)
            self.site.schedule.tick(4)
        assert self.client.hlen(self.store.keys("busy")) == 0
        self.books_balance_and_a_recount_says_the_same()


def test_no_interleaving_of_steps_loses_a_record_or_unbalances_the_books(redis_server):
    class Machine(StoreMachine):
        url = redis_server.url

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=checks)
    )


def test_a_script_that_the_server_has_forgotten_is_sent_again(engine):
    engine.site.store.client.script_flush()

    assert engine.site.schedule.tick(4).bells == ()


def test_a_redis_without_any_memory_left_lets_what_is_cut_drain():
    answers = [reply(429, retry_after="1"), reply(401)]

    def answer(request):
        if request.method == "PUT":
            return answers.pop(0) if answers else reply(202, {"job_id": "job-1"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    with EmbeddedServer() as server:
        destination = Destination(platform="sendgrid", api_key="SG.k", base_url="http://127.0.0.1:9")
        settings_ = Settings(REDIS_URL=server.url, max_wait_s=0)
        parts = Wiring(settings_.model_copy(update={"destinations": {"sendgrid": destination}}))
        site = parts.site("sendgrid")
        desk = replace(site.desk, courier=Courier(Peer(answer), site.provider, site.store))
        records = [{"email": f"p{number}@example.com"} for number in range(500)]
        intake.enqueue(records, [(parts.door(PLAIN), lambda call: append(site.store, call))])
        site.aggregation.aggregate("sendgrid")

        for _ in range(8):
            parts.client.config_set("maxmemory", 0)  # the clock is a key too
            advance(site, 65)
            parts.client.config_set("maxmemory", 100_000)  # far less than there is
            with pytest.raises(OutOfMemoryError):
                parts.client.set("one", b"more")
            bells = {bell.kind for bell in site.schedule.tick(4).bells}
            for kind, journey in (("dispatch", Delivery(desk).dispatch), ("poll", Tracking(desk).poll)):
                if kind in bells:
                    journey("sendgrid")

        [lane] = books.read(site.store)
        assert lane.counts | {"delivered": 500, "batched": 0} == lane.counts
        parts.close()
