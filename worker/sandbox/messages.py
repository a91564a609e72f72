"""One request and one reply as values, and the protocol of a platform's stand-in.

A stand-in is plain code from `Request` to `Reply`. The middleware has the connections, faults, limits and the journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request. `origin` is this server's address as the caller wrote it, such as `http://127.0.0.1:8025`."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    account: str
    origin: str


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """A reply. `contacts`, `job_id` and `note` go to the journal and are not sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    contacts: int = 0
    job_id: str = ""
    note: str = ""


class Rejected(Exception):  # noqa: N818 - a verdict on a request, not an accident
    """The request is refused with `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"rejected with {reply.status}")
        self.reply = reply


def json_reply(status: int, content: object) -> Reply:
    return Reply(status, orjson.dumps(content))


class Platform(Protocol):
    """A platform's rules and its contacts. All methods are called from one thread."""

    @property
    def default_account(self) -> str:
        """The name of the account that a request without an account of its own means."""
        ...

    def owns(self, path: str) -> bool:
        """Whether a path belongs to this platform."""
        ...

    def endpoint(self, method: str, path: str) -> str:
        """The name of a request's endpoint, such as `sendgrid.upsert`, for the journal and for the dial `faults_on`."""
        ...

    def limit(self, endpoint: str) -> str:
        """The name of the rate limit that an endpoint counts against, in the dial `limits`. Endpoints may share it."""
        ...

    def rate_headers(self, dialled: str) -> str:
        """The form of this platform's rate headers, given the position of the dial `rate_headers`."""
        ...

    def account(self, headers: Mapping[str, str]) -> str:
        """The name of the account that the headers mean; limits are counted for it."""
        ...

    def refuse_caller(self, request: Request) -> Reply | None:
        """The refusal of a caller without a valid key, or None. Called once a request, before the body is read."""
        ...

    def answer(self, request: Request) -> Reply:
        """Let the request take effect, and answer it."""
        ...

    def error_reply(self, status: int) -> Reply:
        """A reply with a status such as 401, 429 or 500, in this platform's form."""
        ...

    def advance(self) -> None:
        """Finish the jobs that have become due."""
        ...

    def contacts(self, account: str, after: int, limit: int) -> list[dict[str, Any]]:
        """The stored contacts with a number `n` above `after`, at most `limit`, in the order of their creation."""
        ...

    def counts(self) -> dict[str, int]:
        """This platform's share of /sandbox/totals."""
        ...

    def reset(self) -> None: ...
