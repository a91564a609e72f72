"""One request and one reply as values, and what a platform has to offer to be served here.

Platforms are plain code from `Call` to `Reply`; connections, faults, limits and the journal belong to the gate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """A request that has arrived in full. `origin` is this server's address as the caller wrote it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    account: str
    origin: str


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """What goes back. `contacts`, `job_id` and `note` are for the journal alone and never sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    contacts: int = 0
    job_id: str = ""
    note: str = ""


class Rejected(Exception):  # noqa: N818 - a verdict on a request, not an accident
    """A request is answered with `reply` and goes no further."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"rejected with {reply.status}")
        self.reply = reply


def json_reply(status: int, content: object) -> Reply:
    return Reply(status, orjson.dumps(content))


class Platform(Protocol):
    """A platform's rules and its state. All methods are called from one thread, with the clock given in Unix time."""

    @property
    def default_account(self) -> str: ...

    def owns(self, path: str) -> bool: ...

    def endpoint(self, method: str, path: str) -> str:
        """The name of what a request asks for: the journal has it, and faults are dialled by it."""
        ...

    def limit(self, endpoint: str) -> str:
        """The name of the rate limit that an endpoint counts against, alone or together with others. Limits are dialled
        by it."""
        ...

    def rate_headers(self, dialled: str) -> str:
        """How this platform writes where a limit stands, given what is dialled for those that leave it open."""
        ...

    def account(self, headers: Mapping[str, str]) -> str: ...

    def refuses(self, call: Call) -> Reply | None:
        """The refusal of a caller who may not come in at all. Asked once a request, before its body is there."""
        ...

    def answer(self, call: Call) -> Reply: ...

    def trouble(self, status: int) -> Reply:
        """A 401, 429 or 5xx in this platform's shape."""
        ...

    def advance(self) -> None:
        """Finish what has become due."""
        ...

    def contacts(self, account: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Stored contacts in the order of their creation, each with its number `n`, from `after` on (exclusive)."""
        ...

    def counts(self) -> dict[str, int]: ...

    def reset(self) -> None: ...
