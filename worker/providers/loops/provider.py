"""Loops as a provider: core and custom fields (Loops calls them custom properties).

    PUT  /v1/contacts/update                  one contact  ->  200 {"success": true, "id": "..."}
    GET  /v1/contacts/properties?list=custom  custom properties: [{"key", "label", "type"}]
    POST /v1/contacts/properties              {"name", "type"}
    GET  /v1/api-key                          whether the key is good; the probe

One contact a request: Loops has no bulk route for contacts except a form on its web pages. The answer is final, so
there are no import jobs and no error files. A property that a contact omits keeps its value; null resets it.
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
from contact_ingest.model.verdicts import FieldTable, Healthy, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import CustomFields, Prepared, SigningContext, TableCells, UnknownFields
from contact_ingest.providers.base_url import BaseUrlRules
from contact_ingest.providers.credentials import account_name, checked_key, checked_policy
from contact_ingest.providers.loops import contact, fields, replies
from contact_ingest.providers.loops.fields import MAX_CHARACTERS, fits
from contact_ingest.providers.loops.request_limits import LoopsLaneRules

#: "10 requests per second per team"; more on request. Source: "API introduction", checked 2026-11-22.
RATES: Mapping[str, tuple[int, float]] = {"upsert": (10, 1.0)}
#: The limit is the team's, whatever the request: all requests count against this one.
ENDPOINT = "upsert"

#: Source: the page "API introduction", checked 2026-11-25. Some editions of the specification put `/v1` into the
#: address of the server instead of the paths.
BASE_URL = BaseUrlRules(
    hosts={"app.loops.so": "/api"},
    versions=frozenset({"v1"}),
    words=frozenset({"contacts", "lists", "api-key"}),
    strangers=dict.fromkeys(("loops.so", "www.loops.so"), "it serves pages only; write https://app.loops.so/api"),
)
_UPDATE = "/v1/contacts/update"
_PROPERTIES = "/v1/contacts/properties"


class Loops(CustomFields, TableCells):
    """One API key of a Loops team.

    The keys of a team share its limit, and no key tells its team: give a team one key here. `source` is written to each
    contact whose record names none, whether the contact is new or not.
    """

    identifiers: tuple[str, ...] = contact.IDENTIFIERS
    cell_kinds = fields.CELL_KINDS
    emptied: tuple[object, ...] = (None,)

    def __init__(
        self,
        *,
        api_key: SecretStr,
        base_url: str = "https://app.loops.so/api",
        unknown_fields: UnknownFields = "refuse",
        source: str = "",
        rates: Mapping[str, tuple[int, float]] | None = None,
    ) -> None:
        self._base_url = BASE_URL.checked(base_url)
        key = checked_key(api_key)
        self._unknown_fields = checked_policy(unknown_fields)
        if not source.isprintable() or not fits(source):
            raise SettingError("source", f"must be plain text of at most {MAX_CHARACTERS} characters as JSON")
        self._key = SecretStr(key)
        self._source = source
        self._lane_rules = LoopsLaneRules()
        self.rates: Mapping[str, tuple[int, float]] = dict(rates or RATES)
        self.account = account_name(self._base_url, key)

    def __repr__(self) -> str:
        return f"Loops({self.account})"

    def lane_options(self, **options: Any) -> dict[str, Any]:
        return self._lane_rules.lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        return self._lane_rules.limits(lane, max_bytes)

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

    def probe(self) -> Request:
        return self._request("GET", "/v1/api-key")

    def read_probe(self, response: Response, now_s: float) -> Healthy | Limited | Retry | Stop:
        return replies.read_probe(response, now_s)

    def sign(self, request: Request, signing: SigningContext) -> Request:
        """With the API key, except for an address that came from a reply."""
        del signing
        if request.public_only:
            return request
        return replace(request, headers={**request.headers, "authorization": f"Bearer {self._key.get_secret_value()}"})

    def definitions(self) -> Request:
        return self._request("GET", f"{_PROPERTIES}?list=custom")

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        return replies.read_definitions(response, now_ms)

    def create_field(self, name: str, value: object) -> Request:
        return self._request("POST", _PROPERTIES, [fields.definition(name, value)])

    def _request(self, method: str, path: str, body: Sequence[bytes] = ()) -> Request:
        headers = {"accept": "application/json"}
        if body:
            headers["content-type"] = "application/json"
        return Request(method, self._base_url + path, ENDPOINT, headers, body)
