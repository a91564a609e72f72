"""The platforms that the campaign knows, as their clients see them: addresses, credentials, limits and replies."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dialects import EMARSYS, LOOPS, SENDGRID, Dialect
from terms import KEY, MAX_BYTES


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform.

    `upsert` is how an upsert begins on the wire, `upsert_endpoint` its name in the sandbox's journal. `limits` are the
    sandbox's limits: fewer requests a second than there would be if nobody kept to them. `rate` is what the
    destination is told of it, empty where the platform's headers tell. `account` and `addresses` are settings of the
    destination; an address has the sandbox's address before it. `refusals` are bodies, with status 400 or 403, by
    which the platform itself refuses everything alike. `option` is the option of the second lane, empty if there is
    none. `has_jobs`: what is accepted is applied later, by a job that is asked about.
    """

    name: str
    dialect: Dialect
    upsert: bytes
    upsert_endpoint: str
    limits: Mapping[str, Mapping[str, float]]
    account: Mapping[str, str]
    addresses: Mapping[str, str]
    refusals: tuple[tuple[int, Any], ...]
    rate: tuple[int, float] | None = None
    max_bytes: int = MAX_BYTES
    max_contacts: int = 30_000
    option: str = ""
    has_jobs: bool = False

    @property
    def quotas(self) -> list[bytes]:
        """The replies of `refusals`, as bytes on the wire."""
        return [http_reply(status, json.dumps(body), "application/json") for status, body in self.refusals]

    def lane(self, list_id: str, *, listed: bool) -> dict[str, Any]:
        """The options of a call's lane."""
        if not listed or not self.option:
            return {}
        return {self.option: (list_id,) if self.option == "list_ids" else int(list_id)}

    def variables(self, url: str) -> dict[str, str]:
        """The destination as a worker's environment has it, with the sandbox at `url`."""
        settings = {**self.account, **{name: url + path for name, path in self.addresses.items()}}
        return {f"{self.name}_{name}".upper(): value for name, value in settings.items()}

    def file(self) -> str:
        """The destination as the configuration file has it: what no variable can say."""
        lines = [f"[destinations.{self.name}]", f'platform = "{self.name}"']
        if self.rate is not None:
            lines += [f"rate_limit = {self.rate[0]}", f"rate_window_s = {self.rate[1]}"]
        return "\n".join(lines) + "\n"


def http_reply(status: int, body: str, kind: str) -> bytes:
    """A whole reply on the wire, after which the connection is closed."""
    head = f"HTTP/1.1 {status} Refused\r\ncontent-type: {kind}\r\ncontent-length: {len(body.encode())}\r\n"
    return f"{head}connection: close\r\n\r\n{body}".encode()


def _limit(requests: int) -> dict[str, float]:
    return {"limit": requests, "window_s": 1}


SENDGRID_PLATFORM = Platform(
    "sendgrid",
    SENDGRID,
    b"PUT /v3/marketing/contacts ",
    "sendgrid.upsert",
    {"sendgrid.upsert": _limit(16), "sendgrid.imports": _limit(24)},
    {"api_key": KEY},
    {"base_url": ""},
    (
        (400, {"errors": [{"message": "contact limit of the plan exceeded", "field": None}]}),
        (400, {"errors": [{"message": "account is under review", "error_id": "e1"}]}),
    ),
    option="list_ids",
    has_jobs=True,
)
LOOPS_PLATFORM = Platform(
    "loops",
    LOOPS,
    b"PUT /api/v1/contacts/update ",
    "loops.update",
    {"loops": _limit(60)},
    {"api_key": "loops-campaign"},
    {"base_url": "/api"},
    (
        (400, {"success": False, "message": "Contact limit of the plan reached."}),
        (403, {"success": False, "message": "Your team is being reviewed."}),
    ),
    rate=(60, 1.0),
    max_contacts=1,
)
EMARSYS_PLATFORM = Platform(
    "emarsys",
    EMARSYS,
    b"PUT /api/v3/contact",
    "emarsys.contacts",
    {"emarsys": _limit(30), "emarsys.token": _limit(30)},
    {"client_id": "sandbox-client", "client_secret": "sandbox-secret"},
    {"base_url": "/api", "token_url": "/oauth2/token"},
    (
        (400, {"replyCode": 10001, "replyText": "Quota of contacts exceeded", "data": ""}),
        (400, {"replyCode": 1004, "replyText": "The account is being moved", "data": ""}),
    ),
    rate=(24, 1.0),
    max_contacts=1_000,
    option="contact_list_id",
)
PLATFORMS: Mapping[str, Platform] = {each.name: each for each in (SENDGRID_PLATFORM, LOOPS_PLATFORM, EMARSYS_PLATFORM)}
