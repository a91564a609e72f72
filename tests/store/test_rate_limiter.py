"""One limit for all workers: kept, nearly used up, learned from headers, and never paid for with an attempt."""

import threading
import time
from collections import Counter

import pytest

from contact_ingest import enqueue
from contact_ingest.engine import Engine, set_engine
from contact_ingest.model.http_message import RateHeaders
from contact_ingest.store.rate_limiter import RateLimiter

LIMIT, WINDOW_S, BODIES = 3, 2, 15
BIG = {"address_line_1": "x" * 100, "address_line_2": "y" * 100, "city": "z" * 60}


@pytest.fixture
def limited(sandbox):
    sandbox.dials(limits={"sendgrid.upsert": {"limit": LIMIT, "window_s": WINDOW_S}})
    return sandbox


def run_workers(harness, count):
    """Ten workers of one fleet, each with connections of its own, until everything has been sent."""
    stop = threading.Event()
    parts = [Engine(harness.engine.settings) for _ in range(count)]

    def work(own):
        mine = type(harness)(own)
        while not stop.is_set():
            stop.wait(min(0.25, mine.pump() / 1000 + 0.001))

    threads = [threading.Thread(target=work, args=(own,)) for own in parts]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 60
        while sum(harness.books()[name] for name in ("waiting", "held", "batched")):
            assert time.monotonic() < deadline, harness.books()
            stop.wait(0.05)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for own in parts:
            own.close()
        set_engine(harness.engine)


def enqueue_bodies(bodies):
    """So many full bodies of the smallest size allowed, 65,536 bytes."""
    enqueue({"email": f"person{number:06d}@example.com", **BIG} for number in range(bodies * 180))


def rate_reached(journal):
    """The share of the allowed rate: how long the requests took against how long they had to."""
    arrivals = [entry["at"] for entry in journal if entry["endpoint"] == "sendgrid.upsert"]
    ideal_s = (len(arrivals) - 1) // LIMIT * WINDOW_S
    return ideal_s / (arrivals[-1] - arrivals[0])


def statuses(journal):
    return Counter(entry["status"] for entry in journal if entry["endpoint"] == "sendgrid.upsert")


def test_ten_workers_use_nine_tenths_of_a_configured_limit_and_are_never_refused(make_harness, limited):
    harness = make_harness(
        max_body_bytes=65_536, destinations={"sendgrid": {"rate_limit": LIMIT, "rate_window_s": WINDOW_S}}
    )
    enqueue_bodies(BODIES)

    run_workers(harness, 10)

    journal = limited.journal()
    assert statuses(journal)[429] == 0
    assert rate_reached(journal) >= 0.9
    assert {
        int(harness.engine.client.hget(key, "attempts")) for key in harness.engine.client.keys("*}:batch:[0-9]*")
    } == {1}


def test_ten_workers_learn_the_limit_from_headers_and_are_never_refused_once_they_know(make_harness, limited):
    harness = make_harness(max_body_bytes=65_536)
    enqueue_bodies(BODIES)

    run_workers(harness, 10)

    journal = limited.journal()
    assert statuses(journal)[429] == 0
    assert rate_reached(journal) >= 0.5
    assert {
        int(harness.engine.client.hget(key, "attempts")) for key in harness.engine.client.keys("*}:batch:[0-9]*")
    } == {1}


@pytest.fixture
def rate_limiter(harness):
    return RateLimiter(harness.runtime.store, "account", {"upsert": (2, 60.0)}, lease_ms=45_000)


def test_a_permit_is_held_until_one_window_after_its_reply(rate_limiter, harness):
    first, second, third = (rate_limiter.acquire("upsert") for _ in range(3))

    assert (first.granted, second.granted, third.granted) == (True, True, False)
    rate_limiter.report(first, RateHeaders())
    assert not rate_limiter.acquire("upsert").granted
    harness.engine.client.set(rate_limiter._keys("clock_offset"), 60_001)
    assert rate_limiter.acquire("upsert").granted
    assert not rate_limiter.acquire("upsert").granted


def test_a_request_that_was_not_made_gives_its_permit_back(rate_limiter):
    first = rate_limiter.acquire("upsert")
    rate_limiter.acquire("upsert")

    rate_limiter.release(first)

    assert rate_limiter.acquire("upsert").granted


