"""The destinations of an installation, whether they are configured or not.

Producers and workers write the names of their destinations into the hash `<prefix>:destinations`. So records of a
destination that was renamed or removed from the configuration can be found, and those under another prefix of the same
server too. Where the server may be scanned, keys of older releases are found as well.
"""

import asyncio
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from redis import asyncio as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from contact_ingest.store.keys import Keys, install_base
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.scripts import PAUSES_S, Arg, Store, run_async

#: The places of a record that nobody works on any more, as the books name them.
PLACES = ("waiting", "held", "batched", "failed")
#: A server with more keys is not scanned by commands that a person waits for: it takes about a second a million keys.
SCANNED_KEYS = 200_000
_PAGE = 1_000
_BOOKS = re.compile(rb"(.+):\{([^{}]+)\}:books:(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stranded:
    """Records of a destination in no configuration. `prefix` is that of their keys. `counts` has the four `PLACES`."""

    prefix: str
    destination: str
    counts: dict[str, int]

    @property
    def left(self) -> int:
        """How many records are on their way, and go no further."""
        return sum(self.counts[name] for name in ("waiting", "held", "batched"))

    @property
    def says(self) -> str:
        """Such as `100 waiting, 3 failed`."""
        return ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count)

    def public(self) -> dict[str, Any]:
        return {"destination": self.destination, **self.counts}


def register(client: Any, prefix: str, destinations: Collection[str]) -> None:
    """Note that these destinations are configured somewhere. Goes through with full memory too."""
    if destinations:
        Store(client, Keys(prefix, "")).run("write", *_changes(destinations), base=install_base(prefix))


async def register_async(client: aio.Redis, prefix: str, destinations: Collection[str]) -> None:
    """The same on an asyncio client."""
    for pause_s in (*PAUSES_S, None):
        try:
            if destinations:
                await run_async(client, "write", install_base(prefix), _changes(destinations))
        except (RedisConnectionError, RedisTimeoutError):
            if pause_s is None:
                raise
            await asyncio.sleep(pause_s)
        else:
            return


def _changes(destinations: Collection[str]) -> list[Arg]:
    return ["none", *(part for name in sorted(destinations) for part in ("HSET", "destinations", name, 1))]


def lanes_by_destination(client: Any, prefix: str, most_keys: int | None = SCANNED_KEYS) -> dict[str, set[str]]:
    """The lanes of each destination under the prefix, by their books. Empty for a server that is not scanned."""
    lanes: dict[str, set[str]] = {}
    for owner, destination, lane in _scan(client, f"{_escaped(prefix)}:{{*}}:books:*", most_keys):
        if owner == prefix:
            lanes.setdefault(destination, set()).add(lane)
    return lanes


def stranded(
    client: Any, prefix: str, configured: Collection[str], *, most_keys: int | None = SCANNED_KEYS
) -> list[Stranded]:
    """Destinations under the prefix that are not configured and have records. A server with more than `most_keys` keys
    is not scanned (None: it always is, 0: it never is), nor one that forbids it; then only names in the register are
    found."""
    lanes: dict[str, set[str]] = {name.decode(): set() for name in client.hkeys(f"{install_base(prefix)}destinations")}
    lanes |= lanes_by_destination(client, prefix, most_keys)
    found = (_read(client, prefix, name, lanes[name]) for name in sorted(lanes) if name not in configured)
    return [one for one in found if any(one.counts.values())]


def stranded_elsewhere(client: Any, prefix: str) -> list[Stranded]:
    """Destinations under other prefixes of the server that have records on their way, and of whose workers nothing was
    heard: the prefix may have been changed. Scans the server."""
    lanes: dict[tuple[str, str], set[str]] = {}
    for owner, destination, lane in _scan(client, "*:{*}:books:*", None):
        if owner != prefix:
            lanes.setdefault((owner, destination), set()).add(lane)
    found = (_read(client, owner, name, lanes[owner, name]) for owner, name in sorted(lanes))
    return [one for one in found if one.left]


def _scan(client: Any, pattern: str, most_keys: int | None) -> Iterator[tuple[str, str, str]]:
    """Prefix, destination and lane of every key of books that matches."""
    try:
        if most_keys == 0 or (most_keys is not None and client.dbsize() > most_keys):
            return
        for key in client.scan_iter(match=pattern, count=_PAGE):
            if parts := _BOOKS.fullmatch(key):
                owner, destination, lane = (part.decode(errors="replace") for part in parts.groups())
                yield owner, destination, lane
    except NoPermissionError:
        return


def _read(client: Any, prefix: str, destination: str, lanes: Collection[str]) -> Stranded:
    store = Store(client, Keys(prefix, destination))
    pipe = client.pipeline(transaction=False)
    for lane in sorted({*lanes, *lane_names(store)}):
        pipe.hmget(store.keys(f"books:{lane}"), PLACES)
    sums = dict.fromkeys(PLACES, 0)
    for values in pipe.execute():
        for name, value in zip(PLACES, values, strict=True):
            sums[name] += int(value or 0)
    return Stranded(prefix, destination, sums)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)
