"""SendGrid's endpoints: their paths and limits, the check of the key, and the code that answers each."""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from contact_ingest.sandbox.dials import Dials
from contact_ingest.sandbox.messages import Rejected, Reply, Request, json_reply
from contact_ingest.sandbox.random_source import RandomSource
from contact_ingest.sandbox.sendgrid.accounts import MAIN, Account, Accounts, account_name
from contact_ingest.sandbox.sendgrid.bodies import require_json
from contact_ingest.sandbox.sendgrid.dials import SendGridDials
from contact_ingest.sandbox.sendgrid.error_file import ERROR_FILE_FOLDER, ErrorFiles
from contact_ingest.sandbox.sendgrid.fields import create_field, list_fields
from contact_ingest.sandbox.sendgrid.jobs import Jobs
from contact_ingest.sandbox.sendgrid.lists import create_list, list_lists, read_list
from contact_ingest.sandbox.sendgrid.replies import refusal, unknown_path
from contact_ingest.sandbox.sendgrid.rules import check_lists, read_upsert
from contact_ingest.sandbox.sendgrid.search import search_emails, search_identifiers

UPSERT, IMPORTS, FIELDS = "sendgrid.upsert", "sendgrid.imports", "sendgrid.fields"
LISTS, SEARCH = "sendgrid.lists", "sendgrid.search"
ERROR_FILE, UNKNOWN = "sendgrid.error_file", "sendgrid.unknown"

#: (requests, seconds). 600 and 200 were seen live at similar endpoints; no number is published.
LIMITS = {UPSERT: (600, 60.0), IMPORTS: (600, 60.0), FIELDS: (600, 60.0), LISTS: (600, 60.0), SEARCH: (200, 60.0)}
ENDPOINTS = frozenset({*LIMITS, ERROR_FILE})

_PATHS = {
    UPSERT: re.compile("/v3/marketing/contacts"),
    IMPORTS: re.compile("/v3/marketing/contacts/imports/([^/]+)"),
    FIELDS: re.compile("/v3/marketing/field_definitions"),
    LISTS: re.compile("/v3/marketing/lists(?:/([^/]+))?"),
    SEARCH: re.compile("/v3/marketing/contacts/search/(emails|identifiers/([^/]+))"),
    ERROR_FILE: re.compile(re.escape(ERROR_FILE_FOLDER) + ".+"),
}
_METHODS = {UPSERT: {"PUT"}, IMPORTS: {"GET"}, FIELDS: {"GET", "POST"}, LISTS: {"GET", "POST"}, SEARCH: {"POST"}}


class SendGrid:
    """A `Platform`: what api.sendgrid.com does for marketing contacts, as far as the sandbox knows it."""

    default_account = MAIN

    def __init__(self, dials: Dials, random_source: RandomSource, keys: frozenset[str]) -> None:
        self._all_dials = dials
        self._keys = keys
        self._accounts = Accounts()
        self._files = ErrorFiles()
        self._jobs = Jobs(random_source, self._files)

    @property
    def _dials(self) -> SendGridDials:
        return self._all_dials.group(SendGridDials)

    def owns(self, path: str) -> bool:
        return path.startswith(("/v3/", ERROR_FILE_FOLDER))

    def endpoint(self, method: str, path: str) -> str:
        found = next((name for name, pattern in _PATHS.items() if pattern.fullmatch(path)), UNKNOWN)
        return found if method in _METHODS.get(found, {"GET"}) else UNKNOWN

    def account(self, headers: Mapping[str, str]) -> str:
        return account_name(headers.get("on-behalf-of", ""))

    def limit(self, endpoint: str) -> str:
        return endpoint

    def rate_headers(self, dialled: str) -> str:
        return dialled

    def refuse_caller(self, request: Request) -> Reply | None:
        if self.endpoint(request.method, request.path) == ERROR_FILE:
            return None
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        accepted = key in self._keys if self._keys else len(key) > len("SG.") and key.startswith("SG.")
        return None if scheme == "Bearer" and accepted else refusal(401)

    def error_reply(self, status: int) -> Reply:
        return refusal(status)

    def answer(self, request: Request) -> Reply:
        endpoint = self.endpoint(request.method, request.path)
        if endpoint == ERROR_FILE:
            return self._files.fetch(request.path, request.headers, self._dials)
        if request.path.endswith("/"):
            return unknown_path("400")
        if endpoint == UNKNOWN:
            known = any(pattern.fullmatch(request.path) for pattern in _PATHS.values())
            return refusal(405) if known else unknown_path(self._dials.unknown_path)
        try:
            return self._route(endpoint, request, self._accounts[request.account])
        except Rejected as rejected:
            return rejected.reply

    def _route(self, endpoint: str, request: Request, account: Account) -> Reply:
        match = _PATHS[endpoint].fullmatch(request.path)
        assert match
        if endpoint == UPSERT:
            return self._upsert(request, account)
        if endpoint == IMPORTS:
            return self._jobs.status(match[1], account, request.origin, self._dials)
        if endpoint == FIELDS:
            return (
                create_field(account, request, self._dials)
                if request.method == "POST"
                else list_fields(account, request, self._dials)
            )
        if endpoint == SEARCH:
            return self._search(match[2], request, account)
        return self._lists(match[1], request, account)

    def _lists(self, list_id: str | None, request: Request, account: Account) -> Reply:
        if list_id is not None:
            return read_list(account, request, list_id) if request.method == "GET" else refusal(405)
        return list_lists(account, request) if request.method == "GET" else create_list(account, request)

    def _search(self, kind: str | None, request: Request, account: Account) -> Reply:
        if kind is None:
            return search_emails(account, request, self._dials)
        return search_identifiers(account, request, kind, self._dials)

    def _upsert(self, request: Request, account: Account) -> Reply:
        require_json(request)
        kinds = account.usable_kinds(time.monotonic(), self._dials)
        upsert = read_upsert(request.body, self._all_dials.traffic.hidden_byte_cap, kinds, self._dials)
        check_lists(upsert.list_ids, account.lists, self._dials)
        count = len(upsert.contacts)
        fate, *rest = self._dials.job_script or (None,)
        if fate is not None:
            self._all_dials.change({"job_script": rest})
        job = self._jobs.add(account, upsert, self._dials, fate)
        note = f"job {fate}" if fate is not None else ""
        return replace(json_reply(202, {"job_id": job.id}), contacts=count, job_id=job.id, note=note)

    def advance(self) -> None:
        self._jobs.advance(self._dials)

    def contacts(self, account: str, after: int, limit: int) -> list[dict[str, Any]]:
        found = self._accounts.existing(account)
        return found.contacts.after(after, limit) if found else []

    def counts(self) -> dict[str, int]:
        return {
            "contacts": self._accounts.contact_count(),
            "jobs_pending": self._jobs.pending,
            "jobs_finished": self._jobs.finished,
        }

    def reset(self) -> None:
        self._accounts.clear()
        self._jobs.clear()
        self._files.clear()
