"""The producer's side: `enqueue`, `aenqueue`, `cancel` and `aclose`, and the connections they use.

A producer needs Redis and the lane rules of a platform (options of a lane, size of a body). It needs no Celery and no
HTTP client, so nothing of those is imported here; the settings are imported by the first call. Records are gathered
into calls by `enqueue.py`.
"""

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, overload

from contact_ingest.errors import SettingError
from contact_ingest.model import arguments
from contact_ingest.model.lane import Lane, LaneName, lane_name
from contact_ingest.pipeline import enqueue as intake
from contact_ingest.pipeline.enqueue import EnqueueOptions, OnRefused, Receipt, Record, Records
from contact_ingest.providers import registry
from contact_ingest.providers.base import LaneRules
from contact_ingest.store import lanes as lane_store
from contact_ingest.store.integrity.epochs import check_receipt
from contact_ingest.store.integrity.install import register, register_async
from contact_ingest.store.keys import Keys
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply, LaneLimits
from contact_ingest.store.migrations import check_schema, check_schema_async
from contact_ingest.store.redis_server import Connections
from contact_ingest.store.scripts import Store

#: Several destinations: their names, or each with the options of its lane (`{"crm": {"list_ids": ["..."]}}`).
Several = list[str] | tuple[str, ...] | Mapping[str, Mapping[str, Any]]


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class DestinationSettings(Protocol):
    """What a producer reads of a destination's settings."""

    @property
    def platform(self) -> str: ...
    @property
    def account(self) -> dict[str, Any]: ...
    @property
    def list_ids(self) -> tuple[str, ...]: ...
    @property
    def lane(self) -> dict[str, Any]: ...
    def label(self, name: str, setting: str) -> str: ...


class ProducerSettings(Protocol):
    """What a producer reads of `config.settings.Settings`, which it does not import."""

    @property
    def redis_url(self) -> _Secret: ...
    @property
    def key_prefix(self) -> str: ...
    @property
    def max_wait_s(self) -> float: ...
    @property
    def max_body_bytes(self) -> int | None: ...
    @property
    def max_lane_bytes(self) -> int: ...
    @property
    def max_record_bytes(self) -> int: ...
    @property
    def store_ack_replicas(self) -> int: ...
    @property
    def destinations(self) -> Mapping[str, DestinationSettings]: ...
    def destination(self, name: str) -> DestinationSettings: ...


