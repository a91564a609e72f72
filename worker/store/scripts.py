"""Running the Lua scripts: nearly every write to Redis is one of them.

The text of a script is: constants from Python, lua/checks.lua, lua/common.lua, libraries if it needs any, and the
script's own file. Redis undoes nothing, so a script checks its arguments and keys before its first write: it changes
everything or nothing.

A script may be repeated with the same arguments: an idempotency key, a version or a fence makes the second time change
nothing. So when a reply is lost the script is sent again, here and nowhere else; the client's own retries are off.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, cast

from redis import asyncio as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from contact_ingest.failpoints import failpoint
from contact_ingest.model.identity import DIGEST_BYTES
from contact_ingest.store.keys import BODY_PARTS, BOOKS, DUE_BATCHES, EXTRA_COUNTERS, Keys

Arg = str | bytes | int | float
#: The pauses before a script is sent again after a lost reply.
PAUSES_S = (0.05, 0.2, 0.5, 1.0)
#: How long replicas have to acknowledge a write, ms.
ACK_MS = 1_000


#: Values that scripts share with Python: each script begins with these lines.
_CONSTANTS = (
    f"local DIGEST_BYTES = {DIGEST_BYTES}\n"
    f"local COUNTERS = {{{', '.join(map(repr, BOOKS + EXTRA_COUNTERS))}}}\n"
    f"local BOOKS = {{{', '.join(map(repr, BOOKS))}}}\n"
    f"local DUE_BATCHES = {{{', '.join(map(repr, DUE_BATCHES))}}}\n"
    f"local BODY_PARTS = {{{', '.join(map(repr, BODY_PARTS))}}}\n"
)
#: Files that lie between common.lua and a script.
_LIBRARIES = {
    **dict.fromkeys(("limiter_acquire", "limiter_report", "breaker_reset"), ("breaker.lua",)),
    **dict.fromkeys(("batch_claim", "batch_settle", "lane_resume"), ("lane_stop.lua",)),
    "aggregate_commit": ("retries.lua",),
    "lane_append": ("epoch.lua",),
}

#: Keys that a server which does not know the script must not go by. It has just started, or was a replica until now:
#: `intake_allowance` would keep it for a second from asking who it is (see lua/epoch.lua).
_STALE_AFTER_START = {"lane_append": "intake_allowance"}


@cache
def _source(name: str) -> tuple[str, str]:
    """The text of a script, and the digest by which the server knows it."""
    folder = files("contact_ingest.store").joinpath("lua")
    parts = ("checks.lua", "common.lua", *_LIBRARIES.get(name, ()), f"{name}.lua")
    text = _CONSTANTS + "".join(folder.joinpath(part).read_text() for part in parts)
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


class Store:
    """The keys of one destination, on one connection pool. `client` is a `redis.Redis` that answers in bytes. It is
    untyped: redis-py's stubs promise unions that no server sends."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self.client = client
        self.keys = keys

    def run(self, name: str, *args: Arg, base: str = "") -> Any:
        """Run a script by the name of its file. `base` replaces the destination's own base of keys."""
        failpoint(f"{name}.before")
        answer = self._until_answered(name, base or self.keys.base, args)
        failpoint(f"{name}.after")
        return answer

    def run_acknowledged(self, replicas: int, name: str, *args: Arg) -> tuple[Any, bool]:
        """Run a script. Returns its answer, and whether at least `replicas` replicas have its writes within a second.
        These replicas also have everything that was written before."""
        # WAIT counts for what was written on its own connection.
        with self.client.client() as one:
            answer = Store(one, self.keys).run(name, *args)
            return answer, int(one.wait(replicas, ACK_MS)) >= replicas

    def _until_answered(self, name: str, base: str, args: Sequence[Arg]) -> Any:
        for pause_s in (*PAUSES_S, None):
            try:
                return self._once(name, base, args)
            except (RedisConnectionError, RedisTimeoutError):
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _once(self, name: str, base: str, args: Sequence[Arg]) -> Any:
        text, digest = _source(name)
        try:
            return self.client.evalsha(digest, 1, base, *args)
        except NoScriptError:
            # The server restarted, or its cache was flushed: send the text, which also loads it.
            if name in _STALE_AFTER_START:
                self.client.delete(base + _STALE_AFTER_START[name])
            return self.client.eval(text, 1, base, *args)


class ReadsTogether:
    """Reads of one moment: commands are collected, `execute` runs them in one script and returns their answers.

    The methods are those of redis-py's pipeline, and the answers have the same form. A pipeline with MULTI does not
    serve: before 7.4 a Redis whose memory is full refuses what stands between MULTI and EXEC, reads too (seen with
    6.2.14 and 7.0.15, checked 2026-11-25)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._words: list[Arg] = []
        self._forms: list[Callable[[Any], Any]] = []

    def execute(self) -> list[Any]:
        if not self._forms:
            return []
        answers = self._store.run("read_together", *self._words)
        return [form(answer) for form, answer in zip(self._forms, answers, strict=True)]

    def time(self) -> None:
        self._add(tuple, "TIME")

    def get(self, key: str) -> None:
        self._add(_same, "GET", key)

    def exists(self, key: str) -> None:
        self._add(int, "EXISTS", key)

    def ttl(self, key: str) -> None:
        self._add(int, "TTL", key)

    def hget(self, key: str, field: str) -> None:
        self._add(_same, "HGET", key, field)

    def hmget(self, key: str, *fields: str) -> None:
        self._add(_same, "HMGET", key, *fields)

    def hgetall(self, key: str) -> None:
        self._add(lambda flat: dict(zip(flat[::2], flat[1::2], strict=True)), "HGETALL", key)

    def hlen(self, key: str) -> None:
        self._add(int, "HLEN", key)

    def llen(self, key: str) -> None:
        self._add(int, "LLEN", key)

    def lindex(self, key: str, place: int) -> None:
        self._add(_same, "LINDEX", key, place)

    def lrange(self, key: str, first: int, last: int) -> None:
        self._add(_same, "LRANGE", key, first, last)

    def zcard(self, key: str) -> None:
        self._add(int, "ZCARD", key)

    def zcount(self, key: str, least: Arg, most: Arg) -> None:
        self._add(int, "ZCOUNT", key, least, most)

    def zscore(self, key: str, member: str) -> None:
        self._add(lambda score: None if score is None else float(score), "ZSCORE", key, member)

    def zrange(self, key: str, first: int, last: int) -> None:
        """Members with their scores: (member, score)."""
        words = ("ZRANGE", key, first, last, "WITHSCORES")
        self._add(lambda flat: list(zip(flat[::2], map(float, flat[1::2]), strict=True)), *words)

    def zrevrange(self, key: str, first: int, last: int) -> None:
        self._add(_same, "ZREVRANGE", key, first, last)

    def _add(self, form: Callable[[Any], Any], *words: Arg) -> None:
        self._words += [len(words), *words]
        self._forms.append(form)


def _same(answer: Any) -> Any:
    return answer


async def run_async(client: aio.Redis, name: str, base: str, args: Sequence[Arg]) -> Any:
    """Run a script once on an asyncio client. The caller repeats it when the reply is lost."""
    text, digest = _source(name)
    evalsha = cast("Callable[..., Awaitable[Any]]", client.evalsha)
    evaluate = cast("Callable[..., Awaitable[Any]]", client.eval)
    try:
        return await evalsha(digest, 1, base, *args)
    except NoScriptError:
        if name in _STALE_AFTER_START:
            await client.delete(base + _STALE_AFTER_START[name])
        return await evaluate(text, 1, base, *args)
