"""Reads SendGrid's error bodies, whatever their shape: complaints, the records that they name, and a short reason.

    {"errors": [{"message": "email 'a@b' is not valid", "field": "contacts[3].email"}]}

An error names only what the text quotes, and nothing here raises. `rows` finds which rows are meant.

Sources: schemas `ContactsError` and `ErrorResponse` of the official OpenAPI file; texts recorded by Segment's own
connector and in public issue threads; checked 2026-11-22.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.verdicts import RowError
from contact_ingest.providers.error_file.columns import ADDRESS, MAX_REASON, without_addresses

#: Most complaints that are read: as many as a request can have contacts.
MAX_ENTRIES = 30_000
#: Quoted texts that name a field or a type, and are no identifier.
_NAMES = frozenset(
    {"contact", "contacts", "email", "emails", "identifier", "identifiers", "phone", "phone_number", "phone_number_id"}
    | {"external_id", "anonymous_id", "custom_fields", "list_ids", "string", "number", "null"}
)
#: Straight, typographic and angled quotes, opening and closing.
_OPEN, _CLOSE = "'\"`\u2018\u201c\u00ab<", "'\"`\u2019\u201d\u00bb>"
_ATEXT = r"[\w.!#$%&'*+/=?^`{|}~-]{1,128}"
_QUOTED_ADDRESS = re.compile(
    "|".join(
        rf"(?<!\w){re.escape(a)}({_ATEXT}@[\w.-]{{1,255}}){re.escape(b)}" for a, b in zip(_OPEN, _CLOSE, strict=True)
    )
)
_QUOTED = re.compile(
    "|".join(rf"(?<!\w){re.escape(a)}([^{b}]{{1,254}}){re.escape(b)}(?!\w)" for a, b in zip(_OPEN, _CLOSE, strict=True))
)
_IDENTIFIER = re.compile(r"identifier|phone|external_?id|anonymous_?id", re.IGNORECASE)
_INDEX = re.compile(r"contacts?(?:\[|\.|/)(\d{1,5})(?=\]|\.|/|$)", re.IGNORECASE)
_FIELD_IDS = re.compile(r"custom fields? ids? supplied\W*[-:]?\s*(.+)", re.IGNORECASE | re.DOTALL)
_FIELD_ID = re.compile(r"\w{1,64}", re.ASCII)
#: What stands beside the message of a complaint that has no outer object.
_BESIDE = frozenset({"field", "parameter", "error_id"})
#: Words for the lists that the contacts of a request join: `list_ids`, "invalid list", "list does not exist".
_LISTS = re.compile(
    r"\blist[_ -]?ids?\b|\b(?:invalid|unknown|no such|non-?existent|missing) (?:marketing )?lists?\b(?! of)"
    r"|\blists? (?:does not|do not|doesn't|don't) exist\b|\blists? (?:was |were )?not found\b",
    re.IGNORECASE,
)
#: Endings of addresses that belong to the platform itself.
_OWN = ("@sendgrid.com", "@twilio.com")


@dataclass(frozen=True, slots=True, repr=False)
class ErrorEntry:
    """One complaint. `field` is the path that it points at, such as `contacts[3].email`; empty if it points at none."""

    message: str
    field: str = ""


def entries(payload: Any) -> list[ErrorEntry]:
    """Every complaint in a decoded reply. It may stand under `errors` (a list of objects or texts, or one of either),
    `error` or `message`, or in a bare list."""
    found: list[ErrorEntry] = []
    waiting = [payload]
    while waiting and len(found) < MAX_ENTRIES:
        item = waiting.pop()
        if isinstance(item, str) and item:
            found.append(ErrorEntry(item))
        elif isinstance(item, list):
            waiting.extend(reversed(item))
        elif isinstance(item, dict):
            inner = [item[name] for name in ("errors", "error") if isinstance(item.get(name), list | dict | str)]
            if isinstance(item.get("message"), str):
                found.append(ErrorEntry(item["message"], _path(item)))
                inner = [value for value in inner if not isinstance(value, str)]
            waiting.extend(reversed(inner))
    return found


def is_own(payload: Any) -> bool:
    """Whether a decoded body has a shape of SendGrid's own: a complaint with a message under `errors`, in a bare list,
    under an `error` that stands alone, or with a `field`, a `parameter` or an `error_id` beside it."""
    if isinstance(payload, list):
        return bool(payload) and all(isinstance(item, dict) and _says(item) for item in payload)
    if not isinstance(payload, dict):
        return False
    if "errors" in payload:
        return bool(entries(payload["errors"]))
    if "error" in payload:
        error = payload["error"]
        return _says(error) if isinstance(error, dict) else bool(entries(error)) and set(payload) <= {"error", "id"}
    return _says(payload) and not _BESIDE.isdisjoint(payload)


def reason(found: list[ErrorEntry], otherwise: str) -> str:
    """The complaints as one short text without addresses; `otherwise` if they say nothing."""
    texts = dict.fromkeys(entry.message[:MAX_REASON] for entry in found[:20])
    return without_addresses("; ".join(texts))[:MAX_REASON] or otherwise


def named(found: list[ErrorEntry]) -> tuple[RowError, ...]:
    """The records and custom fields that the complaints name."""
    return tuple(error for entry in found for error in _named(entry))


def concerns_lists(found: list[ErrorEntry]) -> bool:
    """Whether a complaint is about the lists of the request: its path points at `list_ids`, or it has no path, names no
    record, and speaks of list ids. The text for a bad list is not documented."""
    return any(_concerns_lists(entry) for entry in found)


def _concerns_lists(entry: ErrorEntry) -> bool:
    path = entry.field.lower().lstrip("$./").removeprefix("body.")
    if path:
        return path.startswith("list_ids")
    return bool(_LISTS.search(entry.message)) and not any(_named(entry))


def _says(item: dict[str, Any]) -> bool:
    return isinstance(item.get("message"), str) and bool(item["message"])


def _path(item: dict[str, Any]) -> str:
    path = item.get("field") or item.get("parameter")
    return path[:1_000] if isinstance(path, str) else ""


def _named(entry: ErrorEntry) -> Iterator[RowError]:
    if match := _FIELD_IDS.search(entry.message):
        if ids := tuple(dict.fromkeys(_FIELD_ID.findall(match[1][:10_000]))):
            yield RowError(FailureCode.UNKNOWN_FIELD_ID, _short(entry.message), fields=ids)
        return
    values = _values(entry)
    match = _INDEX.search(entry.field) or _INDEX.search(entry.message)
    hint = int(match[1]) if match else None
    if not values and hint is None:
        return
    about = values or ("",)
    code = FailureCode.BAD_IDENTIFIER if values or _IDENTIFIER.search(entry.field) else FailureCode.BAD_CONTACT
    for value in about:
        yield RowError(code, _short(entry.message, value), value, hint if len(about) == 1 else None)


def _values(entry: ErrorEntry) -> tuple[str, ...]:
    """The identifiers that a complaint quotes: quoted addresses, else bare addresses, else other quoted text where the
    complaint is about an identifier."""
    message = entry.message
    found = [match[match.lastindex or 0] for match in _QUOTED_ADDRESS.finditer(message)]
    if not found:
        found = [match[0] for match in ADDRESS.finditer(message)]
        found = [text for text in found if not text.lower().endswith(_OWN)]
    if found:
        return tuple(dict.fromkeys(text.lower() for text in found))
    if not _IDENTIFIER.search(message) and not _IDENTIFIER.search(entry.field):
        return ()
    texts = (match[match.lastindex or 0].strip() for match in _QUOTED.finditer(message))
    return tuple(dict.fromkeys(text for text in texts if text and text.lower() not in _NAMES))


def _short(message: str, value: str = "") -> str:
    text = without_addresses(message[: 2 * MAX_REASON])
    return (text.replace(value, "…") if value else text)[:MAX_REASON]
