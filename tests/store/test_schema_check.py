"""A producer's one look at the schema survives a lost reply, as the script behind it does."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from support.proxy import Proxy

from contact_ingest.store.migrations import check_schema, check_schema_async
from contact_ingest.store.redis_server import connect, connect_async
from contact_ingest.store.scripts import PAUSES_S


@pytest.fixture
def proxy(redis_server):
    with Proxy(redis_server.url) as made:
        yield made


async def look_async(url):
    client = connect_async(url)
    try:
        await check_schema_async(client, "looked-at", ("crm",))
    finally:
        await client.aclose()


def look(url):
    with connect(url) as client:
        check_schema(client, "looked-at", ("crm",))


@pytest.mark.parametrize("looks", [look, lambda url: asyncio.run(look_async(url))], ids=["sync", "async"])
def test_a_lost_reply_to_the_look_at_the_schema_is_asked_for_again(client, proxy, looks):
    del client
    proxy.lose_replies(b"looked-at:schema", 2)

    looks(proxy.url)

    assert proxy.struck["lose_reply"] == 2


@pytest.mark.parametrize("looks", [look, lambda url: asyncio.run(look_async(url))], ids=["sync", "async"])
def test_a_server_that_goes_on_losing_replies_is_told_of_in_the_end(client, proxy, looks):
    del client
    proxy.lose_replies(b"looked-at:schema", 100)

    with pytest.raises(RedisConnectionError):
        looks(proxy.url)

    assert proxy.struck["lose_reply"] == len(PAUSES_S) + 1
