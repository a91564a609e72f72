"""A request of unknown fate may have left a job that nobody can ask about. However its body ends, the contacts of the
whole body stay busy until that job cannot end any more, and what is newer of them waits."""

import contextlib

import pytest
from pydantic import SecretStr
from support.peer import Peer, advance, reply, speak_to, with_http_client

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown
from contact_ingest.model.verdicts import AllFailed
from contact_ingest.pipeline.decide import POISON_CLAIMS
from contact_ingest.providers.sendgrid.provider import SendGrid
from contact_ingest.transport.auth import AuthenticatedClient

WAIT_S = 600
LEASE_S = 45
GATEWAY = reply(504)
NAMED = reply(400, {"errors": [{"message": "email 'p1@example.com' is not valid"}]})


class Died(BaseException):
    """The end of a worker."""


class Refusing(SendGrid):
    """Fails all rows of a request where the platform answers 422."""

    def read_upsert(self, response, now_s):
        return AllFailed("no_key", "none has it") if response.status == 422 else super().read_upsert(response, now_s)


class Upstream:
    """Answers upserts one after the other; what is left over goes well. Jobs have ended, unless they never do."""

    def __init__(self, *answers, ends=True):
        self.answers, self.ends = list(answers), ends

    def __call__(self, request):
        if request.method == "PUT":
            return self.answers.pop(0) if self.answers else reply(202, {"job_id": "job-1"})
        status = "completed" if self.ends else "pending"
        return reply(200, {"status": status} if "/imports/" in request.url else {"custom_fields": []})


@pytest.fixture
def harness(make_harness):
    made = make_harness(orphan_wait_s=WAIT_S, lease_s=LEASE_S)
    enqueue([{"email": f"p{number}@example.com", "city": "old"} for number in (1, 2)])
    made.runtime.aggregator.aggregate("sendgrid")
    return made


def dispatch(harness, after_s=0.0):
    """Returns when that was, ms."""
    advance(harness.runtime, after_s)
    now_ms = harness.runtime.clock.now_ms()
    with contextlib.suppress(Died):
        harness.runtime.dispatcher.dispatch("sendgrid")
    return now_ms


def then(*answers, after_s=20):
    """One unknown fate, then these."""

    def path(harness):
        speak_to(Peer(Upstream(GATEWAY, *answers)), harness)
        last_ms = dispatch(harness)
        for _ in range(2 * len(answers) + 1):
            dispatch(harness, after_s)
        return last_ms

    return path


def unknown(answer):
    def path(harness):
        speak_to(Peer(Upstream(answer)), harness)
        last_ms = dispatch(harness)
        dispatch(harness, 20)
        return last_ms

    return path


def all_failed(harness):
    runtime = harness.runtime
    provider = Refusing(api_key=SecretStr("SG.k"), base_url="http://127.0.0.1:9")
    http_client = AuthenticatedClient(Peer(Upstream(GATEWAY, reply(422))), provider, runtime.store)
    harness.engine._runtimes["sendgrid"] = with_http_client(runtime, http_client, provider)
    last_ms = dispatch(harness)
    dispatch(harness, 20)
    return last_ms


def gave_up(harness):
    speak_to(Peer(Upstream(reply(503), GATEWAY)), harness)
    dispatch(harness)
    return dispatch(harness, 90_000)


def no_verdict(harness):
    speak_to(Peer(Upstream(ends=False)), harness)
    dispatch(harness)
    advance(harness.runtime, 22_000)
    now_ms = harness.runtime.clock.now_ms()
    harness.runtime.poller.poll("sendgrid")
    return now_ms


def lapsed(harness):
    speak_to(Peer(Upstream(Died())), harness)
    dispatch(harness)
    return dispatch(harness, LEASE_S + 1)


def poisoned(harness):
    speak_to(Peer(Upstream(*[Died()] * POISON_CLAIMS)), harness)
    for _ in range(POISON_CLAIMS):
        dispatch(harness, LEASE_S + 1)
    last_ms = dispatch(harness, LEASE_S + 1)
    for _ in range(6):
        dispatch(harness, 1)
    return last_ms


def frozen(harness):
    """A worker is frozen in the middle of a request; another takes over and is done; the first one's end is stale."""
    upstream = Upstream()
    peer = Peer(upstream)
    moments = []

    def freeze(request):
        peer.answer = upstream
        moments.append(dispatch(harness, LEASE_S + 1))
        harness.run_until_settled()
        return NAMED

    peer.answer = freeze
    speak_to(peer, harness)
    harness.runtime.dispatcher.dispatch("sendgrid")
    return moments[0]


PATHS = {
    "reset": unknown(FateUnknown("reset")),
    "deadline": unknown(FateUnknown("deadline")),
    "unreadable": unknown(reply(202, b"<html>")),
    "without a job": unknown(reply(200, {})),
    "502": unknown(reply(502)),
    "504": unknown(GATEWAY),
    "then named": then(NAMED),
    "then nameless": then(*[reply(400, {"errors": [{"message": "no"}]})] * 3),
    "then split": then(reply(413)),
    "then split and named": then(reply(413), NAMED),
    "then limited": then(reply(429, retry_after="1"), after_s=65),
    "then all failed": all_failed,
    "gave up": gave_up,
    "no verdict": no_verdict,
    "lapsed claim": lapsed,
    "poisoned": poisoned,
    "stale end": frozen,
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_however_a_body_ends_its_contacts_wait_for_the_orphan_and_what_is_newer_with_them(harness, path):
    client, keys = harness.runtime.store.client, harness.runtime.store.keys
    last_ms = path(harness)
    harness.run_until_settled()
    assert not harness.books()["batched"]

    busy = client.hlen(keys("inflight"))
    assert busy == 2, "a contact of the body is free"
    [(_, free_ms)] = client.zrange(keys("quarantine"), 0, -1, withscores=True)
    assert 0 <= free_ms - last_ms - WAIT_S * 1000 < 5_000, "it counts from the last such attempt"

    enqueue({"email": "p1@example.com", "city": "new"})
    harness.run_until(lambda: harness.books()["held"] == 1)
    harness.runtime.failures.retry(list(harness.runtime.failures))
    advance(harness.runtime, (free_ms - harness.runtime.clock.now_ms()) / 1000 - 5)
    harness.pump()
    assert client.hlen(keys("inflight")) == 2
    assert not harness.books()["batched"], "it left before the orphan could have ended"

    speak_to(Peer(Upstream()), harness)
    advance(harness.runtime, 10)
    harness.run_until_settled()
    assert harness.books() | {"held": 0, "failed": 0} == harness.books()
    harness.assert_books_balance()
