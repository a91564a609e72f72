"""Where the parts are joined: settings in, the rooms of every destination out.

One wiring a process, made when it is first asked for and made anew after a fork: no connection is ever shared between
processes.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from redis import Redis
from redis import asyncio as aio

from contact_ingest.config.redis_url import is_redis
from contact_ingest.config.settings import ENV_PREFIX, Destination, Settings
from contact_ingest.errors import SettingError
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.lane import Lane, lane_name
from contact_ingest.model.record import CONSENT
from contact_ingest.operations.erase import DestinationEraser
from contact_ingest.packing.payload import Limits
from contact_ingest.pipeline.aggregate import Aggregator
from contact_ingest.pipeline.aggregate_lane import AggregationPolicy
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.pipeline.custom_fields import CustomFieldCache
from contact_ingest.pipeline.dispatch import Dispatcher
from contact_ingest.pipeline.enqueue import EnqueueOptions, RefusedRecord
from contact_ingest.pipeline.exchange import Exchanger, Prober
from contact_ingest.pipeline.poll import Poller
from contact_ingest.pipeline.retry import Retrier
from contact_ingest.pipeline.settle import Settler
from contact_ingest.providers import registry
from contact_ingest.providers.base import CustomFields, ImportJobs, Provider
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.batches import BatchStore, LeasePolicy
from contact_ingest.store.failures import Failures
from contact_ingest.store.keys import SCHEMA, Keys
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply, LaneLimits, append, append_async
from contact_ingest.store.rate_limiter import RateLimiter
from contact_ingest.store.redis_server import connect, connect_async
from contact_ingest.store.schedule import Schedule
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import BrokerQueue, Workers
from contact_ingest.transport.auth import AuthenticatedClient
from contact_ingest.transport.client import HttpClient

#: Exchanges under way at once for a destination, until the workers have said how many they are.
SLOTS = 8
#: How far a lane is cut ahead: seconds of sending; rows in all; and bodies, where they are large.
AHEAD_S = 10
ROWS_AHEAD = 32_000
LARGE_AHEAD = 16


@dataclass(frozen=True, slots=True)
class DestinationRuntime:
    """One destination, ready to work: its parts of the pipeline, and the store they stand on."""

    name: str
    store: Store
    provider: Provider
    schedule: Schedule
    batch_store: BatchStore
    failures: Failures
    retrier: Retrier
    eraser: DestinationEraser
    field_mapping: FieldMapping
    aggregator: Aggregator
    dispatcher: Dispatcher
    #: None for a platform without import jobs.
    poller: Poller | None
    custom_fields: CustomFieldCache
    exchanger: Exchanger

    @property
    def rate_limiter(self) -> RateLimiter:
        return self.exchanger.rate_limiter


def build_runtime(name: str, config: Destination, settings: Settings, client: Redis) -> DestinationRuntime:
    """Join the parts of one destination."""
    provider = provider_of(name, config, settings)
    store = Store(client, Keys(settings.key_prefix, name))
    schedule, failures, mapping = Schedule(store), Failures(store), _rules(name, config)
    lease_ms, limits = round(settings.lease_s * 1000), _time_limits(settings)
    batch_store = BatchStore(store, LeasePolicy(lease_ms, limits.orphan_ms, SLOTS, settings.store_ack_replicas))
    rate_limiter = RateLimiter(
        store, provider.account, dict(provider.rates), lease_ms, round(settings.breaker_s * 1000)
    )
    http_client = AuthenticatedClient(HttpClient(deadline_s=settings.deadline_s), provider, store)
    exchanger = Exchanger(http_client, rate_limiter, schedule, settings.deadline_s)
    prober = Prober(exchanger, batch_store, provider)
    settler = Settler(batch_store, schedule, provider.identifiers)
    with_fields = provider if isinstance(provider, CustomFields) else None
    custom_fields = CustomFieldCache(exchanger, batch_store, with_fields, store, config.unknown_fields == "create")
    with_jobs = provider if isinstance(provider, ImportJobs) else None
    poller = Poller(batch_store, with_jobs, exchanger, prober, settler, limits) if with_jobs else None
    policy = _aggregation_policy(name, provider, settings)
    return DestinationRuntime(
        name,
        store,
        provider,
        schedule,
        batch_store,
        failures,
        Retrier(failures),
        DestinationEraser(store, failures, mapping),
        mapping,
        Aggregator(AggregationStore(store), provider, mapping, policy, custom_fields, schedule),
        Dispatcher(batch_store, provider, exchanger, prober, settler, limits),
        poller,
        custom_fields,
        exchanger,
    )


def _aggregation_policy(name: str, provider: Provider, settings: Settings) -> AggregationPolicy:
    max_unsent = _max_unsent(name, provider, settings.max_open_batches)
    return AggregationPolicy(
        max_wait_ms=round(settings.max_wait_s * 1000),
        max_unsent=max_unsent,
        max_open=max(settings.max_open_batches, 2 * max_unsent),
    )


def _max_unsent(name: str, provider: Provider, max_open: int) -> int:
    """Batches that may wait for dispatch: what can be sent in about 10 seconds. Fewer large ones, to save memory."""
    most_rows = provider.limits(Lane.of(name, {})).max_contacts
    requests, seconds = provider.rates.get("upsert", (0, 0.0))
    sendable = math.ceil(AHEAD_S * requests / seconds) if requests else max_open
    return max(1, min(sendable, max(LARGE_AHEAD, ROWS_AHEAD // most_rows)))


def provider_of(name: str, config: Destination, settings: Settings) -> Provider:
    """The provider of a destination. Raises `SettingError` with the destination's name in front."""
    given = {**config.account, "unknown_fields": config.unknown_fields}
    if settings.max_body_bytes is not None and registry.takes(config.platform, "max_body_bytes"):
        given["max_body_bytes"] = settings.max_body_bytes
    if config.rate_limit is not None or config.rate_window_s is not None:
        if config.rate_limit is None or config.rate_window_s is None:
            raise SettingError(f"destinations.{name}.rate_limit", "give rate_limit and rate_window_s together")
        given["rates"] = {"upsert": (config.rate_limit, config.rate_window_s)}
    try:
        return registry.build(config.platform, **given)
    except SettingError as wrong:
        shared = wrong.name == "max_body_bytes"
        label = f"{ENV_PREFIX}MAX_BODY_BYTES" if shared else config.label(name, wrong.name)
        raise SettingError(label, wrong.problem) from None


