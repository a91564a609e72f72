"""Idempotency keys: the same records count nothing twice, and no other records are swallowed by a used key."""

import asyncio

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import TimeoutError as RedisTimeoutError
from support.people import person

from contact_ingest import IdempotencyKeyReused, IntakeError, aclose, aenqueue, enqueue
from contact_ingest.pipeline import enqueue as intake
from contact_ingest.store.lanes import append

LIST_A, LIST_B = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


@pytest.fixture
def door(make_harness):
    """Two destinations whose records stay where they are."""
    return make_harness(max_wait_s=60, destinations={"one": {}, "two": {}})


@pytest.fixture
def small_calls(monkeypatch):
    """Calls of three records, and pauses that nobody notices."""
    monkeypatch.setattr(intake, "CALL_RECORDS", 3)
    monkeypatch.setattr(intake, "PAUSE_FIRST_S", 0.0001)


def waiting(door, lane="one"):
    runtime = door.engine.runtime(lane.partition("+")[0])
    return [orjson.loads(raw) for raw in runtime.store.client.lrange(runtime.store.keys(f"waiting:{lane}"), 0, -1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (person(1), person(2)),
        (person(1, city="Oslo"), person(1, city="Bergen")),
        (person(1), [person(1), person(2)]),
        ([person(1), person(2)], [person(2), person(1)]),
        ([person(1), person(2)], person(1)),
        (person(1, score=1), person(1, score=1.0)),
        (person(1, score=1), person(1, score="1")),
        (person(1, score=None), person(1)),
    ],
)
def test_other_records_under_a_used_key_are_refused_and_nothing_is_swallowed(door, first, second):
    enqueue(first, to="one", key="user-17")
    stored = waiting(door)

    with pytest.raises(IdempotencyKeyReused, match=r"^key: was used for other records") as refused:
        enqueue(second, to="one", key="user-17")

    assert (refused.value.position, refused.value.receipt.accepted) == (0, 0)
    assert "user-17" not in str(refused.value)
    assert isinstance(refused.value, IntakeError)
    assert waiting(door) == stored
    assert enqueue(first, to="one", key="user-17").repeated == 1


def test_newest_stays_newest_because_a_key_never_takes_a_third_call_for_the_first(door):
    enqueue(person(1, city="A"), to="one", key="user-1")
    for city in ("B", "C"):
        with pytest.raises(IdempotencyKeyReused):
            enqueue(person(1, city=city), to="one", key="user-1")
    assert enqueue(person(1, city="A"), to="one", key="user-1").repeated == 1

    assert [record["city"] for record in waiting(door)] == ["A"]


def test_the_order_of_the_names_in_a_record_makes_no_other_record(door):
    record = person(1, city="Oslo", custom_fields={"plan": "pro", "age": 3})
    enqueue(record, to="one", key="k")
    turned = dict(reversed(record.items())) | {"custom_fields": {"age": 3, "plan": "pro"}}

    assert enqueue(turned, to="one", key="k").repeated == 1


def test_more_records_under_the_key_of_an_enqueue_that_has_ended_are_refused_from_their_call_on(door):
    enqueue([person(n) for n in range(700)], to="one", key="k")

    with pytest.raises(IdempotencyKeyReused) as refused:
        enqueue([person(n) for n in range(1200)], to="one", key="k")

    assert (refused.value.position, refused.value.receipt.accepted) == (500, 500)
    rest = enqueue([person(n) for n in range(refused.value.position, 1200)], to="one", key="k-2")
    assert rest.accepted == 700


def test_a_call_that_an_older_release_has_counted_is_counted_no_second_time(door, client):
    enqueue(person(1), to="one", key="k")
    [name] = client.keys("*idempotency:*")
    first, count, _ = client.get(name).split(b":")
    client.set(name, b"%b:%b" % (first, count), px=60_000)

    assert enqueue(person(1), to="one", key="k").repeated == 1
    assert len(waiting(door)) == 1


