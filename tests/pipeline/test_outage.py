"""A platform that is away: an outage costs its own time and nothing else."""

import re
from collections import Counter
from itertools import pairwise

import orjson
from support.failing_platform import HOUR_S, Platform, fail, is_open
from support.peer import Peer, advance, reply, speak_to
from support.people import person
from typer.testing import CliRunner

from contact_ingest import enqueue
from contact_ingest.cli import app
from contact_ingest.operations import doctor
from contact_ingest.store.batches import NoClaim


def pump(harness, seconds, step_s=1.0, condition=lambda: True):
    """Let simulated time pass while a worker works, at most so much of it; returns how much it was."""
    began_ms = harness.runtime.clock.now_ms()
    while harness.runtime.clock.now_ms() - began_ms < seconds * 1000 and condition():
        harness.pump()
        advance(harness.runtime, step_s)
    return (harness.runtime.clock.now_ms() - began_ms) / 1000


def is_left(harness):
    return any(harness.books()[name] for name in ("waiting", "held", "batched"))


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
    assert len(platform.asked("definitions")) == 1 + 5, "one before the stop"


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
