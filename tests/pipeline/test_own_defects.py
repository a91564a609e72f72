"""A defect of our own is never the platform's silence: nothing that counts outages hears of it, and nobody is told that
the platform does not answer."""

import errno
import logging
import select
import socket
from types import SimpleNamespace

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from support.diagnosis import run, wrong
from support.peer import Peer, advance, reply, with_http_client
from support.people import person

from contact_ingest import enqueue
from contact_ingest.errors import BUGS, FateUnknown, StoreFull
from contact_ingest.model.failure_codes import FailureCode, is_own_reason, token_code
from contact_ingest.providers import registry
from contact_ingest.providers.sendgrid.provider import SendGrid
from contact_ingest.transport import sockets
from contact_ingest.transport.auth import AuthenticatedClient

#: What a mistake raises seldom: a module that is missing, a file that may not be read, a pass over an iterator.
RARE = (
    *(ImportError, EOFError, SystemError, BufferError, StopIteration, MemoryError),
    *(OSError, PermissionError, TimeoutError, Exception),
)
TIMES = 8  # the breaker opens at five


def ready(harness):
    enqueue(person(1))
    harness.runtime.aggregator.aggregate("sendgrid")


def dispatch_again_and_again(runtime):
    for _ in range(TIMES):
        runtime.dispatcher.dispatch("sendgrid")
        advance(runtime, 1_000)


def assert_nobody_blames_the_platform(harness, runtime, code=FailureCode.INTERNAL):
    state = runtime.breaker.state()
    assert (state.open_until, state.began, state.failing) == (None, None, {})
    store = runtime.store
    assert store.client.hget(store.keys("batch:1"), "code").decode() == code
    assert harness.books()["failed"] == 0
    for words in ("status", "batches"):
        assert "does not answer" not in run(words).output
        assert "answered" not in run(words).output


def without_poll(monkeypatch):
    """What eventlet does to Python's own module; the client of Redis keeps it, as it would keep eventlet's own."""
    monkeypatch.setattr(sockets, "select", SimpleNamespace(POLLIN=select.POLLIN, POLLOUT=select.POLLOUT))
    return FailureCode.INTERNAL


def without_threads(monkeypatch):
    def no_more(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sockets, "threading", SimpleNamespace(Thread=no_more))
    return FailureCode.INTERNAL


def without_files(monkeypatch):
    def no_more(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_more)
    return "unexpected_OSError"


@pytest.mark.parametrize("break_it", [without_poll, without_threads, without_files])
def test_a_transport_that_fails_in_this_process_opens_no_breaker(harness, sandbox, break_it, caplog):
    sandbox.dials(latency_ms=[100, 100])  # nobody finds the reply there before waiting for it
    ready(harness)
    runtime = harness.runtime
    with pytest.MonkeyPatch.context() as monkeypatch:
        code = break_it(monkeypatch)
        dispatch_again_and_again(runtime)
    advance(runtime, 1_000)

    assert_nobody_blames_the_platform(harness, runtime, code)
    if code == FailureCode.INTERNAL:
        assert any(line.levelno == logging.ERROR and "defect" in line.getMessage() for line in caplog.records)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def broken(method, kind=KeyError):
    """An account whose provider fails in one method, as a defect would."""

    def fail(self, *_, **__):
        raise kind("ann@example.com")

    made = type("Broken", (SendGrid,), {method: fail})
    return made(api_key=SecretStr("SG.test-key"), base_url="http://127.0.0.1:9")


def answer(request):
    return reply(202, {"job_id": "j"}) if request.method == "PUT" else reply(200, {"status": "pending"})


@pytest.mark.parametrize("method", ["sign", "upsert", "read_upsert", "find_rows"])
@pytest.mark.parametrize("kind", [*BUGS, *RARE])
def test_a_provider_that_fails_over_a_batch_opens_no_breaker_and_keeps_no_permit(harness, caplog, method, kind):
    provider = broken(method, kind)
    named = reply(400, {"errors": [{"message": "email 'p1@example.com' is not valid", "field": "email"}]})
    peer = Peer((lambda _: named) if method == "find_rows" else answer)
    ready(harness)
    runtime = with_http_client(harness.runtime, AuthenticatedClient(peer, provider, harness.runtime.store), provider)

    dispatch_again_and_again(runtime)

    assert_nobody_blames_the_platform(harness, runtime)
    assert runtime.rate_limiter.acquire("upsert").granted
    assert "ann@example.com" not in caplog.text


