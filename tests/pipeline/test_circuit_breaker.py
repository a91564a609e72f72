"""A platform that fails everybody is left alone and asked now and then: an outage costs its time and nothing else."""

import re
from collections import Counter
from itertools import pairwise

import orjson
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError
from support.peer import Peer, advance, reply, speak_to
from support.people import person
from typer.testing import CliRunner

from contact_ingest import enqueue
from contact_ingest.cli import app
from contact_ingest.errors import FateUnknown, NoToken, NotSent
from contact_ingest.model.http_message import RateHeaders
from contact_ingest.operations import doctor
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.batches import NoClaim
from contact_ingest.store.keys import Keys
from contact_ingest.store.rate_limiter import CircuitBreaker, RateLimiter
from contact_ingest.store.scripts import Store

ENDPOINTS = ("upsert", "job", "definitions")
HEADERS = RateHeaders()
HOUR_S = 3600


class Platform:
    """All of a platform behind one switch; `heard` maps simulated moments to what was asked."""

    def __init__(self, harness, broken=lambda request: False):
        self.harness, self.broken = harness, broken
        self.heard, self.people = [], []
        speak_to(Peer(self.answer), harness, custom_fields=True)

    def answer(self, request):
        self.heard.append((self.harness.runtime.clock.now_ms(), request.endpoint))
        if broken := self.broken(request):
            return reply(503) if broken is True else broken
        if request.method == "PUT":
            self.people += [contact["email"] for contact in orjson.loads(b"".join(request.body))["contacts"]]
            return reply(202, {"job_id": f"job-{len(self.heard)}"})
        return reply(200, {"status": "completed"} if request.endpoint == "job" else {"custom_fields": []})

    def go_down(self, answer=True):
        self.broken = lambda request: answer

    def come_back(self):
        self.broken = lambda request: False

    def asked(self, *endpoints):
        return [endpoint for _, endpoint in self.heard if endpoint in endpoints or not endpoints]


@pytest.fixture
def rate_limiter(harness):
    return RateLimiter(harness.runtime.store, harness.runtime.provider.account, {}, lease_ms=45_000)


@pytest.fixture
def breaker(harness):
    return CircuitBreaker(harness.runtime.store, harness.runtime.provider.account)


def fail(rate_limiter, endpoint="upsert", times=5, how="failed"):
    for _ in range(times):
        permit = rate_limiter.acquire(endpoint)
        assert permit.granted
        rate_limiter.report(permit, HEADERS, result=how)


def is_open(harness):
    return harness.runtime.breaker.state().open_until is not None


def pump(harness, seconds, step_s=1.0, condition=lambda: True):
    """Let simulated time pass while a worker works, at most so much of it; returns how much it was."""
    began_ms = harness.runtime.clock.now_ms()
    while harness.runtime.clock.now_ms() - began_ms < seconds * 1000 and condition():
        harness.pump()
        advance(harness.runtime, step_s)
    return (harness.runtime.clock.now_ms() - began_ms) / 1000


def is_left(harness):
    return any(harness.books()[name] for name in ("waiting", "held", "batched"))


# The breaker itself.


@pytest.mark.parametrize("how", ["failed", "unsent"])
def test_five_failures_in_a_row_at_one_endpoint_hold_all_endpoints_of_the_account(rate_limiter, breaker, how):
    fail(rate_limiter, times=4, how=how)
    assert all(rate_limiter.acquire(endpoint, asks=True).granted for endpoint in ("job", "definitions"))

    fail(rate_limiter, times=1, how=how)

    assert not any(rate_limiter.acquire(endpoint, asks=True).granted for endpoint in ENDPOINTS)
    assert 59_000 < breaker.state().blocked_ms("job") <= 60_000


@pytest.mark.parametrize("how", ["answered", "refused"])
def test_any_answer_starts_the_count_of_its_own_endpoint_anew(rate_limiter, breaker, how):
    fail(rate_limiter, "job", times=4)
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS, result=how)
    assert breaker.state().open_until is None
    rate_limiter.report(rate_limiter.acquire("job"), HEADERS, result=how, after_s=0.0)

    fail(rate_limiter, "job", times=4)

    assert breaker.state().open_until is None
    fail(rate_limiter, "job", times=1)
    assert breaker.state().open_until is not None


