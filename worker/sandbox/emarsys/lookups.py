"""Looks contacts up by their keys: POST contact/getdata and POST contact/checkids.

Source: contact_get_data and contact_check_ids of the developer documentation, and the shapes that clients of other
projects expect, checked 2026-11-25. The two calls name the same things differently: `keyId` and `keyValues` here,
`key_id` and `external_ids` there. Both take up to 1,000 keys. `result` is false if no contact is found.
"""

from typing import Any

from contact_ingest.sandbox.emarsys.contacts import Contacts
from contact_ingest.sandbox.emarsys.replies import ok, refusal
from contact_ingest.sandbox.emarsys.values import as_text
from contact_ingest.sandbox.messages import Rejected, Reply

MAX_KEYS = 1000
NO_CONTACT, SEVERAL = 2008, 2010


def get_data(content: dict[str, Any], contacts: Contacts) -> Reply:
    """The wanted fields of each contact, and an error for each key without one contact."""
    key, values = _key(content, "keyId"), _keys(content, "keyValues")
    wanted = [str(name) for name in _list(content, "fields")] if "fields" in content else []
    found, errors = [], []
    for value in values:
        matches = contacts.find(key, value)
        if len(matches) == 1:
            shown = {name: matches[0].value(name) for name in wanted}
            found.append(shown | {"id": str(matches[0].id), "uid": matches[0].uid})
        else:
            code = SEVERAL if matches else NO_CONTACT
            errors.append({"key": value, "errorCode": code, "errorMsg": _text(code, key, value)})
    return ok({"errors": errors, "result": found or False})


def check_ids(content: dict[str, Any], contacts: Contacts) -> Reply:
    """The id of each contact by its key, and an error for each key without one contact."""
    key, values = _key(content, "key_id"), _keys(content, "external_ids")
    ids: dict[str, str] = {}
    errors: dict[str, dict[str, str]] = {}
    for value in values:
        matches = contacts.find(key, value)
        if len(matches) == 1:
            ids[value] = str(matches[0].id)
        else:
            code = SEVERAL if matches else NO_CONTACT
            errors[value] = {str(code): _text(code, key, value)}
    return ok({"ids": ids, "errors": errors})


def _key(content: dict[str, Any], name: str) -> str:
    key = as_text(content.get(name))
    if not key:
        raise Rejected(refusal(400, 1001, f"Missing parameter: {name}"))
    return key


def _keys(content: dict[str, Any], name: str) -> list[str]:
    values = [as_text(value) for value in _list(content, name)]
    if len(values) > MAX_KEYS:
        raise Rejected(refusal(400, 2002, f"At most {MAX_KEYS} ids"))
    return [value for value in values if value]


def _list(content: dict[str, Any], name: str) -> list[Any]:
    values = content.get(name)
    if type(values) is not list or not values:
        raise Rejected(refusal(400, 2003, f"An array is expected: {name}"))
    return values


def _text(code: int, key: str, value: str) -> str:
    what = "No contact found" if code == NO_CONTACT else "More contacts found"
    return f"{what} with the external id: {key} - {value}"
