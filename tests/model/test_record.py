"""Records: the check at enqueue, the line of a queued entry, merging, identities and digests."""

import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contact_ingest.errors import Refused
from contact_ingest.model.identity import DIGEST_BYTES, IDENTIFIERS, digests, identities
from contact_ingest.model.merge import merge_fields
from contact_ingest.model.record import QueuedRecord, validate_record

SECRET = "zebra-crossing-4711"
MAX_BYTES = 1_000

#: Values, among them false ones that must not be lost.
VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "é\t\n"]) | st.lists(st.just(0))
RECORDS = st.fixed_dictionaries(
    {"email": st.sampled_from(["a@example.com", "b@example.com"])},
    optional={
        **dict.fromkeys(("first_name", "city", "external_id"), VALUES),
        "custom_fields": st.dictionaries(st.sampled_from("pqr"), VALUES, max_size=3) | st.just("text"),
    },
)


def deep(levels, inside):
    for _ in range(levels):
        inside = [inside]
    return inside


def refusal(record, max_bytes=MAX_BYTES):
    with pytest.raises(Refused) as caught:
        validate_record(record, max_bytes)
    return caught.value


def contact(**more):
    return {"email": "a@example.com", **more}


@pytest.mark.parametrize(
    ("record", "field", "code"),
    [
        (None, "record", "not_an_object"),
        ([SECRET], "record", "not_an_object"),
        (SECRET, "record", "not_an_object"),
        ({"first_name": SECRET}, "record", "no_identifier"),
        ({"email": "", "external_id": None, "first_name": SECRET}, "record", "no_identifier"),
        (contact(first_name=math.nan, city=SECRET), "first_name", "not_finite"),
        (contact(custom_fields={"score": math.inf, "note": SECRET}), "custom_fields.score", "not_finite"),
        (contact(custom_fields={"scores": [1, {"deep": -math.inf}]}, city=SECRET), "custom_fields.scores.deep", None),
        (contact(custom_fields={"pair": (1.0, math.nan)}, city=SECRET), "custom_fields.pair", "not_finite"),
        (contact(points=10**400, city=SECRET), "points", "not_json"),
        (contact(points=2**64, city=SECRET), "points", "not_json"),
        (contact(first_name=SECRET + "\ud800"), "first_name", "not_json"),
        (contact(tags=deep(500, SECRET)), "tags", "not_json"),
        (contact(tags=deep(100_000, SECRET)), "tags", "not_json"),
        (contact(custom_fields={5: SECRET}), "custom_fields", "not_json"),
        ({"email": "a@example.com", 5: SECRET}, "record", "bad_name"),
        (contact(first_name=SECRET.encode()), "first_name", "not_json"),
        (contact(first_name={SECRET}), "first_name", "not_json"),
        (contact(first_name=SECRET * 100), "record", "too_large"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_field_and_rule_without_its_value(record, field, code):
    refused = refusal(record)

    assert refused.field == field
    assert refused.code == code or code is None
    assert refused.rule
    assert SECRET not in f"{refused} {refused.field} {refused.rule} {refused!r}"
    assert refused.__cause__ is None


@pytest.mark.parametrize(
    "record",
    [
        contact(**{"bob@example.com": math.nan}),
        contact(**{"bob@example.com": b"x"}),
        contact(custom_fields={"bob@example.com": math.nan}),
        contact(**{"+491701234567": {1}}),
        contact(**{"bob\ud800": 1}),
    ],
)
def test_a_field_name_that_may_be_somebodys_address_is_not_repeated(record):
    refused = refusal(record)

    assert "bob" not in str(refused)
    assert "491701234567" not in str(refused)


def test_a_record_is_refused_from_one_byte_over_the_cap_and_its_size_is_told():
    record = contact(first_name="é" * 100)
    size = len(orjson.dumps(record))

    assert validate_record(record, size) == orjson.dumps(record)
    assert str(size) in refusal(record, size - 1).rule


@pytest.mark.parametrize("value", [0, False, "", None, [], {}, "null", 2**63, -(2**63), 1.5])
def test_zero_false_empty_and_null_go_through_as_they_are(value):
    assert orjson.loads(validate_record(contact(first_name=value), MAX_BYTES)) == contact(first_name=value)


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_any_one_identifier_is_enough(name):
    assert orjson.loads(validate_record({name: "x"}, MAX_BYTES)) == {name: "x"}


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.recursive(VALUES | st.floats(), st.lists, max_leaves=5), max_size=4))
def test_a_record_is_admitted_unchanged_or_refused_and_nothing_else(extra):
    record = {**extra, "email": "a@example.com"}
    raw, code = b"", ""
    try:
        raw = validate_record(record, MAX_BYTES)
    except Refused as refused:
        code = refused.code

    assert code in ("not_finite", "not_json", "too_large") or orjson.loads(raw) == record


@given(RECORDS, RECORDS)
def test_merging_takes_the_newer_value_field_by_field(old, new):
    both = merge_fields(old, new)

    assert both.keys() == old.keys() | new.keys()
    for name in both.keys() - {"custom_fields"}:
        assert both[name] == (new if name in new else old)[name]
    before, after = old.get("custom_fields"), new.get("custom_fields")
    if isinstance(before, dict) and isinstance(after, dict):
        assert both["custom_fields"] == {**before, **after}
    elif "custom_fields" in both:
        assert both["custom_fields"] == (after if "custom_fields" in new else before)


@given(RECORDS, RECORDS, RECORDS)
def test_it_does_not_matter_which_neighbours_are_merged_first(first, second, third):
    texts = [r for r in (first, second, third) if not isinstance(r.get("custom_fields", {}), dict)]
    if not texts:  # a text in the place of custom fields replaces them all
        assert merge_fields(merge_fields(first, second), third) == merge_fields(first, merge_fields(second, third))


@pytest.mark.parametrize(
    "entry",
    [
        QueuedRecord(7, b'{"a":1}'),
        QueuedRecord(7, b'{"a":"\\t"}', (3, 5), 2, 1_790_000_000_000, 9, (("a", 3, 8), ("custom_fields.b", 5, 9))),
    ],
)
def test_a_queued_record_reads_back_as_it_was_written(entry):
    assert QueuedRecord.from_bytes(entry.to_bytes()) == entry


@given(st.text(), st.lists(st.integers(0, 9)), st.integers(0, 3))
def test_no_text_in_a_record_breaks_the_line_it_is_queued_on(text, merged, attempts):
    entry = QueuedRecord(1, orjson.dumps({"email": text}), tuple(merged), attempts, attempts * 1000)

    line = entry.to_bytes()

    assert b"\n" not in line
    assert QueuedRecord.from_bytes(line) == entry


def test_a_queued_record_shows_nothing_of_its_contents():
    assert "secret" not in repr(QueuedRecord(1, b'{"email":"secret@example.com"}'))


def test_identities_lower_the_case_of_addresses_only():
    record = {"email": " Ann@Example.COM ", "external_id": "aB", "phone_number_id": 5, "anonymous_id": ""}

    assert identities(record, IDENTIFIERS) == ("email:ann@example.com", "external_id:aB")


def test_digests_depend_on_the_salt():
    one, same, other = (digests(key, ["email:a@b.cd"]) for key in (b"1" * 16, b"1" * 16, b"2" * 16))

    assert one == same != other
    assert {len(digest) for digest in one} == {DIGEST_BYTES}