def test_after_the_pause_one_asks_and_all_others_wait_for_what_it_hears(rate_limiter, breaker, harness):
    fail(rate_limiter)
    advance(harness.runtime, 61)

    assert [rate_limiter.acquire(endpoint).asks_first for endpoint in ENDPOINTS] == [True] * 3
    asking = rate_limiter.acquire("definitions", asks=True)
    others = [rate_limiter.acquire(endpoint, asks=True) for endpoint in ENDPOINTS]

    assert asking.granted
    assert not any(permit.granted or permit.asks_first for permit in others)
    rate_limiter.report(asking, HEADERS, result="failed")
    assert 59_000 < breaker.state().blocked_ms("upsert") <= 60_000
    assert not rate_limiter.acquire("job", asks=True).granted
    advance(harness.runtime, 61)
    rate_limiter.report(rate_limiter.acquire("definitions", asks=True), HEADERS)
    assert all(rate_limiter.acquire(endpoint).granted for endpoint in ENDPOINTS)


@pytest.mark.parametrize("how", ["given back", "dead"])
def test_somebody_else_asks_where_the_one_who_was_to_ask_did_not(rate_limiter, harness, how):
    fail(rate_limiter)
    advance(harness.runtime, 61)
    asking = rate_limiter.acquire("definitions", asks=True)

    if how == "dead":
        advance(harness.runtime, 46)
    else:
        rate_limiter.release(asking)

    assert rate_limiter.acquire("job").asks_first
    assert rate_limiter.acquire("definitions", asks=True).granted


def test_an_answer_that_comes_late_closes_the_breaker_early(rate_limiter):
    late = rate_limiter.acquire("job")
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)  # from now on several at once
    flying = [rate_limiter.acquire("upsert") for _ in range(5)]
    for permit in flying:
        rate_limiter.report(permit, HEADERS, result="failed")
    assert not rate_limiter.acquire("job").granted

    rate_limiter.report(late, HEADERS)

    assert rate_limiter.acquire("job").granted


def test_an_endpoint_that_fails_while_another_answers_waits_alone_and_is_tried_by_one_request_at_a_time(
    rate_limiter, breaker, harness
):
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)
    fail(rate_limiter)
    advance(harness.runtime, 61)
    rate_limiter.report(rate_limiter.acquire("definitions", asks=True), HEADERS)

    trial = rate_limiter.acquire("upsert")
    assert (trial.granted, rate_limiter.acquire("upsert").granted) == (True, False)
    rate_limiter.report(trial, HEADERS, result="failed")

    assert not rate_limiter.acquire("upsert").granted
    assert rate_limiter.acquire("job").granted
    assert 59_000 < breaker.state().blocked_ms("upsert") <= 60_000
    assert breaker.state().blocked_ms("job") == 0
    advance(harness.runtime, 61)
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)
    assert all(rate_limiter.acquire("upsert").granted for _ in range(5))


def test_requests_that_were_under_way_when_the_breaker_opened_do_not_make_the_pause_longer(
    rate_limiter, breaker, harness
):
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)
    flying = [rate_limiter.acquire("upsert") for _ in range(10)]
    for permit in flying[:5]:
        rate_limiter.report(permit, HEADERS, result="failed")
    advance(harness.runtime, 30)

    for permit in flying[5:]:
        rate_limiter.report(permit, HEADERS, result="failed")

    assert 29_000 < breaker.state().blocked_ms("upsert") <= 30_000


def test_an_exchange_whose_note_is_repeated_counts_once(rate_limiter, breaker, harness):
    store, base = harness.runtime.store, rate_limiter._keys.base
    for _ in range(4):
        permit = rate_limiter.acquire("upsert")
        for _ in range(3):  # the reply is lost twice
            store.run("limiter_report", permit.id, "upsert", "failed", 60_000, 0, 0, -1, -1, -1, -1, base=base)
    assert breaker.state().open_until is None
    fail(rate_limiter, times=1)
    advance(harness.runtime, 61)
    asking = rate_limiter.acquire("definitions", asks=True)

    for _ in range(2):
        store.run("limiter_report", asking.id, "definitions", "failed", 60_000, 0, 0, -1, -1, -1, -1, base=base)

    assert breaker.state().open_until is not None
    advance(harness.runtime, 61)
    again = rate_limiter._store.run("limiter_acquire", "me", "definitions", 0, 0, 45_000, "asks", base=base)
    assert (
        again
        == rate_limiter._store.run("limiter_acquire", "me", "definitions", 0, 0, 45_000, "asks", base=base)
        == [1, 0]
    )


