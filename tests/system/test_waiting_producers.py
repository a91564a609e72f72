"""A producer that finds a lane full waits as long as it may, loses nothing and doubles nothing."""

import asyncio
import threading
import time
from contextlib import AbstractContextManager

import pytest
from support.background import repeating
from support.people import person
from support.pressure import large
from support.stage import Stage

from contact_ingest import LaneFull, aenqueue, enqueue
from contact_ingest.engine import set_engine
from contact_ingest.pipeline import enqueue as intake
from contact_ingest.pipeline.enqueue import WaitBudget
from contact_ingest.sandbox.redis_server import EmbeddedServer


@pytest.fixture
def narrow(make_harness):
    """A lane that holds a megabyte."""
    return make_harness(max_wait_s=60, max_lane_bytes=1_000_000)


def drained_later(harness, after_s: float = 0.3) -> AbstractContextManager[None]:
    """Somebody sends what waits, but not at once."""

    def drain() -> None:
        harness.runtime.schedule.flush("sendgrid")
        harness.pump()

    return repeating(drain, 0.02, after_s)


def test_an_enqueue_waits_for_room_and_loses_and_doubles_nothing(narrow, sandbox):
    with drained_later(narrow):
        receipt = enqueue((large(number) for number in range(5_000)), wait_s=30)
        narrow.run_until(lambda: narrow.books()["waiting"] == 0)
    narrow.runtime.schedule.flush("sendgrid")
    narrow.run_until_settled()

    assert receipt.ranges == [(0, 4_999)]
    assert receipt.repeated == 0
    assert narrow.books()["delivered"] == len(list(sandbox.contacts())) == 5_000


def test_an_enqueue_that_finds_no_room_in_time_says_where_it_stopped(narrow):
    began_s = time.monotonic()

    with pytest.raises(LaneFull, match=r"^lane sendgrid is full$") as stopped:
        enqueue((large(number) for number in range(5_000)), wait_s=0.7)

    assert 0.7 <= time.monotonic() - began_s < 3
    assert 0 < stopped.value.position == stopped.value.receipt.accepted == narrow.books()["accepted"] < 5_000


def test_the_patience_of_an_enqueue_is_for_all_of_its_calls_together(narrow):
    patience = WaitBudget(1.0)
    pauses_s = []
    while (pause_s := patience.pause_s()) is not None:
        pauses_s.append(pause_s)
        time.sleep(pause_s)
        if len(pauses_s) == 3:
            patience.restore()

    assert 0.5 < sum(pauses_s) <= 1.0
    assert max(pauses_s[:3]) <= 0.05 * 1.5**2
    assert pauses_s[3] <= 0.05, "the first pause of another call is short again"


def test_waiting_for_room_does_not_block_the_event_loop(narrow, sandbox):
    turns = 0

    async def main():
        nonlocal turns
        work = asyncio.ensure_future(aenqueue((large(number) for number in range(3_000)), wait_s=30))
        while not work.done():
            await asyncio.sleep(0.01)
            turns += 1
        await narrow.engine.producer.aclose()
        return work.result()

    with drained_later(narrow, after_s=0.5):
        receipt = asyncio.run(main())

    assert receipt.ranges == [(0, 2_999)]
    assert turns > 20


def test_an_asynchronous_enqueue_that_finds_no_room_in_time_stops_too(narrow):
    async def main():
        try:
            await aenqueue((large(number) for number in range(5_000)), wait_s=0.3)
        finally:
            await narrow.engine.producer.aclose()

    with pytest.raises(LaneFull, match=r"^lane sendgrid is full$") as stopped:
        asyncio.run(main())
    assert stopped.value.position == narrow.books()["accepted"]


def test_a_redis_that_restarts_is_waited_out_and_nothing_is_counted_twice(sandbox, tmp_path):
    with EmbeddedServer() as server, Stage(server.url, sandbox.url, tmp_path) as stage:
        set_engine(stage.engine)
        stage.enqueue([person(0)])
        server.kill()
        back = threading.Timer(2.2, server.start)
        back.start()
        try:
            receipt = enqueue([person(1), person(2)], wait_s=30)
        finally:
            back.join()

        assert receipt.ranges == [(1, 2)]
        assert stage.books()["accepted"] == 3


def test_a_call_may_be_repeated_for_as_long_as_its_producer_waits(narrow):
    """Its id must not be forgotten before: a reply lost at first would count twice."""
    client, keys = narrow.runtime.store.client, narrow.runtime.store.keys

    enqueue(person(1), wait_s=600)

    [name] = client.keys(keys("idempotency:*"))
    assert client.pttl(name) > 600_000


def test_a_waiting_producer_holds_no_more_than_one_call(narrow):
    read = 0

    def records():
        nonlocal read
        for number in range(100_000):
            read = number + 1
            yield large(number)

    with pytest.raises(LaneFull) as stopped:
        enqueue(records(), wait_s=0.3)

    assert read - stopped.value.position <= intake.CALL_RECORDS
