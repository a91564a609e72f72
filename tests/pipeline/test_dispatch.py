"""What becomes of a batch when the platform says no, one test for each answer there is."""

from math import ceil, log2

import orjson
import pytest
from support.dispatching import (
    LIST,
    batch,
    batch_on_its_way,
    busy,
    dispatch,
    due_in_s,
    facing,
    failures,
    person,
    upserts,
)
from support.peer import advance, reply

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent
from contact_ingest.model.batch import Settlement
from contact_ingest.store.lanes import lane_names


def test_a_429_spends_no_attempt_and_everybody_waits(harness):
    platform = facing(harness, reply(429, retry_after="30"))
    number = batch_on_its_way(harness)

    dispatch(harness)
    dispatch(harness)

    found = batch(harness, number)
    assert len(platform.sent) == 1, "sent again although the platform said wait"
    assert (found["attempts"], found["claims_count"]) == ("0", "0")
    assert harness.runtime.schedule.tick(4).wakeups == ()
    advance(harness.runtime, 31)
    dispatch(harness)
    assert batch(harness, number)["state"] == "polling"


def test_a_hundred_429s_fail_nobody(harness):
    facing(harness, *[reply(429, retry_after="600")] * 100)
    number = batch_on_its_way(harness)

    for _ in range(100):
        dispatch(harness)
        advance(harness.runtime, 601)
    dispatch(harness)

    assert batch(harness, number)["state"] == "polling"
    assert harness.books()["failed"] == 0


@pytest.mark.parametrize("answer", [reply(500), reply(503), reply(408), NotSent("connect"), NotSent("dns")])
def test_passing_trouble_sends_the_same_bytes_again_and_leaves_no_orphan(harness, answer):
    platform = facing(harness, answer)
    number = batch_on_its_way(harness)

    dispatch(harness)
    assert batch(harness, number) | {"attempts": "1", "state": "ready"} == batch(harness, number)
    advance(harness.runtime, 10)
    harness.run_until_settled()

    assert platform.sent[0] == platform.sent[1]
    assert (len(platform.sent), harness.books()["delivered"], busy(harness)) == (2, 1, 0)


def test_faults_by_the_dozen_lose_nothing(harness, sandbox):
    sandbox.dials(
        script=["500", "drop_before", "503", "429", "502", "drop_after", "unreadable", "408"],
        faults_on=["sendgrid.upsert"],
    )
    enqueue(person(n) for n in range(50))
    runtime = harness.runtime

    def settled():
        advance(runtime, 20)
        return not any(harness.books()[name] for name in ("waiting", "held", "batched"))

    harness.run_until(settled)

    assert harness.books()["delivered"] == len(list(sandbox.contacts())) == 50
    harness.assert_books_balance()


def test_what_the_platform_asks_for_is_the_shortest_wait(harness):
    facing(harness, reply(503, retry_after="300"))
    number = batch_on_its_way(harness)

    dispatch(harness)

    assert 295 <= due_in_s(harness, number) <= 301


def test_a_setback_in_the_midst_of_a_search_waits_no_longer_than_a_first_one(harness, monkeypatch):
    """Ten answers that were part of the search are no reason to wait a quarter of an hour."""
    monkeypatch.setattr("contact_ingest.pipeline.dispatch.random.random", lambda: 1.0)
    nobody = reply(400, {"errors": [{"message": "invalid request"}]})
    facing(harness, *[nobody] * 10, reply(503), reply(503), nobody, reply(503))
    number = batch_on_its_way(harness, *map(person, range(2_000)))

    for _ in range(10):
        dispatch(harness)
    assert int(batch(harness, number)["attempts"]) == 10
    dispatch(harness)
    assert 0 < due_in_s(harness, number) <= 1

    advance(harness.runtime, 1)
    dispatch(harness)
    assert 1 < due_in_s(harness, number) <= 2, "the second in a row waits longer"

    for _ in range(2):
        advance(harness.runtime, 2)
        dispatch(harness)
    assert 0 < due_in_s(harness, number) <= 1, "an answer in between ends the row"


