"""A contact record in the product's own words: its fields, who it is about, and how two records of one contact merge.

Records travel as the JSON bytes that were enqueued. What a platform makes of them is the provider's business.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from contact_ingest.errors import BUGS, Refused
from contact_ingest.model.identity import IDENTIFIERS

#: The neutral field names. Platforms that lack one refuse it by name.
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
#: Fields whose values are maps, of which a record may set some entries and leave the others as they are.
MAPS = ("custom_fields", "mailing_lists")
#: Fields that say what a person has agreed to: they come from the record, never from a setting or a default.
CONSENT = frozenset({"subscribed", "opt_in", "mailing_lists"})
#: What a field is called by in a refusal; other text may be somebody's address or number in the wrong place.
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_. -]{0,99}").fullmatch


@dataclass(slots=True, repr=False)
class QueuedRecord:
    """A record on its way: its place in the lane (`seq`), its JSON, the places of older records merged into it, and,
    once it has failed and was retried, how often and since when (milliseconds). `departed` is the version of the
    commit by which it left its lane, 0 before that; `origins` tell of fields that come from a merged record which
    record that was, as (field, seq, departed). Both are what lineage.py compares."""

    seq: int
    raw: bytes
    merged: tuple[int, ...] = ()
    attempts: int = 0
    first_ms: int = 0
    packed_version: int = 0
    field_versions: tuple[tuple[str, int, int], ...] = ()

    def __repr__(self) -> str:
        return f"Entry({self.seq}, {len(self.raw)} bytes)"

    def to_bytes(self) -> bytes:
        """`header TAB json`: orjson escapes tabs and line feeds, so neither occurs inside."""
        if not self.merged and not self.attempts:
            return b"%d\t%b" % (self.seq, self.raw)
        head = [self.seq, self.merged, self.attempts, self.first_ms, self.packed_version, self.field_versions]
        return b"%b\t%b" % (orjson.dumps(head), self.raw)

    @classmethod
    def from_bytes(cls, line: bytes) -> "QueuedRecord":
        head, _, raw = line.partition(b"\t")
        if not head.startswith(b"["):
            return cls(int(head), raw)
        seq, merged, attempts, first_ms, packed_version, field_versions = orjson.loads(head)
        return cls(seq, raw, tuple(merged), attempts, first_ms, packed_version, tuple(map(tuple, field_versions)))


def validate_record(record: object, max_bytes: int) -> bytes:
    """Check what needs no platform and return the record's JSON. Raises `Refused`."""
    if not isinstance(record, Mapping):
        raise Refused("record", f"must be an object, not {type(record).__name__}", "not_an_object")
    try:
        if not any(record.get(name) for name in IDENTIFIERS):
            raise Refused("record", f"needs one of {', '.join(IDENTIFIERS)}", "no_identifier")
        raw = _encoded(record)
        if b"null" in raw and (path := _not_finite(record, "")) is not None:
            raise Refused(_label(path), "NaN and infinities cannot be sent as JSON", "not_finite")
    except BUGS as problem:  # objects of the caller's own classes may do anything when they are looked at
        raise Refused("record", f"cannot be read: {type(problem).__name__}", "not_json") from None
    if len(raw) > max_bytes:
        raise Refused("record", f"is {len(raw)} bytes, over the {max_bytes} of a single record", "too_large")
    return raw


def _encoded(record: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(record if type(record) is dict else dict(record))
    except (orjson.JSONEncodeError, RecursionError):
        raise _unencodable(record) from None


def _unencodable(record: Mapping[Any, Any]) -> Refused:
    """Name the field that orjson would not take, without its value."""
    for name, value in record.items():
        if not isinstance(name, str):
            return Refused("record", f"field names must be text, not {type(name).__name__}", "bad_name")
        try:
            orjson.dumps({name: value})
        except (orjson.JSONEncodeError, RecursionError) as problem:
            return Refused(_label(name), f"cannot be sent as JSON: {_kind(problem)}", "not_json")
    return Refused("record", "cannot be sent as JSON", "not_json")


def _label(name: str) -> str:
    return name if _LABEL(name) else "record"


def _kind(problem: Exception) -> str:
    text = str(problem)
    for sign, words in (
        ("64-bit", "an integer beyond 64 bits"),
        ("surrogates", "text that is not valid Unicode"),
        ("UTF-8", "text that is not valid Unicode"),
        ("recursion", "nested too deeply"),
        ("Recursion", "nested too deeply"),
        ("key must be str", "an object with a key that is not text"),
    ):
        if sign in text:
            return words
    return "a type that JSON has no word for"


def _not_finite(value: object, path: str) -> str | None:
    """Where the first number is that JSON has no word for; a field's name may be empty, so None says that there is
    none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, Mapping):
        inner = ((f"{path}.{name}" if path else str(name), item) for name, item in value.items())
    elif isinstance(value, list | tuple):
        inner = ((path, item) for item in value)
    else:
        return None
    places = (_not_finite(item, name) for name, item in inner)
    return next((place for place in places if place is not None), None)
