"""What a producer must know of SendGrid: the options of a lane, and how large a body may be. Light to import.

A lane's one option is `list_ids`, the lists that all its contacts join: SendGrid takes them per request.
Source: PUT /v3/marketing/contacts of the official OpenAPI file, checked 2026-11-22.
"""

import re
from typing import Any

import orjson

from contact_ingest.errors import SettingError
from contact_ingest.model.lane import Lane
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.refusal_text import kind_of

#: "30,000 contacts or 6MB of data, whichever is lower." Source: PUT /v3/marketing/contacts, checked 2026-11-22.
#: The page does not say whether a megabyte is 1,000,000 or 1,048,576 bytes: the smaller one is safe.
MAX_CONTACTS = 30_000
MAX_BYTES = 6_000_000
#: The smallest cap that a setting may ask for, in bytes.
MIN_BYTES = 65_536
#: Leaves room for contacts in the smallest body. SendGrid documents no limit.
MAX_LISTS = 1_000

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SendGridLaneRules:
    """Bodies such as `{"list_ids":["..."],"contacts":[...]}`, of at most `max_body_bytes` bytes."""

    def __init__(self, *, max_body_bytes: int = MAX_BYTES) -> None:
        if not MIN_BYTES <= max_body_bytes <= MAX_BYTES:
            raise SettingError("max_body_bytes", f"must be {MIN_BYTES} to {MAX_BYTES}, not {max_body_bytes}")
        self._max_bytes = max_body_bytes

    def lane_options(self, **options: Any) -> dict[str, Any]:
        return lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        lists = lane.options.get("list_ids", ())
        head = b'"list_ids":%b,' % orjson.dumps(lists) if lists else b""
        cap = self._max_bytes if max_bytes is None else min(self._max_bytes, max_bytes)
        return Limits(MAX_CONTACTS, cap, b'{%b"contacts":[' % head, b"]}")


def lane_options(**options: Any) -> dict[str, Any]:
    """`list_ids` as a sorted tuple of lower-case UUIDs, each once. Raises `SettingError`."""
    for name in options:
        if name != "list_ids":
            raise SettingError(name, "is not an option of a SendGrid lane; it takes list_ids")
    given = options.get("list_ids") or ()
    if not isinstance(given, list | tuple | set | frozenset):
        raise SettingError("list_ids", f"must be a list of list ids, not {kind_of(given)}")
    for place, item in enumerate(given, 1):
        if not isinstance(item, str) or not _UUID.fullmatch(item.lower()):
            raise SettingError("list_ids", f"item {place} is not a UUID like 00000000-0000-0000-0000-000000000000")
    lists = tuple(sorted({item.lower() for item in given}))
    if len(lists) > MAX_LISTS:
        raise SettingError("list_ids", f"has {len(lists)} lists, over the {MAX_LISTS} that fit a small body")
    return {"list_ids": lists} if lists else {}
