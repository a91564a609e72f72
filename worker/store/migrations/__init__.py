"""Which schema a keyspace has: the number under `<prefix>:schema`.

Workers of two schemas must not work on the same keys, and a producer must not append where no worker reads. A worker
claims a new keyspace for its schema (`claim_schema`); a producer only looks (`check_schema`), which is one GET. The way
from schema 2 to 3 is in schema_3.py.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from redis import asyncio as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from contact_ingest.errors import SettingError
from contact_ingest.store.keys import SCHEMA, Keys, install_base
from contact_ingest.store.scripts import PAUSES_S, Store

#: The number that stands under `schema` while a migration from 2 to 3 is under way: no release works on such keys.
MIGRATING = 23
#: Keys that only schema 2 has. One of the first two is there as long as anything waits or has ever been sent.
_SIGNS_OF_SCHEMA_2 = ("aggdue", "v", "serial")
_SETTING = "CONTACT_INGEST_KEY_PREFIX"


def read_schema(client: Any, prefix: str) -> str | None:
    """The number as text, such as "3"; None if no worker has ever worked on these keys."""
    found = client.get(_key(prefix))
    return None if found is None else _shown(found)


def check_schema(client: Any, prefix: str, destinations: Sequence[str] = ()) -> None:
    """Raise `SettingError` if the keys are of another schema. Changes nothing. A reply
    that is lost is asked for again, like that of a script.

    A keyspace without a number belongs to nobody yet, unless keys of schema 2 lie under one of the `destinations`."""
    for pause_s in (*PAUSES_S, None):
        try:
            _check_once(client, prefix, destinations)
        except (RedisConnectionError, RedisTimeoutError):
            if pause_s is None:
                raise
            time.sleep(pause_s)
        else:
            return


def _check_once(client: Any, prefix: str, destinations: Sequence[str]) -> None:
    found = client.get(_key(prefix))
    _refuse_other(found)
    signs = _signs(prefix, destinations)
    if found is None and signs and client.exists(*signs):
        _refuse_other(b"2")


async def check_schema_async(client: aio.Redis, prefix: str, destinations: Sequence[str] = ()) -> None:
    """The same on an asyncio client."""
    for pause_s in (*PAUSES_S, None):
        try:
            await _check_once_async(client, prefix, destinations)
        except (RedisConnectionError, RedisTimeoutError):
            if pause_s is None:
                raise
            await asyncio.sleep(pause_s)
        else:
            return


async def _check_once_async(client: aio.Redis, prefix: str, destinations: Sequence[str]) -> None:
    found = await cast("Awaitable[bytes | None]", client.get(_key(prefix)))
    _refuse_other(found)
    signs = _signs(prefix, destinations)
    exists = cast("Callable[..., Awaitable[int]]", client.exists)
    if found is None and signs and await exists(*signs):
        _refuse_other(b"2")


def claim_schema(client: Any, prefix: str, destinations: Sequence[str] = ()) -> None:
    """Write the number of this release where there is none, then check it: for workers, and for commands that write.
    Goes through with full memory too."""
    check_schema(client, prefix, destinations)
    Store(client, Keys(prefix, "")).run("write", "none", "SET", "schema", SCHEMA, "NX", base=install_base(prefix))
    _refuse_other(client.get(_key(prefix)))


def schema_problem(found: str) -> tuple[str, str]:
    """What is wrong with keys of another schema, and what to do about it."""
    if found == "2":
        says = f"the keys under it are of schema 2, this release is of schema {SCHEMA}"
        return says, "stop all workers and producers, then run `contact-ingest migrate`"
    if found == str(MIGRATING):
        return "a migration of the keys under it has begun and not ended", "run `contact-ingest migrate` again"
    says = f"the keys under it are of schema {found}, this release is of schema {SCHEMA}"
    return says, f"run one release only, or give this one another {_SETTING}"


def _refuse_other(found: bytes | None) -> None:
    if found is not None and _shown(found) != str(SCHEMA):
        raise SettingError(_SETTING, ": ".join(schema_problem(_shown(found))))


def _key(prefix: str) -> str:
    return f"{install_base(prefix)}schema"


def _signs(prefix: str, destinations: Sequence[str]) -> list[str]:
    return [Keys(prefix, name)(sign) for name in destinations for sign in _SIGNS_OF_SCHEMA_2]


def _shown(found: bytes) -> str:
    return found.decode(errors="replace")[:20]
