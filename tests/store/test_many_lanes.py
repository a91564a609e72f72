"""Many lanes: the end of a batch looks at none of them, and yet every lane in which something is held hears of it."""

from dataclasses import replace
from uuid import UUID

import pytest
from support.people import person

from contact_ingest import enqueue
from contact_ingest.model.batch import BatchState, Settlement
from contact_ingest.store import books
from contact_ingest.store.inspect import batch, children, newest_batches, read_destination
from contact_ingest.store.lanes import lanes_in_use, mend_held_lanes
from contact_ingest.store.schedule import SWEEP_MOST
from contact_ingest.tasks.ticker import Housekeeping


def lists(count):
    return [[str(UUID(int=number + 1))] for number in range(count)]


@pytest.fixture
def slow(make_harness, sandbox):
    """Lanes wait for an hour for a fuller body, and imports take as long: contacts stay in flight until a test says."""
    sandbox.dials(job_seconds=[3_600, 3_600])
    return make_harness(max_wait_s=3_600, lease_s=3_600)


def in_flight(harness, *records):
    """Put records into a batch that a worker has; returns a function that ends it."""
    runtime = harness.runtime
    enqueue(list(records))
    runtime.schedule.flush("sendgrid")
    runtime.aggregator.aggregate("sendgrid")
    claim = runtime.batch_store.claim("dispatch")
    return lambda: end(harness, claim.batch)


def end(harness, claimed):
    ended = Settlement(replace(claimed, state=BatchState.DONE), delivered=claimed.rows)
    harness.runtime.batch_store.settle(claimed, ended)


def hold(harness, count):
    """Hold a record of the contact in flight in so many lanes; returns their names. A person has asked that everything
    leaves as soon as it can, and no round since has found anything to do."""
    found = []
    for ids in lists(count):
        found.append(enqueue(person(1, city="again"), list_ids=ids).lane)
        harness.runtime.schedule.flush(found[-1])
        harness.runtime.aggregator.aggregate(found[-1])
    harness.runtime.schedule.flush(*found)
    for lane in found:
        harness.runtime.aggregator.aggregate(lane)
    return sorted(found)


def due_now(harness):
    """The lanes that are due at this moment."""
    runtime = harness.runtime
    found = runtime.store.client.zrangebyscore(runtime.store.keys("due:aggregate"), "-inf", runtime.clock.now_ms())
    return sorted(lane.decode() for lane in found)


def listed(harness):
    runtime = harness.runtime
    return sorted(lane.decode() for lane in runtime.store.client.zrange(runtime.store.keys("held_lanes"), 0, -1))


def commands_run(harness, work):
    """How many commands the server runs meanwhile, those of scripts included."""
    client = harness.runtime.store.client
    client.config_resetstat()
    work()
    return sum(stats["calls"] for name, stats in client.info("commandstats").items() if "config" not in name)


@pytest.mark.parametrize("count", [1, 7, 250])
def test_the_end_of_a_batch_makes_every_lane_due_in_which_something_is_held(slow, count):
    ended = in_flight(slow, person(1))
    lanes = hold(slow, count)
    assert listed(slow) == lanes
    assert due_now(slow) == []

    ended()
    ticks = 0
    while due_now(slow) != lanes:
        assert ticks <= count / 100 + 1
        assert slow.runtime.schedule.tick(4).nearest_ms <= 60_000
        ticks += 1


def test_a_tick_that_leaves_lanes_for_the_next_one_asks_for_it_soon(slow):
    ended = in_flight(slow, person(1))
    hold(slow, 150)

    ended()

    assert slow.runtime.schedule.tick(4).nearest_ms <= 50
    assert slow.runtime.schedule.tick(4).nearest_ms > 50


def test_the_end_of_a_batch_runs_as_many_commands_whatever_the_number_of_lanes(slow):
    counts = []
    for count in (1, 40, 200):
        slow.runtime.store.client.flushall()
        ended = in_flight(slow, person(1))
        hold(slow, count)
        counts.append(commands_run(slow, ended))

    # A few commands more where the clock writes down the second.
    assert max(counts) - min(counts) < 20


def test_a_lane_is_told_once_of_each_release(slow):
    ended = in_flight(slow, person(1))
    hold(slow, 3)
    ended()
    slow.runtime.schedule.tick(4)
    first = commands_run(slow, lambda: slow.runtime.schedule.tick(4))

    assert commands_run(slow, lambda: slow.runtime.schedule.tick(4)) == first


def test_retried_failures_are_held_and_listed_until_they_leave_or_are_cancelled(slow):
    enqueue([person(number, last_name="x" * 51) for number in range(3)])
    slow.runtime.schedule.flush("sendgrid")
    slow.runtime.aggregator.aggregate("sendgrid")
    assert listed(slow) == []

    slow.runtime.failures.retry(slow.runtime.failures)
    assert listed(slow) == ["sendgrid"]
    slow.runtime.store.run("lane_cancel", "sendgrid", 0, 1)
    assert listed(slow) == ["sendgrid"]
    slow.runtime.store.run("lane_cancel", "sendgrid", 2, 2)

    assert listed(slow) == []
    slow.assert_books_balance()


