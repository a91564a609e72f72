"""Emarsys as a provider: core and custom fields, and access tokens with OAuth.

    PUT  /v3/contact/?create_if_not_exists=1  {"key_id", "contact_list_id", "contacts": [...]}
                                              ->  200 {"replyCode": 0, "data": {"ids", "errors": {key: {code: text}}}}
    GET  /v3/field/translate/en               all fields: [{"id", "name", "application_type"}]
    POST /v3/field                            {"name", "application_type"}
    GET  /v3/settings                         whether the credentials are good; the probe
    GET  /v3/contactlist                      the contact lists: [{"id", "name"}]; asked by the doctor

The same under /v2 with WSSE. The answer is final: there are no import jobs and no error files. A contact is an object
of field numbers. A field that a contact omits keeps its value; empty text empties it. Consent (field 31) is sent only
where the record gives it.
Sources: the official Swagger file of contacts, the official v2 and v3 Postman collections, the vendor's registry of
reply codes and its developer documentation; checked 2026-11-22.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable, Healthy, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import (
    AccountLists,
    CustomFields,
    FieldsInSettings,
    Prepared,
    SameFields,
    SigningContext,
    TableCells,
    Token,
    TokenAuth,
    UnknownFields,
)
from contact_ingest.providers.base_url import BaseUrlRules
from contact_ingest.providers.credentials import account_name, checked_policy
from contact_ingest.providers.emarsys import auth, contact, fields, replies
from contact_ingest.providers.emarsys.auth import TOKEN_URL, Credentials, OAuth, Wsse
from contact_ingest.providers.emarsys.identity import Identity
from contact_ingest.providers.emarsys.keys import find_written_otherwise
from contact_ingest.providers.emarsys.request_limits import DEFAULT_BYTES, EmarsysLaneRules

#: 1,000 requests a minute for each API user. Source: the vendor's guide on rate limits, as quoted by a public survey of
#: it, checked 2026-11-22.
RATES: Mapping[str, tuple[int, float]] = {"upsert": (1_000, 60.0)}
#: Largest reply that is read, in bytes: it may name every contact of a request, with a text for each; a list of fields
#: may be long as well.
MAX_REPLY_BYTES = 8_000_000
BASE_URL = "https://api.emarsys.net/api"
#: The version follows from the credentials. `www1` is the host of 2016, which some clients still have as their default.
#: Sources: the official v2 and v3 Postman collections, the vendor's notice on the successor; checked 2026-11-25.
BASE_URL_RULES = BaseUrlRules(
    hosts={"api.emarsys.net": "/api", "www1.emarsys.net": "/api"},
    versions=frozenset({"v2", "v3"}),
    words=frozenset({"contact", "contactlist", "field", "settings"}),
    strangers={"api.sap.emarsys.net": "SAP Engagement Cloud has another interface; write https://api.emarsys.net/api"},
)


class Emarsys(CustomFields, TableCells, SameFields, AccountLists, FieldsInSettings):
    """One API user of an Emarsys account. Users have limits of their own."""

    cell_kinds = fields.CELL_KINDS
    same_fields: Mapping[str, str] = fields.SAME_FIELDS
    emptied: tuple[object, ...] = ("",)

    def __init__(
        self,
        *,
        credentials: Credentials,
        base_url: str = BASE_URL,
        identity: Identity | None = None,
        unknown_fields: UnknownFields = "refuse",
        max_body_bytes: int = DEFAULT_BYTES,
        rates: Mapping[str, tuple[int, float]] | None = None,
    ) -> None:
        base = BASE_URL_RULES.checked(base_url)
        self._unknown_fields = checked_policy(unknown_fields)
        self._identity = identity or Identity()
        self._lane_rules = EmarsysLaneRules(identity=self._identity, max_body_bytes=max_body_bytes)
        self._credentials = credentials
        self._url = f"{base}/{credentials.version}"
        #: Emarsys tells contacts apart by the key alone: other addresses and ids are plain values.
        self.identifiers: tuple[str, ...] = (self._identity.key_field,)
        self.rates: Mapping[str, tuple[int, float]] = dict(rates or RATES)
        self.account = account_name(self._url, credentials.user)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.account})"

    def lane_options(self, **options: Any) -> dict[str, Any]:
        return self._lane_rules.lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        return self._lane_rules.limits(lane, max_bytes)

    def prepare(self, raw: bytes, fields: FieldTable) -> Prepared:
        return contact.prepare(raw, fields, self._identity, self._unknown_fields)

    def upsert(self, lane: Lane, rows: Sequence[bytes]) -> Request:
        limits = self.limits(lane)
        path = f"contact/?create_if_not_exists={1 if self._identity.creates else 0}"
        return self._request("PUT", path, "upsert", [limits.prefix, *rows, limits.suffix])

    def read_upsert(self, response: Response, now_s: float) -> Verdict:
        return replies.read_upsert(response, now_s, wsse=self._is_wsse)

    def find_rows(self, rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
        found = contact.find_rows(rows, failed, self._identity)
        if self._identity.key_field == "email":
            return found
        return find_written_otherwise(rows, failed, found, self._identity.key_id)

    def lists_of(self, options: Mapping[str, Any]) -> Mapping[str, Request]:
        given = options.get("contact_list_id")
        return {} if given is None else {str(given): self._request("GET", "contactlist", "lists")}

    def has_list(self, list_id: str, response: Response) -> bool | None:
        return replies.has_list(list_id, response)

    def missing_fields(self, fields: FieldTable) -> Mapping[str, str]:
        """`fields` finds system fields and own fields by number as well. `uid` and `id` are in no list of fields."""
        field = self._identity.external_id_field
        return {"external_id_field": field} if field.isdigit() and field not in fields.by_name else {}

    def probe(self) -> Request:
        return self._request("GET", "settings", "probe")

    def read_probe(self, response: Response, now_s: float) -> Healthy | Limited | Retry | Stop:
        return replies.read_probe(response, now_s, wsse=self._is_wsse)

    def sign(self, request: Request, signing: SigningContext) -> Request:
        return self._credentials.sign(request, signing)

    def definitions(self) -> Request:
        return self._request("GET", "field/translate/en", "definitions")

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        return replies.read_definitions(response, now_ms, wsse=self._is_wsse)

    def create_field(self, name: str, value: object) -> Request:
        return self._request("POST", "field", "create_field", [fields.definition(name, value)])

    @property
    def _is_wsse(self) -> bool:
        return isinstance(self._credentials, Wsse)

    def _request(self, method: str, path: str, endpoint: str, body: Sequence[bytes] = ()) -> Request:
        headers = {"accept": "application/json"}
        if body:
            headers["content-type"] = "application/json"
        return Request(method, f"{self._url}/{path}", endpoint, headers, body, max_reply_bytes=MAX_REPLY_BYTES)


class EmarsysOAuth(Emarsys, TokenAuth):
    """The same with OAuth2 client credentials, for which Emarsys gives access tokens."""

    def __init__(self, *, credentials: OAuth, **settings: Any) -> None:
        super().__init__(credentials=credentials, **settings)
        self._oauth = credentials

    def token_request(self) -> Request:
        return self._oauth.token_request()

    def read_token(self, response: Response) -> Token | Limited | Retry | Stop:
        return auth.read_token(response)


def account(*, credentials: Credentials, **settings: Any) -> Emarsys:
    """The provider that suits the credentials; `settings` are those of `Emarsys`. Raises `SettingError`."""
    if isinstance(credentials, OAuth):
        return EmarsysOAuth(credentials=credentials, **settings)
    return Emarsys(credentials=credentials, **settings)


def from_settings(  # noqa: PLR0913 - the settings of a destination, one by one, as they are written there
    *,
    client_id: SecretStr | None = None,
    client_secret: SecretStr | None = None,
    token_url: str = TOKEN_URL,
    username: SecretStr | None = None,
    secret: SecretStr | None = None,
    base_url: str = BASE_URL,
    key_field: str = "email",
    external_id_field: str = "",
    source_id: int | None = None,
    unknown_fields: UnknownFields = "refuse",
    max_body_bytes: int = DEFAULT_BYTES,
    rates: Mapping[str, tuple[int, float]] | None = None,
) -> Emarsys:
    """An account from a destination's flat settings. Raises `SettingError` that names what is missing or wrong."""
    return account(
        credentials=auth.credentials(client_id, client_secret, username, secret, token_url),
        base_url=base_url,
        identity=Identity(key_field, external_id_field, source_id),
        unknown_fields=unknown_fields,
        max_body_bytes=max_body_bytes,
        rates=rates,
    )
