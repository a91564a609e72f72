"""The door: what a receipt says, what happens twice, and where to go on from when it stops midway."""

import asyncio
import tracemalloc

import orjson
import pytest
from support.people import person

from contact_ingest import LaneFull, StoreUnavailable, aenqueue, cancel, enqueue
from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.errors import SettingError
from contact_ingest.pipeline import enqueue as intake
from contact_ingest.pipeline.enqueue import CALL_RECORDS, LISTED
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books
from contact_ingest.store.lanes import EnqueueReply, append

LIST_A, LIST_B = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


def people(count, first=0):
    return (person(number) for number in range(first, first + count))


def waiting(harness, lane="sendgrid"):
    """What waits in a lane, cancelled places left out."""
    raws = harness.runtime.store.client.lrange(harness.runtime.store.keys(f"waiting:{lane}"), 0, -1)
    return [orjson.loads(raw) for raw in raws if raw]


def commands(client):
    """How often each command has come from clients; what scripts call is counted beside them."""
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()}


@pytest.fixture
def unlimited(client):
    """The server is shared: whoever limits its memory gives it back."""
    yield
    client.config_set("maxmemory", 0)


def fill(harness):
    """Let what is used be more than intake may use, and what was left a moment ago be taken."""
    client = harness.runtime.store.client
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.1))
    client.delete(harness.runtime.store.keys("intake_allowance"))


@pytest.fixture
def slow_harness(make_harness):
    """Records stay where they are until somebody flushes."""
    return make_harness(max_wait_s=60)


def test_a_receipt_says_how_many_were_accepted_and_what_their_ids_are(slow_harness):
    first = enqueue(people(1200))
    second = enqueue(person(5000))

    assert (first.accepted, first.ranges, first.position) == (1200, [(0, 1199)], 1200)
    assert (second.accepted, second.ranges) == (1, [(1200, 1200)])
    assert list(second.record_ids) == ["sendgrid:1200"]
    assert waiting(slow_harness) == [*people(1200), person(5000)]


def test_ids_go_on_when_records_have_left_the_lane(harness):
    enqueue(people(10))
    harness.run_until_settled()

    assert enqueue(person(10)).ranges == [(10, 10)]


def test_refused_records_are_told_by_position_and_rule_and_the_rest_are_accepted(slow_harness):
    heard = []
    records = [person(0), {"first_name": "nobody"}, person(2), "text", person(4, score=float("nan"))]

    receipt = enqueue(iter(records), on_refused=heard.append)

    assert receipt.accepted == 2
    assert [(r.position, r.field, r.code) for r in receipt.refused] == [
        (1, "record", "no_identifier"),
        (3, "record", "not_an_object"),
        (4, "score", "not_finite"),
    ]
    assert heard == receipt.refused
    assert (receipt.refused_count, receipt.position) == (3, 5)
    assert waiting(slow_harness) == [person(0), person(2)]


def test_a_receipt_lists_a_thousand_refusals_counts_the_rest_and_the_callback_hears_all(slow_harness):
    heard = []

    receipt = enqueue(({} for _ in range(LISTED + 50)), on_refused=heard.append)

    assert (len(receipt.refused), receipt.refused_count, len(heard)) == (LISTED, LISTED + 50, LISTED + 50)
    assert (receipt.accepted, receipt.ranges) == (0, [])


def test_the_same_key_counts_nothing_twice(slow_harness):
    first = enqueue(people(1200), key="nightly")
    again = enqueue(people(1200), key="nightly")

    assert (again.accepted, again.ranges, again.repeated) == (first.accepted, first.ranges, 3)
    assert slow_harness.books()["accepted"] == 1200
    assert waiting(slow_harness) == list(people(1200))
    slow_harness.assert_books_balance()


def test_another_key_or_none_counts_again(slow_harness):
    enqueue(person(1), key="monday")
    enqueue(person(1), key="tuesday")
    enqueue(person(1))
    enqueue(person(1))

    assert slow_harness.books()["accepted"] == 4


def test_one_key_serves_two_lanes_of_a_destination(slow_harness):
    enqueue(person(1), list_ids=[LIST_A], key="signup-1")
    enqueue(person(1), list_ids=[LIST_B], key="signup-1")

    assert slow_harness.books()["accepted"] == 2


