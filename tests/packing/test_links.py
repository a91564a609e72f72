"""Links: which digests belong to one contact, and what the packer makes of records that only links tie."""

import orjson
import pytest

from contact_ingest.model.identity import digests, identities
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.links import MAX_LINKED, link, links_of
from contact_ingest.packing.packer import EncodedRecord, Packer
from contact_ingest.packing.payload import Limits

KINDS = ("email", "external_id", "phone_number_id")
SALT = b"s" * 16
LIMITS = Limits(10, 10_000, b"[", b"]")


def encode(queued):
    names = identities(orjson.loads(queued.raw), KINDS)
    return EncodedRecord(queued, queued.raw, names, digests(SALT, names))


def record(seq=0, **fields):
    return encode(QueuedRecord(seq, orjson.dumps(fields)))


def digest(name):
    return digests(SALT, [name])[0]


def packed(links, records, busy=()):
    """A packer that was given these records, each with its links, while these digests are in flight."""
    packer = Packer(LIMITS, encode, max_held=10, max_refused=10)
    for seq, fields in enumerate(records):
        given = record(seq, **fields)
        link(given, links)
        packer.add(given, set(busy))
    return packer


def cities(found):
    return [orjson.loads(each.queued.raw)["city"] for each in found]


TIE = links_of([record(email="a@x.cd", external_id="p")], {}, {})


def test_a_record_does_not_overtake_a_linked_one_that_is_held():
    records = [{"email": "a@x.cd", "city": "1"}, {"external_id": "p", "city": "2"}, {"email": "a@x.cd", "city": "3"}]

    packer = packed(TIE, records, [digest("email:a@x.cd")])

    assert cities(packer.progress.held) == ["1", "2", "3"]


def test_a_record_merges_into_a_held_one_of_its_own_that_lies_behind_the_linked_ones():
    records = [{"email": "a@x.cd", "city": "1"}, {"external_id": "p", "city": "2"}, {"external_id": "p", "city": "3"}]

    packer = packed(TIE, records, [digest("email:a@x.cd")])

    assert cities(packer.progress.held) == ["1", "3"]


def test_linked_records_are_neither_merged_nor_in_one_body():
    records = [{"email": "a@x.cd", "city": "1"}, {"external_id": "p", "city": "2"}, {"email": "b@x.cd", "city": "3"}]

    packer = packed(TIE, records)

    assert packer.open_rows == 2
    assert cities(packer.progress.held) == ["2"]


def test_a_record_with_both_identifiers_merges_into_the_one_in_the_body():
    packer = packed(TIE, [{"email": "a@x.cd", "city": "1"}, {"email": "a@x.cd", "external_id": "p", "city": "2"}])

    assert (packer.open_rows, packer.progress.merged, packer.progress.held) == (1, 1, [])


def test_links_reach_over_a_third_identifier():
    more = links_of([record(external_id="p", phone_number_id="+1")], TIE, {})
    found = record(phone_number_id="+1")

    link(found, TIE | more)

    assert set(found.linked) == {digest("email:a@x.cd"), digest("external_id:p")}


@pytest.mark.parametrize("known", [{}, TIE])
def test_a_contact_with_two_values_of_an_identifier_is_linked_to_both(known):
    first = links_of([record(email="a@x.cd", external_id="p")], known, {}) | known
    second = links_of([record(email="a@x.cd", external_id="q")], first, {})
    found = record(email="a@x.cd")

    link(found, first | second)

    assert set(found.linked) == {digest("external_id:p"), digest("external_id:q")}


def test_links_that_are_known_are_not_written_again_until_they_are_about_to_be_forgotten():
    tie = record(email="a@x.cd", external_id="p")

    assert links_of([tie], TIE, {}) == {}
    assert links_of([tie], {}, TIE) == TIE


def test_an_address_that_many_people_share_has_a_bounded_number_of_links():
    links = {}
    for number in range(100):
        links |= links_of([record(email="a@x.cd", external_id=str(number))], links, {})

    assert max(map(len, links.values())) == 9 * MAX_LINKED
    assert digest("external_id:99") in {links[digest("external_id:99")][at + 1 : at + 9] for at in range(0, 144, 9)}