def test_when_the_window_is_over_the_records_fail_as_given_up_and_can_be_retried(make_harness):
    harness = make_harness(retry_window_s=3600)
    platform = facing(harness, *[reply(500)] * 500)
    batch_on_its_way(harness, person(1), person(2))

    for _ in range(60):  # an hour, and the longest pause there is
        dispatch(harness)
        advance(harness.runtime, 100)

    assert {about["code"] for about in failures(harness).values()} == {"gave_up"}
    assert harness.books()["failed"] == 2
    assert len(platform.sent) > 10, "ended by count, not by window"
    platform.answers = []
    harness.runtime.failures.retry(list(harness.runtime.failures))
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2
    harness.assert_books_balance()


@pytest.mark.parametrize(
    "answer", [FateUnknown("reset"), FateUnknown("deadline"), reply(202, b"<html>"), reply(200, {}), reply(504)]
)
def test_an_unknown_fate_is_no_success_and_keeps_its_contacts_busy_after_a_later_attempt(make_harness, answer):
    harness = make_harness(orphan_wait_s=600)
    facing(harness, answer)
    number = batch_on_its_way(harness)

    dispatch(harness)
    assert harness.books() | {"batched": 1, "delivered": 0} == harness.books()
    assert batch(harness, number)["attempts"] == "1"
    advance(harness.runtime, 10)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1

    assert busy(harness) == 1, "the orphan job may still overwrite what is newer"
    enqueue(person(1, city="newer"))
    harness.run_until(lambda: harness.books()["held"] == 1)
    advance(harness.runtime, 601)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2
    advance(harness.runtime, 601)
    harness.runtime.schedule.tick(4)
    assert busy(harness) == 0


@pytest.mark.parametrize("fault", ["drop_after", "unreadable"])
def test_an_orphan_job_of_the_sandbox_never_overwrites_newer_data(make_harness, sandbox, fault):
    harness = make_harness(orphan_wait_s=2)
    sandbox.dials(script=[fault], faults_on=["sendgrid.upsert"], job_seconds=[1.0, 1.0])
    enqueue(person(1, city="old"))
    # Where the pause is short, the same turn has sent it again already.
    harness.run_until(lambda: upserts(sandbox) and harness.books()["batched"] == 1)
    sandbox.dials(job_seconds=[0.0, 0.0])
    enqueue(person(1, city="new"))

    harness.run_until_settled()

    assert sandbox.totals()["jobs_pending"] == 0
    assert [c["city"] for c in sandbox.contacts()] == ["new"]


def crash(harness):
    """A worker takes the next batch and is never heard of again."""
    claimed = harness.runtime.batch_store.claim("dispatch")
    advance(harness.runtime, 46)
    return claimed


def test_a_batch_whose_worker_died_is_due_again_and_its_contacts_stay_busy_for_the_orphan(make_harness):
    harness = make_harness(orphan_wait_s=600)
    facing(harness)
    batch_on_its_way(harness)

    crash(harness)
    harness.run_until_settled()

    assert harness.books()["delivered"] == 1
    assert busy(harness) == 1
    advance(harness.runtime, 601)
    harness.runtime.schedule.tick(4)
    assert busy(harness) == 0


def test_a_worker_that_comes_back_late_changes_nothing(harness):
    platform = facing(harness)
    number = batch_on_its_way(harness)

    def frozen(request):
        platform.peer.answer = platform.answer
        advance(harness.runtime, 46)
        dispatch(harness)  # another worker takes over
        return reply(400, {"errors": [{"message": "no"}]})

    platform.peer.answer = frozen
    assert dispatch(harness) == ()

    assert batch(harness, number)["state"] == "polling"
    assert harness.books() | {"failed": 0, "batched": 1} == harness.books()
    harness.assert_books_balance()


class Died(BaseException):
    """The end of a worker."""


