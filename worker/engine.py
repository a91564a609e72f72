"""Joins the parts of one process: `Engine` for all of it, `DestinationRuntime` for each destination.

A process has one engine, made from the settings when it is first asked for. After a fork the child makes its own: no
connection is ever shared between processes. A process that only enqueues needs no engine (see pipeline/producer.py).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from redis import Redis

from contact_ingest.config.destinations import setting_names
from contact_ingest.config.redis_url import is_redis
from contact_ingest.config.settings import ENV_PREFIX, Destination, Settings
from contact_ingest.errors import SettingError
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.lane import Lane
from contact_ingest.model.record import CONSENT
from contact_ingest.operations.erase import DestinationEraser
from contact_ingest.pipeline.aggregate import Aggregator
from contact_ingest.pipeline.aggregate_lane import AggregationPolicy
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.pipeline.custom_fields import CustomFieldCache
from contact_ingest.pipeline.dispatch import Dispatcher
from contact_ingest.pipeline.exchange import Exchanger, Prober
from contact_ingest.pipeline.poll import Poller
from contact_ingest.pipeline.producer import Producer, label_of, set_producer
from contact_ingest.pipeline.retry import Retrier
from contact_ingest.pipeline.settle import Settler
from contact_ingest.providers import registry
from contact_ingest.providers.base import CustomFields, ImportJobs, Provider
from contact_ingest.store.account_cache import AccountCache
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.batches import BatchStore, LeasePolicy
from contact_ingest.store.clock import Clock
from contact_ingest.store.failures import Failures
from contact_ingest.store.integrity.install import register
from contact_ingest.store.keys import Keys
from contact_ingest.store.migrations import claim_schema
from contact_ingest.store.rate_limiter import CircuitBreaker, RateLimiter
from contact_ingest.store.redis_server import connect
from contact_ingest.store.schedule import DestinationState, Schedule
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import BrokerQueue, Workers
from contact_ingest.transport.auth import AuthenticatedClient
from contact_ingest.transport.client import HttpClient
from contact_ingest.transport.egress import Egress, Proxy, trusting

#: Exchanges at once for a destination, until the workers have registered how many tasks they run.
SLOTS = 8
#: Batches of a destination that may be packed and not yet settled, unless a setting says otherwise; more where the rate
#: limit lets more out.
OPEN_BATCHES = 64
#: How many batches aggregation makes before they can be sent: what goes out in this many seconds, but no more than so
#: many rows, and where bodies are large no more than so many bodies.
AHEAD_S = 10
ROWS_AHEAD = 32_000
LARGE_AHEAD = 16


@dataclass(frozen=True, slots=True)
class DestinationRuntime:
    """One destination, ready to work: its parts of the pipeline, and the store they stand on."""

    name: str
    store: Store
    provider: Provider
    clock: Clock
    schedule: Schedule
    state: DestinationState
    rate_limiter: RateLimiter
    breaker: CircuitBreaker
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


def build_runtime(name: str, config: Destination, settings: Settings, client: Redis) -> DestinationRuntime:
    """Join the parts of one destination."""
    provider = provider_of(name, config, settings)
    store = Store(client, Keys(settings.key_prefix, name))
    clock, schedule, state = Clock(store), Schedule(store), DestinationState(store)
    failures, mapping = Failures(store), _field_mapping(name, config)
    lease_ms, limits = round(settings.lease_s * 1000), _time_limits(settings)
    batch_store = BatchStore(store, LeasePolicy(lease_ms, limits.orphan_ms, SLOTS, settings.store_ack_replicas))
    rate_limiter = RateLimiter(
        store, provider.account, dict(provider.rates), lease_ms, round(settings.breaker_s * 1000)
    )
    breaker = CircuitBreaker(store, provider.account)
    http_client = HttpClient(deadline_s=settings.deadline_s, egress=egress_of(settings))
    exchanger = Exchanger(
        AuthenticatedClient(http_client, provider, store), rate_limiter, breaker, clock, schedule, settings.deadline_s
    )
    prober = Prober(exchanger, batch_store, provider, state)
    settler = Settler(batch_store, state, provider, mapping)
    with_fields = provider if isinstance(provider, CustomFields) else None
    cache, creates = AccountCache(store), config.unknown_fields == "create"
    custom_fields = CustomFieldCache(exchanger, batch_store, with_fields, state, cache, creates)
    with_jobs = provider if isinstance(provider, ImportJobs) else None
    poller = Poller(batch_store, with_jobs, exchanger, prober, settler, limits) if with_jobs else None
    policy = _aggregation_policy(name, provider, settings)
    return DestinationRuntime(
        name,
        store,
        provider,
        clock,
        schedule,
        state,
        rate_limiter,
        breaker,
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
    max_unsent, max_open = _max_unsent(name, provider), settings.max_open_batches
    return AggregationPolicy(
        max_wait_ms=round(settings.max_wait_s * 1000),
        max_unsent=max_unsent if max_open is None else min(max_unsent, max_open),
        max_open=max(OPEN_BATCHES, 2 * max_unsent) if max_open is None else max_open,
    )


def _max_unsent(name: str, provider: Provider) -> int:
    """Batches that may wait for dispatch: as many as the rate limit lets out in `AHEAD_S` seconds. Fewer large ones, to
    save memory."""
    most_rows = provider.limits(Lane.of(name, {})).max_contacts
    requests, seconds = provider.rates.get("upsert", (0, 0.0))
    sendable = math.ceil(AHEAD_S * requests / seconds) if requests else OPEN_BATCHES
    return max(1, min(sendable, max(LARGE_AHEAD, ROWS_AHEAD // most_rows)))


def provider_of(name: str, config: Destination, settings: Settings) -> Provider:
    """The provider of a destination. Raises `SettingError` with the destination's name in front."""
    own = registry.own_settings(config.platform) if config.platform in registry.platforms() else tuple(config.account)
    for setting in config.account:
        if setting not in own:
            there = ", ".join(setting_names(own))
            raise SettingError(config.label(name, setting), f"is not a setting of {config.platform}; there are {there}")
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
        raise SettingError(label_of(name, config, wrong.name), wrong.problem) from None