def test_a_person_closes_it_at_once(rate_limiter, breaker):
    fail(rate_limiter)

    assert breaker.reset()

    assert all(rate_limiter.acquire(endpoint).granted for endpoint in ENDPOINTS)
    assert not breaker.reset()


def test_it_works_without_any_memory_left():
    with EmbeddedServer() as server, Redis.from_url(server.url) as client:
        store = Store(client, Keys("full", "sendgrid"))
        rate_limiter, breaker = RateLimiter(store, "account", {}, lease_ms=45_000), CircuitBreaker(store, "account")
        client.config_set("maxmemory", 100_000)  # far less than there is
        with pytest.raises(OutOfMemoryError):
            client.set("one", b"more")

        fail(rate_limiter)

        assert breaker.state().open_until is not None
        assert breaker.reset()
        fail(rate_limiter, times=1)


# What counts.


@pytest.mark.parametrize(
    ("answer", "opens"),
    [
        (reply(500), True),
        (reply(503, retry_after="1"), True),
        (reply(408), True),
        (FateUnknown("reset"), True),
        (FateUnknown("deadline"), True),
        (NotSent("connect"), True),
        (NotSent("dns"), True),
        (NotSent("tls"), True),
        (NoToken("token_reset"), True),
        (reply(400), False),
        (reply(401), False),
        (reply(404), False),
        (reply(200, b"<html>"), False),
        (NotSent("pool"), False),
        (NotSent("invalid_request"), False),
        (NotSent("forbidden_url"), False),
        (NoToken("token_refused", refused=True), False),
    ],
)
def test_what_shows_that_nobody_is_there_counts_and_answers_and_our_own_doing_do_not(harness, answer, opens):
    speak_to(Peer(lambda _: answer), harness)
    exchanger, provider = harness.runtime.exchanger, harness.runtime.provider

    for _ in range(6):
        permit = exchanger.rate_limiter.acquire("upsert")
        if permit.granted:
            exchanger.send(provider.probe(), permit)

    assert is_open(harness) == opens


def test_a_question_that_the_rate_limit_refuses_is_an_answer_and_is_waited_for(harness):
    speak_to(Peer(lambda _: reply(429, retry_after="30")), harness)
    exchanger, provider = harness.runtime.exchanger, harness.runtime.provider
    fail(exchanger.rate_limiter)
    advance(harness.runtime, 61)

    assert exchanger.ask(provider.probe()).status == 429

    assert not is_open(harness)
    assert 29_000 < exchanger.rate_limiter.acquire("definitions").wait_ms <= 30_000


def test_a_worker_that_was_frozen_beyond_its_deadline_accuses_nobody(harness):
    speak_to(Peer(lambda _: NotSent("deadline")), harness)
    exchanger, provider = harness.runtime.exchanger, harness.runtime.provider

    for _ in range(6):
        permit = exchanger.rate_limiter.acquire("upsert")
        exchanger.send(provider.probe(), permit, claimed_s=0.0)

    assert not is_open(harness)


def test_an_error_file_that_cannot_be_had_opens_nothing_and_is_not_asked_for_while_the_platform_is_away(harness):
    platform = Platform(harness)
    ended = reply(
        200,
        {
            "status": "errored",
            "results": {"errored_count": 1, "errors_url": "https://files.example.com/e"},
        },
    )
    answers = {"job": ended, "error_file": reply(503)}
    platform.broken = lambda request: answers.get(request.endpoint, False)
    enqueue([person(1), person(2)])

    pump(harness, 300, 5.0)

    assert len(platform.asked("error_file")) > 5
    assert not is_open(harness)
    platform.go_down()
    fail(harness.runtime.rate_limiter, "definitions")
    before = len(platform.heard)
    pump(harness, 50, 5.0)
    assert len(platform.heard) == before


