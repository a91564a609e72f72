"""Where the parts are joined: settings in, the rooms of every destination out.

One wiring a process, made when it is first asked for and made anew after a fork: no connection is ever shared between
processes.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from redis import Redis
from redis import asyncio as aio

from worker.addresses import is_redis
from worker.connections import append_async, connect, connect_async
from worker.errors import SettingError
from worker.intake import Door, RefusedRecord
from worker.packing import Limits
from worker.providers.base import Lane
from worker.settings import ENV_PREFIX, Settings
from worker.sites import Site, build_site, lane_defaults, lane_name
from worker.store.fleet import Fleet
from worker.store.keys import SCHEMA, Keys
from worker.store.mailbox import Mailbox
from worker.store.scripts import Store
from worker.store.waiting import Append, Appended, LaneRoom, append

__all__ = ["Site", "Wiring", "install", "wired"]


#: Longest name of an enqueue call: it is kept in Redis for a day.
LONGEST_KEY = 200


class Wiring:
    """All parts of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sites: dict[str, Site] = {}
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aio.Redis] = WeakKeyDictionary()

    @cached_property
    def client(self) -> Redis:
        return connect(self.settings.redis_url.get_secret_value())

    @cached_property
    def broker(self) -> Redis | None:
        """The broker's server, where that is a Redis too."""
        url = (self.settings.broker_url or self.settings.redis_url).get_secret_value()
        return connect(url) if is_redis(url) else None

    @property
    def mailbox(self) -> Mailbox | None:
        """The broker's queue, where it can be looked into."""
        return None if self.broker is None else Mailbox(self.broker, self.settings.key_prefix)

    @cached_property
    def fleet(self) -> Fleet:
        return Fleet(self.client, self.settings.key_prefix)

    @property
    def destinations(self) -> tuple[str, ...]:
        return tuple(sorted(self.settings.destinations))

    def site(self, name: str) -> Site:
        if name not in self._sites:
            self._sites[name] = build_site(name, self.settings.destination(name), self.settings, self.client)
        return self._sites[name]

    def sites(self) -> Iterator[Site]:
        return map(self.site, self.destinations)

    def destination_of(self, lane: str) -> str:
        return lane.partition("+")[0]

    def lane(self, to: str | None, **options: Any) -> Lane:
        """The lane that a destination and its per-request options make. Raises `SettingError`."""
        name = self._default(to)
        config = self.settings.destination(name)
        given = {key: value for key, value in options.items() if value}
        if config.list_ids:
            given["list_ids"] = (*config.list_ids, *given.get("list_ids", ()))
        checked = self.site(name).provider.lane_options(**given)
        return Lane(lane_name(name, checked), name, checked)

    def lanes(
        self,
        to: str | list[str] | tuple[str, ...] | Mapping[str, Mapping[str, Any]] | None,
        list_ids: Sequence[str] = (),
    ) -> list[Lane]:
        """The lanes that are meant, one for each destination named."""
        if to is None or isinstance(to, str):
            return [self.lane(to, list_ids=list_ids)]
        if list_ids:
            raise SettingError("list_ids", "with several destinations, say which: to={'NAME': {'list_ids': [...]}}")
        options = to if isinstance(to, Mapping) else {name: {} for name in to}
        return [self.lane(name, **given) for name, given in options.items()]

    def caller(self, lane: Lane) -> Callable[[Append], Appended]:
        """How calls of the enqueue script for this lane are made."""
        store, replicas = self.site(lane.destination).store, self.settings.store_ack_replicas
        return lambda call: append(store, call, replicas)

    def async_caller(self, lane: Lane) -> Callable[[Append], Awaitable[Appended]]:
        """The same on a connection that belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = connect_async(self.settings.redis_url.get_secret_value())
        client, replicas = self._async_clients[loop], self.settings.store_ack_replicas
        base = self.site(lane.destination).store.keys.base
        return lambda call: append_async(client, base, call, replicas)

    async def aclose(self) -> None:
        """End the running event loop's connection; the next use makes a new one."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def door(
        self, lane: Lane, *, key: str | None = None, on_refused: Callable[[RefusedRecord], None] | None = None
    ) -> Door:
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise SettingError("key", f"must be text of 1 to {LONGEST_KEY} characters")
        limits = self.site(lane.destination).provider.limits(lane)
        return Door(lane, self._room(limits), self.settings.max_record_bytes, key, on_refused)

    def close(self) -> None:
        """End all connections; the next use makes new ones."""
        for site in self._sites.values():
            site.desk.courier.close()
        for name in ("client", "broker", "fleet"):
            made = self.__dict__.pop(name, None)
            if isinstance(made, Redis):
                made.close()
        self._sites.clear()

    def validate(self) -> None:
        """Make everything that settings can spoil, connecting to nothing. Raises `SettingError`."""
        for name in self.destinations:
            provider = self.site(name).provider
            try:
                lane = Lane(name, name, provider.lane_options(**lane_defaults(self.settings.destination(name))))
                provider.limits(lane)
            except SettingError as wrong:
                raise SettingError(f"destinations.{name}.{wrong.name}", wrong.problem) from None

    def check_schema(self) -> None:
        """Old and new workers must mean the same by the same keys. Raises `SettingError` if they do not."""
        name = f"{self.settings.key_prefix}:schema"
        if self.client.get(name) is None:  # a script, since a worker has to start with full memory too
            base = f"{self.settings.key_prefix}:"
            Store(self.client, Keys("", "")).run("write", "none", "SET", "schema", SCHEMA, "NX", base=base)
        found = int(self.client.get(name) or 0)
        if found != SCHEMA:
            raise SettingError(
                f"{ENV_PREFIX}KEY_PREFIX",
                f"the keys under it are of schema {found}, this program is of schema {SCHEMA}; "
                "stop the others first, or use another prefix",
            )

    def _room(self, limits: Limits) -> LaneRoom:
        return LaneRoom(
            self.settings.max_lane_bytes,
            round(self.settings.max_wait_s * 1000),
            limits.max_contacts,
            limits.max_bytes,
        )

    def _default(self, to: str | None) -> str:
        if to is not None:
            return to
        if len(self.destinations) != 1:
            there = ", ".join(self.destinations) or "none"
            raise SettingError("to", f"name a destination; there is: {there}")
        return self.destinations[0]


_made: dict[int, Wiring] = {}


def wired() -> Wiring:
    """This process's wiring."""
    found = _made.get(os.getpid())
    if found is None:
        found = Wiring(Settings.load())
        found.validate()
        install(found)
    return found


def install(parts: Wiring) -> None:
    """Make this the wiring of this process: for tests, and for programs that read their settings elsewhere."""
    _made.clear()
    _made[os.getpid()] = parts
