"""Contact records: the fields they may have, the form in which they are queued, and the check at `enqueue`.

A record is a JSON object, for example
`{"email": "ann@example.com", "city": "Oslo", "custom_fields": {"plan": "pro"}, "subscribed": true}`.
Records are kept as the JSON bytes that were enqueued. Mapping them to a platform's fields is left to the provider.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from contact_ingest.errors import BUGS, Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.identity import IDENTIFIERS

#: The neutral field names. A platform that lacks one refuses it by name.
FIELDS = frozenset(
    {
        *IDENTIFIERS,
        "phone",
        "alternate_emails",
        "first_name",
        "last_name",
        "address_line_1",
        "address_line_2",
        "city",
        "state_province_region",
        "postal_code",
        "country",
        "phone_number",
        "whatsapp",
        "line",
        "facebook",
        "unique_name",
        "user_group",
        "source",
        "subscribed",
        "mailing_lists",
        "opt_in",
        "custom_fields",
    }
)
#: Fields whose values are maps. A record may set some entries of a map; the other entries stay as they are.
MAP_FIELDS = ("custom_fields", "mailing_lists")
#: Fields that tell what a person has agreed to. They come from the record, never from a setting or a default.
CONSENT = frozenset({"subscribed", "opt_in", "mailing_lists"})
#: The form of a field name that a refusal may repeat. Other text may be an address or a number in the wrong place.
_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_. -]{0,99}").fullmatch


@dataclass(slots=True, repr=False)
class QueuedRecord:
    """A record in a lane, in a batch, or failed: an entry.

    `seq` is its number in the lane, `raw` its JSON on one line. `merged` are the numbers of older records merged into
    it. `attempts` counts how often it has failed, `first_ms` is the moment of the first time (ms, 0 for never).
    `packed_version` is the destination's version with which it left its lane, 0 before that. `field_versions` are
    the fields that come from a merged record: (field, that record's seq, its packed_version). `merge.py` compares both.

    As bytes an entry is `header TAB json`. The header is the number, or a JSON list of all fields but `raw`:

        120<TAB>{"email":"ann@example.com","city":"Oslo"}
        [120,[41,97],1,1790000000000,7,[["city",97,6]]]<TAB>{"email":"ann@example.com","city":"Oslo"}
    """

    seq: int
    raw: bytes
    merged: tuple[int, ...] = ()
    attempts: int = 0
    first_ms: int = 0
    packed_version: int = 0
    field_versions: tuple[tuple[str, int, int], ...] = ()

    def __repr__(self) -> str:
        return f"QueuedRecord({self.seq}, {len(self.raw)} bytes)"

    def to_bytes(self) -> bytes:
        """The entry as one line. orjson escapes tabs and line feeds, so neither occurs inside."""
        if not self.merged and not self.attempts:
            return b"%d\t%b" % (self.seq, self.raw)
        header = [self.seq, self.merged, self.attempts, self.first_ms, self.packed_version, self.field_versions]
        return b"%b\t%b" % (orjson.dumps(header), self.raw)

    @classmethod
    def from_bytes(cls, line: bytes) -> "QueuedRecord":
        header, _, raw = line.partition(b"\t")
        if not header.startswith(b"["):
            return cls(int(header), raw)
        seq, merged, attempts, first_ms, packed_version, field_versions = orjson.loads(header)
        return cls(seq, raw, tuple(merged), attempts, first_ms, packed_version, tuple(map(tuple, field_versions)))


def validate_record(record: object, max_bytes: int) -> bytes:
    """Check what can be checked without the platform, and return the record's JSON. Raises `Refused`.

    `max_bytes` is the most that the JSON may have.
    """
    if not isinstance(record, Mapping):
        raise Refused("record", f"must be an object, not {type(record).__name__}", FailureCode.NOT_AN_OBJECT)
    try:
        if not any(record.get(name) for name in IDENTIFIERS):
            raise Refused("record", f"needs one of {', '.join(IDENTIFIERS)}", FailureCode.NO_IDENTIFIER)
        raw = _to_json(record)
        if b"null" in raw and (path := _path_of_non_finite(record, "")) is not None:
            raise Refused(_safe_name(path), "NaN and infinities cannot be sent as JSON", FailureCode.NOT_FINITE)
    except BUGS as problem:  # objects of the caller's own classes may raise anything when they are read
        raise Refused("record", f"cannot be read: {type(problem).__name__}", FailureCode.NOT_JSON) from None
    if len(raw) > max_bytes:
        raise Refused("record", f"is {len(raw)} bytes, over the {max_bytes} of a single record", FailureCode.TOO_LARGE)
    return raw


def _to_json(record: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(record if type(record) is dict else dict(record))
    except (orjson.JSONEncodeError, RecursionError):
        raise _refusal_of(record) from None


def _refusal_of(record: Mapping[Any, Any]) -> Refused:
    """The refusal of a record that orjson does not encode: the field's name and the reason, never the value."""
    for name, value in record.items():
        if not isinstance(name, str):
            return Refused("record", f"field names must be text, not {type(name).__name__}", FailureCode.BAD_NAME)
        try:
            orjson.dumps({name: value})
        except (orjson.JSONEncodeError, RecursionError) as problem:
            return Refused(_safe_name(name), f"cannot be sent as JSON: {_reason(problem)}", FailureCode.NOT_JSON)
    return Refused("record", "cannot be sent as JSON", FailureCode.NOT_JSON)


def _safe_name(name: str) -> str:
    return name if _SAFE_NAME(name) else "record"


def _reason(problem: Exception) -> str:
    text = str(problem)
    for part, reason in (
        ("64-bit", "an integer beyond 64 bits"),
        ("surrogates", "text that is not valid Unicode"),
        ("UTF-8", "text that is not valid Unicode"),
        ("recursion", "nested too deeply"),
        ("Recursion", "nested too deeply"),
        ("key must be str", "an object with a key that is not text"),
    ):
        if part in text:
            return reason
    return "a type that JSON does not have"


def _path_of_non_finite(value: object, path: str) -> str | None:
    """The path of the first NaN or infinity, None if there is none. A path may be the empty text."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, Mapping):
        inner = ((f"{path}.{name}" if path else str(name), item) for name, item in value.items())
    elif isinstance(value, list | tuple):
        inner = ((path, item) for item in value)
    else:
        return None
    paths = (_path_of_non_finite(item, name) for name, item in inner)
    return next((found for found in paths if found is not None), None)
