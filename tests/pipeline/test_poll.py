"""Import jobs of the sandbox are followed to their end."""

from itertools import pairwise

import pytest
from support.import_jobs import (
    FILE_URL,
    HOUR_S,
    MARK,
    UNNAMED,
    assert_books,
    busy,
    dying,
    facing,
    failures,
    job,
    person,
    poll,
)
from support.peer import advance, reply

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent
from contact_ingest.store.books import read as read_books


@pytest.mark.parametrize(
    "shape", ["csv", "csv_semicolon", "json_array", "json_lines", "nested_json", "gzip", "bom", "upper"]
)
def test_rows_that_the_error_file_names_fail_with_its_reason_whatever_its_shape(harness, sandbox, shape):
    sandbox.dials(error_file_shape=shape)
    enqueue(person(n, **({"last_name": MARK} if n in (3, 17) else {})) for n in range(20))

    harness.run_until_settled()

    assert set(failures(harness)) == {"p3@example.com", "p17@example.com"}
    about = failures(harness)["p3@example.com"]
    assert (about["stage"], about["reason"]) == ("poll", "the contact could not be imported")
    assert_books(harness, delivered=18, failed=2, unattributed=0)
    assert len(list(sandbox.contacts())) == 18


@pytest.mark.parametrize("shape", ["html", "truncated"])
def test_rows_that_a_broken_error_file_does_not_name_are_unattributed_not_guessed(harness, sandbox, shape):
    sandbox.dials(error_file_shape=shape)
    enqueue(person(n, **({"last_name": MARK} if n < 4 else {})) for n in range(20))

    harness.run_until_settled()

    named = len(failures(harness))
    assert named < 4
    assert set(failures(harness)) <= {f"p{n}@example.com" for n in range(4)}
    assert_books(harness, delivered=20 - named, failed=named, unattributed=4 - named)


def test_an_error_file_that_can_be_had_once_is_fetched_once_and_kept_before_it_is_read(harness, sandbox):
    sandbox.dials(error_file_once=True)
    enqueue([person(1), person(2, last_name=MARK)])
    runtime = harness.runtime
    read, runtime.provider.read_error_file = runtime.provider.read_error_file, dying
    with pytest.raises(MemoryError):
        harness.run_until_settled()
    runtime.provider.read_error_file = read
    advance(runtime, 46)
    harness.run_until_settled()

    assert set(failures(harness)) == {"p2@example.com"}
    assert [entry["endpoint"] for entry in sandbox.journal()].count("sendgrid.error_file") == 1
    assert_books(harness, delivered=1, failed=1, unattributed=0)
    assert not runtime.store.client.exists(runtime.store.keys("batch:1:error_file")), (
        "it names people, and nobody needs it any more"
    )
    assert not runtime.store.client.hexists(runtime.store.keys("batch:1"), "errors_url")


def test_rows_that_are_counted_but_not_named_end_as_delivered_and_unattributed(harness):
    enqueue(
        person(n, **({"last_name": UNNAMED} if n < 3 else {"last_name": MARK} if n == 3 else {})) for n in range(20)
    )

    harness.run_until_settled()

    assert set(failures(harness)) == {"p3@example.com"}
    assert_books(harness, delivered=19, failed=1, unattributed=3)
    [lane] = read_books(harness.runtime.store)
    assert lane.balanced


def test_where_the_numbers_leave_nobody_else_all_fail_though_unnamed(harness):
    enqueue(person(n, last_name=UNNAMED) for n in range(5))

    harness.run_until_settled()

    assert {about["code"] for about in failures(harness).values()} == {"import_failed"}
    assert_books(harness, delivered=0, failed=5, unattributed=0)


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