def test_definitions_are_neither_fetched_nor_created_while_the_platform_is_away(make_harness):
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": "create"}})
    platform = Platform(harness)
    harness.runtime.custom_fields.ready_for({})  # so fresh that what it lacks would be created at once
    platform.heard.clear()
    platform.go_down()
    fail(harness.runtime.rate_limiter)
    enqueue(person(1, custom_fields={"plan": "pro"}))

    pump(harness, 55, 2.0)
    assert platform.heard == []

    pump(harness, 600, 6.0)
    assert set(platform.asked()) == {"definitions"}
    assert len(platform.heard) <= 10
    platform.come_back()
    pump(harness, 120, 1.0, lambda: is_left(harness))
    assert "create_field" in platform.asked()
    assert harness.books()["accepted"] == harness.books()["delivered"] + harness.books()["failed"] == 1


def test_a_stopped_destination_is_not_probed_while_the_platform_is_away(harness):
    platform = Platform(harness, lambda request: reply(401))
    enqueue(person(1))
    pump(harness, 3)
    assert harness.runtime.state.read()["state"] == "stopped"
    platform.go_down()
    fail(harness.runtime.rate_limiter, "job")
    before = len(platform.heard)
    advance(harness.runtime, 0)

    pump(harness, 55, 5.0)
    assert len(platform.heard) == before

    platform.come_back()
    pump(harness, 300, 5.0, lambda: is_left(harness))
    assert harness.books()["delivered"] == 1


def test_probes_of_a_stopped_destination_that_nobody_answers_count_too(harness):
    platform = Platform(harness, lambda request: reply(401))
    enqueue(person(1))
    pump(harness, 3)
    platform.go_down()

    pump(harness, 3 * HOUR_S, 20.0, lambda: not is_open(harness))

    assert is_open(harness)
    assert len(platform.asked("definitions")) == 5


# The life of a backlog.