@pytest.mark.parametrize("method", ["sign", "job", "read_job"])
@pytest.mark.parametrize("kind", [KeyError, *RARE])
def test_a_provider_that_fails_over_a_job_opens_no_breaker_and_keeps_no_permit(harness, method, kind):
    ready(harness)
    good = with_http_client(harness.runtime, AuthenticatedClient(Peer(answer), broken("repr"), harness.runtime.store))
    good.dispatcher.dispatch("sendgrid")
    provider = broken(method, kind)
    runtime = with_http_client(
        harness.runtime, AuthenticatedClient(Peer(answer), provider, harness.runtime.store), provider
    )

    for _ in range(TIMES):
        advance(runtime, 100)
        runtime.poller.poll("sendgrid")

    assert runtime.breaker.state().failing == {}
    assert runtime.breaker.state().open_until is None
    assert runtime.rate_limiter.acquire("job").granted
    assert harness.books()["batched"] == 1


@pytest.mark.parametrize("method", ["sign", "upsert", "read_upsert"])
@pytest.mark.parametrize(
    "kind", [RedisError, RedisConnectionError, RedisTimeoutError, StoreFull, SoftTimeLimitExceeded, KeyboardInterrupt]
)
def test_what_is_no_defect_ends_the_task(harness, method, kind):
    provider = broken(method, kind)
    ready(harness)
    runtime = with_http_client(
        harness.runtime, AuthenticatedClient(Peer(answer), provider, harness.runtime.store), provider
    )

    with pytest.raises(kind):
        runtime.dispatcher.dispatch("sendgrid")


def test_a_time_limit_that_runs_out_during_an_exchange_ends_the_task(harness, sandbox, monkeypatch):
    ready(harness)
    runtime = harness.runtime

    def late(*_, **__):
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", late)
        with pytest.raises(SoftTimeLimitExceeded):
            runtime.dispatcher.dispatch("sendgrid")


def test_a_token_that_fails_in_this_process_opens_no_breaker(make_harness):
    account = {"platform": "emarsys", "client_id": "id", "client_secret": "word", "base_url": "http://127.0.0.1:9"}
    harness = make_harness(destinations={"sendgrid": account})
    made = registry.build("emarsys", client_id=SecretStr("id"), client_secret=SecretStr("word"))

    class Broken(type(made)):
        def read_token(self, response):
            raise LookupError

    provider = object.__new__(Broken)
    provider.__dict__.update(vars(made))
    ready(harness)
    runtime = with_http_client(
        harness.runtime, AuthenticatedClient(Peer(lambda _: reply(200, {})), provider, harness.runtime.store), provider
    )

    dispatch_again_and_again(runtime)

    assert_nobody_blames_the_platform(harness, runtime, token_code(FailureCode.INTERNAL))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from([*BUGS, "silence"]), min_size=1, max_size=12))
def test_only_silences_of_the_platform_are_counted_whatever_comes_between(harness, client, kinds):
    """Five silences in a row open the breaker; defects between them neither count nor start the count anew."""
    client.flushall()
    runtime, left = harness.runtime, list(kinds)

    def say(_):
        kind = left.pop(0)
        return FateUnknown(FailureCode.READ_TIMEOUT) if kind == "silence" else kind()

    exchanger = with_http_client(runtime, AuthenticatedClient(Peer(say), runtime.provider, runtime.store)).exchanger
    silences = 0
    for kind in kinds:
        permit = runtime.rate_limiter.acquire("upsert")
        if not permit.granted:
            break
        exchanger.send(runtime.provider.probe(), permit)
        silences += kind == "silence"

    assert (runtime.breaker.state().open_until is not None) == (silences >= 5)


def test_the_doctor_says_that_the_program_is_the_matter(harness, monkeypatch):
    harness.engine.workers.heartbeat("host:1", 4)
    without_threads(monkeypatch)

    says, remedy = wrong()["sendgrid: account"]

    assert says == "the platform was not asked, for a reason of our own: internal"
    assert "report" in remedy


@pytest.mark.parametrize("reason", [*FailureCode, "unexpected_OSError", "token_internal", "token_503", "http_503"])
def test_the_reasons_of_our_own_are_few(reason):
    own = {"pool", "forbidden_url", "invalid_request", "internal", "unexpected_OSError", "token_internal"}

    assert is_own_reason(reason) == (reason in own)
