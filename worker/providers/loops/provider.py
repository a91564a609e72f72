"""Loops contacts: contacts in, request bytes out; reply in, verdict out. No connection, no clock.

    PUT  /v1/contacts/update                  one contact  ->  200 {"success": true, "id": "..."}
    GET  /v1/contacts/properties?list=custom  custom properties: [{"key", "label", "type"}]
    POST /v1/contacts/properties              {"name", "type"}
    GET  /v1/api-key                          whether the key is good

One contact a request: the vendor has no bulk route for contacts but a form on its web pages. The answer is final, so
there are no jobs and no error files. Omitted properties keep their values, null resets one.
Source: the official OpenAPI file (1.21.6) and the pages "Update a contact", "Contact properties" and "API
introduction", checked 2026-11-22.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import Prepared, SigningContext, Token
from contact_ingest.providers.credentials import UnknownFields, account_name, checked_key, checked_url
from contact_ingest.providers.http_status import AnswersAtOnce
from contact_ingest.providers.loops import contact, fields, replies
from contact_ingest.providers.loops.fields import MAX_CHARACTERS, fits

#: "10 requests per second per team"; more on request. Source: "API introduction", checked 2026-11-22.
RATES: Mapping[str, tuple[int, float]] = {"upsert": (10, 1.0)}
#: The limit is the team's, whatever the request: all of them count against one.
ENDPOINT = "upsert"
#: No limit for contacts is documented (4 MB is that of transactional mail). This is what a door takes by default.
MAX_BYTES = 1_000_000

_UPDATE = "/v1/contacts/update"
_PROPERTIES = "/v1/contacts/properties"


class Loops(AnswersAtOnce):
    """One API key of a Loops team. Keys of one team share its limit; which do cannot be told from them, so a team
    should be given one key here. `source` is written to each contact whose record names none, new or not."""

    identifiers: tuple[str, ...] = contact.IDENTIFIERS

    def __init__(
        self,
        *,
        api_key: SecretStr,
        base_url: str = "https://app.loops.so/api",
        unknown_fields: UnknownFields = "refuse",
        source: str = "",
        rates: Mapping[str, tuple[int, float]] | None = None,
    ) -> None:
        self._base_url = checked_url(base_url)
        if self._base_url.endswith("/v1"):
            raise SettingError("base_url", "must not end with /v1, which is part of every path")
        key = checked_key(api_key)
        if unknown_fields not in ("refuse", "drop", "create"):
            raise SettingError("unknown_fields", "must be refuse, drop or create")
        if not source.isprintable() or not fits(source):
            raise SettingError("source", f"must be plain text of at most {MAX_CHARACTERS} characters as JSON")
        self._key = SecretStr(key)
        self._unknown_fields = unknown_fields
        self._source = source
        self.rates: Mapping[str, tuple[int, float]] = dict(rates or RATES)
        self.account = account_name(self._base_url, key)

    def __repr__(self) -> str:
        return f"Loops({self.account})"

    @staticmethod
    def lane_options(**options: Any) -> dict[str, Any]:
        """None: what a contact joins is told contact by contact."""
        for name in options:
            if name == "list_ids":
                raise SettingError(name, "is not for Loops: put mailing_lists into each record, as {list id: true}")
            raise SettingError(name, "is not an option of a Loops lane; it takes none")
        return {}

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        """One contact, and nothing around it."""
        del lane
        return Limits(1, MAX_BYTES if max_bytes is None else min(MAX_BYTES, max_bytes), b"", b"")

    def prepare(self, raw: bytes, fields: FieldTable) -> Prepared:
        return contact.prepare(raw, fields, self._unknown_fields, self._source)

    def upsert(self, lane: Lane, rows: Sequence[bytes]) -> Request:
        del lane
        return self._request("PUT", _UPDATE, rows)

    def read_upsert(self, response: Response, now_s: float) -> Verdict:
        return replies.read_upsert(response, now_s)

    def find_rows(self, rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
        """Loops names nobody: there is one contact in a request."""
        del rows
        return [[] for _ in failed]

    def token_request(self) -> None:
        """Loops gives no tokens: the key goes with every request."""

    def read_token(self, response: Response) -> Token | Limited | Retry | Stop:
        del response
        raise AssertionError("Loops gives no tokens")

    def sign(self, request: Request, signing: SigningContext) -> Request:
        """With the key, but for a request to an address from outside."""
        del signing
        if request.public_only:
            return request
        return replace(request, headers={**request.headers, "authorization": f"Bearer {self._key.get_secret_value()}"})

    def probe(self) -> Request:
        return self._request("GET", "/v1/api-key")

    def definitions(self) -> Request:
        return self._request("GET", f"{_PROPERTIES}?list=custom")

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        """Of the reply to `probe` too: that is a table never fetched."""
        return replies.read_definitions(response, now_ms)

    def create_field(self, name: str, value: object) -> Request:
        """Raises `Refused` for a name or a value that Loops has no property for."""
        return self._request("POST", _PROPERTIES, [fields.definition(name, value)])

    def _request(self, method: str, path: str, body: Sequence[bytes] = ()) -> Request:
        headers = {"accept": "application/json"}
        if body:
            headers["content-type"] = "application/json"
        return Request(method, self._base_url + path, ENDPOINT, headers, body)