def test_a_key_goes_on_after_a_first_run_that_broke_off(slow_harness):
    def interrupted():
        yield from people(700)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        enqueue(interrupted(), key="import")
    assert slow_harness.books()["accepted"] == CALL_RECORDS

    receipt = enqueue(people(1200), key="import")

    assert (receipt.accepted, receipt.repeated) == (1200, 1)
    assert waiting(slow_harness) == list(people(1200))


def test_a_call_repeated_because_its_reply_was_lost_counts_once(slow_harness):
    runtime = slow_harness.runtime
    answers = []

    def twice(call):
        append(runtime.store, call)
        answers.append(append(runtime.store, call))
        return answers[-1]

    [receipt] = intake.enqueue(
        people(3), [(slow_harness.engine.producer.enqueue_options(slow_harness.engine.producer.lane(None)), twice)]
    )

    assert answers == [EnqueueReply("again", 0, 3, receipt.epoch)]
    assert (receipt.accepted, receipt.ranges) == (3, [(0, 2)])
    assert slow_harness.books()["accepted"] == 3
    [lane] = books.read(runtime.store)
    assert lane.counts["repeated"] == 1


def test_a_full_lane_says_where_to_go_on_from_and_nothing_is_lost_or_doubled(make_harness):
    harness = make_harness(max_wait_s=60, max_lane_bytes=1_000_000)
    records = [person(number, postal_code="x" * 1000) for number in range(2000)]

    stops = []
    position = 0
    while position < len(records):
        try:
            position += enqueue(records[position:]).position
        except LaneFull as stopped:
            stops.append(stopped)
            position += stopped.position
            harness.runtime.schedule.flush("sendgrid")
            harness.run_until(lambda: harness.books()["waiting"] == 0)

    harness.runtime.schedule.flush("sendgrid")
    harness.run_until_settled()
    assert stops
    for stopped in stops:
        assert "sendgrid" in str(stopped)
        assert stopped.receipt.position == stopped.receipt.accepted == stopped.position
    assert harness.books()["accepted"] == 2000
    assert harness.books()["delivered"] == 2000


def test_a_redis_short_of_memory_refuses_producers_and_lets_the_rest_drain(slow_harness, unlimited):
    enqueue(people(3))
    fill(slow_harness)

    with pytest.raises(LaneFull, match="memory") as stopped:
        enqueue(people(3, first=3))

    assert (stopped.value.position, stopped.value.receipt.accepted) == (0, 0)
    slow_harness.runtime.schedule.flush("sendgrid")
    slow_harness.run_until_settled()
    assert slow_harness.books()["delivered"] == 3


def test_a_redis_that_is_gone_stops_the_enqueue_with_the_receipt_so_far():
    server = EmbeddedServer()
    with server:
        destination = Destination(platform="sendgrid", api_key="SG.k", base_url="http://127.0.0.1:9")
        parts = Engine(Settings(REDIS_URL=server.url).model_copy(update={"destinations": {"sendgrid": destination}}))
        set_engine(parts)

        def records():
            yield from people(CALL_RECORDS)
            server.kill()
            yield from people(CALL_RECORDS, first=CALL_RECORDS)

        with pytest.raises(StoreUnavailable) as stopped:
            enqueue(records())

        assert stopped.value.position == stopped.value.receipt.accepted == CALL_RECORDS
        assert "p0@" not in str(stopped.value)
        parts.close()


def test_an_iterable_of_any_length_takes_constant_memory(slow_harness):
    enqueue(people(2_000))  # scripts and modules are loaded

    def peak(count):
        tracemalloc.start()
        try:
            enqueue(people(count))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < peak(2_000) + 200_000


def test_one_record_is_one_round_trip(slow_harness):
    client = slow_harness.runtime.store.client
    enqueue(person(0))
    before = commands(client)

    enqueue(person(1))

    after = commands(client)
    came = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    inside = {
        "get",
        "decrby",
        "exists",
        "hmget",
        "llen",
        "hlen",
        "zcard",
        "set",
        "rpush",
        "hincrby",
        "hset",
        "hsetnx",
        "lindex",
        "zadd",
        "zscore",
        "time",
    }
    assert {name: count for name, count in came.items() if name not in inside} == {"evalsha": 1, "info": 1}