def lane_defaults(config: Destination) -> dict[str, Any]:
    return {**config.lane, **({"list_ids": config.list_ids} if config.list_ids else {})}


def _rules(name: str, config: Destination) -> FieldMapping:
    for field in sorted(CONSENT & config.fields.constants.keys()):
        raise SettingError(f"destinations.{name}.fields.constants", f"{field} is consent: only a record may say it")
    return FieldMapping(config.fields.rename, config.fields.drop, config.fields.constants)


def _time_limits(settings: Settings) -> TimeLimits:
    return TimeLimits(
        retry_window_ms=round(settings.retry_window_s * 1000),
        poll_first_ms=round(settings.poll_first_s * 1000),
        poll_deadline_ms=round(settings.poll_deadline_s * 1000),
        orphan_ms=round(settings.orphan_wait_s * 1000),
        deadline_s=settings.deadline_s,
    )


__all__ = ["DestinationRuntime", "Engine", "current_engine", "set_engine"]


#: Longest name of an enqueue call: it is kept in Redis for a day.
LONGEST_KEY = 200


class Engine:
    """All parts of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._runtimes: dict[str, DestinationRuntime] = {}
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
    def broker_queue(self) -> BrokerQueue | None:
        """The broker's queue, where it can be looked into."""
        return None if self.broker is None else BrokerQueue(self.broker, self.settings.key_prefix)

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.client, self.settings.key_prefix)

    @property
    def destinations(self) -> tuple[str, ...]:
        return tuple(sorted(self.settings.destinations))

    def runtime(self, name: str) -> DestinationRuntime:
        if name not in self._runtimes:
            self._runtimes[name] = build_runtime(name, self.settings.destination(name), self.settings, self.client)
        return self._runtimes[name]

    def runtimes(self) -> Iterator[DestinationRuntime]:
        return map(self.runtime, self.destinations)

    def lane(self, to: str | None, **options: Any) -> Lane:
        """The lane that a destination and its per-request options make. Raises `SettingError`."""
        name = self._default(to)
        config = self.settings.destination(name)
        given = {key: value for key, value in options.items() if value}
        if config.list_ids:
            given["list_ids"] = (*config.list_ids, *given.get("list_ids", ()))
        checked = self.runtime(name).provider.lane_options(**given)
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

    def caller(self, lane: Lane) -> Callable[[EnqueueCall], EnqueueReply]:
        """How calls of the enqueue script for this lane are made."""
        store, replicas = self.runtime(lane.destination).store, self.settings.store_ack_replicas
        return lambda call: append(store, call, replicas)

    def async_caller(self, lane: Lane) -> Callable[[EnqueueCall], Awaitable[EnqueueReply]]:
        """The same on a connection that belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = connect_async(self.settings.redis_url.get_secret_value())
        client, replicas = self._async_clients[loop], self.settings.store_ack_replicas
        base = self.runtime(lane.destination).store.keys.base
        return lambda call: append_async(client, base, call, replicas)

    async def aclose(self) -> None:
        """End the running event loop's connection; the next use makes a new one."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def enqueue_options(
        self, lane: Lane, *, key: str | None = None, on_refused: Callable[[RefusedRecord], None] | None = None
    ) -> EnqueueOptions:
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise SettingError("key", f"must be text of 1 to {LONGEST_KEY} characters")
        limits = self.runtime(lane.destination).provider.limits(lane)
        return EnqueueOptions(lane, self._room(limits), self.settings.max_record_bytes, key, on_refused)

    def close(self) -> None:
        """End all connections; the next use makes new ones."""
        for runtime in self._runtimes.values():
            runtime.exchanger.http_client.close()
        for name in ("client", "broker", "workers"):
            made = self.__dict__.pop(name, None)
            if isinstance(made, Redis):
                made.close()
        self._runtimes.clear()

    def validate(self) -> None:
        """Make everything that settings can spoil, connecting to nothing. Raises `SettingError`."""
        for name in self.destinations:
            provider = self.runtime(name).provider
            try:
                lane = Lane.of(name, provider.lane_options(**lane_defaults(self.settings.destination(name))))
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

    def _room(self, limits: Limits) -> LaneLimits:
        return LaneLimits(
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


_made: dict[int, Engine] = {}


def current_engine() -> Engine:
    """This process's wiring."""
    found = _made.get(os.getpid())
    if found is None:
        found = Engine(Settings.load())
        found.validate()
        set_engine(found)
    return found


def set_engine(parts: Engine) -> None:
    """Make this the wiring of this process: for tests, and for programs that read their settings elsewhere."""
    _made.clear()
    _made[os.getpid()] = parts
