"""Encoding: each record of a lane is checked and encoded for the platform, or refused.

The provider checks and encodes; this module applies the destination's field mapping, makes the digests, and turns
whatever goes wrong with one record into a refusal of that record.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from contact_ingest.errors import BUGS, FieldsNeeded, Refused, describe_bug
from contact_ingest.model.cell import MARK, CellKind, typed, unmarked
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.identity import digests, identities
from contact_ingest.model.merge import merge_records
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.packer import EncodedRecord
from contact_ingest.providers.base import CustomFields, Prepared, Provider, SameFields, TableCells
from contact_ingest.providers.refusal_text import custom_label

#: An unknown custom field makes a round fetch the field definitions again if they are older than this, ms.
REFRESH_MS = 30_000
NO_MAPPING = FieldMapping()
NO_FIELDS = FieldTable()
#: Levels of nesting a record may have. orjson reads deeper than the 254 levels it writes: a record that could not be
#: written again is refused.
MAX_DEPTH = 250

log = logging.getLogger("contact_ingest.records")


@dataclass(frozen=True, slots=True, repr=False)
class RecordEncoder:
    """Encodes the records of one round.

    `salt` is for the digests. `fields` are the account's custom fields as cached, `now_ms` the moment of the snapshot.
    `tried` names the custom fields that this round has tried to create: a record that still needs one is refused.
    `reported` are the bugs that this round has logged. `same_fields` are those of the provider.
    """

    provider: Provider
    salt: bytes
    fields: FieldTable
    tried: frozenset[str]
    now_ms: int
    field_mapping: FieldMapping = NO_MAPPING
    reported: set[str] = field(default_factory=set)
    same_fields: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "same_fields", self.provider.same_fields if isinstance(self.provider, SameFields) else {}
        )

    def encode(self, queued: QueuedRecord) -> EncodedRecord:
        """Encode or refuse one record. A bad record is refused by itself; it never stops the others.

        Raises `FieldsNeeded` if a custom field is unknown and the cached definitions may be too old.
        """
        try:
            if b"\n" in queued.raw or (len(queued.raw) > 2 * MAX_DEPTH and _may_be_deep(queued.raw)):
                queued = _rewritten(queued)
            ready = prepare(self.provider, self.field_mapping, queued.raw, self.fields)
            keys = digests(self.salt, ready.identities)
        except Refused as refused:
            if (
                refused.field.startswith("custom_fields.")
                and refused.code == FailureCode.UNKNOWN_FIELD
                and self._is_stale()
            ):
                raise FieldsNeeded({refused.field: None}) from None
            return self._refused(queued, refused)
        except FieldsNeeded as needed:
            if not self.tried.issuperset(needed.samples):
                raise
            name = min(needed.samples)
            return self._refused(queued, Refused(custom_label(name), "could not be created", FailureCode.UNKNOWN_FIELD))
        except BUGS as problem:
            return self._refused(queued, self._log_bug(problem))
        if ready.dropped and self._is_stale():
            raise FieldsNeeded(dict.fromkeys(ready.dropped))
        return EncodedRecord(queued, ready.encoded, ready.identities, keys, None, len(ready.dropped))

    def field_of(self, path: str) -> str:
        """The field that a record's path names at the platform, after the field mapping: `city` for `town`."""
        name = self.field_mapping.target_of(path)
        return self.same_fields.get(name, name)

    def merge(self, older: QueuedRecord, newer: QueuedRecord) -> QueuedRecord | None:
        """Both records as one; None if the field mapping makes a whole map of a field, or the reverse: entries
        of the older record would be lost, so the records are sent one after the other."""
        if self.field_mapping.renamed_maps:
            return None
        return merge_records(older, newer, self.field_of)

    def _is_stale(self) -> bool:
        return self.now_ms - self.fields.fetched_ms > REFRESH_MS

    def _log_bug(self, problem: Exception) -> Refused:
        """Refuse one record for a bug of ours. The log gets each bug once a round, by type and place only."""
        bug = describe_bug(problem)
        if bug not in self.reported:
            self.reported.add(bug)
            log.error("a record could not be prepared", extra={"problem": bug})
        return Refused("record", f"could not be prepared: {bug}", FailureCode.INTERNAL)

    def _refused(self, queued: QueuedRecord, refused: Refused) -> EncodedRecord:
        queued = _as_json_line(queued)
        names = identities_of(queued.raw, self.provider, self.field_mapping)
        # A new exception: the one that was caught keeps its frames alive, and they keep whole chunks of the lane.
        reason = Refused(refused.field, refused.rule, refused.code)
        return EncodedRecord(queued, None, names, digests(self.salt, names), reason)


