"""What a producer must know of Emarsys: the options of a lane, and how large a body may be. Light to import.

A lane's one option is `contact_list_id`, the contact list that all its contacts join: Emarsys takes it per request.
Source: PUT /v2/contact of the official Swagger file, checked 2026-11-22.
"""

from typing import Any

import orjson

from contact_ingest.errors import SettingError
from contact_ingest.model.lane import Lane
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.emarsys.identity import Identity
from contact_ingest.providers.refusal_text import kind_of

#: "Maximum batch size 1,000." Source: PUT /v2/contact of the official Swagger file, checked 2026-11-22.
MAX_CONTACTS = 1_000
#: "8 MB". Source: the same, checked 2026-11-22. The file does not say whether a megabyte is 1,000,000 bytes or more:
#: the smaller one is safe.
MAX_BYTES = 8_000_000
#: The cap unless a setting says otherwise, in bytes: 1 % below, because the file does not say either whether the limit
#: counts anything beside the body.
DEFAULT_BYTES = 7_920_000
#: The smallest cap that a setting may ask for, in bytes.
MIN_BYTES = 65_536
#: The largest whole number that every JSON reader keeps exactly.
MAX_LIST_ID = 2**53


class EmarsysLaneRules:
    """Bodies such as `{"key_id":"3","contact_list_id":7,"contacts":[...]}`, of at most `max_body_bytes` bytes."""

    def __init__(self, *, identity: Identity | None = None, max_body_bytes: int = DEFAULT_BYTES) -> None:
        if not MIN_BYTES <= max_body_bytes <= MAX_BYTES:
            raise SettingError("max_body_bytes", f"must be {MIN_BYTES} to {MAX_BYTES}, not {max_body_bytes}")
        self.identity = identity or Identity()
        self._max_bytes = max_body_bytes

    def lane_options(self, **options: Any) -> dict[str, Any]:
        return lane_options(**options)

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        head: dict[str, Any] = {"key_id": self.identity.key_id}
        if "contact_list_id" in lane.options:
            head["contact_list_id"] = lane.options["contact_list_id"]
        cap = self._max_bytes if max_bytes is None else min(self._max_bytes, max_bytes)
        return Limits(MAX_CONTACTS, cap, orjson.dumps(head)[:-1] + b',"contacts":[', b"]}")


def from_settings(
    *,
    key_field: str = "email",
    external_id_field: str = "",
    source_id: int | None = None,
    max_body_bytes: int = DEFAULT_BYTES,
) -> EmarsysLaneRules:
    """The rules of a destination from its flat settings. Raises `SettingError`."""
    return EmarsysLaneRules(identity=Identity(key_field, external_id_field, source_id), max_body_bytes=max_body_bytes)


def lane_options(**options: Any) -> dict[str, Any]:
    """`contact_list_id` as a whole number from 1; a text of digits is read as one. Raises `SettingError`."""
    for name in options:
        if name in ("key_id", "key_field", "source_id"):
            raise SettingError(
                name, "is set for a destination, not for a lane: key_field, external_id_field, source_id"
            )
        if name != "contact_list_id":
            raise SettingError(name, "is not an option of an Emarsys lane; it takes contact_list_id")
    given = options.get("contact_list_id")
    if given is None:
        return {}
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 17:
        given = int(given)
    if type(given) is not int or not 1 <= given <= MAX_LIST_ID:
        raise SettingError("contact_list_id", f"must be the number of one contact list, not {_found(given)}")
    return {"contact_list_id": given}


def _found(value: object) -> str:
    return "another number" if type(value) is int else kind_of(value)
