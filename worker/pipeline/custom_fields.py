"""The custom field definitions of an account: fetched when a name is unknown, cached in Redis, shared."""

from collections.abc import Mapping

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import FieldTable, Stop
from contact_ingest.pipeline.settle import Desk
from contact_ingest.store.scripts import Store

#: Definitions younger than this are not asked for again; what they lack is missing.
FRESH_MS = 30_000
#: A table is believed for so long; a field deleted meanwhile shows as a refusal that names its id.
BELIEVED_MS = 3_600_000


class CustomFieldCache:
    """The field table of one destination."""

    def __init__(self, desk: Desk, store: Store, *, creates: bool) -> None:
        self._desk = desk
        self._creates = creates
        self._store = store

    def cached(self) -> FieldTable:
        text = self._store.client.get(self._store.keys("custom_fields"))
        if text is None:
            return FieldTable()
        found = orjson.loads(text)
        return FieldTable({name: (ident, kind) for name, (ident, kind) in found["fields"].items()}, found["fetched_ms"])

    def ready_for(self, samples: Mapping[str, object]) -> frozenset[str] | None:
        """Fetch the definitions; if they are fresh and lack these names still, create the fields first. Returns the
        names it tried to create, or None if nothing is to be had now."""
        token = self._desk.batch_store.claim_slot()
        if token is None:
            return None
        tried: frozenset[str] = frozenset()
        try:
            table = self.cached()
            may_create = self._creates and self._desk.rate_limiter.standing().open_until is None
            if may_create and table.fetched_ms and self._desk.schedule.now_ms() - table.fetched_ms <= FRESH_MS:
                lacking = {name: value for name, value in samples.items() if name.lower() not in table.by_name}
                self._create(lacking)
                tried = frozenset(lacking)
            return tried if self._refresh() else None
        finally:
            self._desk.batch_store.let_go(token)

    def _refresh(self) -> bool:
        desk = self._desk
        reply = desk.ask(desk.provider.definitions())
        if not isinstance(reply, Response):
            return False
        table = desk.provider.read_definitions(reply, desk.schedule.now_ms())
        if isinstance(table, Stop):
            desk.schedule.stop(table.code, table.why)
        if not isinstance(table, FieldTable):
            return False
        content = {"fields": table.by_name, "fetched_ms": table.fetched_ms}
        self._store.run("write", "none", "PSETEX", "custom_fields", BELIEVED_MS, orjson.dumps(content))
        return True

    def _create(self, samples: Mapping[str, object]) -> None:
        """Create fields that records name and the account lacks, each typed after a sample value."""
        for name, value in sorted(samples.items()):
            try:
                request = self._desk.provider.create_field(name, value)
            except Refused:
                continue  # a name the platform cannot have: the record is refused by the next walk
            self._desk.exchange(request, None)
