"""Runs of scripts, recorded with the keys as they were before, and replayed with arguments and keys that are wrong.

A script has to change everything or nothing: Redis undoes no write of a script that fails.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from redis.exceptions import ResponseError

from contact_ingest.store.scripts import _source

#: Recorded runs of a script: those with the most different numbers of arguments.
RUNS = 4
#: What a restored key lives for at least, ms, where it expires.
LIVES_MS = 600_000
#: What an argument, or a number in a plan, may be instead.
WRONG_ARGUMENTS: tuple[Any, ...] = ("", "-0", "1.5", "-1", "x", "1e400", "99999999999999999999", "0x10")
WRONG_NUMBERS: tuple[Any, ...] = (-0.0, 1.5, -1, "x", None, [], 2**60, True)
#: What a field or a string may hold instead of a number.
WRONG_VALUES = (b"x", b"1.5", b"-0", b"9223372036854775807", b"")

#: The place of the plan among the arguments of a script that takes one, as JSON.
PLANS = {"aggregate_commit": 0, "batch_settle": 3}

Keyspace = dict[bytes, tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class Run:
    """A script, its base of keys and its arguments, and all keys before it ran. `what` says what was made wrong."""

    script: str
    base: str
    args: tuple[Any, ...]
    keys: Keyspace
    what: str = "as recorded"


class Recorder:
    """Stands between a client and its scripts: notes the keys, then lets the script run."""

    def __init__(self, client: Any, scripts: Sequence[str]) -> None:
        self.runs: dict[str, dict[tuple[Any, ...], Run]] = defaultdict(dict)
        self._client = client
        self._names = {_source(name)[1]: name for name in scripts}
        self._evalsha = client.evalsha
        client.evalsha = self.evalsha

    def evalsha(self, digest: str, number: int, base: str, *args: Any) -> Any:
        name = self._names[digest]
        answer_shape = (len(args), args[0] if name in ("write", "batch_claim", "repair") else "", len(str(args)) // 200)
        if len(self.runs[name]) < RUNS and answer_shape not in self.runs[name]:
            self.runs[name][answer_shape] = Run(name, base, args, keyspace(self._client))
        return self._evalsha(digest, number, base, *args)

    def recorded(self) -> Iterator[Run]:
        for runs in self.runs.values():
            yield from runs.values()


def keyspace(client: Any) -> Keyspace:
    """All keys: how each is stored, and for how many ms it lives (0: for ever)."""
    found = sorted(client.scan_iter(count=1000))
    pipe = client.pipeline(transaction=False)
    for key in found:
        pipe.dump(key)
        pipe.pttl(key)
    answers = iter(pipe.execute())
    return {
        key: (stored, max(0, ttl_ms))
        for key, stored, ttl_ms in zip(found, answers, answers, strict=True)
        if stored is not None
    }


def restore(client: Any, keys: Keyspace) -> None:
    client.flushall()
    pipe = client.pipeline(transaction=False)
    for key, (stored, ttl_ms) in keys.items():
        pipe.restore(key, max(ttl_ms, LIVES_MS) if ttl_ms else 0, stored)
    pipe.execute()


def replay(client: Any, run: Run) -> Any:
    """Run the script on the keys as they were; returns its answer."""
    restore(client, run.keys)
    return client.eval(_source(run.script)[0], 1, run.base, *run.args)


def half_written(client: Any, run: Run, *spoil: Any) -> str | None:
    """Run the script. Returns what it changed although it failed; None where it failed before its first write, or
    succeeded. `spoil` is a command that makes a key wrong before."""
    restore(client, run.keys)
    for command in spoil:
        client.execute_command(*command)
    before = keyspace(client)
    try:
        client.eval(_source(run.script)[0], 1, run.base, *run.args)
    except ResponseError as problem:
        after = keyspace(client)
        changed = sorted(
            key for key in {*before, *after} if before.get(key, (b"", 0))[0] != after.get(key, (b"", 0))[0]
        )
        return f"{run.script}, {run.what}: changed {changed}, then failed: {problem}" if changed else None
    return None


def with_wrong_arguments(run: Run) -> Iterator[Run]:
    """The run with each of its first arguments wrong, with one argument less and one more, and with each number of its
    plan wrong."""
    args = run.args
    yield replace(run, args=args[:-1], what="without its last argument")
    yield replace(run, args=(*args, "x"), what="with one argument more")
    for at in range(min(len(args), 12)):
        for wrong in WRONG_ARGUMENTS:
            yield replace(run, args=(*args[:at], wrong, *args[at + 1 :]), what=f"argument {at + 1} is {wrong!r}")
    place = PLANS.get(run.script)
    if place is not None:
        for name, plan in _wrong_plans(orjson.loads(args[place])):
            yield replace(run, args=(*args[:place], orjson.dumps(plan), *args[place + 1 :]), what=name)


def _wrong_plans(plan: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in plan.items():
        yield f"a plan without {name}", {key: plan[key] for key in plan if key != name}
        for wrong in WRONG_NUMBERS:
            yield f"{name} of the plan is {wrong!r}", {**plan, name: wrong}
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            for changed_name, changed in _wrong_plans(inner):
                whole = [changed, *value[1:]] if isinstance(value, list) else changed
                yield f"{name}: {changed_name}", {**plan, name: whole}


def wrong_keys(client: Any, run: Run) -> Iterator[tuple[str, tuple[tuple[Any, ...], ...]]]:
    """Ways to make each key wrong: gone, of another type, a value that is no number. The keys of the run must lie in
    the server."""
    for key in run.keys:
        kind = client.type(key)
        name = key.decode(errors="replace")
        yield f"{name} is gone", (("DEL", key),)
        other = ("RPUSH", key, "x") if kind != b"list" else ("SET", key, "x")
        yield f"{name} is of another type", (("DEL", key), other)
        if kind == b"hash":
            for field in client.hkeys(key)[:40]:
                for wrong in WRONG_VALUES:
                    yield f"{name} has {wrong!r} in {field!r}", (("HSET", key, field, wrong),)
                yield f"{name} has no {field!r}", (("HDEL", key, field),)
        elif kind == b"string":
            for wrong in WRONG_VALUES:
                yield f"{name} is {wrong!r}", (("SET", key, wrong),)
        elif kind == b"list":
            yield f"{name} has a strange element", (("LSET", key, 0, "x"), ("RPUSH", key, "x"))
        elif kind == b"zset":
            yield f"{name} has a strange member", (("ZADD", key, 0, "x"), ("ZADD", key, 1, "y:z"))