def test_a_refused_record_is_counted_with_the_records_before_the_position_only(door, small_calls):
    enqueue([person(1), person(2), person(3), person(4)], to="one", key="k")
    records = [person(1), {}, person(2), person(3), {}, person(9), {}]

    with pytest.raises(IdempotencyKeyReused) as refused:
        enqueue(records, to="one", key="k")

    receipt = refused.value.receipt
    assert (receipt.accepted, receipt.refused_count, receipt.position) == (3, 2, 5)
    assert [each.position for each in receipt.refused] == [1, 4]


def test_a_lane_of_other_options_is_another_lane_of_the_same_key(door):
    lanes = {enqueue(person(1), to="one", list_ids=lists, key="k").lane for lists in ([], [LIST_A], [LIST_B])}

    assert len(lanes) == 3
    assert [len(waiting(door, lane)) for lane in sorted(lanes)] == [1, 1, 1]


GIVEN = st.lists(st.sampled_from([person(1), person(2), person(3, city="Wien"), {}, "text"]), max_size=8)
CALL = st.tuples(
    GIVEN,
    st.sampled_from([None, "k", "l"]),
    st.sampled_from([("one",), ("two",), ("one", "two")]),
    st.sampled_from(["sync", "async", "reply lost", "time-out"]),
)


class Ledger:
    """What the lanes must hold: every accepted record, each call of a key once."""

    def __init__(self, door):
        self.door = door
        self.lanes = {"one": [], "two": []}
        self.calls = {}
        self.counted = set()

    def take(self, destination, key, given, receipt):
        """Compare the receipt of an enqueue, whole or stopped, with what was given; note what was new."""
        assert receipt.accepted + receipt.refused_count == receipt.position
        accepted = [record for record in given[: receipt.position] if isinstance(record, dict) and record]
        stored = waiting(self.door, destination)
        numbers = [seq for first, last in receipt.ranges for seq in range(first, last + 1)]
        assert [stored[seq] for seq in numbers] == accepted  # each one given is there, not another in its place
        for call, at in enumerate(range(0, len(accepted), 3)):
            known = self.calls.setdefault((destination, key, call), accepted[at : at + 3]) if key else None
            if known is None or (destination, key, call) not in self.counted:
                self.lanes[destination] += accepted[at : at + 3]
            self.counted.add((destination, key, call))
            assert known is None or known == accepted[at : at + 3]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALL, max_size=8))
def test_accepted_and_refused_are_what_was_given_and_no_record_is_swallowed_or_doubled(
    door, client, small_calls, calls
):
    client.flushall()
    door.engine.producer._schema_checked = False
    ledger = Ledger(door)
    for given_, key, to, how in calls:
        try:
            receipts, whole = make(door, given_, key, to, how), True
        except IdempotencyKeyReused as stopped:
            receipts, whole = {stopped.receipt.lane: stopped.receipt}, False
            # Of the other destinations nothing is known here; the lanes are compared as far as receipts tell.
            if len(to) > 1:
                return
        for destination, receipt in receipts.items():
            assert not whole or receipt.position == len(given_)
            ledger.take(destination, key, given_, receipt)
        for destination, expected in ledger.lanes.items():
            assert waiting(door, destination) == expected
    door.assert_books_balance()


def make(door, given_, key, to, how):
    """One enqueue by one of the doors. Returns the receipts by destination."""
    if how == "sync":
        return enqueue(given_, to=list(to), key=key)
    if how == "async":
        return asyncio.run(awaited(given_, key, to))
    producer = door.engine.producer
    lanes = [(producer.enqueue_options(lane, key=key), twice(door, lane, how)) for lane in producer.lanes(list(to))]
    return dict(zip(to, intake.enqueue(given_, lanes, 5), strict=True))


async def awaited(given_, key, to):
    async def arriving():
        for record in given_:
            yield record

    try:
        return await aenqueue(arriving(), to=list(to), key=key)
    finally:
        await aclose()


def twice(door, lane, how):
    """Makes each call twice: its first reply is lost on the way, or comes too late."""
    store, timed_out = door.engine.runtime(lane.destination).store, set()

    def send(call):
        if how == "time-out" and call.call not in timed_out:
            timed_out.add(call.call)
            append(store, call)
            raise RedisTimeoutError
        if how == "reply lost":
            append(store, call)
        return append(store, call)

    return send
