"""The account at a platform: made ready as its owner would, and read in the words of the records.

Names of fields in the platform's store stand here a second time on purpose: what is checked must not come from the code
that is being checked.
"""

import json
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from dialects import LOOPS_LIST, OPTED_OUT, Dialect
from platforms import Platform
from terms import KEY
from traffic import JOINED, PRODUCERS, opted_out

from contact_ingest.sandbox.process import SandboxProcess

EMARSYS_LIST, FIRST_FIELD = 4711, 101


def by_person(stored: Iterator[tuple[str, str, dict[str, Any]]], known: Collection[str]) -> dict[str, dict[str, Any]]:
    """Flat fields by the name under which the campaign knows a contact: `id:` and the second identifier, or else the
    address. Stored contacts are (address, second identifier, fields)."""
    return {f"id:{own}" if f"id:{own}" in known else email: fields for email, own, fields in stored}


class SendGridAccount:
    #: Values of contacts before a record sets them.
    before: Mapping[str, Mapping[str, Any]] = {}
    defaults: Mapping[str, Any] = {}

    def __init__(self, sandbox: SandboxProcess, dialect: Dialect) -> None:
        self._sandbox = sandbox
        self._names = {"phone_number": "phone"}
        for name, kind in dialect.custom.items():
            made = _send(sandbox, "POST", "/v3/marketing/field_definitions", KEY, {"name": name, "field_type": kind})
            self._names[str(made["id"])] = name
        #: The list of the second lane.
        self.list_id = str(_send(sandbox, "POST", "/v3/marketing/lists", KEY, {"name": "campaign"})["id"])

    def contacts(self, known: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is stored, flat, by person."""
        return by_person(self._stored(), known)

    def write(self, email: str, name: str, value: Any) -> None:
        """Set one field past the product."""
        _send(self._sandbox, "PUT", "/v3/marketing/contacts", KEY, {"contacts": [{"email": email, name: value}]})

    def _stored(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for stored in self._sandbox.contacts():
            flat = {**stored, **stored["custom_fields"], **({JOINED: True} if stored["list_ids"] else {})}
            named = {self._names.get(name, name): value for name, value in flat.items()}
            yield stored["email"], stored.get("external_id") or "", named


class LoopsAccount:
    defaults: Mapping[str, Any] = {"subscribed": True}
    _NAMES: Mapping[str, str] = {"firstName": "first_name", "lastName": "last_name", "userGroup": "user_group"}

    def __init__(self, sandbox: SandboxProcess, dialect: Dialect, key: str) -> None:
        self._sandbox = sandbox
        self._key = key
        sandbox.dials(loops_lists={LOOPS_LIST: "campaign"})
        self.list_id = LOOPS_LIST
        for name, kind in dialect.custom.items():
            _send(sandbox, "POST", "/api/v1/contacts/properties", key, {"name": name, "type": kind})
        self.before = {email: {"subscribed": False} for email in _opted_out()}
        sandbox.seed("loops", [{"email": email, "subscribed": False} for email in self.before])

    def contacts(self, known: Collection[str]) -> dict[str, dict[str, Any]]:
        return by_person(self._stored(), known)

    def write(self, email: str, name: str, value: Any) -> None:
        own = next(own for own, neutral in self._NAMES.items() if neutral == name)
        _send(self._sandbox, "PUT", "/api/v1/contacts/update", self._key, {"email": email, own: value})

    def _stored(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for stored in self._sandbox.contacts("loops"):
            named = {self._NAMES.get(name, name): value for name, value in stored.items() if name != "source"}
            joined = {JOINED: True} if stored["mailingLists"].get(LOOPS_LIST) else {}
            yield stored["email"] or "", stored["userId"] or "", {**named, **joined}


class EmarsysAccount:
    defaults: Mapping[str, Any] = {}
    _NAMES: Mapping[str, str] = {"1": "first_name", "2": "last_name", "10": "address_line_1", "11": "city"}

    def __init__(self, sandbox: SandboxProcess, dialect: Dialect, credentials: tuple[str, str]) -> None:
        self._sandbox = sandbox
        self._credentials = credentials
        self._names = {**self._NAMES, "13": "postal_code", "15": "phone", "31": "opt_in"}
        fields = [
            {"id": FIRST_FIELD + place, "name": n, "kind": k} for place, (n, k) in enumerate(dialect.custom.items())
        ]
        self._names |= {str(field["id"]): str(field["name"]) for field in fields}
        sandbox.dials(emarsys_fields=fields, emarsys_lists=[EMARSYS_LIST])
        self.list_id = str(EMARSYS_LIST)
        self.before = {email: {"opt_in": 2} for email in _opted_out()}
        sandbox.seed("emarsys", [{"fields": {"3": email, "31": "2"}} for email in self.before])

    def contacts(self, known: Collection[str]) -> dict[str, dict[str, Any]]:
        return by_person(self._stored(), known)

    def write(self, email: str, name: str, value: Any) -> None:
        client = b64encode(":".join(self._credentials).encode()).decode()
        form = b"grant_type=client_credentials"
        headers = {"authorization": f"Basic {client}", "content-type": "application/x-www-form-urlencoded"}
        token = _ask(Request(f"{self._sandbox.url}/oauth2/token", form, headers))["access_token"]
        own = next(own for own, neutral in self._names.items() if neutral == name)
        _send(self._sandbox, "PUT", "/api/v3/contact", token, {"key_id": "3", "contacts": [{"3": email, own: value}]})

    def _stored(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for stored in self._sandbox.contacts("emarsys"):
            fields = {self._names.get(number, number): value for number, value in stored["fields"].items()}
            fields |= {name: int(fields[name]) for name in ("opt_in", "visits") if name in fields}
            yield str(fields["3"]).lower(), "", {**fields, **({JOINED: True} if stored["lists"] else {})}


Account = SendGridAccount | LoopsAccount | EmarsysAccount


def open_account(platform: Platform, sandbox: SandboxProcess) -> Account:
    match platform.name:
        case "loops":
            return LoopsAccount(sandbox, platform.dialect, platform.account["api_key"])
        case "emarsys":
            credentials = platform.account["client_id"], platform.account["client_secret"]
            return EmarsysAccount(sandbox, platform.dialect, credentials)
        case _:
            return SendGridAccount(sandbox, platform.dialect)


def _opted_out() -> list[str]:
    return [opted_out(name, number) for name in PRODUCERS for number in range(OPTED_OUT)]


def _send(sandbox: SandboxProcess, method: str, path: str, key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return _ask(Request(sandbox.url + path, json.dumps(content).encode(), headers, method=method))


def _ask(request: Request) -> dict[str, Any]:
    with build_opener(ProxyHandler({})).open(request) as answer:
        return dict(json.loads(answer.read()))
