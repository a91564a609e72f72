"""Links: which identifiers belong to one contact, as records with several identifiers have said.

After `ann@example.com, 17` has left, a record of `ann@example.com` and one of `17` are of one contact, although they
share no identifier. The newer one has to wait for the older one. Links are kept by digest:

    digest of ann@example.com  ->  marks of ann@example.com and of 17
    digest of 17               ->  the same

A mark is one byte for the kind of identifier, its place in `IDENTIFIERS`, and the digest. Links are hints: a lost one
costs the order of two such records, and never a record. They decide what waits for what, and nothing else. They never
merge two records, and a newer record takes nothing from a failed one through them: links are written before the
platform has answered, so a record that it refuses leaves links too.
"""

from collections.abc import Iterable, Mapping, Sequence

from contact_ingest.model.identity import DIGEST_BYTES, IDENTIFIERS
from contact_ingest.packing.packer import EncodedRecord

MARK_BYTES = 1 + DIGEST_BYTES
#: Most identifiers of one contact that are linked. An address that a thousand people share links a few of them.
MAX_LINKED = 16
_KINDS = {name: place.to_bytes(1, "big") for place, name in enumerate(IDENTIFIERS)}


def link(record: EncodedRecord, links: Mapping[bytes, bytes]) -> None:
    """Note in the record which other digests its contact has. `links` are those of the record's own digests."""
    own = set(record.digests)
    marks = {mark for digest in record.digests for mark in _split(links.get(digest, b""))}
    record.linked = tuple(sorted({mark[1:] for mark in marks} - own))


def links_of(
    records: Iterable[EncodedRecord], fresh: Mapping[bytes, bytes], older: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """The links that these records add, by digest. Each record has several identifiers.

    `fresh` are links that need not be written again.
    """
    added: dict[bytes, bytes] = {}
    for record in records:
        group = _marks(record)
        if older or fresh:
            found = (links.get(digest, b"") for digest in record.digests for links in (fresh, older))
            known = {mark for joined in found for mark in _split(joined)}
            group = [*group, *sorted(known.difference(group))][:MAX_LINKED]
        joined = b"".join(sorted(group))
        if not fresh or any(fresh.get(digest) != joined for digest in record.digests):
            for mark in group:
                added[mark[1:]] = joined
    return added


def _marks(record: EncodedRecord) -> list[bytes]:
    pairs = zip(record.identities, record.digests, strict=True)
    return [_KINDS[identity.partition(":")[0]] + digest for identity, digest in pairs]


def _split(joined: bytes) -> Sequence[bytes]:
    return [joined[start : start + MARK_BYTES] for start in range(0, len(joined), MARK_BYTES)]
