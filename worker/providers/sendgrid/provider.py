"""SendGrid Marketing Contacts as a provider: core, import jobs and custom fields.

    PUT  /v3/marketing/contacts               {"list_ids": [...], "contacts": [...]}  ->  202 {"job_id": "..."}
    GET  /v3/marketing/contacts/imports/{id}  {"status": "...", "results": {counts, errors_url}}
    GET  /v3/marketing/field_definitions      custom field names, ids and types; the probe too
    POST /v3/marketing/field_definitions      {"name", "field_type"}
    GET  /v3/marketing/lists/{id}             whether the account has a list; asked by the doctor

A 202 means queued. SendGrid refuses a malformed contact at once, together with the whole request; the job tells what
failed later. Contacts carry custom fields by id. SendGrid keeps addresses in lower case. A field that a contact omits
keeps its value.
Source: the official OpenAPI files of Marketing Contacts and Custom Fields, checked 2026-11-22.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable, Healthy, JobReport, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import (
    AccountLists,
    CustomFields,
    ImportJobs,
    Prepared,
    SameFields,
    SigningContext,
    TableCells,
    UnknownFields,
)
from contact_ingest.providers.base_url import BaseUrlRules
from contact_ingest.providers.credentials import HEADER_TEXT, account_name, checked_key, checked_policy
from contact_ingest.providers.error_file import reader
from contact_ingest.providers.sendgrid import contact, replies
from contact_ingest.providers.sendgrid import fields as custom_fields
from contact_ingest.providers.sendgrid.request_limits import MAX_BYTES, SendGridLaneRules
from contact_ingest.providers.sendgrid.rows import find_rows, known

#: Largest replies that are read, in bytes. The error file of an import may name every contact of a request, and so may
#: the refusal of an upsert.
MAX_ERROR_FILE_BYTES = 10_000_000
MAX_REFUSAL_BYTES = 8_000_000

#: The global host, and the one of subusers in Europe. Source: the server lists of the official OpenAPI files,
#: checked 2026-11-25.
BASE_URL = BaseUrlRules(
    hosts={"api.sendgrid.com": "", "api.eu.sendgrid.com": ""},
    versions=frozenset({"v3"}),
    words=frozenset({"marketing", "contactdb"}),
    strangers=dict.fromkeys(
        ("sendgrid.com", "www.sendgrid.com", "app.sendgrid.com"),
        "it serves pages only; write https://api.sendgrid.com",
    ),
)
_CONTACTS = "/v3/marketing/contacts"
_FIELDS = "/v3/marketing/field_definitions"
_LISTS = "/v3/marketing/lists"


class SendGrid(ImportJobs, CustomFields, TableCells, SameFields, AccountLists):
    """One SendGrid account, or one subuser of it (`on_behalf_of`)."""

    identifiers: tuple[str, ...] = contact.IDENTIFIERS
    cell_kinds = custom_fields.CELL_KINDS
    same_fields: Mapping[str, str] = contact.SAME_FIELDS
    emptied: tuple[object, ...] = ()

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
        self._base_url = BASE_URL.checked(base_url)
        self._origin = _origin(self._base_url)
        key = checked_key(api_key)
        if on_behalf_of and not HEADER_TEXT.fullmatch(on_behalf_of):
            raise SettingError("on_behalf_of", "holds characters that no header can carry")
        self._unknown_fields = checked_policy(unknown_fields)
        self._lane_rules = SendGridLaneRules(max_body_bytes=max_body_bytes)
        self._key = SecretStr(key)
        self._on_behalf_of = on_behalf_of
        self.rates: Mapping[str, tuple[int, float]] = dict(rates or {})
        self.account = account_name(self._base_url, key, on_behalf_of)

    def __repr__(self) -> str:
        return f"SendGrid({self.account})"

    def lane_options(self, **options: Any) -> dict[str, Any]:
        return self._lane_rules.lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        return self._lane_rules.limits(lane, max_bytes)

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

    def lists_of(self, options: Mapping[str, Any]) -> Mapping[str, Request]:
        return {list_id: self._get(f"{_LISTS}/{list_id}", "lists") for list_id in options.get("list_ids", ())}

    def has_list(self, list_id: str, response: Response) -> bool | None:
        return replies.has_list(list_id, response)

    def probe(self) -> Request:
        return self.definitions()

    def read_probe(self, response: Response, now_s: float) -> Healthy | Limited | Retry | Stop:
        read = replies.read_definitions(response, round(now_s * 1000))
        return Healthy() if isinstance(read, FieldTable) else read

    def sign(self, request: Request, signing: SigningContext) -> Request:
        """With the API key, except for an address that came from a reply."""
        del signing
        if request.public_only:
            return request
        return replace(request, headers={**request.headers, "authorization": f"Bearer {self._key.get_secret_value()}"})

    def job(self, job: str) -> Request:
        return self._get(f"{_CONTACTS}/imports/{quote(job, safe='')}", "job")

    def read_job(self, response: Response, now_s: float) -> JobReport:
        return replies.read_job(response, now_s)

    def error_file(self, url: str) -> Request:
        """Without the API key, whatever the host: the address came from a reply."""
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

    def definitions(self) -> Request:
        return self._get(_FIELDS, "definitions")

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        return replies.read_definitions(response, now_ms)

    def create_field(self, name: str, value: object) -> Request:
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


def _origin(base_url: str) -> str:
    """Scheme, host and port, such as `https://api.sendgrid.com:443`."""
    url = urlsplit(base_url)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
