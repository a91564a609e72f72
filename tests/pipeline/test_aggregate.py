"""When a lane becomes bodies: full ones at once, partial ones when they have waited enough."""

import threading

import orjson
import pytest
from support.aggregating import CAP, LIST, bodies, contacts_of, run_round
from support.peer import advance
from support.people import person

from contact_ingest import enqueue
from contact_ingest.store.schedule import WakeUp


def test_a_body_full_by_bytes_goes_at_once_and_the_rest_waits(slow):
    enqueue(person(number, postal_code="x" * 500) for number in range(150))

    assert run_round(slow) == 1

    [body] = bodies(slow)
    assert 0.98 * CAP < len(body) <= CAP
    assert len(contacts_of(body)) + slow.books()["waiting"] == 150


def test_a_body_full_by_count_goes_at_once(make_harness, sandbox):
    harness = make_harness(max_wait_s=60)
    enqueue({"email": f"{number}@x.cd"} for number in range(30_100))

    assert run_round(harness) == 1

    assert [len(contacts_of(body)) for body in bodies(harness)] == [30_000]
    assert harness.books()["waiting"] == 100


def test_a_partial_body_waits_for_its_time_by_the_clock_and_needs_no_further_arrival(slow):
    enqueue(person(1))
    assert run_round(slow) == 0
    advance(slow.runtime, 30)
    enqueue(person(2))
    assert run_round(slow) == 0
    assert slow.books()["waiting"] == 2

    advance(slow.runtime, 31)

    assert WakeUp("aggregate", "sendgrid") in slow.runtime.schedule.tick(4).wakeups
    assert run_round(slow) == 1
    assert [len(contacts_of(body)) for body in bodies(slow)] == [2]


def test_the_age_of_a_lane_is_that_of_its_oldest_record(slow):
    enqueue(person(number, postal_code="x" * 500) for number in range(100))
    advance(slow.runtime, 59)
    enqueue(person(number, postal_code="x" * 500) for number in range(100, 150))
    assert run_round(slow) == 1

    advance(slow.runtime, 2)

    assert run_round(slow) == 1, "what is left came later and has not waited long enough"
    advance(slow.runtime, 58)
    assert run_round(slow) == 2


def test_a_lane_that_is_flushed_leaves_now(slow):
    enqueue(person(1))
    slow.runtime.schedule.flush("sendgrid")
    enqueue(person(2))

    assert run_round(slow) == 1
    assert slow.books()["waiting"] == 0


@pytest.mark.parametrize("list_ids", [[], [LIST]])
def test_with_a_backlog_every_body_is_filled_to_ninety_nine_percent(make_harness, list_ids):
    harness = make_harness(max_wait_s=60, max_body_bytes=200_000)
    lane = enqueue(
        (person(number, postal_code="é" * (number % 97)) for number in range(12_000)), list_ids=list_ids
    ).lane

    assert run_round(harness, lane) > 4

    for body in bodies(harness):
        assert 0.99 * 200_000 <= len(body) <= 200_000
        assert body == orjson.dumps(orjson.loads(body))


def test_a_lane_has_no_more_batches_due_for_dispatch_than_may_be(make_harness):
    harness = make_harness(max_wait_s=0, max_body_bytes=CAP, max_open_batches=3)
    enqueue(person(number, postal_code="x" * 500) for number in range(1000))

    for _ in range(5):
        run_round(harness)

    assert len(bodies(harness)) == 3
    assert harness.books()["waiting"] > 500


def test_of_two_rounds_on_one_version_one_commits_and_nothing_is_lost(harness):
    enqueue(person(number) for number in range(100))
    runtime = harness.runtime
    rounds = []
    barrier = threading.Barrier(2, timeout=10)

    class Meeting:
        """The store of both rounds: each waits for the other between its snapshot and its first commit."""

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        def commit(self, commit):
            if not rounds:
                barrier.wait()
            took = self._store.commit(commit)
            rounds.append(took)
            return took

    runtime.aggregator._store = Meeting(runtime.aggregator._store)
    threads = [threading.Thread(target=runtime.aggregator.aggregate, args=("sendgrid",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert rounds.count(True) >= 1
    assert False in rounds
    assert harness.books() | {"batched": 100, "waiting": 0} == harness.books()
    staged = [k for k in runtime.store.client.scan_iter("*:body") if runtime.store.client.ttl(k) != -1]
    assert staged == [], "the loser's bodies are left behind"
    harness.assert_books_balance()


def test_records_that_arrive_during_a_round_make_the_lane_due_again(harness):
    enqueue(person(1))
    runtime = harness.runtime
    store = runtime.aggregator._store
    apply = store.commit

    def enqueue_and_apply(commit):
        enqueue(person(2))
        return apply(commit)

    store.commit = enqueue_and_apply
    runtime.aggregator.aggregate("sendgrid")
    store.commit = apply

    assert runtime.store.client.zscore(runtime.store.keys("due:aggregate"), "sendgrid") <= runtime.clock.now_ms()
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2


@pytest.mark.parametrize("lane", ["sendgrid", None])
def test_a_paused_lane_waits_and_goes_on_when_it_is_resumed(harness, lane):
    harness.runtime.state.pause(lane, "a person said so")
    enqueue(person(1))
    assert run_round(harness) == 0
    assert harness.books()["waiting"] == 1

    harness.runtime.state.resume(lane)

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_a_paused_lane_does_not_stop_its_neighbour(harness, sandbox):
    harness.runtime.state.pause("sendgrid", "a person said so")
    enqueue(person(1))
    enqueue(person(2), list_ids=[LIST])

    harness.run_until(lambda: harness.books()["waiting"] == 1)

    assert harness.books()["waiting"] == 1


def test_a_destinations_field_mapping_holds_for_all_its_records(make_harness, sandbox):
    mapping = {"rename": {"company": "last_name"}, "drop": ["facebook"], "constants": {"country": "Denmark"}}
    harness = make_harness(destinations={"sendgrid": {"fields": mapping}})
    enqueue({"email": "a@example.com", "company": "Acme", "facebook": "acme"})

    harness.run_until_settled()

    (stored,) = sandbox.contacts()
    assert (stored["last_name"], stored["country"], "facebook" in stored) == ("Acme", "Denmark", False)
