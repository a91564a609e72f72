"""The rules of the body of an upsert: PUT /v3/marketing/contacts accepts or refuses the whole body.

Source: the operation PutMarketingContacts and the schema ContactRequest (github.com/twilio/sendgrid-oai), and the live
messages its users report, checked 2026-11-22. A request holds 1 to 30,000 contacts and up to 6,000,000 bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson

from contact_ingest.sandbox.messages import Rejected, json_reply
from contact_ingest.sandbox.sendgrid.dials import SendGridDials
from contact_ingest.sandbox.sendgrid.markers import marked_rows
from contact_ingest.sandbox.sendgrid.replies import contact_error, nameless_refusal, refusal
from contact_ingest.sandbox.sendgrid.rows import IDENTIFIERS, KEYS, RowRules

MAX_BYTES = 6_000_000
MAX_CONTACTS = 30_000


@dataclass(frozen=True, slots=True, repr=False)
class UpsertRequest:
    """An accepted request.

    The rows `failing` (row: reason) will fail in the import job. The rows `unnamed` will fail as well, but the error
    file does not name them. The rows `dropped` are not imported, and no count speaks of them.
    """

    contacts: list[dict[str, Any]]
    list_ids: list[str]
    failing: dict[int, str] = field(default_factory=dict)
    unnamed: frozenset[int] = frozenset()
    dropped: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, repr=False)
class RowProblem:
    """Why a row makes the whole request bad. With an empty `field` the reply does not name the row."""

    row: int
    field: str
    message: str


def read_upsert(body: bytes, byte_cap: int | None, kinds: Mapping[str, str], dials: SendGridDials) -> UpsertRequest:
    """Check a body, except its list ids. Raises `Rejected`.

    `byte_cap` is the dial `hidden_byte_cap`. `kinds` has the type of each custom field by its id.
    """
    if len(body) > MAX_BYTES or (byte_cap is not None and len(body) > byte_cap):
        raise Rejected(refusal(413))
    contacts, list_ids = _envelope(body, dials)
    if dials.unknown_keys == "ignore":
        contacts = [_known_keys(contact) for contact in contacts]
    problems, failing = _check_rows(contacts, kinds, dials)
    dropped: set[int] = set()
    if dials.wrong_value == "drop":
        dropped, failing = set(failing), {}
    unnamed: set[int] = set()
    if b"[[" in body and not problems:
        for row, marker in marked_rows(contacts, dials.markers):
            if marker == "fail_import":
                failing[row] = "the contact could not be imported"
            elif marker == "fail_unnamed":
                unnamed.add(row)
            else:
                problems.append(_marked_problem(row, marker, contacts[row]))
    if problems:
        raise _rejection(problems, dials)
    if dials.duplicates == "refuse" and _has_duplicates(contacts):
        raise Rejected(replace(nameless_refusal(), note="duplicate identifiers"))
    return UpsertRequest(contacts, list_ids, failing, frozenset(unnamed), frozenset(dropped))


def _known_keys(contact: Any) -> Any:
    return {key: contact[key] for key in contact if key in KEYS} if type(contact) is dict else contact


def _check_rows(
    contacts: list[Any], kinds: Mapping[str, str], dials: SendGridDials
) -> tuple[list[RowProblem], dict[int, str]]:
    """The problems that make the request bad, and the rows that will fail in the import job with their reasons."""
    rules = RowRules(kinds, dials)
    problems: list[RowProblem] = []
    failing: dict[int, str] = {}
    for row, contact in enumerate(contacts):
        if wrong := rules.check(contact):
            if wrong.import_only:
                failing[row] = wrong.message
            else:
                problems.append(RowProblem(row, wrong.field, wrong.message))
    if rules.unknown_ids:
        ids = ",".join(rules.unknown_ids)
        raise Rejected(refusal(400, f"invalid custom field ids supplied - {ids}", "custom_fields"))
    return problems, failing


def _envelope(body: bytes, dials: SendGridDials) -> tuple[list[Any], list[str]]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejected(refusal(400, "invalid JSON")) from None
    if type(content) is not dict:
        raise Rejected(refusal(400, "the body must be an object"))
    unknown = sorted(content.keys() - {"contacts", "list_ids"})
    if unknown and dials.unknown_keys == "refuse":
        raise Rejected(refusal(400, "unknown field", unknown[0]))
    contacts, list_ids = content.get("contacts"), content.get("list_ids", [])
    if type(contacts) is not list or not 1 <= len(contacts) <= MAX_CONTACTS:
        raise Rejected(refusal(400, f"must hold 1 to {MAX_CONTACTS} contacts", "contacts"))
    if type(list_ids) is not list or any(type(each) is not str for each in list_ids):
        raise Rejected(refusal(400, "must be an array of strings", "list_ids"))
    return contacts, list_ids


def check_lists(list_ids: list[str], existing: Mapping[str, object], dials: SendGridDials) -> None:
    """Raise `Rejected` if a list does not exist."""
    for list_id in list_ids:
        if list_id not in existing or list_id in dials.lists_gone:
            if dials.list_error == "invalid_json":
                raise Rejected(replace(nameless_refusal("invalid JSON"), note="list"))
            what = "does not exist" if _is_uuid(list_id) else "is not a UUID"
            raise Rejected(replace(refusal(400, f"list id {what}", "list_ids"), note="list"))


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _marked_problem(row: int, marker: str, contact: dict[str, Any]) -> RowProblem:
    if marker == "reject_silent":
        return RowProblem(row, "", "")
    if marker == "reject_named" and "email" in contact:
        return RowProblem(row, "identifier", f"email '{contact['email']}' is not valid")
    return RowProblem(row, "identifier", "identifier is not valid")


def _rejection(problems: list[RowProblem], dials: SendGridDials) -> Rejected:
    problems.sort(key=lambda problem: problem.row)
    listed = [problem for problem in problems if problem.field] if dials.all_bad_rows_listed else problems[:1]
    if dials.anonymous_400 or not listed or not listed[0].field:
        return Rejected(nameless_refusal())
    errors = [
        contact_error(each.message, f"contacts[{each.row + dials.index_shift}].{each.field}".removesuffix(".contact"))
        for each in listed
    ]
    return Rejected(json_reply(400, {"errors": errors}))


def _has_duplicates(contacts: list[dict[str, Any]]) -> bool:
    for name in IDENTIFIERS:
        values = [contact[name] for contact in contacts if name in contact]
        if name == "email":
            values = [value.lower() for value in values]
        if len(set(values)) < len(values):
            return True
    return False