@pytest.mark.parametrize("count", [1, CALL_RECORDS, CALL_RECORDS + 1, 1300])
def test_many_records_go_in_calls_of_a_few_hundred(slow_harness, count):
    client = slow_harness.runtime.store.client
    enqueue(person(-1))
    before = commands(client)["evalsha"]

    enqueue(people(count))

    assert commands(client)["evalsha"] - before == -(-count // CALL_RECORDS)


def test_list_ids_make_a_lane_of_their_own_whatever_their_order(slow_harness):
    plain = enqueue(person(0))
    one = enqueue(person(1), list_ids=[LIST_A, LIST_B])
    same = enqueue(person(2), list_ids=(LIST_B, LIST_A, LIST_A.upper()))
    other = enqueue(person(3), list_ids=[LIST_A])

    assert plain.lane == "sendgrid"
    assert one.lane == same.lane
    assert len({plain.lane, one.lane, other.lane}) == 3
    assert same.ranges == [(1, 1)]


def test_a_wrong_list_or_destination_is_refused_by_name(slow_harness):
    with pytest.raises(SettingError, match="list_ids"):
        enqueue(person(0), list_ids=["newsletter"])
    with pytest.raises(SettingError, match="nowhere"):
        enqueue(person(0), to="nowhere")
    assert books.read(slow_harness.runtime.store) == []


@pytest.mark.parametrize("kind", ["one", "list", "generator", "async generator"])
def test_aenqueue_takes_what_enqueue_takes_and_asynchronous_iterables(slow_harness, kind):
    async def arriving():
        for record in people(700):
            yield record

    async def main():
        records = {"one": person(0), "list": list(people(700)), "generator": people(700)}.get(kind, arriving())
        try:
            return await aenqueue(records)
        finally:
            await slow_harness.engine.producer.aclose()

    receipt = asyncio.run(main())

    assert receipt.ranges == ([(0, 0)] if kind == "one" else [(0, 699)])
    assert len(waiting(slow_harness)) == receipt.accepted == slow_harness.books()["accepted"]


def test_aenqueue_stops_at_a_full_lane_too(slow_harness, unlimited):
    fill(slow_harness)

    async def main():
        try:
            await aenqueue(people(5))
        finally:
            await slow_harness.engine.producer.aclose()

    with pytest.raises(LaneFull) as stopped:
        asyncio.run(main())
    assert stopped.value.position == 0


def test_what_still_waits_is_cancelled_and_nothing_of_it_is_sent(slow_harness, sandbox):
    keep = enqueue(people(3))
    drop = enqueue(people(4, first=3))

    assert cancel(drop) == 4
    assert cancel(drop) == 0

    slow_harness.assert_books_balance()
    slow_harness.runtime.schedule.flush("sendgrid")
    slow_harness.run_until_settled()
    assert slow_harness.books() | {"discarded": 4, "delivered": 3, "accepted": 7} == slow_harness.books()
    assert {c["email"] for c in sandbox.contacts()} == {f"p{n}@example.com" for n in range(keep.accepted)}
    slow_harness.assert_books_balance()


def test_a_held_record_is_cancelled_too(harness, sandbox):
    sandbox.dials(job_seconds=[30, 30])
    enqueue(person(1, city="first"))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    second = enqueue(person(1, city="second"))
    harness.run_until(lambda: harness.books()["held"] == 1)

    assert cancel(second) == 1

    assert harness.books() | {"held": 0, "discarded": 1} == harness.books()
    harness.assert_books_balance()


def test_a_record_that_is_to_be_tried_again_is_cancelled_too(slow_harness):
    receipt = enqueue(person(1, first_name="x" * 51))
    slow_harness.runtime.schedule.flush("sendgrid")
    slow_harness.run_until(lambda: slow_harness.books()["failed"] == 1)
    runtime = slow_harness.runtime
    assert runtime.failures.retry(list(runtime.failures)) == 1

    assert cancel(receipt) == 1

    assert slow_harness.books() | {"failed": 0, "held": 0, "discarded": 1} == slow_harness.books()
    slow_harness.assert_books_balance()


def test_what_has_left_the_lane_is_not_cancelled_any_more(harness):
    receipt = enqueue(person(1))
    harness.run_until_settled()

    assert cancel(receipt) == 0
    assert harness.books()["delivered"] == 1


def test_a_receipt_shows_no_record(slow_harness):
    assert "example.com" not in repr(enqueue([person(0), {"first_name": "p0@example.com"}]))
