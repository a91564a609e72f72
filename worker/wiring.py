"""Where the parts are joined: settings in, the rooms of every destination out.

One wiring a process, made when it is first asked for and made anew after a fork: no connection is ever shared between
processes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import orjson
from redis import Redis
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker import providers
from worker.addresses import check_redis_url, is_redis
from worker.aggregation import Aggregation, Pace
from worker.cutting import Cutting
from worker.definitions import Definitions
from worker.delivery import Delivery
from worker.errors import SettingError
from worker.intake import Door, RefusedRecord
from worker.packing import Limits
from worker.providers.base import Lane, Provider
from worker.replay import Replay
from worker.settings import ENV_PREFIX, Destination, Settings
from worker.settling import Desk, Policy
from worker.store.bench import Bench
from worker.store.failures import Failures
from worker.store.fleet import Fleet
from worker.store.keys import SCHEMA, Keys
from worker.store.ledger import Ledger, Terms
from worker.store.schedule import Schedule
from worker.store.scripts import PAUSES_S, Store, run_async
from worker.store.throttle import Throttle
from worker.store.waiting import Append, Appended, LaneRoom
from worker.tracking import Tracking
from worker.transport import Transport

#: Silent longer than this, Redis counts as gone for one call.
REDIS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Site:
    """One destination, ready to work."""

    name: str
    store: Store
    provider: Provider
    schedule: Schedule
    ledger: Ledger
    failures: Failures
    replay: Replay
    cutting: Cutting
    delivery: Delivery
    tracking: Tracking
    definitions: Definitions
    desk: Desk


class Wiring:
    """All parts of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sites: dict[str, Site] = {}
        self._transports: dict[str, Transport] = {}

    @cached_property
    def client(self) -> Redis:
        return connect(self.settings.redis_url.get_secret_value())

    @cached_property
    def broker(self) -> Redis | None:
        """The broker's server, where that is a Redis too."""
        url = (self.settings.broker_url or self.settings.redis_url).get_secret_value()
        return connect(url) if is_redis(url) else None

    @cached_property
    def fleet(self) -> Fleet:
        return Fleet(self.client, self.settings.key_prefix)

    @property
    def destinations(self) -> tuple[str, ...]:
        return tuple(sorted(self.settings.destinations))

    def site(self, name: str) -> Site:
        if name not in self._sites:
            self._sites[name] = self._build(name, self.settings.destination(name))
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

    def door(
        self, lane: Lane, *, key: str | None = None, on_refused: Callable[[RefusedRecord], None] | None = None
    ) -> Door:
        limits = self.site(lane.destination).provider.limits(lane)
        return Door(lane, self._room(limits), self.settings.max_record_bytes, key, on_refused)

    def close(self) -> None:
        """End all connections; the next use makes new ones."""
        for transport in self._transports.values():
            transport.close()
        for name in ("client", "broker", "fleet"):
            made = self.__dict__.pop(name, None)
            if isinstance(made, Redis):
                made.close()
        self._sites.clear()
        self._transports.clear()

    def validate(self) -> None:
        """Make everything that settings can spoil, connecting to nothing. Raises `SettingError`."""
        for name in self.destinations:
            provider = self.site(name).provider
            try:
                lane = Lane(name, name, provider.lane_options(**_lane_defaults(self.settings.destination(name))))
                provider.limits(lane)
            except SettingError as wrong:
                raise SettingError(f"destinations.{name}.{wrong.name}", wrong.problem) from None

    def check_schema(self) -> None:
        """Old and new workers must mean the same by the same keys. Raises `SettingError` if they do not."""
        name = f"{self.settings.key_prefix}:schema"
        self.client.set(name, SCHEMA, nx=True)
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

    def _build(self, name: str, config: Destination) -> Site:
        settings = self.settings
        provider = provider_of(name, config, settings)
        store = Store(self.client, Keys(settings.key_prefix, name))
        schedule = Schedule(store)
        lease_ms = round(settings.lease_s * 1000)
        ledger = Ledger(store, Terms(lease_ms, round(settings.orphan_wait_s * 1000), slots=8))
        throttle = Throttle(store, provider.account, dict(provider.rates), lease_ms)
        transport = self._transports.setdefault(name, Transport(deadline_s=settings.deadline_s))
        desk = Desk(ledger, schedule, throttle, transport, provider, _policy(settings))
        definitions = Definitions(desk, store)
        pace = Pace(max_wait_ms=round(settings.max_wait_s * 1000), max_open=settings.max_open_batches)
        aggregation = Aggregation(Bench(store), provider, pace)
        failures = Failures(store)
        return Site(
            name,
            store,
            provider,
            schedule,
            ledger,
            failures,
            Replay(failures),
            Cutting(aggregation, definitions, schedule),
            Delivery(desk),
            Tracking(desk),
            definitions,
            desk,
        )