class Producer:
    """What one process needs to enqueue: connections to Redis, and the lane rules of its destinations."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.settings = settings
        self.connections = Connections(settings.redis_url.get_secret_value())
        self._lane_rules: dict[str, LaneRules] = {}
        #: Whether the keys are known to be of this release's schema: asked once a process, before the first call.
        self._schema_checked = False

    def enqueue(
        self,
        records: Records,
        lanes: Sequence[Lane],
        *,
        key: str | None = None,
        on_refused: OnRefused | None = None,
        wait_s: float = 0,
    ) -> list[Receipt]:
        """Put records into lanes; returns a receipt for each lane. See the function `enqueue`."""
        arguments.check_records(records)
        wait_s = arguments.check_wait_s(wait_s)
        calls = [(self.enqueue_options(lane, key=key, on_refused=on_refused), self.caller(lane)) for lane in lanes]
        return intake.enqueue(records, calls, wait_s)

    async def aenqueue(
        self,
        records: Records | AsyncIterable[Record],
        lanes: Sequence[Lane],
        *,
        key: str | None = None,
        on_refused: OnRefused | None = None,
        wait_s: float = 0,
    ) -> list[Receipt]:
        """The same for asyncio, on the running event loop's own connection."""
        arguments.check_records(records, takes_async=True)
        wait_s = arguments.check_wait_s(wait_s)
        calls = [
            (self.enqueue_options(lane, key=key, on_refused=on_refused), self.async_caller(lane)) for lane in lanes
        ]
        return await intake.aenqueue(records, calls, wait_s)

    def cancel(self, receipt: Receipt) -> int:
        """Discard the records of a receipt that still wait; returns how many that were. Raises `ForeignReceipt`."""
        if not isinstance(receipt, Receipt):
            several = ": cancel the receipt of each destination" if isinstance(receipt, Mapping) else ""
            raise TypeError(f"receipt must be the Receipt of an enqueue, not {type(receipt).__name__}{several}")
        store = self._store(LaneName(receipt.lane).destination)
        check_receipt(store, receipt.lane, receipt.ranges, receipt.epoch)
        return lane_store.cancel(store, receipt.lane, receipt.ranges)

    def lane(self, to: str | None, /, **options: Any) -> Lane:
        """The lane of a destination with these options: `lane("crm", list_ids=["..."])`. Every door comes through here.

        The settings' own options hold as well. The call's lists are joined beside those of the settings; any other
        option of the call takes the place of the settings' one. None stands for an option that the call leaves out.
        Raises `SettingError`."""
        name = self._default(to)
        config = self.settings.destination(name)
        given = {option: value for option, value in options.items() if value is not None}
        merged = {**config.lane, **given}
        if "self" in merged:  # Python's own word: the platform's method could not be called with it
            raise SettingError("self", "is not an option of a lane")
        lists = (*config.list_ids, *arguments.list_of(config.lane.get("list_ids")))
        lists += arguments.list_of(given.get("list_ids"))
        merged.pop("list_ids", None)
        checked = self.lane_rules(name).lane_options(**merged, **({"list_ids": lists} if lists else {}))
        return Lane(lane_name(name, checked), name, checked)

    def lanes(self, to: str | Several | None, list_ids: Sequence[str] = ()) -> list[Lane]:
        """The lanes that are meant, one for each destination named. Raises `SettingError`."""
        if to is None or isinstance(to, str):
            return [self.lane(to, list_ids=list_ids)]
        several = arguments.options_by_destination(to)
        if arguments.list_of(list_ids):
            raise SettingError("list_ids", "with several destinations, say which: to={'NAME': {'list_ids': [...]}}")
        return [self.lane(name, **given) for name, given in several.items()]

    def lane_rules(self, name: str) -> LaneRules:
        """The lane rules of a destination. Raises `SettingError`, with where the setting was given."""
        if name not in self._lane_rules:
            config = self.settings.destination(name)
            shared = self.settings.max_body_bytes
            given = {**config.account, **({} if shared is None else {"max_body_bytes": shared})}
            try:
                self._lane_rules[name] = registry.lane_rules(config.platform, **given)
            except SettingError as wrong:
                raise SettingError(label_of(name, config, wrong.name), wrong.problem) from None
        return self._lane_rules[name]

    def enqueue_options(
        self, lane: Lane, *, key: str | None = None, on_refused: OnRefused | None = None
    ) -> EnqueueOptions:
        """What stays the same from record to record of one enqueue. Raises `SettingError` for a key that is no text of
        1 to 200 characters, and for an `on_refused` that cannot be called."""
        arguments.check_key(key)
        arguments.check_callback(on_refused)
        limits = self.lane_rules(lane.destination).limits(lane)
        lane_limits = LaneLimits(
            self.settings.max_lane_bytes,
            round(self.settings.max_wait_s * 1000),
            limits.max_contacts,
            limits.max_bytes,
        )
        return EnqueueOptions(lane, lane_limits, self.settings.max_record_bytes, key, on_refused)

    def caller(self, lane: Lane) -> Callable[[EnqueueCall], EnqueueReply]:
        """What makes the calls of the enqueue script for this lane."""
        store, replicas = self._store(lane.destination), self.settings.store_ack_replicas

        def append(call: EnqueueCall) -> EnqueueReply:
            if not self._schema_checked:
                check_schema(self.connections.client, self.settings.key_prefix, tuple(self.settings.destinations))
                register(self.connections.client, self.settings.key_prefix, tuple(self.settings.destinations))
                self._schema_checked = True
            return lane_store.append(store, call, replicas)

        return append

    def async_caller(self, lane: Lane) -> Callable[[EnqueueCall], Awaitable[EnqueueReply]]:
        """The same on the connection that belongs to the running event loop."""
        client, replicas = self.connections.of_running_loop(), self.settings.store_ack_replicas
        keys = Keys(self.settings.key_prefix, lane.destination)

        async def append(call: EnqueueCall) -> EnqueueReply:
            if not self._schema_checked:
                await check_schema_async(client, self.settings.key_prefix, tuple(self.settings.destinations))
                await register_async(client, self.settings.key_prefix, tuple(self.settings.destinations))
                self._schema_checked = True
            return await lane_store.append_async(client, keys, call, replicas)

        return append

    async def aclose(self) -> None:
        """End the running event loop's connection; the next use makes a new one."""
        await self.connections.aclose()

    def close(self) -> None:
        """End the process's connection; the next use makes a new one."""
        self.connections.close()

    def validate(self) -> None:
        """Check the lane rules and the default lane of each destination; connect to nothing. Raises `SettingError`."""
        for name in sorted(self.settings.destinations):
            rules, lane = self.lane_rules(name), self.settings.destination(name).lane
            try:
                rules.limits(self.lane(name))
            except SettingError as wrong:
                place = f"lane.{wrong.name}" if wrong.name in lane else wrong.name
                raise SettingError(f"destinations.{name}.{place}", wrong.problem) from None

    def _store(self, destination: str) -> Store:
        return Store(self.connections.client, Keys(self.settings.key_prefix, destination))

    def _default(self, to: str | None) -> str:
        if to is not None:
            return to
        names = sorted(self.settings.destinations)
        if len(names) != 1:
            raise SettingError("to", f"name a destination; there is: {', '.join(names) or 'none'}")
        return names[0]