@pytest.mark.parametrize("count", [1, 30, 450])
def test_keys_of_an_earlier_release_get_the_list_from_the_first_worker(slow, count):
    ended = in_flight(slow, person(1))
    lanes = hold(slow, count)
    k = slow.runtime.store.keys
    slow.runtime.store.client.delete(k("held_lanes"), k("released"))
    wrong = [says for found in books.all_disagreements(slow.runtime.store).values() for says in found]
    assert len(wrong) == count
    assert all("held_lanes lacks the lane" in says for says in wrong)

    Housekeeping(slow.engine, 1).run()

    assert listed(slow) == lanes
    ended()
    for _ in range(count // 100 + 1):
        slow.runtime.schedule.tick(4)
    assert due_now(slow) == lanes


@pytest.mark.parametrize("score", [10**6, 0])
def test_lanes_that_do_not_belong_there_are_taken_out_and_impossible_versions_mended(slow, score):
    in_flight(slow, person(1))
    [lane, _] = hold(slow, 2)
    client, k = slow.runtime.store.client, slow.runtime.store.keys
    client.zadd(k("held_lanes"), {"sendgrid": score, lane: score})
    assert "has the lane, and nothing is held" in books.disagreements(slow.runtime.store, "sendgrid")[0]

    assert mend_held_lanes(slow.runtime.store) == (2 if score else 1)

    assert "sendgrid" not in listed(slow)
    assert client.zscore(k("held_lanes"), lane) == 0
    assert mend_held_lanes(slow.runtime.store) == 0


def test_a_recount_of_many_lanes_says_of_each_what_a_recount_of_it_alone_says(slow):
    in_flight(slow, person(1))
    lanes = hold(slow, 230)
    enqueue([person(number, last_name="x" * 51) for number in range(10, 20)], list_ids=lists(1)[0])
    slow.runtime.schedule.flush(*lanes)
    for lane in lanes[:20]:
        slow.runtime.aggregator.aggregate(lane)
    enqueue([person(number) for number in range(20, 25)], list_ids=lists(3)[2])

    together = books.recount_lanes(slow.runtime.store, [*lanes, "sendgrid"])

    for found in together:
        assert found.wrong == []
        assert books.recount(slow.runtime.store, found.lane) == (found.books, found.counted)


def test_what_happens_during_a_recount_is_counted(slow):
    """Batches and failures are looked for at the beginning; some come, and some go, before the last lane is counted."""
    enqueue([person(number, last_name="x" * 51) for number in range(4)])
    slow.runtime.schedule.flush("sendgrid")
    slow.runtime.aggregator.aggregate("sendgrid")
    ended = in_flight(slow, person(1))
    lanes = hold(slow, 210)

    counting = books.recount_lanes(slow.runtime.store, [*lanes, "sendgrid"])
    assert next(counting).wrong == []
    ended()
    slow.runtime.failures.discard(["sendgrid:0"])
    slow.runtime.failures.retry(slow.runtime.failures.get(["sendgrid:1"]))
    in_flight(slow, person(7), person(8, last_name="x" * 51))

    found = {counted.lane: counted for counted in counting}
    assert [counted.wrong for counted in found.values() if counted.wrong] == []
    assert found["sendgrid"].counted["batched"] == 1
    assert found["sendgrid"].counted == books.recount(slow.runtime.store, "sendgrid")[1]


def fake_batches(harness, numbers, **fields):
    """Batches of long ago, as they lie in Redis."""
    k, pipe = harness.runtime.store.keys, harness.runtime.store.client.pipeline()
    for number in numbers:
        pipe.hset(k(f"batch:{number}"), mapping={"root": number, "lane": "sendgrid", "parts": 0, **fields})
        pipe.zadd(k("batches"), {str(number): number})
    pipe.execute()


@pytest.mark.parametrize("stay", [0, 1, SWEEP_MOST, 3 * SWEEP_MOST + 7])
def test_a_sweep_takes_all_that_is_old_and_passes_over_what_has_to_stay(harness, stay):
    fake_batches(harness, range(1, 1 + stay), state="polling", rows=1)
    fake_batches(harness, range(10_000, 10_000 + 2 * SWEEP_MOST + 3), state="done")

    assert harness.runtime.schedule.sweep(1_000, 1_000) == (2 * SWEEP_MOST + 3, 0)

    assert harness.runtime.store.client.zcard(harness.runtime.store.keys("batches")) == stay


def test_a_sweep_takes_more_failures_than_one_script(harness):
    enqueue([person(number, last_name="x" * 51) for number in range(SWEEP_MOST + 20)])
    harness.run_until(lambda: harness.books()["failed"] == SWEEP_MOST + 20)

    assert harness.runtime.schedule.sweep(10**12, -1) == (0, SWEEP_MOST + 20)
    harness.assert_books_balance()


def test_status_shows_every_one_of_many_lanes_and_what_is_in_them(slow):
    in_flight(slow, person(1))
    lanes = hold(slow, 230)

    view = read_destination(slow.runtime.store, slow.runtime.breaker.state())

    held = {found.books.lane for found in view.lanes if found.books.counts["held"] == 1}
    assert sorted(held) == lanes
    assert len(view.lanes) == 231
    assert lanes_in_use(slow.runtime.store) == lanes


def test_the_children_of_a_batch_are_those_made_before_it_ended(harness, sandbox):
    enqueue([person(number, last_name="[[reject]]" if number == 5 else "y") for number in range(9)])
    harness.run_until_settled()
    enqueue(person(50))
    harness.run_until_settled()

    views = list(newest_batches(harness.runtime.store))
    expected = {view.number: set() for view in views}
    for view in views:
        if "parent" in view.fields:
            expected[int(view.fields["parent"])].add(view.number)

    assert {n: set(children(harness.runtime.store, batch(harness.runtime.store, n))) for n in expected} == expected


def test_resume_makes_every_lane_due(slow):
    lanes = sorted(enqueue(person(number), list_ids=ids).lane for number, ids in enumerate(lists(210)))
    slow.runtime.state.pause(None, "for a test")

    slow.runtime.state.resume(None)

    assert due_now(slow) == lanes