def lane_name(destination: str, options: Mapping[str, Any]) -> str:
    """`newsletter`, or `newsletter+1f2e3d4c` where the lane has options of its own."""
    if not options:
        return destination
    text = orjson.dumps(dict(options), option=orjson.OPT_SORT_KEYS)
    return f"{destination}+{blake2b(text, digest_size=4).hexdigest()}"


def provider_of(name: str, config: Destination, settings: Settings) -> Provider:
    """The provider of a destination. Raises `SettingError` with the destination's name in front."""
    given: dict[str, Any] = {
        "api_key": config.api_key,
        "base_url": config.base_url,
        "on_behalf_of": config.on_behalf_of,
        "unknown_fields": config.unknown_fields,
    }
    if settings.max_body_bytes is not None:
        given["max_body_bytes"] = settings.max_body_bytes
    if config.rate_limit is not None or config.rate_window_s is not None:
        if config.rate_limit is None or config.rate_window_s is None:
            raise SettingError(f"destinations.{name}.rate_limit", "give rate_limit and rate_window_s together")
        given["rates"] = {"upsert": (config.rate_limit, config.rate_window_s)}
    try:
        return providers.build(config.platform, **given)
    except SettingError as wrong:
        shared = wrong.name == "max_body_bytes"
        label = f"{ENV_PREFIX}MAX_BODY_BYTES" if shared else f"destinations.{name}.{wrong.name}"
        raise SettingError(label, wrong.problem) from None


def _lane_defaults(config: Destination) -> dict[str, Any]:
    return {"list_ids": config.list_ids} if config.list_ids else {}


def connect(url: str) -> Redis:
    """A client whose silent repeats are off: scripts are repeated by those who know that it is safe."""
    check_redis_url("REDIS_URL", url)
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=5.0,
        socket_keepalive=True,
        health_check_interval=30,
        client_name="contact-ingest",
    )


def connect_async(url: str) -> aio.Redis:
    """The same for asyncio."""
    check_redis_url("REDIS_URL", url)
    return aio.Redis.from_url(
        url, retry=AsyncRetry(NoBackoff(), 0), socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=5.0
    )


@asynccontextmanager
async def aenqueue_call(parts: Wiring, lane: Lane) -> AsyncIterator[Callable[[Append], Awaitable[Appended]]]:
    """The enqueue script on an asyncio connection of its own, repeated by its call id when a reply is lost."""
    client = connect_async(parts.settings.redis_url.get_secret_value())
    base = Keys(parts.settings.key_prefix, lane.destination).base

    async def call(append: Append) -> Appended:
        for pause_s in PAUSES_S:
            try:
                return Appended.read(await run_async(client, "enqueue", base, append.arguments()))
            except (RedisConnectionError, RedisTimeoutError):
                await asyncio.sleep(pause_s)
        return Appended.read(await run_async(client, "enqueue", base, append.arguments()))

    try:
        yield call
    finally:
        await client.aclose()


def _policy(settings: Settings) -> Policy:
    return Policy(
        round(settings.retry_window_s * 1000),
        round(settings.poll_first_s * 1000),
        round(settings.poll_deadline_s * 1000),
        settings.deadline_s,
    )


_made: dict[int, Wiring] = {}


def wired() -> Wiring:
    """This process's wiring."""
    pid = os.getpid()
    if pid not in _made:
        parts = Wiring(Settings.load())
        parts.validate()
        install(parts)
    return _made[pid]


def install(parts: Wiring) -> None:
    """Make this the wiring of this process: for tests, and for programs that read their settings elsewhere."""
    _made.clear()
    _made[os.getpid()] = parts
