"""Newest wins field by field: merging and taking away, compared with values that name the record that set them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contact_ingest.model.identity import IDENTIFIERS, has_only_identifiers
from contact_ingest.model.merge import merge_fields, merge_records, with_packed_version, without_newer_fields
from contact_ingest.model.record import MAP_FIELDS, QueuedRecord

VALUES = st.none() | st.booleans() | st.sampled_from(["", "x", 0, 5])
RECORDS = st.fixed_dictionaries(
    {"email": st.just("a@example.com")},
    optional={
        **dict.fromkeys(("first_name", "city", "external_id"), VALUES),
        "custom_fields": st.dictionaries(st.sampled_from("pqr"), VALUES, min_size=1, max_size=3) | st.just("text"),
    },
)
#: Fields of small records in which each value is the number of the record that set it.
NAMES = st.sets(st.sampled_from(["city", "country", "custom_fields.p", "custom_fields.q", "mailing_lists.l"]))
PARTS = st.lists(NAMES, min_size=1, max_size=4)


def contact(**more):
    return {"email": "a@example.com", **more}


def entry(seq, record, packed_version=0):
    return QueuedRecord(seq, orjson.dumps(record), packed_version=packed_version)


def strip(old, new):
    """What an older record still sets after a newer one."""
    return orjson.loads(without_newer_fields(entry(1, old), entry(2, new), same_lane=True).raw)


def saying(seq, names):
    record = contact()
    for name in names:
        head, _, tail = name.partition(".")
        if tail:
            record.setdefault(head, {})[tail] = seq
        else:
            record[head] = seq
    return record


def said(entry_):
    """Each field with the number of the record that set it, which is its value."""
    found = {}
    for name, value in orjson.loads(entry_.raw).items():
        if name in MAP_FIELDS:
            found |= {f"{name}.{inner}": seq for inner, seq in value.items()}
        elif name not in IDENTIFIERS:
            found[name] = value
    return found


def chain(first, step, parts, packed_version=0):
    """One record merged of several, from the oldest to the newest."""
    numbers = range(first, first + step * len(parts), step)
    entries = [entry(seq, saying(seq, names), packed_version) for seq, names in zip(numbers, parts, strict=True)]
    whole = entries[0]
    for newer in entries[1:]:
        whole = merge_records(whole, newer)
    return whole


@given(PARTS, PARTS)
def test_of_two_merged_records_each_field_is_as_new_as_the_record_that_set_it(some, others):
    """One is merged of the records with even numbers, the other of those with odd numbers."""
    old, new = chain(0, 2, some), chain(1, 2, others)
    before, rival = said(old), said(new)

    left = without_newer_fields(old, new, same_lane=True)

    assert said(left) == {name: seq for name, seq in before.items() if rival.get(name, -1) < seq}


@given(PARTS, PARTS)
def test_of_two_merged_records_that_become_one_each_field_is_by_the_newest_that_set_it(some, others):
    older, newer = sorted((chain(0, 2, some), chain(1, 2, others)), key=lambda whole: whole.seq)
    before, rival = said(older), said(newer)

    both = merge_records(older, newer)

    assert said(both) == {name: max(before.get(name, -1), rival.get(name, -1)) for name in before | rival}
    known = {name: seq for name, seq, _ in both.field_versions}
    assert len(known) == len(both.field_versions)
    assert {name: known.get(name, both.seq) for name in said(both)} == said(both)
    assert known.keys() <= said(both).keys()


@given(PARTS, PARTS, st.sampled_from([(3, 0), (3, 5), (5, 3)]))
def test_on_two_lanes_what_left_later_is_newer_and_what_leaves_now_newest(some, others, versions):
    packed_version, rivals = versions
    old, new = chain(100, 1, some, packed_version), chain(0, 1, others, rivals)

    left = without_newer_fields(old, new, same_lane=False)

    is_newer = rivals == 0 or rivals > packed_version
    assert said(left) == {name: seq for name, seq in said(old).items() if not (is_newer and name in said(new))}


def test_what_has_left_before_keeps_the_version_by_which_it_did():
    both = merge_records(entry(1, saying(1, ["city"])), entry(2, saying(2, ["country"])))

    once = with_packed_version(both, 7)

    assert (once.packed_version, once.field_versions) == (7, (("city", 1, 7),))
    assert with_packed_version(once, 9) == once


def test_a_merged_record_remembers_how_often_it_was_tried_and_since_when():
    tried = QueuedRecord(1, orjson.dumps(contact()), (), 3, 1_790_000_000_000, 5)

    both = merge_records(tried, QueuedRecord(2, orjson.dumps(contact()), (), 1, 1_790_000_000_009, 6))

    assert (both.seq, both.merged, both.attempts, both.first_ms) == (2, (1,), 3, 1_790_000_000_000)


@given(RECORDS, RECORDS)
def test_an_older_record_that_comes_late_cannot_overwrite_what_it_was_stripped_of(old, new):
    late = strip(old, new)

    after = merge_fields(new, late)
    for name in new.keys() - {"custom_fields", *IDENTIFIERS}:
        assert after[name] == new[name]
    if isinstance(new.get("custom_fields"), dict):
        assert after["custom_fields"].items() >= new["custom_fields"].items()
    elif "custom_fields" in new:
        assert after["custom_fields"] == new["custom_fields"]
    for name in old.keys() - new.keys():
        assert late[name] == old[name], "a field the newer one does not set was lost"
    for name in IDENTIFIERS:
        assert (name in late) == (name in old)


def test_nothing_is_said_once_only_identifiers_are_left():
    old = contact(external_id="7", first_name="", custom_fields={"p": 0})

    assert not has_only_identifiers(strip(old, contact(first_name="new")))
    assert strip(old, contact(first_name="new")) == contact(external_id="7", custom_fields={"p": 0})
    assert has_only_identifiers(strip(old, contact(first_name="new", custom_fields={"p": 1, "q": 2})))


@pytest.mark.parametrize(("old", "new"), [("Plan", "plan"), ("plan", "PLAN")])
def test_a_custom_field_is_the_same_in_whatever_letters(old, new):
    assert has_only_identifiers(strip(contact(custom_fields={old: 1}), contact(custom_fields={new: 2})))


def test_lists_are_told_apart_by_their_letters():
    old = contact(mailing_lists={"abc": True})

    assert strip(old, contact(mailing_lists={"ABC": False})) == old


STRANGE = st.sampled_from(
    ["", ".", "custom_fields", "custom_fields.", "custom_fields.p", "mailing_lists.l.m", "p", "P"]
)
HOSTILE = st.dictionaries(
    STRANGE | st.text(max_size=3), VALUES | st.dictionaries(STRANGE, VALUES, max_size=3), max_size=5
)


@given(HOSTILE, HOSTILE, st.booleans())
def test_whatever_fields_are_called_they_can_be_merged_and_taken_away(old, new, same_lane):
    older, newer = entry(1, contact(**old), packed_version=1), entry(2, contact(**new), packed_version=2)
    both = merge_records(older, newer)

    left = orjson.loads(without_newer_fields(older, newer, same_lane=same_lane).raw)
    again = orjson.loads(without_newer_fields(older, both, same_lane=same_lane).raw)

    assert left.keys() <= contact(**old).keys()
    assert again.keys() <= contact(**old).keys()
    # No platform has a field of such a name, so no record overrides it.
    assert all(left[name] == old[name] for name in old if name.startswith(("custom_fields.", "mailing_lists.")))
