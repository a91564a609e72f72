"""What becomes of a batch when the platform says no: too large, limited, passing trouble, an unknown fate."""

import pytest
from support.peer import advance, reply
from support.upserts import (
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

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent


def test_a_body_too_large_is_split_without_an_attempt_and_the_cap_is_learned(harness, sandbox):
    sandbox.dials(hidden_byte_cap=100_000)
    enqueue(person(n, postal_code="x" * 500) for n in range(600))

    harness.run_until_settled()

    assert harness.books()["delivered"] == len(list(sandbox.contacts())) == 600
    assert failures(harness) == {}
    cap = int(harness.runtime.state.read()["cap_bytes"])
    assert 65_536 <= cap <= 200_000
    refused = len([entry for entry in upserts(sandbox) if entry["status"] == 413])
    enqueue(person(n, postal_code="x" * 500) for n in range(600))
    harness.run_until_settled()
    again = [entry for entry in upserts(sandbox) if entry["status"] == 413]
    assert len(again) <= refused + 1
    harness.assert_books_balance()


def test_a_split_makes_views_that_start_afresh_and_ends_the_parent(harness):
    facing(harness, reply(413))
    number = batch_on_its_way(harness, *(person(n) for n in range(5)))

    dispatch(harness)

    parent = batch(harness, number)
    assert (parent["state"], parent["attempts"], parent["claims_count"]) == ("done", "0", "0")
    runtime = harness.runtime
    children = [int(n) for n in runtime.store.client.zrange(runtime.store.keys("due:dispatch"), 0, -1)]
    assert [batch(harness, n)["sending"] for n in children] == ["[[0,3]]", "[[3,5]]"]
    assert {batch(harness, n)["root"] for n in children} == {str(number)}
    assert busy(harness) == 5
    harness.assert_books_balance()
    harness.run_until_settled()
    assert busy(harness) == 0


def test_one_contact_that_is_too_large_for_the_platform_fails_alone(harness):
    facing(harness, *[reply(413)] * 4)
    enqueue([person(1), person(2)])

    harness.run_until_settled()

    assert harness.books()["delivered"] + harness.books()["failed"] == 2
    assert {about["code"] for about in failures(harness).values()} == {"too_large"}
    harness.assert_books_balance()


def test_a_cap_is_never_learned_below_the_smallest(harness):
    facing(harness, reply(413))
    batch_on_its_way(harness, person(1), person(2))

    dispatch(harness)

    assert harness.runtime.state.read()["cap_bytes"] == "65536"


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
