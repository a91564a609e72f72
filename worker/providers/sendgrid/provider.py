"""SendGrid Marketing Contacts: contacts in, request bytes out; reply in, verdict out. No connection, no clock.

    PUT  /v3/marketing/contacts               {"list_ids": [...], "contacts": [...]}  ->  202 {"job_id": "..."}
    GET  /v3/marketing/contacts/imports/{id}  {"status": "...", "results": {counts, errors_url}}
    GET  /v3/marketing/field_definitions      custom field names, ids and types
    POST /v3/marketing/field_definitions      {"name", "field_type"}

A 202 means queued: a malformed contact is refused at once, with the whole request; what fails later is told by the
job. Custom fields are keyed by id, addresses are kept lower-case, omitted fields keep their values.
Source: the official OpenAPI files of Marketing Contacts and Custom Fields, checked 2026-11-22.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable, JobReport, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import Prepared, SigningContext, Token
from contact_ingest.providers.credentials import HEADER_TEXT, UnknownFields, account_name, checked_key, checked_url
from contact_ingest.providers.error_file import reader
from contact_ingest.providers.refusal_text import kind_of
from contact_ingest.providers.sendgrid import contact, replies
from contact_ingest.providers.sendgrid import fields as custom_fields
from contact_ingest.providers.sendgrid.rows import find_rows, known

#: "30,000 contacts or 6MB of data, whichever is lower." Source: PUT /v3/marketing/contacts, checked 2026-11-22.
#: Whether a megabyte is 1,000,000 or 1,048,576 bytes is not said: the smaller one is safe.
MAX_CONTACTS = 30_000
MAX_BYTES = 6_000_000
MIN_BYTES = 65_536
#: Leaves room for contacts in the smallest body. SendGrid names no limit.
MAX_LISTS = 1_000
#: The file of an import's errors may name every contact of a request; an upsert's refusal too.
MAX_ERROR_FILE_BYTES = 10_000_000
MAX_REFUSAL_BYTES = 8_000_000

_CONTACTS = "/v3/marketing/contacts"
_FIELDS = "/v3/marketing/field_definitions"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SendGrid:
    """One SendGrid account, or one subuser of it."""

    identifiers: tuple[str, ...] = contact.IDENTIFIERS

    def __init__(
        self,
        *,
        api_key: SecretStr,
        base_url: str = "https://api.sendgrid.com",
        on_behalf_of: str = "",
        unknown_fields: UnknownFields = "refuse",
        max_body_bytes: int = MAX_BYTES,
        rates: Mapping[str, tuple[int, float]] | None = None,
    ) -> None:
        self._base_url = checked_url(base_url)
        self._origin = _origin(self._base_url)
        key = checked_key(api_key)
        if on_behalf_of and not HEADER_TEXT.fullmatch(on_behalf_of):
            raise SettingError("on_behalf_of", "holds characters that no header can carry")
        if unknown_fields not in ("refuse", "drop", "create"):
            raise SettingError("unknown_fields", "must be refuse, drop or create")
        if not MIN_BYTES <= max_body_bytes <= MAX_BYTES:
            raise SettingError("max_body_bytes", f"must be {MIN_BYTES} to {MAX_BYTES}, not {max_body_bytes}")
        self._key = SecretStr(key)
        self._on_behalf_of = on_behalf_of
        self._unknown_fields = unknown_fields
        self._max_bytes = max_body_bytes
        self.rates: Mapping[str, tuple[int, float]] = dict(rates or {})
        self.account = account_name(self._base_url, key, on_behalf_of)

    def __repr__(self) -> str:
        return f"SendGrid({self.account})"

    @staticmethod
    def lane_options(**options: Any) -> dict[str, Any]:
        return lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        lists = lane.options.get("list_ids", ())
        head = b'"list_ids":%b,' % orjson.dumps(lists) if lists else b""
        cap = self._max_bytes if max_bytes is None else min(self._max_bytes, max_bytes)
        return Limits(MAX_CONTACTS, cap, b'{%b"contacts":[' % head, b"]}")

    def prepare(self, raw: bytes, fields: FieldTable) -> Prepared:
        return contact.prepare(raw, fields, self._unknown_fields)

    def upsert(self, lane: Lane, rows: Sequence[bytes]) -> Request:
        limits = self.limits(lane)
        return Request(
            method="PUT",
            url=self._base_url + _CONTACTS,
            endpoint="upsert",
            headers=self._headers(sends=True),
            body=[limits.prefix, *rows, limits.suffix],
            max_reply_bytes=MAX_REFUSAL_BYTES,
        )

    def read_upsert(self, response: Response, now_s: float) -> Verdict:
        return replies.read_upsert(response, now_s)

    def find_rows(self, rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
        return find_rows(rows, failed)

    def job(self, job: str) -> Request:
        return self._get(f"{_CONTACTS}/imports/{quote(job, safe='')}", "job")

    def read_job(self, response: Response, now_s: float) -> JobReport:
        return replies.read_job(response, now_s)

    def error_file(self, url: str) -> Request:
        """Without the key, whatever the host: the address comes from outside."""
        return Request(
            method="GET",
            url=url,
            endpoint="error_file",
            headers={"accept": "*/*"},
            public_only=True,
            max_reply_bytes=MAX_ERROR_FILE_BYTES,
            allowed_origin=self._origin,
        )

    def read_error_file(self, content: bytes, rows: Sequence[bytes]) -> list[RowError]:
        return reader.read(content, known(rows))

    def token_request(self) -> None:
        """SendGrid gives no tokens: the key goes with every request."""

    def read_token(self, response: Response) -> Token | Limited | Retry | Stop:
        del response
        raise AssertionError("SendGrid gives no tokens")

    def sign(self, request: Request, signing: SigningContext) -> Request:
        """With the key, but for a request to an address from outside."""
        del signing
        if request.public_only:
            return request
        return replace(request, headers={**request.headers, "authorization": f"Bearer {self._key.get_secret_value()}"})

    def probe(self) -> Request:
        return self.definitions()

    def definitions(self) -> Request:
        return self._get(_FIELDS, "definitions")

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        return replies.read_definitions(response, now_ms)

    def create_field(self, name: str, value: object) -> Request:
        """Raises `Refused` for a name or a value that SendGrid has no field for."""
        body = custom_fields.definition(name, value)
        return Request("POST", self._base_url + _FIELDS, "create_field", self._headers(sends=True), [body])

    def _get(self, path: str, endpoint: str) -> Request:
        return Request("GET", self._base_url + path, endpoint, self._headers(sends=False))

    def _headers(self, *, sends: bool) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if sends:
            headers["content-type"] = "application/json"
        if self._on_behalf_of:
            headers["on-behalf-of"] = self._on_behalf_of
        return headers


def lane_options(**options: Any) -> dict[str, Any]:
    """What a lane may say: `list_ids`, the lists that all its contacts join. Raises `SettingError`."""
    for name in options:
        if name != "list_ids":
            raise SettingError(name, "is not an option of a SendGrid lane; it takes list_ids")
    given = options.get("list_ids") or ()
    if not isinstance(given, list | tuple | set | frozenset):
        raise SettingError("list_ids", f"must be a list of list ids, not {kind_of(given)}")
    for place, item in enumerate(given, 1):
        if not isinstance(item, str) or not _UUID.fullmatch(item.lower()):
            raise SettingError("list_ids", f"item {place} is not a UUID like 00000000-0000-0000-0000-000000000000")
    lists = tuple(sorted({item.lower() for item in given}))
    if len(lists) > MAX_LISTS:
        raise SettingError("list_ids", f"has {len(lists)} lists, over the {MAX_LISTS} that fit a small body")
    return {"list_ids": lists} if lists else {}


def _origin(base_url: str) -> str:
    url = urlsplit(base_url)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