def egress_of(settings: Settings) -> Egress:
    """The way out to the platforms. Raises `SettingError`."""
    url, ca_file = settings.http_proxy, settings.ca_file
    proxy = None if url is None else Proxy.parse(f"{ENV_PREFIX}HTTP_PROXY", url.get_secret_value())
    return Egress(proxy, None if ca_file is None else trusting(f"{ENV_PREFIX}CA_FILE", ca_file))


def _field_mapping(name: str, config: Destination) -> FieldMapping:
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


class Engine:
    """All parts of one process. `producer` is what `enqueue` uses in a process that has an engine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.producer = Producer(settings)
        self._runtimes: dict[str, DestinationRuntime] = {}

    @cached_property
    def client(self) -> Redis:
        """The connection to the store, shared with the producer."""
        return self.producer.connections.client

    @cached_property
    def broker(self) -> Redis | None:
        """The connection to the broker's server, where that is a Redis too."""
        url = (self.settings.broker_url or self.settings.redis_url).get_secret_value()
        return connect(url) if is_redis(url) else None

    @property
    def broker_queue(self) -> BrokerQueue | None:
        """The broker's queue; None where the broker is no Redis and cannot be read."""
        return None if self.broker is None else BrokerQueue(self.broker, self.settings.key_prefix)

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.client, self.settings.key_prefix)

    @property
    def destinations(self) -> tuple[str, ...]:
        return tuple(sorted(self.settings.destinations))

    def runtime(self, name: str) -> DestinationRuntime:
        """A destination, made when it is first asked for. Raises `SettingError`."""
        if name not in self._runtimes:
            self._runtimes[name] = build_runtime(name, self.settings.destination(name), self.settings, self.client)
        return self._runtimes[name]

    def runtimes(self) -> Iterator[DestinationRuntime]:
        return map(self.runtime, self.destinations)

    def close(self) -> None:
        """End all connections; the next use makes new ones."""
        for runtime in self._runtimes.values():
            runtime.exchanger.http_client.close()
        for name in ("client", "broker", "workers"):
            made = self.__dict__.pop(name, None)
            if isinstance(made, Redis):
                made.close()
        self.producer.close()
        self._runtimes.clear()

    def validate(self) -> None:
        """Make everything that a setting can spoil, and connect to nothing. Raises `SettingError`."""
        for name in self.destinations:
            self.runtime(name)
        self.producer.validate()

    def check_schema(self) -> None:
        """Old and new workers must mean the same by the same keys. Raises `SettingError` if they do not."""
        claim_schema(self.client, self.settings.key_prefix, self.destinations)
        register(self.client, self.settings.key_prefix, self.destinations)


#: The engine of this process, by process id: after a fork the child makes its own.
_made: dict[int, Engine] = {}


def current_engine() -> Engine:
    """The engine of this process, made from the settings at the first call. Raises `SettingError`."""
    found = _made.get(os.getpid())
    if found is None:
        found = Engine(Settings.load())
        found.validate()
        set_engine(found)
    return found


def set_engine(engine: Engine) -> None:
    """Make this the engine of this process, and its producer the one that `enqueue` uses: for tests, and for programs
    that read their settings elsewhere."""
    _made.clear()
    _made[os.getpid()] = engine
    set_producer(engine.producer)
