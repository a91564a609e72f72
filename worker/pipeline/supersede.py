"""Newest wins, for records that have failed: a newer record takes the fields it sets from older failed ones.

Older ones are failures in the store, retried records, and records refused in the same round. An older record of the
same lane that is left with nothing but identifiers is superseded: it is deleted, and counts as merged.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import orjson

from contact_ingest.model.identity import has_only_identifiers, split_digests
from contact_ingest.model.lane import RecordId, format_record_id
from contact_ingest.model.merge import with_spellings, without_newer_fields
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.packer import EncodedRecord
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.failures import FailedRecord, without_what_is_newer


class Superseder:
    """Collects what the payloads of one round over `lane` supersede.

    `fields` are the custom fields of the account, by which a name and an id of one field are known as the same.
    `reads_store` is False if the destination has no failures: then only records refused in this round are looked at.
    """

    def __init__(self, store: AggregationStore, lane: str, fields: FieldTable, *, reads_store: bool) -> None:
        self._store = store
        self._lane = lane
        self._fields = fields
        self._reads_store = reads_store
        self._changed: dict[str, FailedRecord] = {}
        self._superseded_refusals: set[int] = set()

    @property
    def changed_failures(self) -> Sequence[FailedRecord]:
        """Failures in the store that have lost fields, as they are now; an empty blob for a superseded one."""
        return list(self._changed.values())

    def not_superseded(self, refused: Iterable[EncodedRecord]) -> list[EncodedRecord]:
        """Those of the refused records that still set a field."""
        return [record for record in refused if id(record) not in self._superseded_refusals]

    def apply_payload(
        self, records: Sequence[EncodedRecord], refused: Sequence[EncodedRecord], packed_retries: AbstractSet[int]
    ) -> None:
        """Take from older records what the records of a finished payload set.

        `refused` and `packed_retries` (record numbers) are those of the round so far.
        """
        if not self._reads_store and not refused:
            return
        by_digest = {digest: record for record in records for digest in record.digests}
        self._strip_refused(by_digest, refused)
        if self._reads_store:
            self._strip_failures(by_digest, {format_record_id(self._lane, seq) for seq in packed_retries})

    def _strip_refused(self, by_digest: Mapping[bytes, EncodedRecord], refused: Sequence[EncodedRecord]) -> None:
        for record in refused:
            for newer in _records_with(by_digest, record.digests):
                spelled = with_spellings(newer.queued, self._fields)
                record.queued = without_newer_fields(record.queued, spelled, same_lane=True)
                if newer.queued.seq > record.queued.seq and has_only_identifiers(orjson.loads(record.queued.raw)):
                    self._superseded_refusals.add(id(record))

    def _strip_failures(self, by_digest: Mapping[bytes, EncodedRecord], leaving: AbstractSet[str]) -> None:
        """`leaving` are the ids of retried records that leave the store in this round: packed, or refused again."""
        for failed in self._store.read_failed(list(by_digest)):
            if failed.id in leaving:
                continue
            same_lane = RecordId.parse(failed.id).lane == self._lane
            left = self._changed.get(failed.id, failed)
            for newer in _records_with(by_digest, split_digests(failed.digests)):
                if left.blob:
                    spelled = with_spellings(newer.queued, self._fields)
                    left = without_what_is_newer(left, spelled, same_lane=same_lane)
            if left.blob != failed.blob:
                self._changed[failed.id] = left


def _records_with(by_digest: Mapping[bytes, EncodedRecord], digests: Sequence[bytes]) -> list[EncodedRecord]:
    """The records that have any of these digests, each once."""
    return list({id(by_digest[digest]): by_digest[digest] for digest in digests if digest in by_digest}.values())
