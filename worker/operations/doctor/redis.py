"""Checks of the Redis server: version, eviction policy, memory, append-only file, clock, and the schema of the keys.

What an ACL forbids to read becomes a note, not a finding: many hosts forbid CONFIG.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, note, ok, wrong
from contact_ingest.store.keys import SCHEMA
from contact_ingest.store.migrations import read_schema, schema_problem
from contact_ingest.store.redis_server import FULL_SHARE, Memory

#: First release of each line in which no script can take over the server (CVE-2025-49844 and related ones).
#: Sources: the release notes of Redis and of Valkey, checked 2026-11-22.
MENDED = {
    "Redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
#: First release of each line without the later holes, which need a login (CVE-2026-23479, -23631, -25243). Lines that
#: are not known to have a hole are missing. Sources: the same, checked 2026-11-25.
MENDED_SINCE = {
    "Redis": {(7, 4): 9, (8, 2): 6, (8, 4): 3, (8, 6): 3},
    "Valkey": {(8, 1): 7},
}
#: The oldest line that is supported: the tests run on it, and the scripts need its `ZADD ... LT`.
OLDEST = (6, 2)
#: If the clocks differ by more seconds than this, times in listings and in logs are hard to compare.
SKEW_S = 2.0


def check_server(engine: EngineProtocol) -> Iterator[Finding]:
    """All checks of the server that holds the lanes. It answers: `examine` has checked that."""
    info = _info(engine.client)
    if info is None:
        yield note("redis version", "cannot be checked: the ACL forbids INFO; workers need it, allow +info")
    else:
        yield check_version(info)
        yield _check_memory(info)
    yield check_policy(engine.client, info)
    yield from _check_disk(engine.client, info)
    yield _check_clock(engine)
    yield _check_schema(engine)


def check_version(info: Mapping[str, Any]) -> Finding:
    """Whether the release has known holes. Valkey claims to be Redis 7.2.4, for old clients; its own number counts."""
    kind = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "")
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return note("redis version", "the server does not say its version")
    line, patch = (int(found[1]), int(found[2])), int(found[3])
    if line < OLDEST:
        says = f"{kind} {version} is older than {OLDEST[0]}.{OLDEST[1]}, the oldest that is supported"
        return wrong("redis version", says, f"upgrade the server to {line_of(MENDED[kind])} or later")
    lines = MENDED[kind]
    if line > max(lines) or (line in lines and patch >= lines[line]):
        since = MENDED_SINCE[kind].get(line, 0)
        if patch < since:
            what = f"{kind} {version} has holes for those who may log in to it, mended since"
            return note("redis version", what, f"upgrade the server to {line[0]}.{line[1]}.{since} or later")
        return ok("redis version", f"{kind} {version}")
    newer = min((known for known in lines if known >= line), default=max(lines))
    target = f"{newer[0]}.{newer[1]}.{lines[newer]}"
    return wrong(
        "redis version",
        f"{kind} {version} has known holes in its script engine",
        f"upgrade the server to {target} or later",
    )


def line_of(lines: Mapping[tuple[int, int], int]) -> str:
    """The oldest of these releases: `6.2.20`."""
    oldest = min(lines)
    return f"{oldest[0]}.{oldest[1]}.{lines[oldest]}"


def check_policy(client: Any, info: Mapping[str, Any] | None) -> Finding:
    """Whether the server keeps records when memory is short. `says` of a good finding is the policy alone."""
    policy = str((info or {}).get("maxmemory_policy", "")) or _config(client, "maxmemory-policy")
    if policy is None:
        return note("maxmemory-policy", "cannot be checked: the ACL forbids CONFIG; it must be noeviction")
    if policy == "noeviction":
        return ok("maxmemory-policy", policy)
    return wrong(
        "maxmemory-policy",
        f"maxmemory-policy is {policy}; must be noeviction, or Redis throws records away when memory is short",
        "set `maxmemory-policy noeviction` in the server's configuration",
    )


def policy_of(client: Any) -> Finding:
    return check_policy(client, _info(client))


def is_too_old(client: Any) -> str:
    """Why the server cannot be worked with: it is older than `OLDEST`. Empty for others, or where INFO is forbidden."""
    version = str((_info(client) or {}).get("redis_version", ""))
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) >= OLDEST:
        return ""
    return f"the server is Redis {version}; {OLDEST[0]}.{OLDEST[1]} is the oldest that is supported"


def _check_memory(info: Mapping[str, Any]) -> Finding:
    memory = Memory(int(info.get("used_memory", 0)), int(info.get("maxmemory", 0)))
    if not memory.most:
        return ok("memory", f"{memory.used:,} bytes used, no maxmemory set")
    said = f"{memory.used:,} of {memory.most:,} bytes are used"
    raise_it = "raise maxmemory, or remove keys of other programs"
    if memory.is_spent:
        return wrong("memory", f"{said}: producers are refused, and lanes rest until there is room", raise_it)
    if memory.is_full:
        says = f"{said}: producers are refused, no wake-up can be sent, and only small bodies are packed"
        return wrong("memory", says, f"{raise_it}; the lanes drain, slowly")
    if memory.is_short:
        says = f"{said}; above {FULL_SHARE:.0%} producers are refused"
        return wrong("memory", says, "raise maxmemory, or wait until the lanes have drained")
    return ok("memory", f"{memory.used:,} of {memory.most:,} bytes used")


def _check_disk(client: Any, info: Mapping[str, Any] | None) -> Iterator[Finding]:
    enabled = (info or {}).get("aof_enabled")
    appendonly = _config(client, "appendonly") if enabled is None else "yes" if int(enabled) else "no"
    if appendonly is None:
        yield note("appendonly", "cannot be checked: the ACL forbids CONFIG; it should be yes")
        return
    if appendonly != "yes":
        yield wrong(
            "appendonly",
            "the server keeps no append-only file: what waits is lost when it restarts",
            "set `appendonly yes` and `appendfsync everysec`",
        )
        return
    yield ok("appendonly", appendonly)
    fsync = _config(client, "appendfsync")
    if fsync is None:
        yield note("appendfsync", "cannot be checked: the ACL forbids CONFIG; it should be everysec or always")
    elif fsync == "no":
        yield wrong(
            "appendfsync",
            "appendfsync is no: a power loss costs as much as the system had not written yet",
            "set `appendfsync everysec` (or always)",
        )
    else:
        yield ok("appendfsync", fsync)


def _check_clock(engine: EngineProtocol) -> Finding:
    skew_s = engine.workers.skew_s()
    if abs(skew_s) > SKEW_S:
        return wrong(
            "clock",
            f"this machine's clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the server's",
            "keep both in time with NTP",
        )
    return ok("clock", f"{abs(skew_s):.1f} s from the server's")


def _check_schema(engine: EngineProtocol) -> Finding:
    """Whether the keys are of this program's schema. Unlike `Engine.check_schema`, this check writes no key."""
    found = read_schema(engine.client, engine.settings.key_prefix)
    if found is not None and found != str(SCHEMA):
        says, remedy = schema_problem(found)
        return wrong("schema", f"the prefix is {engine.settings.key_prefix}: {says}", remedy)
    return ok("schema", str(SCHEMA))


def _info(client: Any) -> dict[str, Any] | None:
    try:
        return {**client.info("server"), **client.info("memory"), **client.info("persistence")}
    except NoPermissionError:
        return None


def _config(client: Any, name: str) -> str | None:
    """A value of the server's configuration; None if an ACL or the host forbids to read it."""
    try:
        found = client.config_get(name)
    except ResponseError:  # also what an ACL forbids
        return None
    value = {_text(key): _text(value) for key, value in found.items()}.get(name)
    return value or None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
