"""Every import is followed to an end, and what its platform says of single records reaches them."""

from itertools import pairwise

import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent
from contact_ingest.store.books import read as read_books

MARK = "[[fail-import]]"
UNNAMED = "[[fail-unnamed]]"
FILE_URL = "https://files.example.com/errors.csv"
HOUR_S = 3600


def person(number, **more):
    return {"email": f"p{number}@example.com", "first_name": f"Name {number}", **more}


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed.public(contents=False) for failed in harness.runtime.failures}


def busy(harness):
    return harness.runtime.store.client.hlen(harness.runtime.store.keys("inflight"))


class Jobs:
    """A platform that takes everything in and then says of its job what a test wants to hear; the last answer stays."""

    def __init__(self, *reports, files=()):
        self.reports, self.files = list(reports), list(files)
        self.peer = Peer(self.answer)

    def answer(self, request):
        if request.method == "PUT":
            return reply(202, {"job_id": "job-1"})
        if request.endpoint == "definitions":
            return reply(200, {"custom_fields": []})
        answers = self.files if request.endpoint == "error_file" else self.reports
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def asked(self, endpoint="job"):
        return sum(request.endpoint == endpoint for request in self.peer.consume_wakeup)


def job(status, **results):
    return reply(200, {"id": "job-1", "status": status, "results": results})


def facing(harness, *reports, files=(), records=2):
    """Send some records to a platform with these reports; they are on their way when this returns."""
    jobs = Jobs(*reports, files=files)
    speak_to(jobs.peer, harness)
    enqueue(person(n) for n in range(records))
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")
    assert harness.books()["batched"] == records
    return jobs


def poll(harness, after_s=61):
    advance(harness.runtime, after_s)
    return harness.runtime.poller.poll("sendgrid")


def assert_books(harness, **expected):
    assert harness.books() | expected == harness.books()
    harness.assert_books_balance()


# What the sandbox can be dialled to.


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


def dying(*_):
    raise MemoryError


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


# What only a scripted peer says.


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