def identities_of(raw: bytes, provider: Provider, field_mapping: FieldMapping) -> tuple[str, ...]:
    """The identities of a failed record, as given and as the platform writes them, as far as each can be read.

    Newer records of the contact find the failure by these. `raw` is the record's JSON as enqueued. A value that is no
    text stands as its JSON: `{"external_id": 12}` has the identity `external_id:12`.
    """
    try:
        record = orjson.loads(field_mapping.apply(raw))
    except BUGS:  # the field mapping spoils this record: take the identities from what was enqueued
        record = orjson.loads(raw)
    if not isinstance(record, dict):
        return ()
    names = dict.fromkeys(identities(record, provider.identifiers))
    for name in provider.identifiers:
        value = record.get(name)
        if not isinstance(value, str | None):
            names[f"{name}:{orjson.dumps(value).decode()}"] = None
        elif value:
            with contextlib.suppress(Refused, FieldsNeeded, *BUGS):
                names |= dict.fromkeys(provider.prepare(orjson.dumps({name: value}), NO_FIELDS).identities)
    return tuple(names)


def prepare(provider: Provider, field_mapping: FieldMapping, raw: bytes, fields: FieldTable) -> Prepared:
    """One record as the destination gets it: mapped, its marked cells typed, checked and encoded.

    Raises `Refused`, or `FieldsNeeded` if custom fields have to be fetched or created first.
    """
    mapped = field_mapping.apply(raw)
    return provider.prepare(_with_typed_cells(mapped, provider, fields) if MARK in mapped else mapped, fields)


def cell_kind(provider: Provider, name: str, fields: FieldTable) -> CellKind | None:
    """What the custom field of this name takes from a cell; None if the table lacks the name."""
    found = fields.find(name)
    if found is None:
        return None
    return provider.cell_kinds.get(found[1].lower(), "text") if isinstance(provider, TableCells) else "text"


def _with_typed_cells(raw: bytes, provider: Provider, fields: FieldTable) -> bytes:
    """The record's JSON with each marked cell as the value that its field takes. Raises `Refused` or `FieldsNeeded`."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw  # the provider refuses it and names the reason
    if not isinstance(record, dict):
        return raw
    custom = record.get("custom_fields")
    if not isinstance(custom, dict):
        return raw
    if isinstance(provider, CustomFields) and not fields.fetched_ms:
        raise FieldsNeeded({name: unmarked(value) for name, value in custom.items()})
    record["custom_fields"] = {
        name: typed(custom_label(name), value, cell_kind(provider, name, fields)) for name, value in custom.items()
    }
    return orjson.dumps(record)


def _may_be_deep(raw: bytes) -> bool:
    return raw.count(b"[") + raw.count(b"{") > MAX_DEPTH


def _rewritten(queued: QueuedRecord) -> QueuedRecord:
    """The record on one line, as `enqueue` writes it: some other program wrote it into the lane. Raises `Refused`."""
    try:
        return replace(queued, raw=_one_line(queued.raw))
    except orjson.JSONDecodeError:
        raise Refused("record", "is not JSON", FailureCode.NOT_AN_OBJECT) from None
    except TypeError:
        raise Refused("record", "is nested too deeply", FailureCode.NOT_JSON) from None


def _as_json_line(queued: QueuedRecord) -> QueuedRecord:
    """The record as a failure keeps it: JSON on one line, so that it can be shown, merged and retried.

    Bytes that are no JSON become a JSON text of them.
    """
    try:
        raw = _one_line(queued.raw)
    except (orjson.JSONDecodeError, TypeError):
        return replace(queued, raw=orjson.dumps(queued.raw.decode("utf-8", "backslashreplace")))
    return replace(queued, raw=raw) if b"\n" in queued.raw else queued


def _one_line(raw: bytes) -> bytes:
    return orjson.dumps(orjson.loads(raw))
