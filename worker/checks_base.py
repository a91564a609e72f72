"""What a check finds, and what it may look at. The checks themselves are beside this file, by what they concern."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from worker.providers.base import Provider
from worker.rules import FieldRules
from worker.settings import Settings
from worker.settling import Desk
from worker.store.fleet import GONE_S, Fleet, Member
from worker.store.mailbox import Mailbox
from worker.store.schedule import Schedule
from worker.store.scripts import Store


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


class Place(Protocol):
    """A destination, ready to work."""

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Store: ...
    @property
    def provider(self) -> Provider: ...
    @property
    def rules(self) -> FieldRules: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def desk(self) -> Desk: ...


class Parts(Protocol):
    """The parts of a process. `client` and `broker` are connections to the servers of the lanes and of the bells."""

    @property
    def settings(self) -> Settings: ...
    @property
    def client(self) -> Any: ...
    @property
    def broker(self) -> Any: ...
    @property
    def mailbox(self) -> Mailbox | None: ...
    @property
    def fleet(self) -> Fleet: ...
    def sites(self) -> Iterable[Place]: ...
    def check_schema(self) -> None: ...


def alive(parts: Parts) -> list[Member]:
    """The workers that were heard of lately."""
    return [member for member in parts.fleet.members() if member.silent_s < GONE_S]
