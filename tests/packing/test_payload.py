"""Payloads: the size that is counted is the size that is sent, and no body exceeds its cap by a byte."""

from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contact_ingest.packing.payload import Limits, Payload, read_offsets

PREFIX, SUFFIX = b'{"list_ids":["\xc3\xa9"],"contacts":[', b"]}"
FRAME = len(PREFIX) + len(SUFFIX)

CONTACTS = st.dictionaries(st.text(max_size=5), st.text(max_size=12) | st.integers(-9, 9), max_size=3)


def limits(max_bytes=10_000, max_contacts=30_000):
    return Limits(max_contacts, max_bytes, PREFIX, SUFFIX)


def pack(rows, bounds):
    """Fill bodies in order, as the packer does. Returns each body with the size that was counted."""
    bodies, body = [], Payload(bounds)
    for row in rows:
        if not body.fits(row):
            bodies.append((body.size, body.close()))
            body = Payload(bounds)
        assert body.fits(row)
        body.add(row)
    return [*bodies, (body.size, body.close())] if len(body) else bodies


def contacts_in(packed):
    return orjson.loads(packed.body)["contacts"]


@settings(deadline=None)
@given(st.lists(CONTACTS, min_size=1, max_size=40), st.integers(200, 400), st.integers(1, 10))
def test_nothing_is_lost_sent_twice_reordered_or_over_a_cap(contacts, max_bytes, max_contacts):
    encoded = [orjson.dumps(contact) for contact in contacts]

    bodies = pack(encoded, limits(max_bytes, max_contacts))

    assert [contact for _, packed in bodies for contact in contacts_in(packed)] == contacts
    for predicted, packed in bodies:
        whole = orjson.dumps({"list_ids": ["é"], "contacts": contacts_in(packed)})
        assert packed.body == whole
        assert predicted == len(whole) <= max_bytes
        assert packed.rows == len(contacts_in(packed)) <= max_contacts


@settings(deadline=None)
@given(st.lists(CONTACTS, min_size=2, max_size=40), st.integers(200, 400), st.integers(1, 10))
def test_a_body_is_finished_only_when_the_next_contact_would_not_have_fitted(contacts, max_bytes, max_contacts):
    bodies = pack([orjson.dumps(contact) for contact in contacts], limits(max_bytes, max_contacts))

    for (_, packed), (_, following) in pairwise(bodies):
        first = following.body[len(PREFIX) : read_offsets(following.offsets)[1] - 1]
        assert len(packed.body) + 1 + len(first) > max_bytes or packed.rows == max_contacts


@settings(deadline=None)
@given(st.lists(CONTACTS, min_size=1, max_size=20), st.data())
def test_a_row_that_is_replaced_keeps_its_place_and_the_size_stays_exact(contacts, data):
    body = Payload(limits())
    for contact in contacts:
        body.add(orjson.dumps(contact))
    for _ in range(data.draw(st.integers(1, 5))):
        row = data.draw(st.integers(0, len(contacts) - 1))
        contacts[row] = data.draw(CONTACTS)
        body.replace(row, orjson.dumps(contacts[row]))
        assert body.row(row) == orjson.dumps(contacts[row])
    predicted = body.size

    packed = body.close()

    assert contacts_in(packed) == contacts
    assert predicted == len(packed.body) == len(orjson.dumps({"list_ids": ["é"], "contacts": contacts}))


@given(st.lists(CONTACTS, min_size=1, max_size=20))
def test_offsets_cut_a_body_into_its_rows(contacts):
    body = Payload(limits())
    for contact in contacts:
        body.add(orjson.dumps(contact))

    packed = body.close()

    at = read_offsets(packed.offsets)
    assert [orjson.loads(packed.body[at[row] : at[row + 1] - 1]) for row in range(packed.rows)] == contacts


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_body_exactly_at_the_cap_is_full_and_one_byte_more_does_not_fit(count):
    row = b'{"email":"a@b.cd"}'
    exact = FRAME + count * len(row) + count - 1
    body = Payload(limits(exact))
    for _ in range(count - 1):
        body.add(row)

    assert not body.fits(row + b" ")
    assert body.fits(row)
    body.add(row)
    assert body.size == exact
    assert not body.fits(b"")
    assert len(body.close().body) == exact


def test_the_longest_contact_that_fits_alone_is_known_beforehand():
    bounds = limits(300)

    assert Payload(bounds).fits(b"x" * bounds.max_contact_bytes)
    assert not Payload(bounds).fits(b"x" * (bounds.max_contact_bytes + 1))


def test_a_merged_row_is_measured_before_it_replaces_the_old_one():
    body = Payload(limits(FRAME + 10))
    body.add(b"12345")

    assert body.fits_instead(0, b"1234567890")
    assert not body.fits_instead(0, b"12345678901")
    body.replace(0, b"1234567890")
    assert not body.fits(b"")
    assert body.fits_instead(0, b"1")


def test_thirty_thousand_of_the_smallest_contacts_fill_a_body_by_count():
    rows = [b'{"email":"p%05d@exampl.org","a":""}' % number for number in range(30_001)]
    assert {len(row) for row in rows} == {36}

    bodies = pack(rows, limits(6_000_000))

    assert [packed.rows for _, packed in bodies] == [30_000, 1]


def test_a_body_shows_only_its_size():
    body = Payload(limits())
    body.add(b'{"email":"secret@example.com"}')

    assert "secret" not in repr(body.close())


def test_a_body_that_has_enough_takes_no_more_but_a_single_contact_may_be_larger():
    body = Payload(Limits(100, 1_000, b"[", b"]", soft_max_bytes=50))

    assert body.fits(b"x" * 500)
    body.add(b"x" * 20)
    assert body.fits(b"x" * 27)
    assert not body.fits(b"x" * 28)
