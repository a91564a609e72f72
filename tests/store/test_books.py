"""The books and the recount that must say the same, also when somebody has meddled with them."""

import pytest
from support.people import person

from contact_ingest import enqueue
from contact_ingest.store import books
from contact_ingest.store.keys import BOOKS


def meddle(harness, key, name, by):
    harness.runtime.store.client.hincrby(harness.runtime.store.keys(key), name, by)


@pytest.fixture
def lane(harness, sandbox):
    """A lane with something of everything: waiting, held, in flight, delivered, failed, merged."""
    sandbox.dials(job_seconds=[0.0, 0.0])
    enqueue([person(1), person(1, city="here"), person(2, last_name="x" * 51)])
    harness.run_until_settled()
    sandbox.dials(job_seconds=[60, 60])
    enqueue([person(3), person(4)])
    harness.run_until(lambda: harness.books()["batched"] == 2)
    enqueue(person(3, city="again"))
    harness.run_until(lambda: harness.books()["held"] == 1)
    harness.runtime.state.pause("sendgrid", "a person said so")
    enqueue([person(5), person(6)])
    return harness


def test_every_record_is_in_exactly_one_place(lane):
    expected = {"accepted": 8, "waiting": 2, "held": 1, "batched": 2, "delivered": 1, "merged": 1, "failed": 1}

    [found] = books.read(lane.runtime.store)

    assert {name: found.counts[name] for name in BOOKS if found.counts[name]} == expected
    assert found.balanced
    assert books.disagreements(lane.runtime.store, "sendgrid") == []


@pytest.mark.parametrize("name", ["accepted", "waiting", "held", "batched", "failed", "delivered", "merged"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_counter_that_is_off_by_one_is_told(lane, name, by):
    meddle(lane, "books:sendgrid", name, by)

    wrong = books.disagreements(lane.runtime.store, "sendgrid")

    assert any(name in line or "not the sum" in line for line in wrong)


@pytest.mark.parametrize("key", ["waiting:sendgrid", "held:sendgrid"])
def test_a_record_that_has_vanished_is_told(lane, key):
    lane.runtime.store.client.lpop(lane.runtime.store.keys(key))

    assert books.disagreements(lane.runtime.store, "sendgrid")


def test_a_failure_that_has_vanished_is_told(lane):
    client, keys = lane.runtime.store.client, lane.runtime.store.keys
    client.hdel(keys("failures"), *client.hkeys(keys("failures")))

    assert books.disagreements(lane.runtime.store, "sendgrid") == ["sendgrid: the books say 1 failed, the keys 0"]


def test_two_errors_that_cancel_each_other_are_told_by_the_recount(lane):
    meddle(lane, "books:sendgrid", "waiting", 1)
    meddle(lane, "books:sendgrid", "held", -1)

    assert books.read(lane.runtime.store)[0].balanced
    assert len(books.disagreements(lane.runtime.store, "sendgrid")) == 2


def test_unattributed_rows_stand_beside_the_books(lane):
    meddle(lane, "books:sendgrid", "unattributed", 5)

    assert books.disagreements(lane.runtime.store, "sendgrid") == []


def test_totals_are_the_sum_of_the_lanes():
    one = books.LaneBooks("a", dict.fromkeys(BOOKS, 1))
    two = books.LaneBooks("b", dict.fromkeys(BOOKS, 2))

    assert books.totals([one, two]) == dict.fromkeys(BOOKS, 3)


def test_settled_batches_are_forgotten_after_their_time_and_the_books_stay(lane, sandbox):
    before = lane.books()
    runtime = lane.runtime
    live = runtime.store.client.zcard(runtime.store.keys("batches"))

    assert runtime.schedule.sweep(-1_000, 10**12) == (live - 1, 0)

    assert lane.books() == before
    lane.assert_books_balance()
