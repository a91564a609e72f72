"""The Redis server: connections to it, its memory, its append-only file.

Above `FULL_SHARE` of the memory that Redis may use, producers are refused and lanes are packed one body at a time. At
the limit Redis refuses every write but those of our scripts. The scripts may go a little beyond the limit, so that what
waits can leave.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from redis import Redis
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from contact_ingest.config.redis_url import check_redis_url

#: Producers are refused above this share of the memory that Redis may use.
FULL_SHARE = 0.8
#: How far our own scripts may go beyond the limit: this share of it, or so many bytes if that is more. Above that no
#: lane is packed.
BEYOND_SHARE = 0.05
BEYOND_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes used, and the most that may be used. `most` is 0 where there is no limit, or an ACL forbids INFO."""

    used: int = 0
    most: int = 0

    @property
    def left(self) -> int:
        return max(0, self.most - self.used)

    @property
    def is_short(self) -> bool:
        """Whether producers are refused."""
        return self.most > 0 and self.used > FULL_SHARE * self.most

    @property
    def is_full(self) -> bool:
        """Whether Redis refuses all writes but those of our scripts."""
        return self.most > 0 and self.used >= self.most

    @property
    def is_spent(self) -> bool:
        """Whether our scripts have used what they may use beyond the limit."""
        return self.most > 0 and self.used > self.most + max(BEYOND_BYTES, BEYOND_SHARE * self.most)


def read_memory(client: Any) -> Memory:
    """The memory of the server now."""
    try:
        found = client.info("memory")
    except NoPermissionError:
        return Memory()
    return Memory(int(found["used_memory"]), int(found.get("maxmemory", 0)))


#: What the first word of a server's error means, and what to do about it. Source: replies of Redis 6.2.14, Redis 7.0.15
#: and Valkey 9, checked 2026-11-25.
REFUSALS: Mapping[str, str] = {
    "OOM": "its memory is full: raise maxmemory, or wait until the lanes have drained",
    "MISCONF": "it cannot write to its disk: free space there and see its log; it takes writes again after a save that "
    "worked",
    "READONLY": "it is a replica, which takes no writes: give the address of its primary",
    "NOREPLICAS": "too few replicas are connected to it: start them, or lower min-replicas-to-write",
    "LOADING": "it still loads its data: wait until it has",
    "MASTERDOWN": "it is a replica that has lost its primary: give the address of the primary",
    "BUSY": "a script of some program keeps it busy: wait, or end that script with SCRIPT KILL",
    "CLUSTERDOWN": "its cluster is down; a cluster is not supported: give a single server or its proxy",
    "MOVED": "it is a node of a cluster, which is not supported: give a single server or its proxy",
    "CROSSSLOT": "it is a node of a cluster, which is not supported: give a single server or its proxy",
    "NOAUTH": "it asks for a password: write user and password into the address",
    "WRONGPASS": "it does not accept the user and password of the address",
    "NOPERM": "the ACL forbids a command, key or channel to this user: docs/redis.md lists what a user needs",
}
#: Errors that redis-py tells by their class, without the first word.
_CLASSES: Mapping[type[RedisError], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    BusyLoadingError: "LOADING",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    NoPermissionError: "NOPERM",
    AuthenticationError: "WRONGPASS",
}
#: The first word of an error, or what a server of the 6.2 line puts into the words about a script: `...: -MISCONF ...`.
_FIRST_WORD = re.compile(r"^([A-Z]{2,20}) |: -([A-Z]{2,20}) ")


def refusal_code(problem: RedisError) -> str:
    """The word by which a server says why it refuses, such as `MISCONF`; empty if it does not say, or did not answer.
    The rest of its words is left out: they may quote records."""
    found = _FIRST_WORD.search(str(problem)) if isinstance(problem, ResponseError) else None
    word = (found[1] or found[2]) if found else ""
    if word not in ("", "ERR"):
        return word
    if isinstance(problem, AuthenticationError) and "required" in str(problem):
        return "NOAUTH"
    return next((code for kind, code in _CLASSES.items() if isinstance(problem, kind)), "")


def has_refused(problem: RedisError) -> bool:
    """Whether the server answered, and refused."""
    no_answer = isinstance(problem, RedisConnectionError | RedisTimeoutError)
    return bool(refusal_code(problem)) or not no_answer


def describe_problem(problem: RedisError) -> str:
    """What is wrong with Redis and what to do, without the server's own words: they may quote records or the address.
    Example: `Redis refused (READONLY): it is a replica, which takes no writes: give the address of its primary`."""
    if not has_refused(problem):
        return f"Redis did not answer ({type(problem).__name__})"
    code = refusal_code(problem)
    if code in REFUSALS:
        return f"Redis refused ({code}): {REFUSALS[code]}"
    return f"Redis refused ({code or type(problem).__name__})"


STARTED = "its rewriting has begun"
FORBIDDEN = "the ACL forbids BGREWRITEAOF: allow +bgrewriteaof, or rewrite it by other means"
REFUSED = "the server did not begin to rewrite it, perhaps because it is doing so: try again when that has ended"


def rewrite_aof(client: Any) -> str:
    """Have the append-only file rewritten, without what was deleted; returns what came of it, in words. A rewrite that
    was under way before does not count: it may have copied what is deleted by now."""
    try:
        client.bgrewriteaof()
    except NoPermissionError:
        return FORBIDDEN
    except ResponseError:
        return REFUSED
    return STARTED


#: How long one call waits for an answer of Redis.
REDIS_TIMEOUT_S = 10.0


def connect(url: str) -> Redis:
    """A client for one process. Threads may share it."""
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
    """Settings that a Unix socket does not have."""
    return {} if url.startswith("unix:") else {"socket_connect_timeout": 5.0, "socket_keepalive": True}


class Connections:
    """The connections of one process to one server: one that all its threads share, and one for each event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aio.Redis] = WeakKeyDictionary()

    @cached_property
    def client(self) -> Redis:
        """The connection of the process, made when it is first used."""
        return connect(self._url)

    def of_running_loop(self) -> aio.Redis:
        """The connection of the running event loop, made when it is first used."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = connect_async(self._url)
        return self._async_clients[loop]

    async def aclose(self) -> None:
        """End the running event loop's connection; the next use makes a new one."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def close(self) -> None:
        """End the process's connection; the next use makes a new one."""
        made = self.__dict__.pop("client", None)
        if isinstance(made, Redis):
            made.close()
