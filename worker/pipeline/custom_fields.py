"""The custom fields of an account: fetched when a name is unknown, cached in Redis, shared by all workers."""

from collections.abc import Mapping
from dataclasses import dataclass

from contact_ingest.errors import Refused
from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import FieldTable, Stop
from contact_ingest.pipeline.exchange import Exchanger
from contact_ingest.providers.base import CustomFields
from contact_ingest.store.account_cache import AccountCache
from contact_ingest.store.batches import BatchStore
from contact_ingest.store.schedule import DestinationState

#: A table younger than this is not fetched again, ms: what it lacks is missing at the platform.
FRESH_MS = 30_000
#: The table of a platform without custom fields: empty, and never out of date.
NO_CUSTOM_FIELDS = FieldTable(fetched_ms=2**53)


@dataclass(frozen=True, slots=True)
class CustomFieldCache:
    """The custom fields of one destination. `provider` is None for a platform without custom fields. `creates` says
    that fields which the account lacks are created."""

    exchanger: Exchanger
    batch_store: BatchStore
    provider: CustomFields | None
    state: DestinationState
    cache: AccountCache
    creates: bool

    def cached(self) -> FieldTable:
        """The table as it was fetched last; an empty one if none is cached."""
        return NO_CUSTOM_FIELDS if self.provider is None else self.cache.field_table()

    def ready_for(self, samples: Mapping[str, object]) -> frozenset[str] | None:
        """Fetch the table. If it is fresh and still lacks some of these names, create those fields first.

        `samples` maps each name to a value that tells the type of the field. Returns the names it tried to create, or
        None if nothing is to be had now."""
        if self.provider is None:
            raise TypeError("a provider asked for custom fields, and offers no CustomFields")
        token = self.batch_store.claim_without_batch()
        if token is None:
            return None
        tried: frozenset[str] = frozenset()
        try:
            table = self.cached()
            if self._may_create() and table.fetched_ms and self._now_ms() - table.fetched_ms <= FRESH_MS:
                lacking = {name: value for name, value in samples.items() if not table.takes(name)}
                self._create(self.provider, lacking)
                tried = frozenset(lacking)
            return tried if self._refresh(self.provider) else None
        finally:
            self.batch_store.release_claim(token)

    def _may_create(self) -> bool:
        return self.creates and self.exchanger.breaker.state().open_until is None

    def _now_ms(self) -> int:
        return self.exchanger.clock.now_ms()

    def _refresh(self, provider: CustomFields) -> bool:
        reply = self.exchanger.ask(provider.definitions())
        if not isinstance(reply, Response):
            return False
        table = provider.read_definitions(reply, self._now_ms())
        if isinstance(table, Stop):
            self.state.stop(table.code, table.why)
        if not isinstance(table, FieldTable):
            return False
        self.cache.keep_field_table(table)
        return True

    def _create(self, provider: CustomFields, samples: Mapping[str, object]) -> None:
        """Create fields that records name and the account lacks, each of the type of a sample value."""
        for name, value in sorted(samples.items()):
            try:
                request = provider.create_field(name, value)
            except Refused:
                continue  # a name the platform cannot have: the next aggregation refuses the record
            self.exchanger.send(request, None)