def run_with_deaths(harness, most=60):
    """Let workers die and others take over, until nothing is left; returns how many died."""
    deaths = 0
    while harness.books()["batched"] and deaths < most:
        advance(harness.runtime, 46)
        try:
            dispatch(harness)
            harness.runtime.poller.poll("sendgrid")
        except Died:
            deaths += 1
    return deaths


@pytest.mark.parametrize("step", ["upsert", "read_upsert"])
def test_a_body_that_kills_three_workers_is_searched_and_only_the_killer_fails(harness, monkeypatch, step):
    """The worker that builds a request with p7, or reads its reply, dies; every other part is sent and arrives."""
    platform = facing(harness)
    batch_on_its_way(harness, *(person(n) for n in range(16)))
    provider = type(harness.runtime.provider)
    real = getattr(provider, step)

    def deadly(self, *args):
        last = b"".join(args[1]) if step == "upsert" else platform.sent[-1]
        if b"p7@example.com" in last:
            raise Died
        return real(self, *args)

    monkeypatch.setattr(provider, step, deadly)
    deaths = run_with_deaths(harness)

    assert {email: about["code"] for email, about in failures(harness).items()} == {"p7@example.com": "poison"}
    assert harness.books()["delivered"] == 15
    assert deaths <= 3 * (ceil(log2(16)) + 1)
    harness.assert_books_balance()


@pytest.mark.parametrize("count", [1, 3, 40])
def test_workers_that_die_again_and_again_while_a_slow_platform_has_the_request_blame_nobody(harness, count):
    platform = facing(harness)
    number = batch_on_its_way(harness, *(person(n) for n in range(count)))
    left = [12]

    def slow(request):
        if request.method == "PUT" and left[0]:
            left[0] -= 1
            return Died()
        return platform.answer(request)

    platform.peer.answer = slow
    deaths = run_with_deaths(harness)

    assert deaths == 12
    assert harness.books() | {"delivered": count, "failed": 0} == harness.books()
    assert "phase" in batch(harness, number) or int(batch(harness, number)["attempts"]) > 1
    assert len(platform.sent) == 1, "the body was cut for deaths that say nothing of the bytes"
    harness.assert_books_balance()


def test_three_crashes_of_a_deployment_blame_nobody(harness):
    facing(harness)
    batch_on_its_way(harness, *(person(n) for n in range(8)))
    for _ in range(4):
        crash(harness)

    harness.run_until_settled()

    assert harness.books() | {"delivered": 8, "failed": 0} == harness.books()


def test_no_more_exchanges_are_under_way_than_there_are_slots(harness):
    platform = facing(harness)
    harness.runtime.state.set_slots(1)
    batch_on_its_way(harness)
    held = harness.runtime.batch_store.claim("dispatch").batch
    batch_on_its_way(harness, person(2))

    dispatch(harness)

    assert platform.sent == []
    harness.runtime.batch_store.settle(held, Settlement(held.sends(held.bisect)))
    dispatch(harness)
    assert len(platform.sent) == 1


def test_a_paused_lane_sends_nothing_and_its_neighbour_does(harness):
    platform = facing(harness)
    batch_on_its_way(harness)
    enqueue(person(2), list_ids=[LIST])
    [lane] = [name for name in lane_names(harness.runtime.store) if name != "sendgrid"]
    harness.runtime.aggregator.aggregate(lane)
    harness.runtime.state.pause("sendgrid", "a person said so")

    for _ in range(3):
        dispatch(harness)

    assert [orjson.loads(body)["contacts"][0]["email"] for body in platform.sent] == ["p2@example.com"]


def test_the_log_of_a_batch_that_ended_names_no_one(harness, caplog):
    facing(harness)
    with caplog.at_level("INFO", logger="contact_ingest"):
        enqueue(person(1))
        harness.run_until_settled()

    [record] = [record for record in caplog.records if record.message == "batch ended"]
    assert (record.rows, record.delivered, record.failed) == (1, 1, 0)
    assert "p1@" not in str(vars(record))
