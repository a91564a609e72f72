"""Searches: POST /v3/marketing/contacts/search/emails and /search/identifiers/{type}.

Source: tsg_mc_contacts_v3.yaml (github.com/twilio/sendgrid-oai), checked 2026-11-25. A request has up to 100 values.
The reply is 200 if any contact is found, with an `error` for each value without a contact; 404 if none is found; 400 if
any value is invalid.
"""

from collections.abc import Callable
from typing import Any

from contact_ingest.sandbox.messages import Rejected, Reply, Request, json_reply
from contact_ingest.sandbox.sendgrid.accounts import Account
from contact_ingest.sandbox.sendgrid.bodies import json_object
from contact_ingest.sandbox.sendgrid.contacts import IDENTIFIERS
from contact_ingest.sandbox.sendgrid.dials import SendGridDials
from contact_ingest.sandbox.sendgrid.replies import refusal
from contact_ingest.sandbox.sendgrid.values import PHONE, address_test

MAX_VALUES = 100
MAX_LENGTH = {"email": 100, "phone_number_id": 254, "external_id": 254, "anonymous_id": 254}

#: Text fields that a reply shows as empty where they are not set.
SHOWN_TEXTS = (
    *("first_name", "last_name", "address_line_1", "address_line_2", "city", "state_province_region", "country"),
    *("postal_code", "phone_number", "whatsapp", "line", "facebook", "unique_name", *IDENTIFIERS),
)


def search_emails(account: Account, request: Request, dials: SendGridDials) -> Reply:
    emails = _values(json_object(request, required={"emails"})["emails"], "emails")
    return _search(account, "email", [email for email in emails if email != ""], dials)


def search_identifiers(account: Account, request: Request, kind: str, dials: SendGridDials) -> Reply:
    if kind not in MAX_LENGTH:
        return refusal(400, "invalid identifier type", "identifier_type")
    items = _values(json_object(request, required={"identifiers"})["identifiers"], "identifiers")
    if dials.search_items == "objects":
        if any(type(item) is not dict or set(item) != {kind} for item in items):
            return refusal(400, "each item must be an object with the identifier", "identifiers")
        items = [item[kind] for item in items]
    return _search(account, kind, items, dials)


def _values(items: Any, name: str) -> list[Any]:
    if type(items) is not list or not 1 <= len(items) <= MAX_VALUES:
        raise Rejected(refusal(400, f"must hold 1 to {MAX_VALUES} values", name))
    return items


def _search(account: Account, kind: str, values: list[Any], dials: SendGridDials) -> Reply:
    tests: dict[str, Callable[[str], object]] = {"email": address_test(dials), "phone_number_id": PHONE.fullmatch}
    test = tests.get(kind, bool)
    for value in values:
        if type(value) is not str or len(value) > MAX_LENGTH[kind] or not test(value):
            return refusal(400, "invalid value", kind)
    names = {each.id: each.name for each in account.fields(dials)}
    result: dict[str, Any] = {}
    for value in values:
        contact = account.contacts.find(kind, value)
        shown = {"contact": _public(contact, names)} if contact else {"error": "contact not found"}
        result[value.lower() if kind == "email" else value] = shown
    if not any("contact" in each for each in result.values()):
        return refusal(404, "no contacts found")
    return json_reply(200, {"result": result})


def _public(contact: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A contact as replies show it: custom fields by name, not by id."""
    custom = {names.get(field_id, field_id): value for field_id, value in contact["custom_fields"].items()}
    texts = {name: contact.get(name, "") for name in SHOWN_TEXTS}
    rest = {name: contact[name] for name in ("id", "list_ids", "created_at", "updated_at")}
    alternates = contact.get("alternate_emails", [])
    return texts | rest | {"custom_fields": custom, "alternate_emails": alternates, "segment_ids": []}
