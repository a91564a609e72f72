"""A platform that fails everybody is left alone and asked now and then: an outage costs its time and nothing else."""

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError
from support.failing_platform import HEADERS, fail, is_open
from support.peer import Peer, advance, reply, speak_to

from contact_ingest.errors import FateUnknown, NoToken, NotSent
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.keys import Keys
from contact_ingest.store.rate_limiter import CircuitBreaker, RateLimiter
from contact_ingest.store.scripts import Store

ENDPOINTS = ("upsert", "job", "definitions")


@pytest.fixture
def breaker(harness):
    return CircuitBreaker(harness.runtime.store, harness.runtime.provider.account)


@pytest.mark.parametrize("how", ["failed", "unsent"])
def test_five_failures_in_a_row_at_one_endpoint_hold_all_endpoints_of_the_account(rate_limiter, breaker, how):
    fail(rate_limiter, times=4, how=how)
    assert all(rate_limiter.acquire(endpoint, asks=True).granted for endpoint in ("job", "definitions"))

    fail(rate_limiter, times=1, how=how)

    assert not any(rate_limiter.acquire(endpoint, asks=True).granted for endpoint in ENDPOINTS)
    assert 59_000 < breaker.state().blocked_ms("job") <= 60_000


@pytest.mark.parametrize("how", ["answered", "refused"])
def test_any_answer_starts_the_count_of_its_own_endpoint_anew(rate_limiter, breaker, how):
    fail(rate_limiter, "job", times=4)
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS, result=how)
    assert breaker.state().open_until is None
    rate_limiter.report(rate_limiter.acquire("job"), HEADERS, result=how, after_s=0.0)

    fail(rate_limiter, "job", times=4)

    assert breaker.state().open_until is None
    fail(rate_limiter, "job", times=1)
    assert breaker.state().open_until is not None


def test_after_the_pause_one_asks_and_all_others_wait_for_what_it_hears(rate_limiter, breaker, harness):
    fail(rate_limiter)
    advance(harness.runtime, 61)

    assert [rate_limiter.acquire(endpoint).asks_first for endpoint in ENDPOINTS] == [True] * 3
    asking = rate_limiter.acquire("definitions", asks=True)
    others = [rate_limiter.acquire(endpoint, asks=True) for endpoint in ENDPOINTS]

    assert asking.granted
    assert not any(permit.granted or permit.asks_first for permit in others)
    rate_limiter.report(asking, HEADERS, result="failed")
    assert 59_000 < breaker.state().blocked_ms("upsert") <= 60_000
    assert not rate_limiter.acquire("job", asks=True).granted
    advance(harness.runtime, 61)
    rate_limiter.report(rate_limiter.acquire("definitions", asks=True), HEADERS)
    assert all(rate_limiter.acquire(endpoint).granted for endpoint in ENDPOINTS)


@pytest.mark.parametrize("how", ["given back", "dead"])
def test_somebody_else_asks_where_the_one_who_was_to_ask_did_not(rate_limiter, harness, how):
    fail(rate_limiter)
    advance(harness.runtime, 61)
    asking = rate_limiter.acquire("definitions", asks=True)

    if how == "dead":
        advance(harness.runtime, 46)
    else:
        rate_limiter.release(asking)

    assert rate_limiter.acquire("job").asks_first
    assert rate_limiter.acquire("definitions", asks=True).granted


def test_an_answer_that_comes_late_closes_the_breaker_early(rate_limiter):
    late = rate_limiter.acquire("job")
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)  # from now on several at once
    flying = [rate_limiter.acquire("upsert") for _ in range(5)]
    for permit in flying:
        rate_limiter.report(permit, HEADERS, result="failed")
    assert not rate_limiter.acquire("job").granted

    rate_limiter.report(late, HEADERS)

    assert rate_limiter.acquire("job").granted


def test_an_endpoint_that_fails_while_another_answers_waits_alone_and_is_tried_by_one_request_at_a_time(
    rate_limiter, breaker, harness
):
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)
    fail(rate_limiter)
    advance(harness.runtime, 61)
    rate_limiter.report(rate_limiter.acquire("definitions", asks=True), HEADERS)

    trial = rate_limiter.acquire("upsert")
    assert (trial.granted, rate_limiter.acquire("upsert").granted) == (True, False)
    rate_limiter.report(trial, HEADERS, result="failed")

    assert not rate_limiter.acquire("upsert").granted
    assert rate_limiter.acquire("job").granted
    assert 59_000 < breaker.state().blocked_ms("upsert") <= 60_000
    assert breaker.state().blocked_ms("job") == 0
    advance(harness.runtime, 61)
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)
    assert all(rate_limiter.acquire("upsert").granted for _ in range(5))


