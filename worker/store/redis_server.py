"""The memory of the Redis server: how much of what it may use is used, and from where on that changes what is done.

Above `FULL_SHARE` producers are refused and lanes are cut one body at a time; at the limit Redis refuses every write
that is no script of ours, and those may go a little beyond it, so that what waits can leave.
"""

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, ResponseError
from redis.retry import Retry

from contact_ingest.config.redis_url import check_redis_url

#: Intake refuses above this share of the memory Redis may use.
FULL_SHARE = 0.8
#: Our own scripts may go beyond the limit by so much of it, or by so many bytes if that is more; above that nothing
#: more is cut.
BEYOND_SHARE = 0.05
BEYOND_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes used and the most that may be; `most` is 0 where there is no limit, or the ACL does not let us see it."""

    used: int = 0
    most: int = 0

    @property
    def left(self) -> int:
        return max(0, self.most - self.used)

    @property
    def is_short(self) -> bool:
        """Producers are refused."""
        return self.most > 0 and self.used > FULL_SHARE * self.most

    @property
    def is_full(self) -> bool:
        """Redis refuses what is no script of ours."""
        return self.most > 0 and self.used >= self.most

    @property
    def is_spent(self) -> bool:
        """What our scripts may take beyond the limit is taken too."""
        return self.most > 0 and self.used > self.most + max(BEYOND_BYTES, BEYOND_SHARE * self.most)


def read_memory(client: Any) -> Memory:
    try:
        found = client.info("memory")
    except NoPermissionError:
        return Memory()
    return Memory(int(found["used_memory"]), int(found.get("maxmemory", 0)))


STARTED = "its rewriting has begun"
FORBIDDEN = "the ACL forbids BGREWRITEAOF: allow +bgrewriteaof, or rewrite it by other means"
REFUSED = "the server did not begin to rewrite it, perhaps because it is doing so: try again when that has ended"


def rewrite_aof(client: Any) -> str:
    """Have the append-only file written anew, without what is gone; says what came of it. One that was begun before may
    have copied what is gone by now, so it does not count."""
    try:
        client.bgrewriteaof()
    except NoPermissionError:
        return FORBIDDEN
    except ResponseError:
        return REFUSED
    return STARTED


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
