"""Connections to Redis. Their silent repeats are off: scripts are repeated by those who know that it is safe."""

import asyncio
from typing import Any

from redis import Redis
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker.addresses import check_redis_url
from worker.store.scripts import ACK_MS, PAUSES_S, run_async
from worker.store.waiting import Append, Appended

#: Silent longer than this, Redis counts as gone for one call.
REDIS_TIMEOUT_S = 10.0


def connect(url: str) -> Redis:
    """A client for one process; threads may share it."""
    check_redis_url("REDIS_URL", url)
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=REDIS_TIMEOUT_S,
        health_check_interval=30,
        client_name="contact-ingest",
        **_tcp(url),
    )


def connect_async(url: str) -> aio.Redis:
    """A client for one event loop."""
    check_redis_url("REDIS_URL", url)
    return aio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), socket_timeout=REDIS_TIMEOUT_S, **_tcp(url))


def _tcp(url: str) -> dict[str, Any]:
    """What Unix sockets do not have."""
    return {} if url.startswith("unix:") else {"socket_connect_timeout": 5.0, "socket_keepalive": True}


async def append_async(client: aio.Redis, base: str, append: Append, replicas: int = 0) -> Appended:
    """The enqueue script, repeated by its call id when a reply is lost; see `append` for `replicas`."""
    if replicas:
        async with client.client() as one:
            appended = await _append(one, base, append)
            if await one.wait(replicas, ACK_MS) < replicas:
                raise RedisTimeoutError(f"fewer than {replicas} replicas have it")
        return appended
    return await _append(client, base, append)


async def _append(client: aio.Redis, base: str, append: Append) -> Appended:
    for pause_s in PAUSES_S:
        try:
            return Appended.read(await run_async(client, "enqueue", base, append.arguments()))
        except (RedisConnectionError, RedisTimeoutError):
            await asyncio.sleep(pause_s)
    return Appended.read(await run_async(client, "enqueue", base, append.arguments()))