def test_an_hour_without_the_platform_costs_the_hour_and_nothing_else(make_harness):
    """100,000 records come meanwhile: one question a minute, no attempt, no memory but theirs, then the full rate."""
    harness = make_harness(
        max_wait_s=5, max_body_bytes=65_536, destinations={"sendgrid": {"rate_limit": 2, "rate_window_s": 1}}
    )
    runtime, client, total, calls = harness.runtime, harness.engine.client, 100_000, 200
    platform = Platform(harness)
    enqueue(person(-number) for number in range(1, 2_001))
    pump(harness, 60, 0.5, lambda: is_left(harness))
    platform.go_down()
    down_ms, keys, memory = runtime.clock.now_ms(), client.dbsize(), client.info("memory")["used_memory"]

    for call in range(calls):
        each = total // calls
        enqueue(person(number) for number in range(call * each, (call + 1) * each))
        pump(harness, HOUR_S / calls, 6.0)

    outage = [at_ms for at_ms, _ in platform.heard if at_ms >= down_ms]
    opened = outage[4]
    assert opened - down_ms < 60_000
    assert max(Counter((at_ms - opened - 1) // 60_000 for at_ms in outage[5:]).values()) == 1
    assert min(later - earlier for earlier, later in pairwise(outage[4:])) >= 60_000
    assert 50 <= len(outage) <= 66
    assert harness.books() | {"failed": 0, "accepted": total + 2_000} == harness.books()
    lane = int(client.hget(runtime.store.keys("lane:sendgrid"), "bytes"))
    cut = [
        client.hgetall(runtime.store.keys(f"batch:{int(n)}"))
        for n in client.zrange(runtime.store.keys("due:dispatch"), 0, -1)
    ]
    assert len(cut) <= 16
    assert sum(int(batch[b"attempts"]) for batch in cut) <= 5
    grown = client.info("memory")["used_memory"] - memory
    assert client.dbsize() - keys <= calls + 6 * len(cut) + 10, "a call, a batch with four blobs; nothing by the minute"
    assert grown < 1.2 * (lane + 2 * sum(int(batch[b"bytes"]) for batch in cut)) + 500_000

    platform.come_back()
    back_ms = runtime.clock.now_ms()
    pump(harness, 600, 0.25, lambda: is_left(harness))

    assert harness.books() | {"delivered": total + 2_000, "failed": 0} == harness.books()
    assert len(platform.people) == len(set(platform.people)) == total + 2_000
    sent = [at_ms for at_ms, endpoint in platform.heard if endpoint == "upsert" and at_ms >= back_ms]
    assert sent[0] - back_ms <= 62_000
    assert (sent[-1] - sent[0]) / 1000 <= 1.25 * len(sent) / 2
    harness.assert_books_balance()


def test_a_platform_that_is_away_for_longer_than_every_window_fails_nothing(make_harness):
    harness = make_harness(retry_window_s=HOUR_S, poll_deadline_s=HOUR_S)
    platform = Platform(harness, lambda request: request.endpoint == "job" and reply(200, {"status": "pending"}))
    enqueue(person(number) for number in range(3))
    pump(harness, 20)
    platform.go_down()
    enqueue(person(number) for number in range(3, 6))
    pump(harness, 3 * HOUR_S, 20.0)
    assert harness.books() | {"failed": 0, "batched": 6} == harness.books()

    # Back, and stumbling: what was tried before the outage has its window still.
    stumbles = [reply(503), reply(503)]
    pending = [reply(200, {"status": "pending"})]
    platform.broken = lambda request: (
        (request.endpoint == "upsert" and stumbles and stumbles.pop())
        or (request.endpoint == "job" and pending and pending.pop())
    )
    pump(harness, HOUR_S, 5.0, lambda: is_left(harness))

    assert not stumbles
    assert harness.books() | {"delivered": 6, "failed": 0} == harness.books()


def test_a_batch_that_alone_is_always_failed_ends_with_its_window_and_holds_nobody_up(make_harness):
    harness = make_harness(retry_window_s=HOUR_S)
    platform = Platform(harness, lambda request: b"bad@" in b"".join(request.body))
    enqueue({"email": "bad@example.com"})
    pump(harness, 300, 5.0)
    assert harness.books()["batched"] == 1
    enqueue(person(1))

    pump(harness, 130, 1.0, lambda: "p1@example.com" not in platform.people)
    assert platform.people == ["p1@example.com"]
    pump(harness, 2 * HOUR_S, 20.0, lambda: is_left(harness))

    [failed] = list(harness.runtime.failures)
    assert (failed.code, harness.books()["delivered"]) == ("gave_up", 1)


def test_only_the_upserts_failing_leaves_imports_followed_and_is_tried_once_a_minute(harness):
    platform = Platform(harness)
    enqueue(person(1))
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")
    platform.broken = lambda request: request.endpoint == "upsert"
    enqueue(person(number) for number in range(2, 5))

    pump(harness, 600, 2.0)

    tries = [at_ms for at_ms, endpoint in platform.heard if endpoint == "upsert"]
    assert min(later - earlier for earlier, later in pairwise(tries[6:])) >= 60_000
    assert len(tries) >= 12
    assert harness.books()["delivered"] == 1
    platform.come_back()
    pump(harness, 70, 1.0, lambda: is_left(harness))
    assert harness.books()["delivered"] == 4


def test_requests_of_one_contact_each_are_held_after_five_failures_too(make_harness):
    harness = make_harness(
        destinations={"loops": {"platform": "loops", "api_key": "k", "base_url": "http://127.0.0.1:9"}}
    )
    heard, down = [], [True]

    def answer(request):
        heard.append(request.method)
        if down:
            return reply(502)
        return reply(200, {"success": True, "id": "1"} if request.method in ("POST", "PUT") else {"success": True})

    speak_to(Peer(answer), harness)
    enqueue(person(number) for number in range(60))
    pump(harness, 600, 1.0)
    assert heard[:5].count("GET") == 0
    assert set(heard[5:]) == {"GET"}
    assert len(heard) <= 5 + 10

    down.clear()
    waited_s = pump(harness, 300, 0.25, lambda: is_left(harness))
    assert harness.books() | {"delivered": 60, "failed": 0} == harness.books()
    assert waited_s <= 61 + 1.5 * 60 / 10 + 3


def test_an_answer_to_the_question_does_not_excuse_the_requests_that_fail_at_the_same_limit(make_harness):
    """Loops counts everything against one limit, so that a question and an upsert have one endpoint."""
    harness = make_harness(
        destinations={"loops": {"platform": "loops", "api_key": "k", "base_url": "http://127.0.0.1:9"}}
    )
    heard = []

    def answer(request):
        heard.append(request.method)
        return reply(200, {"success": True}) if request.method == "GET" else reply(502)

    speak_to(Peer(answer), harness)
    enqueue(person(number) for number in range(60))

    pump(harness, 600, 1.0)

    assert heard.count("GET") == 1
    assert 9 <= len(heard) - 6 <= 10, "more than one request a minute at an endpoint that fails"


def said(parser, *command):
    found = CliRunner().invoke(parser, [*command])
    return found.exit_code, found.stdout


def test_status_and_doctor_say_why_a_lane_waits_and_resume_asks_at_once(harness):
    platform = Platform(harness)
    platform.go_down()
    enqueue(person(1))
    pump(harness, 60, 1.0, lambda: not is_open(harness))
    harness.engine.workers.heartbeat("host:1", 4)

    [lane] = orjson.loads(said(app, "status", "--json")[1])["lanes"]
    assert re.fullmatch(r"the platform does not answer; asked again in (\d\d s|2 min)", lane["why"])
    assert (lane["state"], lane["next"][:7]) == ("sending", "ask in ")
    findings = {finding.about: finding for finding in doctor.examine(harness.engine)}
    assert re.match(r"has not answered for \d s; asked again in \d\d s", findings["sendgrid: platform"].says)
    assert "contact-ingest resume --to sendgrid" in findings["sendgrid: platform"].remedy

    platform.come_back()
    assert said(app, "resume", "--to", "sendgrid")[0] == 0
    assert pump(harness, 30, 1.0, lambda: is_left(harness)) < 10
    assert harness.books()["delivered"] == 1
    findings = {finding.about: finding for finding in doctor.examine(harness.engine)}
    assert (findings["sendgrid: platform"].level, findings["sendgrid: platform"].says) == ("ok", "not known to fail")


def test_an_endpoint_that_fails_alone_is_named_by_status_and_doctor(harness):
    platform = Platform(harness, lambda request: request.endpoint == "upsert")
    enqueue(person(1))
    pump(harness, 120, 1.0)
    harness.engine.workers.heartbeat("host:1", 4)

    [lane] = orjson.loads(said(app, "status", "--json")[1])["lanes"]
    findings = {finding.about: finding for finding in doctor.examine(harness.engine)}

    assert len(platform.asked("upsert")) >= 6
    assert lane["why"].startswith("the platform answers, and fails to take batches in; tried again in ")
    assert findings["sendgrid: platform"].says.startswith("answers, but fails at upsert")


def test_what_had_backed_off_for_long_goes_on_when_the_platform_answers_again(harness):
    """A quarter of an hour may be left of a wait that began before the outage; only what the platform asked for is."""
    platform, runtime, client = Platform(harness), harness.runtime, harness.engine.client
    for number in (1, 2, 3):
        enqueue(person(number))
        runtime.aggregator.aggregate("sendgrid")
    late = {1: runtime.clock.now_ms() + 900_000, 2: runtime.clock.now_ms() + 900_000}
    client.zadd(runtime.store.keys("due:dispatch"), late)
    for number, told in ((1, 0), (2, 1)):
        client.hset(
            runtime.store.keys(f"batch:{number}"),
            mapping={"code": "http_503", "attempts": 20, "retry_after_given": told},
        )
    fail(runtime.rate_limiter)
    advance(runtime, 61)

    pump(harness, 60, 1.0)

    assert platform.people == ["p3@example.com", "p1@example.com"]
    pump(harness, 900, 10.0, lambda: is_left(harness))
    assert platform.people == ["p3@example.com", "p1@example.com", "p2@example.com"]


def test_a_batch_in_hand_is_not_hastened(harness):
    Platform(harness)
    enqueue(person(1))
    harness.runtime.aggregator.aggregate("sendgrid")
    claimed = harness.runtime.batch_store.claim("dispatch").batch
    harness.engine.client.hset(harness.runtime.store.keys(f"batch:{claimed.number}"), "code", "http_503")

    assert harness.runtime.schedule.make_due_now() == 0
    assert isinstance(harness.runtime.batch_store.claim("dispatch"), NoClaim)


# A clock that is set.


def set_clock(harness, seconds):
    """The server's clock is set, for the keys of the destination and for those of the account."""
    store = harness.runtime.store
    for keys in (store.keys, Keys(store.keys.prefix, f"limit-{harness.runtime.provider.account}")):
        store.client.incrby(keys("clock_offset"), round(seconds * 1000))


@pytest.mark.parametrize("back_s", [2, HOUR_S, 10 * 86_400])
def test_a_clock_that_is_set_back_holds_nothing_up(make_harness, back_s):
    harness = make_harness(poll_first_s=5)
    platform, runtime = Platform(harness), harness.runtime
    enqueue(person(1))
    harness.pump()
    assert harness.books()["batched"] == 1
    before_ms, wall_ms = runtime.clock.now_ms(), runtime.clock.wall_ms()
    runtime.store.client.set(runtime.store.keys("wakeup:dispatch"), 1, px=HOUR_S * 1000)
    runtime.store.client.set(runtime.store.keys("wakeup:aggregate:sendgrid"), 1, px=HOUR_S * 1000)

    set_clock(harness, -back_s)
    enqueue(person(2))
    harness.pump()
    harness.pump()
    assert before_ms - 1000 <= runtime.clock.now_ms() < before_ms + 60_000
    assert abs(runtime.clock.wall_ms() - (wall_ms - back_s * 1000)) < 60_000
    assert len(platform.people) == 2, "what is due waits for the clock"
    advance(runtime, 6)
    harness.run_until_settled()

    assert harness.books()["delivered"] == 2


def test_what_expires_by_the_servers_clock_silences_no_bell_and_no_producer_when_it_is_set_back(harness):
    Platform(harness)
    runtime, client = harness.runtime, harness.engine.client
    enqueue(person(1))
    runtime.aggregator.aggregate("sendgrid")
    enqueue(person(2))
    client.zadd(runtime.store.keys("due:poll"), {"7": 1})
    set_clock(harness, 2)
    runtime.schedule.tick(4)
    for name in ("intake_allowance", "wakeup:dispatch", "wakeup:poll", "wakeup:aggregate:sendgrid"):
        client.set(runtime.store.keys(name), 1, px=HOUR_S * 1000)

    set_clock(harness, -HOUR_S)

    assert {bell.kind for bell in runtime.schedule.tick(4).wakeups} == {"aggregate", "dispatch", "poll"}
    assert enqueue(person(3)).accepted == 1


@pytest.mark.parametrize("ahead_s", [2, HOUR_S])
def test_a_clock_that_is_set_forward_only_ends_waits_early(make_harness, ahead_s):
    harness = make_harness(poll_first_s=5)
    platform, runtime = Platform(harness), harness.runtime
    enqueue(person(1))
    harness.pump()
    claimed = runtime.batch_store.claim("dispatch")
    before_ms = runtime.clock.now_ms()

    set_clock(harness, ahead_s)
    harness.pump()

    assert runtime.clock.now_ms() >= before_ms + ahead_s * 1000
    assert runtime.clock.wall_ms() - runtime.clock.now_ms() in range(-5, 6)
    assert claimed.why == "none"
    advance(runtime, 6)
    harness.run_until_settled()
    assert (len(platform.people), harness.books()["delivered"]) == (1, 1)
    harness.assert_books_balance()


def test_a_lease_and_a_permit_end_when_they_should_though_the_clock_is_set_back(harness):
    Platform(harness)
    enqueue(person(1))
    harness.runtime.aggregator.aggregate("sendgrid")
    rate_limiter = harness.runtime.rate_limiter
    dead = rate_limiter.acquire("upsert")
    assert dead.granted
    assert harness.runtime.batch_store.claim("dispatch").batch.number == 1

    set_clock(harness, -HOUR_S)
    harness.runtime.schedule.tick(4)
    assert not rate_limiter.acquire("upsert").granted
    set_clock(harness, 46)

    assert rate_limiter.acquire("upsert").granted
    assert harness.runtime.batch_store.claim("dispatch").batch.number == 1


def test_a_platform_is_told_the_time_as_it_is_after_the_clock_was_set_back(harness):
    schedule, clock = harness.runtime.schedule, harness.runtime.clock
    schedule.tick(4)
    set_clock(harness, -HOUR_S)
    wall_ms = clock.now_ms()

    schedule.tick(4)

    assert abs(harness.runtime.exchanger.http_client._now_s() * 1000 - wall_ms) < 5_000
    assert clock.now_ms() - clock.wall_ms() == pytest.approx(HOUR_S * 1000, abs=2_000)
