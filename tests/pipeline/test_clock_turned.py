"""A server's clock that is set back or forward: nothing waits for as long, and nothing is lost."""

import pytest
from support.failing_platform import HOUR_S, Platform
from support.peer import advance
from support.people import person

from contact_ingest import enqueue
from contact_ingest.store.keys import Keys


def set_clock(harness, seconds):
    """The server's clock is set, for the keys of the destination and for those of the account."""
    store = harness.runtime.store
    for keys in (store.keys, Keys(store.keys.prefix, f"limit-{harness.runtime.provider.account}")):
        store.client.incrby(keys("clock_offset"), round(seconds * 1000))


@pytest.mark.parametrize("back_s", [2, HOUR_S, 10 * 86_400])
def test_a_clock_that_is_set_back_holds_nothing_up(make_harness, back_s):
    harness = make_harness(poll_first_s=5)
    platform, runtime = Platform(harness), harness.runtime
    enqueue(person(1))
    harness.pump()
    assert harness.books()["batched"] == 1
    before_ms, wall_ms = runtime.clock.now_ms(), runtime.clock.wall_ms()
    runtime.store.client.set(runtime.store.keys("wakeup:dispatch"), 1, px=HOUR_S * 1000)
    runtime.store.client.set(runtime.store.keys("wakeup:aggregate:sendgrid"), 1, px=HOUR_S * 1000)

    set_clock(harness, -back_s)
    enqueue(person(2))
    harness.pump()
    harness.pump()
    assert before_ms - 1000 <= runtime.clock.now_ms() < before_ms + 60_000
    assert abs(runtime.clock.wall_ms() - (wall_ms - back_s * 1000)) < 60_000
    assert len(platform.people) == 2, "what is due waits for the clock"
    advance(runtime, 6)
    harness.run_until_settled()

    assert harness.books()["delivered"] == 2


def test_what_expires_by_the_servers_clock_silences_no_wakeup_and_no_producer_when_it_is_set_back(harness):
    Platform(harness)
    runtime, client = harness.runtime, harness.engine.client
    enqueue(person(1))
    runtime.aggregator.aggregate("sendgrid")
    enqueue(person(2))
    client.zadd(runtime.store.keys("due:poll"), {"7": 1})
    set_clock(harness, 2)
    runtime.schedule.tick(4)
    for name in ("intake_allowance", "wakeup:dispatch", "wakeup:poll", "wakeup:aggregate:sendgrid"):
        client.set(runtime.store.keys(name), 1, px=HOUR_S * 1000)

    set_clock(harness, -HOUR_S)

    assert {wakeup.kind for wakeup in runtime.schedule.tick(4).wakeups} == {"aggregate", "dispatch", "poll"}
    assert enqueue(person(3)).accepted == 1


@pytest.mark.parametrize("ahead_s", [2, HOUR_S])
def test_a_clock_that_is_set_forward_only_ends_waits_early(make_harness, ahead_s):
    harness = make_harness(poll_first_s=5)
    platform, runtime = Platform(harness), harness.runtime
    enqueue(person(1))
    harness.pump()
    claimed = runtime.batch_store.claim("dispatch")
    before_ms = runtime.clock.now_ms()

    set_clock(harness, ahead_s)
    harness.pump()

    assert runtime.clock.now_ms() >= before_ms + ahead_s * 1000
    assert runtime.clock.wall_ms() - runtime.clock.now_ms() in range(-5, 6)
    assert claimed.why == "none"
    advance(runtime, 6)
    harness.run_until_settled()
    assert (len(platform.people), harness.books()["delivered"]) == (1, 1)
    harness.assert_books_balance()


def test_a_lease_and_a_permit_end_when_they_should_though_the_clock_is_set_back(harness):
    Platform(harness)
    enqueue(person(1))
    harness.runtime.aggregator.aggregate("sendgrid")
    rate_limiter = harness.runtime.rate_limiter
    dead = rate_limiter.acquire("upsert")
    assert dead.granted
    assert harness.runtime.batch_store.claim("dispatch").batch.number == 1

    set_clock(harness, -HOUR_S)
    harness.runtime.schedule.tick(4)
    assert not rate_limiter.acquire("upsert").granted
    set_clock(harness, 46)

    assert rate_limiter.acquire("upsert").granted
    assert harness.runtime.batch_store.claim("dispatch").batch.number == 1


def test_a_platform_is_told_the_time_as_it_is_after_the_clock_was_set_back(harness):
    schedule, clock = harness.runtime.schedule, harness.runtime.clock
    schedule.tick(4)
    set_clock(harness, -HOUR_S)
    wall_ms = clock.now_ms()

    schedule.tick(4)

    assert abs(harness.runtime.exchanger.http_client._now_s() * 1000 - wall_ms) < 5_000
    assert clock.now_ms() - clock.wall_ms() == pytest.approx(HOUR_S * 1000, abs=2_000)
