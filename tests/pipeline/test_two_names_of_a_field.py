"""One field under two names is one field: names that a platform counts as one, and names that the mapping renames."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stage import KEY

from contact_ingest import enqueue
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.merge import merge_records, without_newer_fields
from contact_ingest.model.record import QueuedRecord

ANN = {"email": "ann@example.com"}
LONG = "x" * 600
MAPPING = {"rename": {"town": "city", "custom_fields.land": "country", "mobile": "phone_number"}}
#: Two names of one field: at which platforms, without a mapping or with `MAPPING`.
NAMES = [
    ("sendgrid", {}, "phone", "phone_number"),
    ("emarsys", {}, "phone", "phone_number"),
    ("sendgrid", MAPPING, "town", "city"),
    ("sendgrid", MAPPING, "custom_fields.land", "country"),
    ("sendgrid", MAPPING, "mobile", "phone"),
    ("emarsys", MAPPING, "town", "city"),
    ("emarsys", MAPPING, "mobile", "phone"),
    ("loops", {"rename": {"group": "user_group"}}, "group", "user_group"),
    ("loops", {"rename": {"agreed": "subscribed"}}, "agreed", "subscribed"),
]
CASES = [(platform, mapping, *pair) for platform, mapping, *names in NAMES for pair in (names, names[::-1])]


def saying(name, value):
    if name in ("agreed", "subscribed"):
        value = value == "+12015550124"
    head, _, entry = name.partition(".")
    return {head: {entry: value}} if entry else {name: value}


OLD, NEW = "+12015550123", "+12015550124"


@pytest.fixture
def make(make_harness, sandbox):
    emarsys = {"platform": "emarsys", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}
    settings = {
        "sendgrid": {},
        "loops": {"platform": "loops", "api_key": KEY, "base_url": f"{sandbox.url}/api"},
        "emarsys": {**emarsys, "base_url": f"{sandbox.url}/api", "token_url": f"{sandbox.url}/oauth2/token"},
    }
    sandbox.dials(limits={name: {"limit": 10_000, "window_s": 1} for name in ("sendgrid.upsert", "loops", "emarsys")})

    def make_(platform, mapping):
        return make_harness(destinations={platform: {**settings[platform], "fields": mapping}})

    return make_


def run(harness, *records):
    assert not enqueue(list(records)).refused
    harness.run_until_settled()


@pytest.mark.parametrize(("platform", "mapping", "older", "newer"), CASES)
def test_a_failed_record_loses_the_field_that_a_newer_one_sets_under_another_name(
    make, platform, mapping, older, newer
):
    harness = make(platform, mapping)
    run(harness, {**ANN, **saying(older, OLD), "last_name": LONG})
    run(harness, {**ANN, **saying(newer, NEW)})

    assert [orjson.loads(found.raw) for found in harness.runtime.failures] == [{**ANN, "last_name": LONG}]
    harness.assert_books_balance()


@pytest.mark.parametrize(("platform", "mapping", "older", "newer"), CASES)
def test_of_two_records_in_one_round_the_newer_value_is_sent(make, sandbox, platform, mapping, older, newer):
    harness = make(platform, mapping)

    run(harness, {**ANN, **saying(older, OLD)}, {**ANN, **saying(newer, NEW)})

    assert harness.books() | {"accepted": 2, "delivered": 1, "merged": 1, "failed": 0} == harness.books()
    [contact] = sandbox.contacts(platform)
    if newer in ("agreed", "subscribed"):
        assert contact["subscribed"] is True
    else:
        assert NEW in contact.get("fields", contact).values()
    harness.assert_books_balance()


def entry(seq, record):
    return QueuedRecord(seq, orjson.dumps(record))


@given(st.lists(st.sampled_from(["town", "city", "place"]), min_size=1, max_size=6))
def test_however_many_records_merge_the_newest_value_is_what_the_mapping_gives(names):
    mapping = FieldMapping({"town": "city", "place": "city"})
    merged = entry(0, {**ANN, names[0]: 0})
    for seq, name in enumerate(names[1:], 1):
        merged = merge_records(merged, entry(seq, {**ANN, name: seq}), mapping.target_of)

    assert orjson.loads(mapping.apply(merged.raw)) == {**ANN, "city": len(names) - 1}


@given(st.permutations(range(4)), st.data())
def test_a_record_that_failed_between_two_merged_ones_loses_only_what_was_set_after_it(order, data):
    mapping = FieldMapping({"town": "city"})
    first, failed, last = sorted(order[:3])
    names = [data.draw(st.sampled_from(["town", "city"])) for _ in range(3)]
    merged = merge_records(
        entry(first, {**ANN, names[0]: first}), entry(last, {**ANN, "country": "x"}), mapping.target_of
    )
    old = entry(failed, {**ANN, names[1]: failed, "country": "y"})

    left = without_newer_fields(old, merged, same_lane=True, field_of=mapping.target_of)

    assert orjson.loads(left.raw) == {**ANN, names[1]: failed}


@pytest.mark.parametrize(
    ("mapping", "path", "field"),
    [
        (FieldMapping({"a": "b", "b": "c"}), "a", "c"),
        (FieldMapping({"b": "c", "a": "b"}), "a", "b"),
        (FieldMapping({"a": "b", "b": "a"}), "b", "a"),
        (FieldMapping({"town": "city"}), "street", "street"),
    ],
)
def test_the_field_of_a_name_is_the_one_that_the_mapping_gives(mapping, path, field):
    assert mapping.target_of(path) == field
    assert orjson.loads(mapping.apply(orjson.dumps({path: 1}))) == {field: 1}


def test_a_dropped_field_takes_nothing_from_the_one_that_is_sent_under_its_name(make):
    harness = make("sendgrid", {"drop": ["city"], "rename": {"town": "city"}})
    failed = {**ANN, "town": "Oslo", "last_name": LONG}
    run(harness, failed)

    run(harness, {**ANN, "city": "Rome"})

    assert [orjson.loads(found.raw) for found in harness.runtime.failures] == [failed]


def test_a_field_that_becomes_a_whole_map_loses_no_entry(make):
    harness = make("loops", {"rename": {"lists": "mailing_lists"}})
    failed = {**ANN, "lists": {"a": False}, "last_name": LONG}
    run(harness, failed)

    run(harness, {**ANN, "lists": {"b": True}, "user_group": "x"}, {**ANN, "lists": {"c": True}})

    assert orjson.loads(next(iter(harness.runtime.failures)).raw) == failed
    assert harness.books() | {"merged": 0} == harness.books()
