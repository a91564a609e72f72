"""Contacts as a platform gives them, today SendGrid alone: the files of an export, and the objects of its API.

An export is CSV or JSON lines, compressed with gzip (`.gzip`). CSV headers are in capitals; custom fields have a column
each:

    EMAIL,FIRST_NAME,...,ALTERNATE_EMAILS,...,CREATED_AT,UPDATED_AT,CONTACT_ID,PLAN,PHONE_NUMBER_ID,...

JSON objects of an export have `contact_id`, those of the API `id`, `list_ids`, `segment_ids` and `_metadata`:

    {"contact_id": "b3c7", "email": "ann@example.com", "custom_fields": {"plan": "pro"}, "created_at": "2020-06-19T...",
     "updated_at": "2020-07-09T..."}

Sources: POST /v3/marketing/contacts/exports; sendgrid-csharp#1024 (a JSON file); recorded replies of GET
/v3/marketing/contacts; two public programs that read CSV files of an export. Checked 2026-11-25.
"""

from collections.abc import Container
from typing import Any

from contact_ingest.sources.names import CUSTOM

#: What SendGrid keeps itself. An import leaves them out, and lists them.
#: Source: the fields with `read_only` of GET /v3/marketing/field_definitions, checked 2026-11-25.
READ_ONLY = frozenset(
    {"id", "contact_id", "created_at", "updated_at", "list_ids", "segment_ids", "_metadata", "email_domains"}
    | {"last_clicked", "last_opened", "last_emailed", "singlesend_id", "automation_id"}
)
#: Keys that only an object of the API has beside its `id`.
_OF_THE_API = ("list_ids", "segment_ids", "_metadata")
_UNSET: tuple[object, ...] = (None, "", [])


def is_exported(record: dict[str, Any]) -> bool:
    """Whether an object has the keys of a contact that SendGrid gave out. Other objects keep all their keys."""
    if "updated_at" not in record or "created_at" not in record:
        return False
    return "contact_id" in record or ("id" in record and any(key in record for key in _OF_THE_API))


def take_out_what_is_not_written(record: dict[str, Any], mapped: Container[str]) -> set[str]:
    """Take the read-only keys and the unset fields (null, "" or []) out of an exported contact, in place.

    Keys in `mapped` stay. Returns the read-only keys that the contact had. A field that is left out keeps its value at
    the platform.
    """
    read_only = {key for key in READ_ONLY & record.keys() if key not in mapped}
    for key in read_only:
        del record[key]
    for key in [key for key, value in record.items() if value in _UNSET]:
        del record[key]
    custom = record.get(CUSTOM)
    if isinstance(custom, dict):
        record[CUSTOM] = custom = {name: value for name, value in custom.items() if value not in _UNSET}
        if not custom:
            del record[CUSTOM]
    return read_only
