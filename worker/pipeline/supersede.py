"""Newest wins, for records that have failed: a newer record takes the fields it sets from older failed ones.

Older ones are failures in the store, retried records, and records refused in the same round. Only a record of the same
contact takes anything: it shares an identifier with the failed one and contradicts it in none. For example, `r-2,
r@example.com` stays failed as it is when `r-1, r@example.com` is delivered: both have the address, and they are two
contacts. An address that the platform refuses is a value like any other: the record that corrects it contradicts it.

A record that shares no identifier with the failed one takes nothing from it, whatever links (packing/links.py) say: the
platform may have refused the record that made the link, and an opt-out of another contact would be lost.

A failed record of the same lane that is left with nothing but identifiers is superseded if one newer record of its
contact has every identifier of it, with the same value. It is deleted, and counts as merged. So nothing that it said
is lost: not a field, not an identifier, and not that two identifiers belong together.

The digests that lie beside a failure find it. The identities, which tell a contradiction, are read from its record only
if a newer record lacks one of those digests, or is about to supersede it.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import orjson

from contact_ingest.model.identity import contradict, has_only_identifiers, names_all_of, split_digests
from contact_ingest.model.lane import RecordId, format_record_id
from contact_ingest.model.merge import field_paths, with_spellings, without_newer_fields
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.packer import EncodedRecord
from contact_ingest.pipeline.encode import RecordEncoder, identities_of
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.failures import FailedRecord


class Superseder:
    """Collects what the payloads of one round over `lane` supersede.

    `fields` are the custom fields of the account, by which a name and an id of one field are known as the same.
    `reads_store` is False if the destination has no failures: then only records refused in this round are looked at.
    """

    def __init__(self, store: AggregationStore, lane: str, encoder: RecordEncoder, *, reads_store: bool) -> None:
        self._store = store
        self._lane = lane
        self._provider = encoder.provider
        self._field_mapping = encoder.field_mapping
        self._identifiers = encoder.field_mapping.sources_of(encoder.provider.identifiers)
        self._kept = self._identifiers | encoder.field_mapping.renamed_maps
        self._field_of = encoder.field_of
        # A mapping may give a record's names another meaning, so names stand for themselves there.
        self._fields = encoder.fields if encoder.field_mapping.is_empty else FieldTable()
        self._reads_store = reads_store
        self._changed: dict[str, FailedRecord] = {}
        self._superseded_refusals: set[int] = set()

    @property
    def changed_failures(self) -> Sequence[FailedRecord]:
        """Failures in the store that have lost fields, as they are now; an empty blob for a superseded one."""
        return list(self._changed.values())

    def not_superseded(self, refused: Iterable[EncodedRecord]) -> list[EncodedRecord]:
        """Those of the refused records that still say something."""
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
                if id(record) in self._superseded_refusals:
                    continue
                left = self._left_of(record.queued, record.digests, newer, same_lane=True)
                if left is None:
                    self._superseded_refusals.add(id(record))
                else:
                    record.queued = left

    def _strip_failures(self, by_digest: Mapping[bytes, EncodedRecord], leaving: AbstractSet[str]) -> None:
        """`leaving` are the ids of retried records that leave the store in this round: packed, or refused again."""
        for stored in self._store.read_failed(list(by_digest)):
            if stored.id in leaving:
                continue
            failed = self._changed.get(stored.id, stored)
            digests = split_digests(stored.digests)
            for newer in _records_with(by_digest, digests):
                if failed.blob:
                    failed = self._left_of_failure(failed, digests, newer)
            if failed is not stored:
                self._changed[stored.id] = failed

    def _left_of_failure(self, failed: FailedRecord, digests: Sequence[bytes], newer: EncodedRecord) -> FailedRecord:
        failure, same_lane = failed.failure, RecordId.parse(failed.id).lane == self._lane
        old = failure.queued
        left = self._left_of(old, digests, newer, same_lane=same_lane)
        if left is old:
            return failed
        return replace(failed, blob=b"" if left is None else replace(failure, raw=left.raw).to_bytes())

    def _left_of(
        self, old: QueuedRecord, digests: Sequence[bytes], newer: EncodedRecord, *, same_lane: bool
    ) -> QueuedRecord | None:
        """What the newer record leaves of an older failed one; None if the older one is superseded.

        `digests` are those of the older one. On another lane a record with nothing but identifiers stays, since being
        delivered there still means something.
        """
        has_all_digests = self._field_mapping.is_empty and set(newer.digests).issuperset(digests)
        if not has_all_digests and contradict(self._identities(old), newer.identities):
            return old
        spelled = with_spellings(newer.queued, self._fields)
        left = without_newer_fields(old, spelled, same_lane=same_lane, identifiers=self._kept, field_of=self._field_of)
        is_superseded = (
            same_lane
            and newer.queued.seq > old.seq
            and has_only_identifiers(field_paths(orjson.loads(left.raw)), self._identifiers)
            and names_all_of(newer.identities, self._identities(old))
        )
        return None if is_superseded else left

    def _identities(self, old: QueuedRecord) -> tuple[str, ...]:
        return identities_of(old.raw, self._provider, self._field_mapping)


def _records_with(by_digest: Mapping[bytes, EncodedRecord], digests: Sequence[bytes]) -> list[EncodedRecord]:
    """The records that have any of these digests, each once."""
    return list({id(by_digest[digest]): by_digest[digest] for digest in digests if digest in by_digest}.values())