def label_of(name: str, config: DestinationSettings, setting: str) -> str:
    """Where a destination's setting was given: `max_body_bytes` is the one that all destinations share."""
    return "CONTACT_INGEST_MAX_BODY_BYTES" if setting == "max_body_bytes" else config.label(name, setting)


#: The producer of this process, by process id: after a fork the child makes its own, and shares no connection.
_made: dict[int, Producer] = {}


def current_producer() -> Producer:
    """The producer of this process, made from the settings at the first call. Raises `SettingError`."""
    found = _made.get(os.getpid())
    if found is None:
        # Imported here, because pydantic alone takes as long to import as all else together.
        found = Producer(import_module("contact_ingest.config.settings").Settings.load())
        found.validate()
        set_producer(found)
    return found


def set_producer(producer: Producer) -> None:
    """Make this the producer of this process. `engine.set_engine` does it too, with the engine's own."""
    _made.clear()
    _made[os.getpid()] = producer


@overload
def enqueue(
    records: Records,
    to: str | None = None,
    *,
    list_ids: Sequence[str] = ...,
    key: str | None = ...,
    on_refused: OnRefused | None = ...,
    wait_s: float = ...,
) -> Receipt: ...


@overload
def enqueue(
    records: Records,
    to: Several,
    *,
    key: str | None = ...,
    on_refused: OnRefused | None = ...,
    wait_s: float = ...,
) -> dict[str, Receipt]: ...


def enqueue(
    records: Records,
    to: str | Several | None = None,
    *,
    list_ids: Sequence[str] = (),
    key: str | None = None,
    on_refused: OnRefused | None = None,
    wait_s: float = 0,
) -> Receipt | dict[str, Receipt]:
    """Put a record, or an iterable of records of any length, into the lane of a destination, or of several.

        receipt = enqueue({"email": "ann@example.com", "first_name": "Ann"}, to="crm")
        receipt.accepted, list(receipt.record_ids)      # 1, ["crm:0"]

    `to` names the destination; it may be left out where there is only one. `list_ids` are lists that the contacts join.
    A list of destinations, or a mapping of each to the options of its lane (`{"crm": {"list_ids": [...]}}`), puts every
    record into all of them, and the answer maps each destination to its receipt.

    `key` makes the call idempotent for a day: the same key with the same records counts nothing twice, and other
    records under the key raise `IdempotencyKeyReused`. A record that breaks a rule is refused and listed in the
    receipt; `on_refused` is called with each `RefusedRecord`. `wait_s` is how many seconds this call may wait, in all,
    for room in the lane or for a Redis that does not answer; 0 waits for nothing. A repeat is the very same call, so a
    lost reply counts nothing twice.

    Raises `LaneFull`, `StoreUnavailable` or `IdempotencyKeyReused`, with the receipt so far and the position to go on
    from. Before anything is enqueued it raises `SettingError` for a wrong argument or setting, and `TypeError` where
    `records` are no records.
    """
    producer = current_producer()
    lanes = producer.lanes(to, list_ids)
    return _answer(to, lanes, producer.enqueue(records, lanes, key=key, on_refused=on_refused, wait_s=wait_s))


@overload
async def aenqueue(
    records: Records | AsyncIterable[Record],
    to: str | None = None,
    *,
    list_ids: Sequence[str] = ...,
    key: str | None = ...,
    on_refused: OnRefused | None = ...,
    wait_s: float = ...,
) -> Receipt: ...


@overload
async def aenqueue(
    records: Records | AsyncIterable[Record],
    to: Several,
    *,
    key: str | None = ...,
    on_refused: OnRefused | None = ...,
    wait_s: float = ...,
) -> dict[str, Receipt]: ...


async def aenqueue(
    records: Records | AsyncIterable[Record],
    to: str | Several | None = None,
    *,
    list_ids: Sequence[str] = (),
    key: str | None = None,
    on_refused: OnRefused | None = None,
    wait_s: float = 0,
) -> Receipt | dict[str, Receipt]:
    """`enqueue` for asyncio: it never blocks the event loop. It takes asynchronous iterables as well."""
    producer = current_producer()
    lanes = producer.lanes(to, list_ids)
    receipts = await producer.aenqueue(records, lanes, key=key, on_refused=on_refused, wait_s=wait_s)
    return _answer(to, lanes, receipts)


async def aclose() -> None:
    """End the connection that `aenqueue` keeps for the running event loop, when the application shuts down."""
    await current_producer().aclose()


def cancel(receipt: Receipt) -> int:
    """Discard the records of a receipt that still wait; returns how many that were. What is in flight goes on.

    Raises `ForeignReceipt`, and discards nothing, if the receipt's numbers belong to other records now."""
    return current_producer().cancel(receipt)


def _answer(
    to: str | Several | None, lanes: Sequence[Lane], receipts: Sequence[Receipt]
) -> Receipt | dict[str, Receipt]:
    if to is None or isinstance(to, str):
        return receipts[0]
    return {lane.destination: receipt for lane, receipt in zip(lanes, receipts, strict=True)}
