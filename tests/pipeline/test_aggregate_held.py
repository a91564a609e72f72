"""Records that are held because their contact is in flight."""

from support.aggregating import LIST, bodies, contacts_of, run_round
from support.people import person

from contact_ingest import enqueue
from contact_ingest.store.lanes import lane_names


def in_flight(harness, *records):
    """Put records into a batch that is due for dispatch, and leave it there."""
    enqueue(list(records))
    harness.runtime.schedule.flush("sendgrid")
    run_round(harness)


def settle(harness):
    for lane in lane_names(harness.runtime.store):
        harness.runtime.schedule.flush(lane)
    harness.run_until_settled()


def test_two_lanes_of_a_destination_share_who_is_in_flight(slow):
    in_flight(slow, person(1, city="first"))
    lane = enqueue(person(1, city="second"), list_ids=[LIST]).lane
    slow.runtime.schedule.flush(lane)

    assert run_round(slow, lane) == 1

    assert slow.books()["held"] == 1
    slow.assert_books_balance()


def test_a_held_record_goes_once_its_contact_is_free_and_the_newest_value_wins(harness, sandbox):
    sandbox.dials(job_seconds=[0.4, 0.4])
    enqueue(person(1, city="first", country="kept"))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    enqueue(person(1, city="second"))
    enqueue(person(1, city="third"))
    harness.run_until(lambda: harness.books()["held"] == 1)

    harness.run_until_settled()

    [stored] = sandbox.contacts()
    assert (stored["city"], stored["country"]) == ("third", "kept")
    assert harness.books() | {"delivered": 2, "merged": 1} == harness.books()
    harness.assert_books_balance()


def test_one_busy_contact_does_not_hold_up_the_others(slow):
    in_flight(slow, person(1))
    enqueue([person(1, city="again"), *(person(number) for number in range(2, 50))])
    slow.runtime.schedule.flush("sendgrid")

    assert run_round(slow) == 2

    assert len(contacts_of(bodies(slow)[1])) == 48
    assert slow.books()["held"] == 1


def test_a_lane_with_as_many_held_as_may_be_rests_until_one_is_free(slow):
    in_flight(slow, *(person(number) for number in range(100)))
    runtime = slow.runtime
    runtime.aggregator._policy = type(runtime.aggregator._policy)(max_wait_ms=60_000, max_held=50)
    enqueue(person(number, city="again") for number in range(100))
    runtime.schedule.flush("sendgrid")
    run_round(slow)
    version = runtime.store.client.get(runtime.store.keys("version"))

    assert runtime.aggregator.aggregate("sendgrid") == ()

    assert slow.books() | {"held": 50, "waiting": 50, "batched": 100} == slow.books()
    assert runtime.store.client.get(runtime.store.keys("version")) == version, (
        "a round with nothing to do stops the others"
    )
    due = runtime.store.client.zscore(runtime.store.keys("due:aggregate"), "sendgrid")
    assert due - runtime.clock.now_ms() > 30_000
    slow.assert_books_balance()
    settle(slow)
    assert slow.books() | {"delivered": 200} == slow.books()
