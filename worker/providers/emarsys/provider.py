"""Emarsys contacts: contacts in, request bytes out; reply in, verdict out. No connection, no clock.

    PUT  /v3/contact/?create_if_not_exists=1  {"key_id", "contact_list_id", "contacts": [...]}
                                              ->  200 {"replyCode": 0, "data": {"ids", "errors": {key: {code: text}}}}
    GET  /v3/field/translate/en               all fields: [{"id", "name", "application_type"}]
    POST /v3/field                            {"name", "application_type"}
    GET  /v3/settings                         whether the credentials are good

The same under /v2 with WSSE. The answer is final: there are no jobs and no error files. A contact is an object of field
numbers; omitted fields keep their values, empty text empties one. Consent (31) is sent only where the record gives it.
Sources: the official Swagger file of contacts, the official v2 and v3 Postman collections, the vendor's registry of
reply codes and its developer documentation; checked 2026-11-22.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import Prepared, SigningContext, Token
from contact_ingest.providers.credentials import account_name, checked_url
from contact_ingest.providers.emarsys import auth, contact, fields, replies
from contact_ingest.providers.emarsys.auth import TOKEN_URL, Credentials, Wsse
from contact_ingest.providers.emarsys.contact import Identity
from contact_ingest.providers.emarsys.fields import UnknownFields
from contact_ingest.providers.http_status import AnswersAtOnce
from contact_ingest.providers.refusal_text import kind_of

#: "Maximum batch size 1,000." Source: PUT /v2/contact of the official Swagger file, checked 2026-11-22.
MAX_CONTACTS = 1_000
#: "8 MB". Source: the same, checked 2026-11-22. Whether a megabyte is 1,000,000 bytes or more is not said: the smaller
#: one is safe.
MAX_BYTES = 8_000_000
#: What is sent unless told otherwise: 1 % below, as it is not said either what the limit counts beside the body.
DEFAULT_BYTES = 7_920_000
MIN_BYTES = 65_536
#: 1,000 requests a minute for each API user. Source: the vendor's guide on rate limits, as quoted by a public survey of
#: it, checked 2026-11-22.
RATES: Mapping[str, tuple[int, float]] = {"upsert": (1_000, 60.0)}
#: A reply may name every contact of a request, with a text for each; a list of fields may be long.
MAX_REPLY_BYTES = 8_000_000
BASE_URL = "https://api.emarsys.net/api"
MAX_LIST_ID = 2**53


class Emarsys(AnswersAtOnce):
    """One API user of an Emarsys account. Users have limits of their own."""

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
        base = checked_url(base_url)
        if base.endswith(("/v2", "/v3")):
            raise SettingError("base_url", "must end before /v2 or /v3, which follow from the credentials")
        if unknown_fields not in ("refuse", "drop", "create"):
            raise SettingError("unknown_fields", "must be refuse, drop or create")
        if not MIN_BYTES <= max_body_bytes <= MAX_BYTES:
            raise SettingError("max_body_bytes", f"must be {MIN_BYTES} to {MAX_BYTES}, not {max_body_bytes}")
        self._credentials = credentials
        self._url = f"{base}/{credentials.version}"
        self._identity = identity or Identity()
        self._unknown_fields = unknown_fields
        self._max_bytes = max_body_bytes
        #: Emarsys tells contacts apart by the key alone: other addresses and ids are values like any.
        self.identifiers: tuple[str, ...] = (self._identity.key_field,)
        self.rates: Mapping[str, tuple[int, float]] = dict(rates or RATES)
        self.account = account_name(self._url, credentials.user)

    def __repr__(self) -> str:
        return f"Emarsys({self.account})"

    @staticmethod
    def lane_options(**options: Any) -> dict[str, Any]:
        return lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        head: dict[str, Any] = {"key_id": self._identity.key_id}
        if "contact_list_id" in lane.options:
            head["contact_list_id"] = lane.options["contact_list_id"]
        cap = self._max_bytes if max_bytes is None else min(self._max_bytes, max_bytes)
        return Limits(MAX_CONTACTS, cap, orjson.dumps(head)[:-1] + b',"contacts":[', b"]}")

    def prepare(self, raw: bytes, fields: FieldTable) -> Prepared:
        return contact.prepare(raw, fields, self._identity, self._unknown_fields)

    def upsert(self, lane: Lane, rows: Sequence[bytes]) -> Request:
        limits = self.limits(lane)
        path = f"contact/?create_if_not_exists={1 if self._identity.creates else 0}"
        return self._request("PUT", path, "upsert", [limits.prefix, *rows, limits.suffix])

    def read_upsert(self, response: Response, now_s: float) -> Verdict:
        return replies.read_upsert(response, now_s, wsse=self._is_wsse)

    def find_rows(self, rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
        return contact.find_rows(rows, failed, self._identity)

    def token_request(self) -> Request | None:
        return self._credentials.token_request()

    def read_token(self, response: Response) -> Token | Limited | Retry | Stop:
        return auth.read_token(response)

    def sign(self, request: Request, signing: SigningContext) -> Request:
        return self._credentials.sign(request, signing)

    def probe(self) -> Request:
        return self._request("GET", "settings", "probe")

    def definitions(self) -> Request:
        return self._request("GET", "field/translate/en", "definitions")

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        """Of the reply to `probe` too: that is a table never fetched."""
        return replies.read_definitions(response, now_ms, wsse=self._is_wsse)

    def create_field(self, name: str, value: object) -> Request:
        """Raises `Refused` for a name or a value that Emarsys creates no field for."""
        return self._request("POST", "field", "create_field", [fields.definition(name, value)])

    @property
    def _is_wsse(self) -> bool:
        return isinstance(self._credentials, Wsse)

    def _request(self, method: str, path: str, endpoint: str, body: Sequence[bytes] = ()) -> Request:
        headers = {"accept": "application/json"}
        if body:
            headers["content-type"] = "application/json"
        return Request(method, f"{self._url}/{path}", endpoint, headers, body, max_reply_bytes=MAX_REPLY_BYTES)


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
    """An account from flat settings. Raises `SettingError` naming what is missing or wrong."""
    return Emarsys(
        credentials=auth.credentials(client_id, client_secret, username, secret, token_url),
        base_url=base_url,
        identity=Identity(key_field, external_id_field, source_id),
        unknown_fields=unknown_fields,
        max_body_bytes=max_body_bytes,
        rates=rates,
    )


def lane_options(**options: Any) -> dict[str, Any]:
    """What a lane may say: `contact_list_id`, the list that all its contacts join. Raises `SettingError`."""
    for name in options:
        if name in ("key_id", "key_field", "source_id"):
            raise SettingError(
                name, "is set for a destination, not for a lane: key_field, external_id_field, source_id"
            )
        if name != "contact_list_id":
            raise SettingError(name, "is not an option of an Emarsys lane; it takes contact_list_id")
    given = options.get("contact_list_id")
    if given is None:
        return {}
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 17:
        given = int(given)
    if type(given) is not int or not 1 <= given <= MAX_LIST_ID:
        raise SettingError("contact_list_id", f"must be the number of one contact list, not {_found(given)}")
    return {"contact_list_id": given}


def _found(value: object) -> str:
    return "another number" if type(value) is int else kind_of(value)
