"""Custom fields: GET and POST /v3/marketing/field_definitions.

Source: tsg_mc_custom_fields_v3.yaml (github.com/twilio/sendgrid-oai), checked 2026-11-22. Types are Text, Number and
Date; names start with a letter or underscore and are unique whatever their case; creation answers 200.
"""

import re
import time
from typing import Any

from contact_ingest.sandbox.messages import Reply, Request, json_reply
from contact_ingest.sandbox.sendgrid.accounts import Account, FieldDefinition
from contact_ingest.sandbox.sendgrid.bodies import json_object
from contact_ingest.sandbox.sendgrid.dials import SendGridDials
from contact_ingest.sandbox.sendgrid.replies import refusal

PATH = "/v3/marketing/field_definitions"
SUFFIXES = {"Text": "T", "Number": "N", "Date": "D"}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

WRITABLE = (
    *("first_name", "last_name", "email", "alternate_emails", "address_line_1", "address_line_2", "city"),
    *("state_province_region", "postal_code", "country", "phone_number", "whatsapp", "line", "facebook", "unique_name"),
)
READ_ONLY = (
    *("email_domains", "last_clicked", "last_opened", "last_emailed", "singlesend_id", "automation_id"),
    *("created_at", "updated_at", "contact_id"),
)
LATER_FIELDS = ("phone_number_id", "external_id", "anonymous_id", "list_ids", "segment_ids")
DATES = {"last_clicked", "last_opened", "last_emailed", "created_at", "updated_at"}


def list_fields(account: Account, request: Request, dials: SendGridDials) -> Reply:
    """The fields of an account. Without custom fields the reply has no `custom_fields`, as users report."""
    content: dict[str, Any] = {"reserved_fields": _reserved()}
    if custom := account.fields(dials):
        content["custom_fields"] = [_public(each, request.origin) for each in custom]
    content["_metadata"] = {"self": request.origin + PATH}
    return json_reply(200, content)


def create_field(account: Account, request: Request, dials: SendGridDials) -> Reply:
    content = json_object(request, required={"name", "field_type"})
    name, kind = content["name"], content["field_type"]
    if type(name) is not str or not NAME.fullmatch(name):
        return refusal(400, "invalid field name", "name")
    if type(kind) is not str or kind not in SUFFIXES:
        return refusal(400, "must be Text, Number or Date", "field_type")
    existing = account.fields(dials)
    names_in_use = {each.name.lower() for each in existing} | {*WRITABLE, *READ_ONLY, *LATER_FIELDS}
    if name.lower() in names_in_use:
        return refusal(400, "a field with this name exists", "name")
    if len(existing) >= dials.most_fields:
        return refusal(400, "too many custom fields")
    field_id = f"e{account.first_field + len(account.created)}_{SUFFIXES[kind]}"
    made = FieldDefinition(field_id, name, kind, time.monotonic() + dials.field_usable_after_s)
    account.created.append(made)
    return json_reply(200, _public(made, request.origin))


def _public(each: FieldDefinition, origin: str) -> dict[str, Any]:
    link = f"{origin}{PATH}/{each.id}"
    return {"id": each.id, "name": each.name, "field_type": each.kind, "_metadata": {"self": link}}


def _reserved() -> list[dict[str, Any]]:
    shown = []
    for number, name in enumerate([*WRITABLE, *READ_ONLY, *LATER_FIELDS]):
        kind = "Date" if name in DATES else "Text"
        entry: dict[str, Any] = {"id": f"_rf{number}_{SUFFIXES[kind]}", "name": name, "field_type": kind}
        shown.append(entry | ({"read_only": True} if name in READ_ONLY else {}))
    return shown
