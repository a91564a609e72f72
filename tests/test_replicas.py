"""`STORE_ACK_REPLICAS`: an enqueue returns when so many replicas have it, or says that they have not."""

import asyncio
import time

import pytest
from redis import Redis

from worker import StoreUnavailable, aclose, aenqueue, enqueue
from worker.embedded import EmbeddedServer
from worker.store import books

RECORD = {"email": "someone@example.com"}


@pytest.fixture
def replica(redis_server):
    with EmbeddedServer(extra=["--replicaof", "127.0.0.1", str(redis_server.port)]) as server:
        with Redis.from_url(server.url) as client:
            deadline = time.monotonic() + 30
            while client.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < deadline
        yield server


def test_an_enqueue_waits_for_its_replicas(make_engine, replica):
    engine = make_engine(store_ack_replicas=1)

    enqueue(RECORD)

    with Redis.from_url(replica.url) as client:
        assert client.llen(engine.site.store.keys("wait:sendgrid")) == 1


def test_an_async_enqueue_waits_for_its_replicas(make_engine, replica):
    engine = make_engine(store_ack_replicas=1)

    async def put():
        await aenqueue(RECORD)
        await aclose()

    asyncio.run(put())

    with Redis.from_url(replica.url) as client:
        assert client.llen(engine.site.store.keys("wait:sendgrid")) == 1


def test_too_few_replicas_are_an_error_and_the_same_key_again_counts_nothing_twice(make_engine):
    engine = make_engine(store_ack_replicas=1)

    for _ in range(2):
        with pytest.raises(StoreUnavailable) as raised:
            enqueue(RECORD, key="nightly")
        assert raised.value.position == 0

    assert books.read(engine.site.store)[0].counts["accepted"] == 1
