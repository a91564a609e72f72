"""The body of PUT contact and of POST contact: one contact beside `key_id`, or up to 1,000 in `contacts`.

Source: the Swagger file of the contacts endpoints, the registry of reply codes and contact_multiple_update.rst, checked
2026-11-22. A body has at most 8 MB; the sandbox takes that as 8,000,000 bytes. This module finds what is wrong with the
request as a whole; upserts.py finds what is wrong with a row.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.emarsys.fields import EMAIL, Field
from contact_ingest.sandbox.emarsys.replies import error_reply, refusal
from contact_ingest.sandbox.messages import Rejected, Request

MAX_BYTES = 8_000_000
MAX_CONTACTS = 1000
#: Keys of a contact that are names and not field ids.
OWN_KEYS = ("id", "uid")


@dataclass(frozen=True, slots=True, repr=False)
class UpsertRequest:
    """An accepted request. `key` is the field that identifies contacts; `rows` are {field id: value}.

    With `creates`, a row without a contact makes one. With `updates`, a row with a contact changes it. `single`: the
    body was one contact and not an array.
    """

    key: str
    rows: list[dict[str, Any]]
    creates: bool
    single: bool
    list_id: int | None
    source_id: int | None
    updates: bool = True


def read_upsert(request: Request, byte_cap: int | None, dials: EmarsysDials) -> UpsertRequest:
    """The upsert that a body asks for: PUT contact, or POST contact, which only creates. Raises `Rejected`."""
    content = json_object(request, byte_cap, dials)
    creates = request.query.get("create_if_not_exists", "0")
    if creates not in {"0", "1"}:
        raise Rejected(refusal(400, 1001, "Invalid parameter: create_if_not_exists"))
    key = content.pop("key_id", EMAIL if dials.emarsys_missing_key == "email" else None)
    if type(key) not in (str, int):
        raise Rejected(refusal(400, 1001, "Missing parameter: key_id"))
    list_id, source_id = content.pop("contact_list_id", None), _source(content, dials)
    if list_id is not None and (type(list_id) is not int or list_id not in dials.emarsys_lists):
        raise Rejected(replace(refusal(400, 1016 if type(list_id) is not int else 2020), note="list"))
    single = "contacts" not in content
    rows = [content] if single else _rows(content, dials)
    only_creates = request.method == "POST"
    return UpsertRequest(str(key), rows, only_creates or creates == "1", single, list_id, source_id, not only_creates)


def check_field_ids(upsert: UpsertRequest, fields: dict[str, Field]) -> None:
    """Raise `Rejected` if a row has a field that does not exist."""
    for row in upsert.rows:
        for name in row:
            if name not in fields and name not in OWN_KEYS and name != "source_id":
                raise Rejected(refusal(400, 2006, f"Invalid field id: {name}"))


def json_object(request: Request, byte_cap: int | None, dials: EmarsysDials) -> dict[str, Any]:
    """The body. Raises `Rejected`."""
    if len(request.body) > MAX_BYTES or (byte_cap is not None and len(request.body) > byte_cap):
        raise Rejected(
            error_reply(413) if dials.emarsys_oversize == 413 else refusal(400, 1001, "The request is too large")
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    plain = request.headers.get("content-encoding", "identity").lower() == "identity"
    try:
        content = orjson.loads(request.body) if kind == "application/json" and plain else None
    except orjson.JSONDecodeError:
        raise Rejected(refusal(400, 1010)) from None
    if type(content) is not dict:
        raise Rejected(refusal(400, 1010 if content is None else 1016))
    return content


def _rows(content: dict[str, Any], dials: EmarsysDials) -> list[dict[str, Any]]:
    rows = content.pop("contacts")
    if type(rows) is not list:
        raise Rejected(refusal(400, 2003))
    if not rows:
        raise Rejected(refusal(400, 1006))
    if len(rows) > MAX_CONTACTS:
        raise Rejected(refusal(400, 1000))
    if content:
        raise Rejected(refusal(400, 1001, "Fields cannot stand beside contacts"))
    for row in rows:
        if type(row) is not dict:
            raise Rejected(refusal(400, 1016))
        if "source_id" in row:
            row["source_id"] = _source(dict(row), dials)
    return rows


def _source(holder: dict[str, Any], dials: EmarsysDials) -> int | None:
    """Remove `source_id` from the request or a row, and return it. It may be a text, as in the documentation."""
    given = holder.pop("source_id", None)
    if given is None:
        return None
    text = str(given) if type(given) in (str, int) else ""
    if not (text.isascii() and text.isdigit()) or int(text) not in dials.emarsys_sources:
        raise Rejected(refusal(400, 2013))
    return int(text)
