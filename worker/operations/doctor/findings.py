"""What a check finds, and what it may look at. The checks themselves are beside this file, by what they concern."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from contact_ingest.config.settings import Settings
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.pipeline.exchange import Exchanger
from contact_ingest.providers.base import Provider
from contact_ingest.store.rate_limiter import RateLimiter
from contact_ingest.store.schedule import Schedule
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import GONE_S, BrokerQueue, WorkerInfo, Workers


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `level`: ok; note (worth knowing, nothing to mend); wrong. `about` names what was looked
    at, `says` what was found there, `remedy` what to do."""

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


class Destination(Protocol):
    """A destination, ready to work."""

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Store: ...
    @property
    def provider(self) -> Provider: ...
    @property
    def field_mapping(self) -> FieldMapping: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def exchanger(self) -> Exchanger: ...
    @property
    def rate_limiter(self) -> RateLimiter: ...


class Install(Protocol):
    """The parts of a process. `client` and `broker` are connections to the servers of the lanes and of the bells."""

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
    def runtimes(self) -> Iterable[Destination]: ...
    def check_schema(self) -> None: ...


def alive(engine: Install) -> list[WorkerInfo]:
    """The workers that were heard of lately."""
    return [member for member in engine.workers.members() if member.silent_s < GONE_S]
