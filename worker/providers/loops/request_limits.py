"""What a producer must know of Loops: one contact a request, and lanes without options. Light to import.

Source: PUT /v1/contacts/update of the official OpenAPI file 1.21.6, checked 2026-11-22.
"""

from typing import Any

from contact_ingest.errors import SettingError
from contact_ingest.model.lane import Lane
from contact_ingest.packing.payload import Limits

#: Loops documents no size limit for a contact (4 MB is that of transactional mail). This is the largest record that an
#: enqueue takes by default, in bytes.
MAX_BYTES = 1_000_000


class LoopsLaneRules:
    """Bodies of one contact, with nothing around it."""

    def lane_options(self, **options: Any) -> dict[str, Any]:
        """Always `{}`: the lists that a contact joins stand in the contact. Raises `SettingError` for any option."""
        for name in options:
            if name == "list_ids":
                raise SettingError(name, "is not for Loops: put mailing_lists into each record, as {list id: true}")
            raise SettingError(name, "is not an option of a Loops lane; it takes none")
        return {}

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        del lane
        return Limits(1, MAX_BYTES if max_bytes is None else min(MAX_BYTES, max_bytes), b"", b"")
