"""What a destination takes, asked before a file is read: which columns can never be sent, and what empties a field.

The answers come from the provider itself: it prepares a sample record with the field, and its refusal tells.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from contact_ingest.errors import FieldsNeeded, Refused, SettingError
from contact_ingest.model.cell import CellKind
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.record import MAP_FIELDS
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.custom_fields import FRESH_MS
from contact_ingest.pipeline.encode import cell_kind, prepare
from contact_ingest.providers.base import Provider, TableCells

#: Refusals of a field itself, whatever its value.
_ABOUT_FIELDS = frozenset(
    {
        FailureCode.UNKNOWN_FIELD,
        FailureCode.RESERVED,
        FailureCode.RESERVED_FIELD,
        FailureCode.AMBIGUOUS_FIELD,
        FailureCode.READ_ONLY,
    }
)
_IDENTIFIERS = {
    "email": "a@example.com",
    "external_id": "1",
    "phone_number_id": "+12015550123",
    "anonymous_id": "1",
}
#: A value that suits every field of its name or kind, at every platform.
_FIELD_SAMPLES: dict[str, Any] = {
    **_IDENTIFIERS,
    "alternate_emails": ["b@example.com"],
    "phone": "+12015550123",
    "phone_number": "+12015550123",
    "subscribed": True,
    "opt_in": 1,
}
_KIND_SAMPLES: dict[CellKind | None, Any] = {
    None: "x",
    "text": "x",
    "number": 1,
    "digits": "1",
    "boolean": True,
    "date": "2026-01-31",
    "moment": "2026-01-31",
    "choice": "1",
    "choices": ["1"],
    "opt_in": 1,
}


@dataclass(frozen=True, slots=True)
class DestinationFields:
    """The fields of one destination. `table` is what is known of the account's fields, and `now_ms` the moment (ms)."""

    provider: Provider
    field_mapping: FieldMapping
    table: FieldTable
    now_ms: int

    def problem(self, field: str) -> str:
        """Why no value of a field (`city`, `custom_fields.plan`) can ever be sent; empty if one may be.

        A custom field that the table lacks is no problem unless the table is fresh: it may have been created since.
        """
        base = {name: _IDENTIFIERS[name] for name in self.provider.identifiers if name in _IDENTIFIERS}
        if self._refusal(base) is not None:
            return ""  # no record can be sent: the column is not at fault
        owner, _, entry = field.partition(".")
        if entry and owner in MAP_FIELDS:
            sample: Any = {entry: True if owner == "mailing_lists" else _KIND_SAMPLES[self._kind(entry)]}
        else:
            sample = {"1": True} if owner == "mailing_lists" else _FIELD_SAMPLES.get(owner, "x")
        refused = self._refusal({**base, owner: sample})
        if refused is None or refused.code not in _ABOUT_FIELDS:
            return ""
        is_missing = refused.code == FailureCode.UNKNOWN_FIELD and refused.field.startswith("custom_fields")
        if is_missing and self.now_ms - self.table.fetched_ms > FRESH_MS:
            return ""
        return refused.rule

    def emptied(self) -> object:
        """The value that empties a field. Raises `SettingError` where the platform documents none."""
        found = self.provider.emptied if isinstance(self.provider, TableCells) else ()
        if not found:
            raise SettingError("--clear", "the platform documents no value that empties a field: leave the option out")
        return found[0]

    def _kind(self, name: str) -> CellKind | None:
        return cell_kind(self.provider, name, self.table)

    def _refusal(self, record: dict[str, Any]) -> Refused | None:
        try:
            prepare(self.provider, self.field_mapping, orjson.dumps(record), self.table)
        except FieldsNeeded:
            return None
        except Refused as refused:
            return refused
        return None
