"""How contacts of one Emarsys destination are told apart: by their address, or by an id of the customer's own.

The choice is made once for a destination, not for each lane: bodies are packed, and refusals are matched with rows,
without knowledge of the lane.
Sources: the developer documentation on updating contacts and on system fields, checked 2026-11-22.
"""

import re
from dataclasses import dataclass

from contact_ingest.errors import SettingError
from contact_ingest.providers.emarsys.fields import NEUTRAL, NEUTRAL_BY_ID, READ_ONLY

#: Ids that Emarsys gives. A contact cannot be created with one, so a destination with such a key only updates.
#: Source: reply codes 2004 and 2007 of the vendor's registry, checked 2026-11-22.
#: `eid` is experimental, and only where the account has it. Source: the vendor's page on updating contacts, checked
#: 2026-11-25.
ASSIGNED = frozenset({"id", "uid", "eid"})
EMAIL_ID = NEUTRAL["email"][0]

_ID = re.compile(r"[1-9]\d{0,9}", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Identity:
    """The key of a destination's contacts.

    `key_field` is `email` or `external_id`. `external_id_field` says where Emarsys keeps an `external_id`: the number
    of a custom field (an indexed one, if it is the key), or `uid`, `eid` or `id`. `source_id` is written to every
    contact. Raises `SettingError`.
    """

    key_field: str = "email"
    external_id_field: str = ""
    source_id: int | None = None

    def __post_init__(self) -> None:
        field = self.external_id_field
        if self.key_field not in ("email", "external_id"):
            raise SettingError("key_field", "must be email or external_id")
        if self.key_field == "external_id" and not field:
            raise SettingError("external_id_field", "is needed where external_id is the key: a field's number, or uid")
        if field and field not in ASSIGNED and (not _ID(field) or field in NEUTRAL_BY_ID or field in READ_ONLY):
            raise SettingError("external_id_field", "must be the number of a field of your own, or uid, eid or id")
        if field in ASSIGNED and self.key_field == "email":
            raise SettingError(
                "external_id_field", "cannot be uid, eid or id unless external_id is the key: Emarsys gives it"
            )
        if self.source_id is not None and (type(self.source_id) is not int or self.source_id < 1):
            raise SettingError("source_id", "must be a whole number from 1")

    @property
    def key_id(self) -> str:
        """The key as a request names it: `3` (the address), a field's number, `uid`, `eid` or `id`."""
        return EMAIL_ID if self.key_field == "email" else self.external_id_field

    @property
    def creates(self) -> bool:
        """Whether an upsert creates contacts that Emarsys does not have yet."""
        return self.key_id not in ASSIGNED
