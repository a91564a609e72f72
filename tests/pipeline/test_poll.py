"""Every import is followed to an end, and what its platform says of single records reaches them."""

from itertools import pairwise

import pytest
from support.peer import advance, reply
from support.polling import FILE_URL, HOUR_S, assert_books, facing, failures, job, person, poll

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent


def busy(harness):
    return harness.runtime.store.client.hlen(harness.runtime.store.keys("inflight"))


def test_a_job_that_fails_as_a_whole_fails_all_its_rows(harness, sandbox):
    sandbox.dials(job_failed=1.0)
    enqueue(person(n) for n in range(5))

    harness.run_until_settled()

    assert_books(harness, delivered=0, failed=5)
    sandbox.dials(job_failed=0.0)
    harness.runtime.failures.retry(list(harness.runtime.failures))
    harness.run_until_settled()
    assert_books(harness, delivered=5, failed=0)


def test_an_early_404_and_a_lagging_status_are_waited_out(harness, sandbox):
    sandbox.dials(early_404_s=0.3, status_lag_s=0.3)
    enqueue(person(n) for n in range(5))

    harness.run_until_settled()

    assert_books(harness, delivered=5)
    assert 404 in {entry["status"] for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.imports"}


def test_a_job_that_counts_nothing_but_completes_is_believed(harness, sandbox):
    sandbox.dials(omit_counts=True)
    enqueue(person(n) for n in range(5))

    harness.run_until_settled()

    assert_books(harness, delivered=5)


@pytest.mark.parametrize(
    ("report", "seen"),
    [
        (job("pending"), "pending"),
        (job("in_the_works"), "in_the_works"),
        (job(""), "unknown"),
        (reply(404), "missing"),
        (reply(200, b"<html>"), "unreadable_reply"),
        (reply(500), "http_500"),
        (NotSent("connect"), "connect"),
        (FateUnknown("deadline"), "deadline"),
    ],
)
def test_a_job_without_an_end_is_asked_about_until_the_deadline_then_fails_as_no_verdict(make_harness, report, seen):
    harness = make_harness(poll_deadline_s=6 * HOUR_S)
    jobs = facing(harness, report)

    for _ in range(20):
        poll(harness)
    assert_books(harness, batched=2, failed=0)
    assert jobs.asked() >= 19, "one look less where the platform was asked first whether it is there"
    advance(harness.runtime, 6 * HOUR_S)
    poll(harness)

    assert {about["code"] for about in failures(harness).values()} == {"no_verdict"}
    assert seen in failures(harness)["p0@example.com"]["reason"]
    assert_books(harness, batched=0, failed=2)
    assert busy(harness) == 2, "the import may end yet: newer records of its contacts wait as for an orphan"
    advance(harness.runtime, 2)
    harness.pump()
    assert busy(harness) == 0


def test_gaps_between_looks_grow_from_seconds_to_a_minute_and_no_further(make_harness):
    harness = make_harness(poll_first_s=5)
    facing(harness, job("pending"))
    runtime, gaps = harness.runtime, []

    for _ in range(15):
        [(_, at)] = runtime.store.client.zrange(runtime.store.keys("due:poll"), 0, -1, withscores=True)
        gaps.append((at - runtime.clock.now_ms()) / 1000)
        poll(harness, gaps[-1] + 0.1)

    assert 4 < gaps[0] <= 5
    assert all(later >= earlier - 0.5 for earlier, later in pairwise(gaps))
    assert 59 < gaps[-1] <= 60


def test_a_job_is_not_asked_about_before_its_time(make_harness):
    harness = make_harness(poll_first_s=5)
    jobs = facing(harness, job("pending"))

    harness.runtime.poller.poll("sendgrid")

    assert jobs.asked() == 0


@pytest.mark.parametrize("status", ["completed", "Completed", " COMPLETED "])
def test_completed_is_an_end_however_it_is_written(harness, status):
    facing(harness, job(status, requested_count=2))

    poll(harness)

    assert_books(harness, delivered=2)


def test_completed_with_errors_is_no_success_for_all(harness):
    file = reply(200, b"email,error\np1@example.com,bad phone\n")
    facing(harness, job("completed", errored_count=1, errors_url=FILE_URL), files=[file])

    poll(harness)
    poll(harness)

    assert {email: about["reason"] for email, about in failures(harness).items()} == {"p1@example.com": "bad phone"}
    assert_books(harness, delivered=1, failed=1)


def test_errors_without_a_file_are_counted_beside_the_books(harness):
    facing(harness, job("errored", requested_count=5, errored_count=2), records=5)

    poll(harness)

    assert_books(harness, delivered=5, failed=0, unattributed=2)


def test_as_many_errors_as_rows_were_sent_are_all_of_them(harness):
    facing(harness, job("errored", errored_count=5), records=5)

    poll(harness)

    assert_books(harness, delivered=0, failed=5, unattributed=0)


def test_an_errored_job_without_numbers_and_file_counts_one_at_least(harness):
    facing(harness, job("errored"), records=5)

    poll(harness)

    assert harness.books()["unattributed"] >= 1
    harness.assert_books_balance()


def test_a_429_for_a_status_waits_and_changes_nothing_else(harness):
    jobs = facing(harness, reply(429, retry_after="120"), job("completed"))

    poll(harness)
    poll(harness, 1)
    assert jobs.asked() == 1
    assert_books(harness, batched=2)
    poll(harness, 121)

    assert_books(harness, delivered=2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_while_following_stops_the_destination_and_loses_no_job(harness, status):
    jobs = facing(harness, reply(status, {"errors": [{"message": "access forbidden"}]}), job("completed"))

    poll(harness)
    poll(harness)

    assert harness.runtime.state.read()["state"] == "stopped"
    assert jobs.asked() == 1
    harness.runtime.state.resume(None)
    poll(harness)
    assert_books(harness, delivered=2, failed=0)


def test_a_worker_that_dies_while_it_asks_leaves_the_job_to_another(harness):
    facing(harness, job("completed"))
    advance(harness.runtime, 61)
    assert harness.runtime.batch_store.claim("poll").batch.number

    poll(harness, 1)
    assert_books(harness, batched=2)
    poll(harness, 45)

    assert_books(harness, delivered=2)


def test_a_job_is_followed_while_its_destination_is_paused(harness):
    facing(harness, job("completed"))
    harness.runtime.state.pause(None, "a person said so")

    poll(harness)

    assert_books(harness, delivered=2)


def test_contacts_are_free_once_their_job_has_ended(harness):
    facing(harness, job("pending"), job("completed"))

    poll(harness)
    assert busy(harness) == 2
    poll(harness)

    assert busy(harness) == 0


def test_parts_of_one_body_with_jobs_of_their_own_free_its_contacts_together(harness, sandbox):
    sandbox.dials(job_seconds=[0.1, 2.0])
    enqueue(person(n, **({"last_name": "[[reject-silent]]"} if n == 5 else {})) for n in range(8))

    harness.run_until(lambda: 0 < harness.books()["delivered"] < 7)
    assert busy(harness) == 8
    harness.run_until_settled()

    assert busy(harness) == 0
    assert_books(harness, delivered=7, failed=1)
