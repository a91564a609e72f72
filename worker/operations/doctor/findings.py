"""`Finding`, the result of a check, and the parts of the engine that checks use.

The checks are in the files beside this one, by their subject.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from contact_ingest.config.settings import Settings
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.pipeline.exchange import Exchanger
from contact_ingest.providers.base import Provider
from contact_ingest.store.clock import Clock
from contact_ingest.store.failures import Failures
from contact_ingest.store.rate_limiter import CircuitBreaker
from contact_ingest.store.schedule import DestinationState, Schedule
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import GONE_S, BrokerQueue, WorkerInfo, Workers


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's output.

    `level` is ok, note (worth knowing, nothing to mend) or wrong. `about` names what was checked, `says` is the result,
    and `remedy` is what to do. Example: `wrong`, "appendfsync", "appendfsync is no: ...", "set `appendfsync everysec`".
    """

    level: Literal["ok", "note", "wrong"]
    about: str
    says: str
    remedy: str = ""


def ok(about: str, says: str = "") -> Finding:
    return Finding("ok", about, says)


def note(about: str, says: str, remedy: str = "") -> Finding:
    return Finding("note", about, says, remedy)


def wrong(about: str, says: str, remedy: str) -> Finding:
    return Finding("wrong", about, says, remedy)


class RuntimeProtocol(Protocol):
    """What checks use of `contact_ingest.engine.DestinationRuntime`, which is above this package."""

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Store: ...
    @property
    def provider(self) -> Provider: ...
    @property
    def field_mapping(self) -> FieldMapping: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def state(self) -> DestinationState: ...
    @property
    def exchanger(self) -> Exchanger: ...
    @property
    def failures(self) -> Failures: ...
    @property
    def breaker(self) -> CircuitBreaker: ...


class EngineProtocol(Protocol):
    """What checks use of `contact_ingest.engine.Engine`, which is above this package. `client` is the connection to the
    Redis of the lanes. `broker` is the connection to the broker, or None if the broker is no Redis."""

    @property
    def settings(self) -> Settings: ...
    @property
    def client(self) -> Any: ...
    @property
    def broker(self) -> Any: ...
    @property
    def broker_queue(self) -> BrokerQueue | None: ...
    @property
    def workers(self) -> Workers: ...
    def runtimes(self) -> Iterable[RuntimeProtocol]: ...
    def check_schema(self) -> None: ...


def live_workers(engine: EngineProtocol) -> list[WorkerInfo]:
    """The workers whose last heartbeat is less than `GONE_S` old."""
    return [member for member in engine.workers.members() if member.silent_s < GONE_S]
