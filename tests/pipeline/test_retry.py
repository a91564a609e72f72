"""Failed records on their way back: which ones, in which order, and under which ids."""

import orjson
import pytest
from support.peer import advance
from support.people import person

from contact_ingest import enqueue
from contact_ingest.pipeline.retry import PAGE, FailureFilter

LIST = "00000000-0000-4000-8000-000000000001"
LONG = "x" * 51


@pytest.fixture
def failed(harness, sandbox):
    """Failures of three kinds, an hour between the second and the third."""
    enqueue([person(1, last_name=LONG), person(2, last_name="[[fail-import]]")])
    harness.run_until_settled()
    advance(harness.runtime, 3600)
    enqueue([person(3, last_name=LONG)])
    harness.run_until_settled()
    assert harness.books()["failed"] == 3
    return harness


def found(harness, **which):
    return {failure.id for failure in harness.runtime.retrier.find(FailureFilter(**which))}


def test_failures_are_found_by_reason_batch_lane_record_and_time(failed):
    by_id = {one.id: one for one in failed.runtime.failures}
    middle = by_id["sendgrid:2"].last_ms

    assert found(failed) == {"sendgrid:0", "sendgrid:1", "sendgrid:2"}
    assert found(failed, code="too_long") == {"sendgrid:0", "sendgrid:2"}
    assert found(failed, batch=by_id["sendgrid:1"].batch) == {"sendgrid:1"}
    assert found(failed, record="sendgrid:2") == {"sendgrid:2"}
    assert found(failed, lane="sendgrid") == found(failed)
    assert found(failed, lane="elsewhere") == set()
    assert found(failed, since_ms=middle) == {"sendgrid:2"}
    assert found(failed, until_ms=middle) == {"sendgrid:0", "sendgrid:1"}
    assert found(failed, code="too_long", until_ms=middle) == {"sendgrid:0"}


def test_what_is_meant_goes_back_and_the_rest_stays(failed, sandbox):
    sandbox.dials(markers={"fail_import": "[[never]]"})

    assert failed.runtime.retrier.retry(FailureFilter(code="import_error")) == 1
    failed.run_until_settled()

    assert failed.books() | {"accepted": 3, "delivered": 1, "failed": 2} == failed.books()
    assert [contact["email"] for contact in sandbox.contacts()] == ["p2@example.com"]
    failed.assert_books_balance()


def test_a_retry_that_fails_again_keeps_id_and_first_time_and_counts_its_attempts(failed):
    before = next(one for one in failed.runtime.failures if one.id == "sendgrid:1")
    failed.runtime.retrier.retry(FailureFilter(record="sendgrid:1"))
    failed.run_until_settled()

    after = next(one for one in failed.runtime.failures if one.id == "sendgrid:1")
    assert after.raw == before.raw
    assert (before.attempts, after.attempts) == (1, 2)
    assert after.first_ms == before.first_ms < after.last_ms
    assert after.batch != before.batch


def test_retrying_twice_moves_each_once(failed):
    chosen = list(failed.runtime.failures)

    assert failed.runtime.failures.retry(chosen) == 3
    assert failed.runtime.failures.retry(chosen) == 0
    assert failed.books() | {"held": 3, "failed": 0} == failed.books()
    failed.assert_books_balance()


def test_more_than_a_page_goes_back_oldest_first(harness):
    count = PAGE + 100
    enqueue(person(number, last_name=LONG) for number in reversed(range(count)))
    harness.run_until_settled()
    runtime = harness.runtime
    # Whatever the order they failed in.
    numbers = {f"sendgrid:{seq}": (seq * 7919) % count for seq in range(count)}
    runtime.store.client.zadd(runtime.store.keys("failures:by_time"), numbers)

    assert runtime.retrier.retry(FailureFilter()) == count

    assert list(map(int, runtime.store.client.zrange(runtime.store.keys("retry:sendgrid"), 0, -1))) == list(
        range(count)
    )


def test_a_retried_record_is_older_than_all_that_waits(harness, sandbox):
    enqueue(person(1, city="old", country="kept", last_name=LONG))
    harness.run_until_settled()
    [failure] = harness.runtime.failures
    harness.runtime.state.pause(None, "a person said so")
    enqueue(person(1, city="new", last_name="short"))

    harness.runtime.failures.retry([failure])
    harness.runtime.state.resume(None)
    harness.run_until_settled()

    # It is refused again for its name; what the newer one has set is not its to say any more.
    [contact] = sandbox.contacts()
    assert contact["city"] == "new"
    [left] = harness.runtime.failures
    assert orjson.loads(left.raw) == {"email": "p1@example.com", "country": "kept"}


def test_failures_of_several_lanes_go_back_to_their_own(harness):
    lanes = {enqueue(person(1, last_name=LONG), list_ids=lists).lane for lists in ([], [LIST])}
    harness.run_until_settled()

    assert harness.runtime.retrier.retry(FailureFilter()) == 2

    for lane in lanes:
        assert harness.runtime.store.client.zcard(harness.runtime.store.keys(f"retry:{lane}")) == 1
    harness.assert_books_balance()


def test_discarded_failures_are_gone_and_counted(failed):
    assert failed.runtime.failures.discard(["sendgrid:0", "sendgrid:2", "sendgrid:77"]) == 2
    assert failed.runtime.failures.discard(["sendgrid:0"]) == 0

    assert failed.books() | {"failed": 1, "discarded": 2} == failed.books()
    failed.assert_books_balance()


def test_failures_past_their_age_are_discarded_and_younger_ones_stay(failed):
    assert failed.runtime.schedule.sweep(10**12, 1800 * 1000) == (0, 2)

    assert found(failed) == {"sendgrid:2"}
    failed.assert_books_balance()


def test_a_failure_tells_its_story_and_shows_the_contact_only_when_asked(failed):
    failure = next(one for one in failed.runtime.failures if one.id == "sendgrid:1")

    public = failure.public(contents=False)

    assert (public["record"], public["lane"], public["destination"]) == ("sendgrid:1", "sendgrid", "sendgrid")
    assert (public["code"], public["stage"], public["attempts"]) == ("import_error", "poll", 1)
    assert public["first_at"].endswith("Z")
    assert "p2@" not in orjson.dumps(public).decode() + repr(failure)
    shown = orjson.loads(orjson.dumps(failure.public(contents=True)))
    assert shown["contact"] == person(2, last_name="[[fail-import]]") == shown["mapped"]
