"""The error file of an import: who it names, when it is fetched, and what is believed without it."""

import pytest
from support.peer import Peer, advance, reply, speak_to
from support.polling import FILE_URL, HOUR_S, Jobs, assert_books, facing, failures, job, person, poll

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent
from contact_ingest.store.books import read as read_books

MARK = "[[fail-import]]"
UNNAMED = "[[fail-unnamed]]"


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
    with pytest.raises(SystemExit):
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
    raise SystemExit


@pytest.mark.parametrize("kind", [MemoryError, OSError, ImportError, StopIteration])
def test_an_error_file_that_a_passing_defect_hides_is_kept_and_read_again(harness, kind):
    file = reply(200, b"email,error\np1@example.com,no\n")
    jobs = facing(harness, job("errored", requested_count=2, errored_count=1, errors_url=FILE_URL), files=[file])
    provider = harness.runtime.provider
    read = provider.read_error_file

    def fail(*_):
        raise kind

    provider.read_error_file = fail
    for _ in range(3):
        poll(harness)
    assert harness.books()["batched"] == 2
    provider.read_error_file = read
    poll(harness)

    assert jobs.asked("error_file") == 1
    assert set(failures(harness)) == {"p1@example.com"}
    assert_books(harness, delivered=1, failed=1, unattributed=0)


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

    [request] = [request for request in jobs.peer.heard if request.endpoint == "error_file"]
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


NOT_YET = [
    reply(403, b"<Error><Code>AccessDenied</Code></Error>"),
    reply(404),
    reply(302, location="https://files.example.com/other"),
    reply(202, b"being written"),
    reply(204),
    reply(200),
    reply(200, b"\xef\xbb\xbf \r\n"),
]


@pytest.mark.parametrize("first", NOT_YET, ids=lambda answer: f"{answer.status}-{len(answer.body)}")
def test_an_error_file_that_is_refused_or_empty_at_first_is_asked_for_again(make_harness, first):
    harness = make_harness(poll_first_s=5)
    file = reply(200, b"email,error\np1@example.com,no\n")
    report = job("errored", requested_count=2, errored_count=1, errors_url=FILE_URL)
    jobs = facing(harness, report, files=[first, first, file])

    for _ in range(4):
        poll(harness)

    assert jobs.asked("error_file") == 3
    assert set(failures(harness)) == {"p1@example.com"}
    assert_books(harness, batched=0, delivered=1, failed=1, unattributed=0)


@pytest.mark.parametrize("always", NOT_YET, ids=lambda answer: f"{answer.status}-{len(answer.body)}")
def test_an_error_file_that_is_refused_for_ever_holds_its_contacts_for_some_minutes_only(make_harness, always):
    harness = make_harness(poll_first_s=5)
    jobs = facing(
        harness, job("errored", requested_count=5, errored_count=1, errors_url=FILE_URL), files=[always], records=5
    )

    for _ in range(13):
        poll(harness)

    assert 5 < jobs.asked("error_file") <= 12
    assert_books(harness, batched=0, delivered=5, failed=0, unattributed=1)


def test_an_error_file_that_is_gone_is_not_asked_for_twice(harness):
    report = job("errored", requested_count=5, errored_count=1, errors_url=FILE_URL)
    jobs = facing(harness, report, files=[reply(410)], records=5)

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


@pytest.mark.parametrize(
    "text",
    [
        b"line,error\n3,bad\n4,bad\n5,bad\n6,bad\n7,bad\n",
        b"status,error\n40,bad\n40,bad\n",
        b"3;bad\n4;bad\n",
        b'[{"row": "3", "code": "4", "error": "bad"}]',
    ],
)
def test_a_file_of_line_numbers_and_codes_blames_nobody_whose_id_is_such_a_number(harness, text):
    jobs = Jobs(job("errored", errored_count=5, errors_url=FILE_URL), files=[reply(200, text)])
    speak_to(jobs.peer, harness)
    enqueue({"external_id": str(n)} for n in range(1, 101))
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")
    poll(harness)
    poll(harness)

    assert_books(harness, batched=0, delivered=100, failed=0, unattributed=5)


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
            raise SystemExit
        return settle(*args, **more)

    runtime.batch_store.settle = dies_at_the_third
    with pytest.raises(SystemExit):
        poll(harness)
    runtime.batch_store.settle = settle
    assert harness.books()["failed"] == 2_000
    harness.assert_books_balance()
    poll(harness)

    assert_books(harness, batched=0, delivered=500, failed=2_500, unattributed=0)