def test_requests_that_were_under_way_when_the_breaker_opened_do_not_make_the_pause_longer(
    rate_limiter, breaker, harness
):
    rate_limiter.report(rate_limiter.acquire("upsert"), HEADERS)
    flying = [rate_limiter.acquire("upsert") for _ in range(10)]
    for permit in flying[:5]:
        rate_limiter.report(permit, HEADERS, result="failed")
    advance(harness.runtime, 30)

    for permit in flying[5:]:
        rate_limiter.report(permit, HEADERS, result="failed")

    assert 29_000 < breaker.state().blocked_ms("upsert") <= 30_000


def test_an_exchange_whose_note_is_repeated_counts_once(rate_limiter, breaker, harness):
    store, base = harness.runtime.store, rate_limiter._keys.base
    for _ in range(4):
        permit = rate_limiter.acquire("upsert")
        for _ in range(3):  # the reply is lost twice
            store.run("limiter_report", permit.id, "upsert", "failed", 60_000, 0, 0, -1, -1, -1, -1, base=base)
    assert breaker.state().open_until is None
    fail(rate_limiter, times=1)
    advance(harness.runtime, 61)
    asking = rate_limiter.acquire("definitions", asks=True)

    for _ in range(2):
        store.run("limiter_report", asking.id, "definitions", "failed", 60_000, 0, 0, -1, -1, -1, -1, base=base)

    assert breaker.state().open_until is not None
    advance(harness.runtime, 61)
    again = rate_limiter._store.run("limiter_acquire", "me", "definitions", 0, 0, 45_000, "asks", base=base)
    assert (
        again
        == rate_limiter._store.run("limiter_acquire", "me", "definitions", 0, 0, 45_000, "asks", base=base)
        == [1, 0]
    )


def test_a_person_closes_it_at_once(rate_limiter, breaker):
    fail(rate_limiter)

    assert breaker.reset()

    assert all(rate_limiter.acquire(endpoint).granted for endpoint in ENDPOINTS)
    assert not breaker.reset()


def test_it_works_without_any_memory_left():
    with EmbeddedServer() as server, Redis.from_url(server.url) as client:
        store = Store(client, Keys("full", "sendgrid"))
        rate_limiter, breaker = RateLimiter(store, "account", {}, lease_ms=45_000), CircuitBreaker(store, "account")
        client.config_set("maxmemory", 100_000)  # far less than there is
        with pytest.raises(OutOfMemoryError):
            client.set("one", b"more")

        fail(rate_limiter)

        assert breaker.state().open_until is not None
        assert breaker.reset()
        fail(rate_limiter, times=1)


@pytest.mark.parametrize(
    ("answer", "opens"),
    [
        (reply(500), True),
        (reply(503, retry_after="1"), True),
        (reply(408), True),
        (FateUnknown("reset"), True),
        (FateUnknown("deadline"), True),
        (NotSent("connect"), True),
        (NotSent("dns"), True),
        (NotSent("tls"), True),
        (NoToken("token_reset"), True),
        (reply(400), False),
        (reply(401), False),
        (reply(404), False),
        (reply(200, b"<html>"), False),
        (NotSent("pool"), False),
        (NotSent("invalid_request"), False),
        (NotSent("forbidden_url"), False),
        (NoToken("token_refused", refused=True), False),
    ],
)
def test_what_shows_that_nobody_is_there_counts_and_answers_and_our_own_doing_do_not(harness, answer, opens):
    speak_to(Peer(lambda _: answer), harness)
    exchanger, provider = harness.runtime.exchanger, harness.runtime.provider

    for _ in range(6):
        permit = exchanger.rate_limiter.acquire("upsert")
        if permit.granted:
            exchanger.send(provider.probe(), permit)

    assert is_open(harness) == opens


def test_a_question_that_the_rate_limit_refuses_is_an_answer_and_is_waited_for(harness):
    speak_to(Peer(lambda _: reply(429, retry_after="30")), harness)
    exchanger, provider = harness.runtime.exchanger, harness.runtime.provider
    fail(exchanger.rate_limiter)
    advance(harness.runtime, 61)

    assert exchanger.ask(provider.probe()).status == 429

    assert not is_open(harness)
    assert 29_000 < exchanger.rate_limiter.acquire("definitions").wait_ms <= 30_000


def test_a_worker_that_was_frozen_beyond_its_deadline_accuses_nobody(harness):
    speak_to(Peer(lambda _: NotSent("deadline")), harness)
    exchanger, provider = harness.runtime.exchanger, harness.runtime.provider

    for _ in range(6):
        permit = exchanger.rate_limiter.acquire("upsert")
        exchanger.send(provider.probe(), permit, claimed_s=0.0)

    assert not is_open(harness)
