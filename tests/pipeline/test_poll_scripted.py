"""Import jobs whose platform says what no sandbox does: files that are late, gone or of strangers, keys refused."""

import pytest
from support.import_jobs import FILE_URL, HOUR_S, Jobs, assert_books, busy, facing, failures, job, person, poll
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent


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


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/errors.csv", "https://127.0.0.1/errors.csv", "http://files.example.com/errors.csv"],
)
def test_an_error_file_at_a_private_or_plain_address_is_not_fetched(harness, url):
    runtime = harness.runtime
    jobs = Jobs(job("errored", requested_count=3, errored_count=1, errors_url=url))
    transport = runtime.exchanger.http_client

    def answer(request):
        return transport.exchange(request, deadline_s=5) if request.endpoint == "error_file" else jobs.answer(request)

    peer = Peer(answer)
    speak_to(peer, harness)
    enqueue(person(n) for n in range(3))
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")

    poll(harness)
    try:
        poll(harness)
    finally:
        transport.close()

    assert_books(harness, delivered=3, failed=0, unattributed=1)


def test_no_credentials_go_with_the_request_for_an_error_file(harness):
    file = reply(200, b"email,error\np1@example.com,no\n")
    jobs = facing(harness, job("errored", requested_count=2, errored_count=1, errors_url=FILE_URL), files=[file])

    poll(harness)
    poll(harness)

    [request] = [request for request in jobs.peer.consume_wakeup if request.endpoint == "error_file"]
    assert request.public_only
    assert "SG." not in str(dict(request.headers))
    assert "authorization" not in {name.lower() for name in request.headers}


def test_an_error_file_that_cannot_be_had_at_the_moment_is_tried_again(harness):
    file = reply(200, b"email,error\np1@example.com,no\n")
    troubles = [reply(503), NotSent("connect"), FateUnknown("reset"), file]
    jobs = facing(harness, job("errored", requested_count=2, errored_count=1, errors_url=FILE_URL), files=troubles)

    for _ in range(5):
        poll(harness)

    assert jobs.asked("error_file") == 4
    assert set(failures(harness)) == {"p1@example.com"}
    assert_books(harness, delivered=1, failed=1, unattributed=0)


@pytest.mark.parametrize("deadline_s", [120, 6 * HOUR_S])
def test_without_its_error_file_a_job_ends_by_its_numbers_and_the_innocent_are_not_blamed(make_harness, deadline_s):
    harness = make_harness(poll_deadline_s=deadline_s)
    facing(
        harness,
        job("errored", requested_count=5, errored_count=1, errors_url=FILE_URL),
        files=[reply(503)],
        records=5,
    )

    for _ in range(70):
        poll(harness)

    assert_books(harness, batched=0, delivered=5, failed=0, unattributed=1)


def test_an_error_file_that_is_gone_is_not_asked_for_twice(harness):
    report = job("errored", requested_count=5, errored_count=1, errors_url=FILE_URL)
    jobs = facing(harness, report, files=[reply(404)], records=5)

    for _ in range(3):
        poll(harness)

    assert jobs.asked("error_file") == 1
    assert_books(harness, delivered=5, unattributed=1)


def test_a_file_that_names_strangers_blames_nobody(harness):
    file = reply(200, b"email,error\nstranger@example.com,no\np10@example.com,no\n")
    facing(harness, job("errored", requested_count=2, errored_count=1, errors_url=FILE_URL), files=[file])

    poll(harness)
    poll(harness)

    assert_books(harness, delivered=2, failed=0, unattributed=1)


def test_a_crash_between_two_steps_of_many_failures_blames_nobody_else(harness):
    """2,500 of 3,000 rows failed: after the first thousands are written down the rest of the numbers must still fit."""
    lines = b"".join(b"p%d@example.com,no\n" % n for n in range(2_500))
    report = job("errored", requested_count=3_000, errored_count=2_500, errors_url=FILE_URL)
    facing(harness, report, files=[reply(200, b"email,error\n" + lines)], records=3_000)
    poll(harness)
    runtime = harness.runtime
    settle, calls = runtime.batch_store.settle, []

    def dies_at_the_third(*args, **more):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return settle(*args, **more)

    runtime.batch_store.settle = dies_at_the_third
    with pytest.raises(MemoryError):
        poll(harness)
    runtime.batch_store.settle = settle
    assert harness.books()["failed"] == 2_000
    harness.assert_books_balance()
    poll(harness)

    assert_books(harness, batched=0, delivered=500, failed=2_500, unattributed=0)


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
    jobs = facing(harness, reply(status), job("completed"))

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
