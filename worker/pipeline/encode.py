"""Records made ready for the walk: checked and encoded by the provider, their identities as digests, or refused."""

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from contact_ingest.errors import BUGS, FieldsNeeded, Refused, describe_bug
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.identity import digests, identities
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.packer import EncodedRecord
from contact_ingest.providers.base import Provider

#: An unknown custom field asks for the definitions again if they are older than this.
REFRESH_MS = 30_000
NO_RULES = FieldMapping()
#: orjson reads deeper than it writes (254 levels): what it could not write again must not come in.
DEEP = 250

log = logging.getLogger("contact_ingest.records")


@dataclass(frozen=True, slots=True, repr=False)
class RecordEncoder:
    """What records are made ready with. `fields` are the account's custom fields as cached, `tried` the names that
    somebody has tried to create already: records that carry those and no field of the account are refused."""

    provider: Provider
    salt: bytes
    fields: FieldTable
    tried: frozenset[str]
    now_ms: int
    rules: FieldMapping = NO_RULES
    told: set[str] = field(default_factory=set)

    def encode(self, entry: QueuedRecord) -> EncodedRecord:
        """Whatever a record holds, it costs itself alone. Raises `FieldsNeeded`."""
        try:
            if b"\n" in entry.raw or (len(entry.raw) > 2 * DEEP and _may_be_deep(entry.raw)):
                entry = _tidied(entry)
            ready = self.provider.prepare(self.rules.apply(entry.raw), self.fields)
            keys = digests(self.salt, ready.identities)
        except Refused as refused:
            if refused.field.startswith("custom_fields.") and refused.code == "unknown_field" and self._is_stale():
                raise FieldsNeeded({refused.field: None}) from None
            return self._refused(entry, refused)
        except FieldsNeeded as needed:
            if not self.tried.issuperset(needed.samples):
                raise
            name = min(needed.samples)
            return self._refused(entry, Refused(f"custom_fields.{name}", "could not be created", "unknown_field"))
        except BUGS as problem:
            return self._refused(entry, self._log_bug(problem))
        if ready.dropped and self._is_stale():
            raise FieldsNeeded(dict.fromkeys(ready.dropped))
        return EncodedRecord(entry, ready.encoded, ready.identities, keys, None, len(ready.dropped))

    def _is_stale(self) -> bool:
        return self.now_ms - self.fields.fetched_ms > REFRESH_MS

    def _log_bug(self, problem: Exception) -> Refused:
        """A mistake of ours costs one record, not the lane; the log has it once a round, by type and place alone."""
        said = describe_bug(problem)
        if said not in self.told:
            self.told.add(said)
            log.error("a record could not be prepared", extra={"problem": said})
        return Refused("record", f"could not be prepared: {said}", "internal")

    def _refused(self, entry: QueuedRecord, refused: Refused) -> EncodedRecord:
        entry = _readable(entry)
        try:
            record = orjson.loads(self.rules.apply(entry.raw))
        except BUGS:  # rules that spoil a record: then what was enqueued says whom it is about
            record = orjson.loads(entry.raw)
        names = self._names(record) if isinstance(record, dict) else ()
        # Told anew: what was caught holds the frames it went through, and they hold whole pieces of the lane.
        told = Refused(refused.field, refused.rule, refused.code)
        return EncodedRecord(entry, None, names, digests(self.salt, names), told)

    def _names(self, record: dict[str, Any]) -> tuple[str, ...]:
        """Who a refused record is about, as given and as the platform writes it, as far as that can be told: newer
        records of the contact are known by that."""
        names = dict.fromkeys(identities(record, self.provider.identifiers))
        for name in self.provider.identifiers:
            if name in record:
                with contextlib.suppress(Refused, FieldsNeeded, *BUGS):
                    alone = orjson.dumps({name: record[name]})
                    names |= dict.fromkeys(self.provider.prepare(alone, self.fields).identities)
        return tuple(names)


def _may_be_deep(raw: bytes) -> bool:
    return raw.count(b"[") + raw.count(b"{") > DEEP


def _tidied(entry: QueuedRecord) -> QueuedRecord:
    """The record on one line, as the door writes it, whoever wrote it into the lane. Raises `Refused`."""
    try:
        return replace(entry, raw=_one_line(entry.raw))
    except orjson.JSONDecodeError:
        raise Refused("record", "is not JSON", "not_an_object") from None
    except TypeError:
        raise Refused("record", "is nested too deeply", "not_json") from None


def _readable(entry: QueuedRecord) -> QueuedRecord:
    """What has failed is kept as JSON on one line, so that it can be shown, merged and tried again; what is no JSON
    becomes a text of it."""
    try:
        raw = _one_line(entry.raw)
    except (orjson.JSONDecodeError, TypeError):
        return replace(entry, raw=orjson.dumps(entry.raw.decode("utf-8", "backslashreplace")))
    return replace(entry, raw=raw) if b"\n" in entry.raw else entry


def _one_line(raw: bytes) -> bytes:
    return orjson.dumps(orjson.loads(raw))
