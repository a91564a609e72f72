"""What the bodies of one round take from older records that have failed, were refused in this very round, or are to be
tried again: the fields that are set anew. With nothing but identifiers left, an older record is superseded.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import orjson

from contact_ingest.model.identity import has_only_identifiers, split_digests
from contact_ingest.model.merge import without_newer_fields
from contact_ingest.packing.packer import EncodedRecord
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.failures import FailedRecord, without_what_is_newer


class Superseder:
    """Of one round over `lane`. `reads` tells whether there is anything in the store to look for."""

    def __init__(self, bench: AggregationStore, lane: str, *, reads: bool) -> None:
        self._bench = bench
        self._lane = lane
        self._reads = reads
        self._found: dict[str, FailedRecord] = {}
        self._superseded: set[int] = set()

    @property
    def superseded(self) -> Sequence[FailedRecord]:
        return list(self._found.values())

    def left(self, refused: Iterable[EncodedRecord]) -> list[EncodedRecord]:
        """Those that still have something to say."""
        return [item for item in refused if id(item) not in self._superseded]

    def body(self, items: Sequence[EncodedRecord], refused: Sequence[EncodedRecord], taken: AbstractSet[int]) -> None:
        """A body has closed; `refused` and `taken` (retried records) are those of the round so far."""
        if not self._reads and not refused:
            return
        by_digest = {digest: item for item in items for digest in item.digests}
        self._strip_refused(by_digest, refused)
        if self._reads:
            self._strip_failed(by_digest, {f"{self._lane}:{seq}" for seq in taken})

    def _strip_refused(self, by_digest: Mapping[bytes, EncodedRecord], refused: Sequence[EncodedRecord]) -> None:
        for item in refused:
            for newer in _touching(by_digest, item.digests):
                item.entry = without_newer_fields(item.entry, newer.entry, same_lane=True)
                if newer.entry.seq > item.entry.seq and has_only_identifiers(orjson.loads(item.entry.raw)):
                    self._superseded.add(id(item))

    def _strip_failed(self, by_digest: Mapping[bytes, EncodedRecord], taken: AbstractSet[str]) -> None:
        """Those in `taken` leave in this round: they are in a body, or among the refused."""
        for failed in self._bench.failed(list(by_digest)):
            if failed.id in taken:
                continue
            same_lane = failed.id.rpartition(":")[0] == self._lane
            record = self._found.get(failed.id, failed)
            for item in _touching(by_digest, split_digests(failed.digests)):
                if record.blob:
                    record = without_what_is_newer(record, item.entry, same_lane=same_lane)
            if record.blob != failed.blob:
                self._found[failed.id] = record


def _touching(by_digest: Mapping[bytes, EncodedRecord], keys: Sequence[bytes]) -> list[EncodedRecord]:
    """The contacts that have any of these identities, each once."""
    return list({id(by_digest[key]): by_digest[key] for key in keys if key in by_digest}.values())
