"""Records made ready for the walk: checked and encoded by the provider, their identities as digests, or refused."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from worker.contact import Entry, digests, identities
from worker.errors import FieldsNeeded, Refused
from worker.outcome import FieldTable
from worker.providers.base import Provider
from worker.rules import FieldRules
from worker.walk import Item

#: An unknown custom field asks for the definitions again if they are older than this.
REFRESH_MS = 30_000
NO_RULES = FieldRules()


@dataclass(frozen=True, slots=True, repr=False)
class Preparation:
    """What records are made ready with. `fields` are the account's custom fields as cached, `tried` the names that
    somebody has tried to create already: records that carry those and no field of the account are refused."""

    provider: Provider
    salt: bytes
    fields: FieldTable
    tried: frozenset[str]
    now_ms: int
    rules: FieldRules = NO_RULES

    def item(self, entry: Entry) -> Item:
        """Raises `FieldsNeeded`."""
        try:
            ready = self.provider.prepare(self.rules.apply(entry.raw), self.fields)
        except Refused as refused:
            if refused.field.startswith("custom_fields.") and refused.code == "unknown_field" and self._is_stale():
                raise FieldsNeeded({refused.field: None}) from None
            return self._refused(entry, refused)
        except FieldsNeeded as needed:
            if not self.tried.issuperset(needed.samples):
                raise
            name = min(needed.samples)
            return self._refused(entry, Refused(f"custom_fields.{name}", "could not be created", "unknown_field"))
        if ready.dropped and self._is_stale():
            raise FieldsNeeded(dict.fromkeys(ready.dropped))
        keys = digests(self.salt, ready.identities)
        return Item(entry, ready.encoded, ready.identities, keys, None, len(ready.dropped))

    def _is_stale(self) -> bool:
        return self.now_ms - self.fields.fetched_ms > REFRESH_MS

    def _refused(self, entry: Entry, refused: Refused) -> Item:
        record = orjson.loads(self.rules.apply(entry.raw))
        names = (*identities(record, self.provider.identifiers), *self._as_sent(record))
        names = tuple(dict.fromkeys(names))
        return Item(entry, None, names, digests(self.salt, names), refused)

    def _as_sent(self, record: dict[str, Any]) -> Iterator[str]:
        """Who a refused record is about as the platform writes it, as far as that can be told: newer records of the
        contact are known by that."""
        for name in self.provider.identifiers:
            if name in record:
                with contextlib.suppress(Refused, FieldsNeeded):
                    yield from self.provider.prepare(orjson.dumps({name: record[name]}), self.fields).identities
