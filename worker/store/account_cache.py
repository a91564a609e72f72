"""What workers fetch from a platform account and share: the access token and the table of custom fields.

Both lie under the keys of the destination and expire by themselves:

    access_token     "eyJhbGciOi..."
    custom_fields    {"fields": {"plan": ["e1_T", "Text"]}, "fetched_ms": 1790000000000}
"""

import orjson

from contact_ingest.model.verdicts import FieldTable
from contact_ingest.store.scripts import Store

#: How long a field table is believed, ms. A field that was deleted meanwhile shows as a refusal that names its id.
FIELD_TABLE_MS = 3_600_000
#: The shortest time for which a token is kept, ms.
_TOKEN_MIN_MS = 1_000


class AccountCache:
    """The cache of one destination."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def token(self) -> str:
        """The access token that some worker has fetched; empty if there is none, or it has lapsed."""
        found = self._store.client.get(self._store.keys("access_token"))
        return "" if found is None else str(orjson.loads(found))

    def keep_token(self, token: str, lasts_s: float) -> None:
        """Share a token for as long as the platform says."""
        self._keep("access_token", max(_TOKEN_MIN_MS, round(lasts_s * 1000)), token)

    def field_table(self) -> FieldTable:
        """The table as it was fetched last; an empty one if none is cached."""
        text = self._store.client.get(self._store.keys("custom_fields"))
        if text is None:
            return FieldTable()
        found = orjson.loads(text)
        return FieldTable({name: (ident, kind) for name, (ident, kind) in found["fields"].items()}, found["fetched_ms"])

    def keep_field_table(self, table: FieldTable) -> None:
        """Share a table for an hour."""
        self._keep("custom_fields", FIELD_TABLE_MS, {"fields": table.by_name, "fetched_ms": table.fetched_ms})

    def _keep(self, key: str, lasts_ms: int, content: object) -> None:
        """A script, since it has to go through with full memory too."""
        self._store.run("write", "none", "PSETEX", key, lasts_ms, orjson.dumps(content))
