"""`STORE_ACK_REPLICAS`: an enqueue returns when so many replicas have it, or says that they have not."""

import asyncio
import os
import signal
import time

import pytest
from redis import Redis
from support.peer import advance

from contact_ingest import StoreUnavailable, aclose, aenqueue, enqueue
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books

RECORD = {"email": "someone@example.com"}


@pytest.fixture
def replica(redis_server):
    with EmbeddedServer(extra=["--replicaof", "127.0.0.1", str(redis_server.port)]) as server:
        with Redis.from_url(server.url) as client:
            deadline = time.monotonic() + 30
            while client.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < deadline
        yield server


def test_an_enqueue_waits_for_its_replicas(make_harness, replica):
    harness = make_harness(store_ack_replicas=1)

    enqueue(RECORD)

    with Redis.from_url(replica.url) as client:
        assert client.llen(harness.runtime.store.keys("waiting:sendgrid")) == 1


def test_an_async_enqueue_waits_for_its_replicas(make_harness, replica):
    harness = make_harness(store_ack_replicas=1)

    async def put():
        await aenqueue(RECORD)
        await aclose()

    asyncio.run(put())

    with Redis.from_url(replica.url) as client:
        assert client.llen(harness.runtime.store.keys("waiting:sendgrid")) == 1


def test_nothing_is_sent_before_the_replica_knows_that_it_is_under_way(make_harness, replica, sandbox):
    """One that takes over without knowing would send newer data beside a job that is still running."""
    harness = make_harness(store_ack_replicas=1)
    enqueue(RECORD)
    harness.runtime.aggregator.aggregate("sendgrid")
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        harness.runtime.dispatcher.dispatch("sendgrid")
        assert sandbox.totals()["by_endpoint"] == {}
    finally:
        os.kill(replica.pid, signal.SIGCONT)

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_nothing_is_asked_either_before_the_replica_knows_which_permits_are_spent(make_harness, replica, sandbox):
    harness = make_harness(store_ack_replicas=1)
    enqueue(RECORD)
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")
    advance(harness.runtime, 1)
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        assert harness.runtime.poller.poll("sendgrid") == ()
        assert "sendgrid.imports" not in sandbox.totals()["by_endpoint"]
    finally:
        os.kill(replica.pid, signal.SIGCONT)

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_with_too_few_replicas_nothing_is_sent_and_the_batch_is_due_again(make_harness, sandbox, caplog):
    harness = make_harness()
    enqueue(RECORD)
    harness.runtime.aggregator.aggregate("sendgrid")

    alone = make_harness(store_ack_replicas=1)
    assert alone.runtime.dispatcher.dispatch("sendgrid") == ()

    assert sandbox.totals()["by_endpoint"] == {}
    assert "too few replicas" in caplog.text
    batch = harness.runtime.store.client.hgetall(harness.runtime.store.keys("batch:1"))
    assert (batch[b"state"], batch[b"claims_count"], batch[b"attempts"]) == (b"ready", b"0", b"0")
    assert harness.runtime.store.client.hget(harness.runtime.store.keys("batch:1"), "orphan_until") is None
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_too_few_replicas_are_an_error_and_the_same_key_again_counts_nothing_twice(make_harness):
    harness = make_harness(store_ack_replicas=1)

    for _ in range(2):
        with pytest.raises(StoreUnavailable) as raised:
            enqueue(RECORD, key="nightly")
        assert raised.value.position == 0

    assert books.read(harness.runtime.store)[0].counts["accepted"] == 1