def test_a_refusal_blocks_everybody_for_as_long_as_the_reply_says(rate_limiter):
    permit = rate_limiter.acquire("upsert")

    assert rate_limiter.report(permit, RateHeaders(), result="refused", after_s=7.0) == 7000

    waiting = rate_limiter.acquire("upsert")
    assert not waiting.granted
    assert 6000 < waiting.wait_ms <= 7000


def test_refusals_that_do_not_say_how_long_back_off_further_each_time(rate_limiter, harness):
    waits = []
    for number in range(3):
        harness.engine.client.set(rate_limiter._keys("clock_offset"), number * 120_000)
        waits.append(rate_limiter.report(rate_limiter.acquire("upsert"), RateHeaders(), result="refused"))

    assert waits == [2000, 4000, 8000]


def test_fewer_left_than_our_own_permits_explain_means_somebody_else_sends_too(harness):
    rate_limiter = RateLimiter(harness.runtime.store, "shared", {"upsert": (100, 60.0)}, lease_ms=45_000)

    rate_limiter.report(rate_limiter.acquire("upsert"), RateHeaders(limit=100, remaining=0, reset_s=5.0))

    waiting = rate_limiter.acquire("upsert")
    assert not waiting.granted
    assert 4000 < waiting.wait_ms <= 5000


def test_before_anything_is_known_one_request_goes_ahead(harness):
    rate_limiter = RateLimiter(harness.runtime.store, "new", {}, lease_ms=45_000)
    first = rate_limiter.acquire("upsert")

    assert first.granted
    assert not rate_limiter.acquire("upsert").granted
    rate_limiter.report(first, RateHeaders())
    assert all(rate_limiter.acquire("upsert").granted for _ in range(20))


def test_endpoints_have_limits_of_their_own(rate_limiter):
    rate_limiter.acquire("upsert")
    rate_limiter.acquire("upsert")

    assert not rate_limiter.acquire("upsert").granted
    assert rate_limiter.acquire("job").granted


def window_s(rate_limiter, harness):
    """How long a permit is held after its reply."""
    rate_limiter.report(rate_limiter.acquire("upsert"), RateHeaders(limit=1_000, remaining=999, reset_s=1.0))
    base = rate_limiter._keys
    [(_, until_ms)] = harness.engine.client.zrange(base("permits:upsert"), -1, -1, withscores=True)
    seconds, micros = harness.engine.client.time()
    return (until_ms - int(harness.engine.client.get(base("clock_offset")) or 0)) / 1000 - seconds - micros / 1e6


def reply(rate_limiter, reset_s, remaining=999):
    rate_limiter.report(
        rate_limiter.acquire("upsert"), RateHeaders(limit=1_000, remaining=remaining, reset_s=float(reset_s))
    )


def test_a_window_is_as_long_as_the_longest_reset_of_late_and_a_longer_one_is_forgotten(harness):
    rate_limiter = RateLimiter(harness.runtime.store, "learning", {}, lease_ms=45_000)
    reply(rate_limiter, 59)
    assert 58 < window_s(rate_limiter, harness) <= 60

    reply(rate_limiter, 900)
    reply(rate_limiter, 899)
    assert window_s(rate_limiter, harness) > 890
    for hour in (1, 2):
        harness.engine.client.set(rate_limiter._keys("clock_offset"), hour * 3_601_000)
        reply(rate_limiter, 59)
        assert window_s(rate_limiter, harness) > (890 if hour == 1 else 58)

    assert window_s(rate_limiter, harness) <= 60


@pytest.mark.parametrize("before", [[], [59], [1, 1]])
def test_one_absurd_reset_slows_nothing_down(harness, before):
    rate_limiter = RateLimiter(harness.runtime.store, "absurd", {}, lease_ms=45_000)
    for reset_s in before:
        reply(rate_limiter, reset_s)

    reply(rate_limiter, 900, remaining=0)

    assert window_s(rate_limiter, harness) <= 60
    assert rate_limiter.acquire("upsert").granted


def test_a_long_reset_that_the_next_reply_confirms_is_believed(harness):
    rate_limiter = RateLimiter(harness.runtime.store, "hourly", {}, lease_ms=45_000)
    reply(rate_limiter, 600)
    reply(rate_limiter, 590, remaining=0)

    waiting = rate_limiter.acquire("upsert")

    assert not waiting.granted
    assert waiting.wait_ms > 500_000
