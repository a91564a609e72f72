"""One destination, ready to work: its parts, joined from its configuration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from redis import Redis

from worker import providers
from worker.aggregation import Aggregation
from worker.contact import CONSENT
from worker.courier import Courier
from worker.definitions import Definitions
from worker.delivery import Delivery
from worker.erasure import Erasure
from worker.errors import SettingError
from worker.providers.base import Lane, Provider
from worker.replay import Replay
from worker.rounds import Pace
from worker.rules import FieldRules
from worker.settings import ENV_PREFIX, Destination, Settings
from worker.settling import Desk, Policy
from worker.store.bench import Bench
from worker.store.failures import Failures
from worker.store.keys import Keys
from worker.store.ledger import Ledger, Terms
from worker.store.schedule import Schedule
from worker.store.scripts import Store
from worker.store.throttle import Throttle
from worker.tracking import Tracking
from worker.transport import Transport

#: Exchanges under way at once for a destination, until the workers have said how many they are.
SLOTS = 8
#: How far a lane is cut ahead: seconds of sending; rows in all; and bodies, where they are large.
AHEAD_S = 10
ROWS_AHEAD = 32_000
LARGE_AHEAD = 16


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
    erasure: Erasure
    rules: FieldRules
    aggregation: Aggregation
    delivery: Delivery
    tracking: Tracking
    definitions: Definitions
    desk: Desk


def build_site(name: str, config: Destination, settings: Settings, client: Redis) -> Site:
    """Join the parts of one destination."""
    provider = provider_of(name, config, settings)
    store = Store(client, Keys(settings.key_prefix, name))
    schedule = Schedule(store)
    lease_ms = round(settings.lease_s * 1000)
    orphan_ms = round(settings.orphan_wait_s * 1000)
    ledger = Ledger(store, Terms(lease_ms, orphan_ms, SLOTS, settings.store_ack_replicas))
    throttle = Throttle(store, provider.account, dict(provider.rates), lease_ms, round(settings.breaker_s * 1000))
    transport = Transport(deadline_s=settings.deadline_s)
    desk = Desk(ledger, schedule, throttle, Courier(transport, provider, store), provider, _policy(settings))
    definitions = Definitions(desk, store, creates=config.unknown_fields == "create")
    pace = Pace(
        max_wait_ms=round(settings.max_wait_s * 1000),
        ahead=_ahead(provider, settings.max_open_batches),
        max_open=max(settings.max_open_batches, 2 * _ahead(provider, settings.max_open_batches)),
    )
    rules = _rules(name, config)
    aggregation = Aggregation(Bench(store), provider, rules, pace, definitions, schedule)
    failures = Failures(store)
    return Site(
        name,
        store,
        provider,
        schedule,
        ledger,
        failures,
        Replay(failures),
        Erasure(store, failures, rules),
        rules,
        aggregation,
        Delivery(desk),
        Tracking(desk),
        definitions,
        desk,
    )


def _ahead(provider: Provider, max_open: int) -> int:
    """Bodies cut ahead of the sender: what it can send in about 10 seconds. Large bodies: fewer, for memory's sake."""
    most_rows = provider.limits(Lane("", "")).max_contacts
    requests, seconds = provider.rates.get("upsert", (0, 0.0))
    sendable = math.ceil(AHEAD_S * requests / seconds) if requests else max_open
    return max(1, min(sendable, max(LARGE_AHEAD, ROWS_AHEAD // most_rows)))


def lane_name(destination: str, options: Mapping[str, Any]) -> str:
    """`newsletter`, or `newsletter+1f2e3d4c` where the lane has options of its own."""
    if not options:
        return destination
    text = orjson.dumps(dict(options), option=orjson.OPT_SORT_KEYS)
    return f"{destination}+{blake2b(text, digest_size=4).hexdigest()}"


def provider_of(name: str, config: Destination, settings: Settings) -> Provider:
    """The provider of a destination. Raises `SettingError` with the destination's name in front."""
    given = {**config.account, "unknown_fields": config.unknown_fields}
    if settings.max_body_bytes is not None and providers.takes(config.platform, "max_body_bytes"):
        given["max_body_bytes"] = settings.max_body_bytes
    if config.rate_limit is not None or config.rate_window_s is not None:
        if config.rate_limit is None or config.rate_window_s is None:
            raise SettingError(f"destinations.{name}.rate_limit", "give rate_limit and rate_window_s together")
        given["rates"] = {"upsert": (config.rate_limit, config.rate_window_s)}
    try:
        return providers.build(config.platform, **given)
    except SettingError as wrong:
        shared = wrong.name == "max_body_bytes"
        label = f"{ENV_PREFIX}MAX_BODY_BYTES" if shared else config.label(name, wrong.name)
        raise SettingError(label, wrong.problem) from None


def lane_defaults(config: Destination) -> dict[str, Any]:
    return {**config.lane, **({"list_ids": config.list_ids} if config.list_ids else {})}


def _rules(name: str, config: Destination) -> FieldRules:
    for field in sorted(CONSENT & config.fields.constants.keys()):
        raise SettingError(f"destinations.{name}.fields.constants", f"{field} is consent: only a record may say it")
    return FieldRules(config.fields.rename, config.fields.drop, config.fields.constants)


def _policy(settings: Settings) -> Policy:
    return Policy(
        round(settings.retry_window_s * 1000),
        round(settings.poll_first_s * 1000),
        round(settings.poll_deadline_s * 1000),
        settings.deadline_s,
    )
