"""Records in the words of Emarsys: what is sent, what is refused, and by which field and code."""

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_emarsys import EXTERNAL, FIELDS, JSON, LISTING, PATIENT, emarsys, prepared, refused

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.verdicts import (
    FieldTable,
)
from contact_ingest.providers.emarsys.identity import Identity


def sent(record, **config):
    return orjson.loads(prepared({"email": "a@x.org", **record}, **config).encoded)


def test_a_whole_contact_is_sent_in_the_words_of_emarsys():
    record = {
        "first_name": "Ánn",
        "last_name": "",
        "address_line_1": "x" * 255,
        "city": "Ulm",
        "state_province_region": "BW",
        "postal_code": "89073",
        "country": 65,
        "phone": "+4930999999",
        "opt_in": 2,
        "external_id": "C-1",
        "email": "Ann.O'Neil+x@Example.ORG",
        "custom_fields": {
            "PLAN": "gold",
            "seats": 0,
            "Since": "2026-01-31T23:30:00-05:00",
            "5006": "2",
            "topics": [1, "2"],
            "date of birth": "1990-01-02",
            "mobile": "+4917099",
        },
    }
    done = prepared(record, identity=Identity(external_id_field="4711", source_id=9))
    assert done.encoded.startswith(b'{"3":"ann.o\'neil+x@example.org","1":')
    assert orjson.loads(done.encoded) == {
        "1": "Ánn",
        "2": "",
        "10": "x" * 255,
        "11": "Ulm",
        "12": "BW",
        "13": "89073",
        "14": 65,
        "15": "+4930999999",
        "31": 2,
        "4711": "C-1",
        "3": "ann.o'neil+x@example.org",
        "5001": "gold",
        "5004": 0,
        "5005": "2026-01-31",
        "5006": "2",
        "5007": [1, "2"],
        "4": "1990-01-02",
        "37": "+4917099",
        "source_id": 9,
    }
    assert done.identities == ("email:ann.o'neil+x@example.org",)
    assert done.dropped == ()


def test_the_key_alone_says_who_a_contact_is():
    done = prepared({"email": "A@x.org", "external_id": "C-1"}, identity=EXTERNAL)
    assert done.identities == ("external_id:C-1",)
    assert done.encoded == b'{"4711":"C-1","3":"a@x.org"}'
    assert emarsys(identity=EXTERNAL).identifiers == ("external_id",)
    assert emarsys().identifiers == ("email",)


@pytest.mark.parametrize(
    ("record", "identity", "field", "code"),
    [
        ({"first_name": "Ann"}, Identity(), "email", "no_identifier"),
        ({"external_id": "C-1"}, Identity(external_id_field="4711"), "email", "no_identifier"),
        ({"email": "a@x.org"}, EXTERNAL, "external_id", "no_identifier"),
        ({"email": "a@x.org", "external_id": "C-1"}, Identity(), "external_id", "unknown_field"),
        ({"email": None}, Identity(), "email", "null"),
        ({"email": ""}, Identity(), "email", "empty"),
        ({"email": "nobody"}, Identity(), "email", "bad_email"),
        ({"email": "x" * 250 + "@x.org"}, Identity(), "email", "too_long"),
        ({"external_id": 7}, EXTERNAL, "external_id", "wrong_type"),
        ({"external_id": ""}, EXTERNAL, "external_id", "empty"),
        ({"external_id": "x" * 256}, EXTERNAL, "external_id", "too_long"),
        ({"external_id": "x", "custom_fields": {"crm number": "y"}}, EXTERNAL, "custom_fields", "reserved_field"),
    ],
)
def test_every_record_needs_the_key(record, identity, field, code):
    assert refused(record, identity=identity) == (field, code)


@pytest.mark.parametrize(
    ("extra", "field", "code"),
    [
        ({"first_name": "x" * 61}, "first_name", "too_long"),
        ({"address_line_1": "x" * 256}, "address_line_1", "too_long"),
        ({"address_line_2": "x"}, "address_line_2", "unknown_field"),
        ({"alternate_emails": []}, "alternate_emails", "unknown_field"),
        ({"anonymous_id": "x"}, "anonymous_id", "unknown_field"),
        ({"country": "Germany"}, "country", "bad_choice"),
        ({"phone": "+49301", "phone_number": "+49302"}, "phone_number", "given_twice"),
        ({"first_name": ["x"]}, "first_name", "wrong_type"),
        ({"a@x.org": "x"}, "record", "unknown_field"),
        ({"custom_fields": []}, "custom_fields", "wrong_type"),
        ({"custom_fields": None}, "custom_fields", "null"),
        ({"custom_fields": {"note": "x" * 256}}, "custom_fields.note", "too_long"),
        ({"custom_fields": {"seats": "many"}}, "custom_fields.seats", "bad_number"),
        ({"custom_fields": {"seats": "1" * 25}}, "custom_fields.seats", "too_long"),
        ({"custom_fields": {"seats": 1e25}}, "custom_fields.seats", "too_long"),
        ({"custom_fields": {"since": "02/30/2026"}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"since": "2026-02-30"}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"since": 20260101}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"size": "XL"}}, "custom_fields.size", "bad_choice"),
        ({"custom_fields": {"size": 1.5}}, "custom_fields.size", "bad_choice"),
        ({"custom_fields": {"size": -1}}, "custom_fields.size", "bad_choice"),
        ({"custom_fields": {"topics": [1, "jazz"]}}, "custom_fields.topics", "bad_choice"),
        ({"custom_fields": {"topics": [1, None]}}, "custom_fields.topics", "wrong_type"),
        ({"custom_fields": {"topics": 1}}, "custom_fields.topics", "wrong_type"),
        ({"custom_fields": {"interests": "x"}}, "custom_fields.interests", "read_only"),
        ({"custom_fields": {"User status": "x"}}, "custom_fields.User status", "read_only"),
        ({"custom_fields": {"voucher": "x"}}, "custom_fields.voucher", "read_only"),
        ({"custom_fields": {"First Name": "x"}}, "custom_fields.First Name", "reserved_field"),
        ({"custom_fields": {"31": 1}}, "custom_fields.31", "reserved_field"),
        ({"custom_fields": {"opt-in": 1}}, "custom_fields.opt-in", "reserved_field"),
        ({"custom_fields": {"twice": 1}}, "custom_fields.twice", "ambiguous_field"),
        ({"custom_fields": {"plan": "a", "PLAN": "b"}}, "custom_fields.PLAN", "given_twice"),
        ({"custom_fields": {"9999": "a"}}, "custom_fields.9999", "unknown_field"),
        ({"custom_fields": {"+4930123456": "a"}}, "custom_fields", "unknown_field"),
        ({"custom_fields": {"odd": {}}}, "custom_fields.odd", "wrong_type"),
    ],
)
def test_what_breaks_a_documented_rule_is_refused_by_field_and_code(extra, field, code):
    assert refused({"email": "a@x.org", **extra}) == (field, code)


@pytest.mark.parametrize(
    ("name", "null", "empty", "zero", "false"),
    [
        ("plan", "null", "", 0, "wrong_type"),
        ("note", "null", "", 0, "wrong_type"),
        ("story", "null", "", 0, "wrong_type"),
        ("homepage", "null", "", 0, "wrong_type"),
        ("odd", "null", "", 0, "wrong_type"),
        ("seats", "null", "", 0, "wrong_type"),
        ("since", "null", "", "bad_date", "wrong_type"),
        ("size", "null", "", 0, "wrong_type"),
        ("topics", "null", "wrong_type", "wrong_type", "wrong_type"),
    ],
)
def test_what_null_empty_text_zero_and_false_mean_to_each_type(name, null, empty, zero, false):
    (field_id,) = {entry["id"] for entry in LISTING if entry["name"].lower() == name}
    for value, means in ((None, null), ("", empty), (0, zero), (False, false)):
        record = {"email": "a@x.org", "custom_fields": {name: value}}
        if isinstance(means, str) and means:
            assert refused(record) == (f"custom_fields.{name}", means)
        else:
            found = sent(record)[field_id]
            assert (found, type(found)) == (means, type(means))
    assert refused({"email": "a@x.org", "custom_fields": {"topics": []}}) == ("custom_fields.topics", "empty")


@pytest.mark.parametrize("value", [1, 2, "1", "2"])
def test_a_consent_is_sent_as_it_was_given(value):
    assert sent({"opt_in": value})["31"] == value


@pytest.mark.parametrize("value", [None, "", 0, 3, 1.0, "yes", "1 ", True, False, [], {}, [1]])
def test_any_other_consent_is_refused(value):
    field, code = refused({"email": "a@x.org", "opt_in": value})
    assert (field, code) == ("opt_in", "null" if value is None else "bad_opt_in")


def test_ten_thousand_records_without_a_consent_set_none():
    dice = random.Random(5)
    values = {
        "first_name": ["", "31", "Ann"],
        "country": [1, 31, ""],
        "phone": ["", "+4931"],
        "city": ["Ulm", "opt_in"],
        "custom_fields": [{}, {"plan": "31"}, {"topics": [31]}, {"37": "31", "seats": 31}, {"opt in": 1}],
    }
    for number in range(10_000):
        chosen = dice.sample(sorted(values), dice.randint(0, len(values)))
        record = {"email": f"{number}@x.org", **{name: dice.choice(values[name]) for name in chosen}}
        assert "31" not in orjson.loads(prepared(record, unknown_fields="drop").encoded)


def test_a_name_a_number_and_a_string_id_are_one_field():
    for name in ("CRM number", "crm number", "4711", "crm_number", "CRM_Number"):
        assert sent({"custom_fields": {name: "x"}})["4711"] == "x"
    assert sent({"custom_fields": {"5001": "x"}}) == {"3": "a@x.org", "5012": "x"}  # a name comes before a number
    assert sent({"custom_fields": {"5011": 3}})["5011"] == 3  # where a name is ambiguous, the number is not
    assert sent({"custom_fields": {"plan": "x", "PLAN": "x"}})["5001"] == "x"
    assert refused({"email": "a@x.org", "custom_fields": {"crm number": "x", "4711": "y"}}) == (
        "custom_fields.4711",
        "given_twice",
    )


@pytest.mark.parametrize("name", ["\u0665\u0660\u0660\u0668", "\uff15008", "5008 ", "lin\u212a", "link\u00a0"])
def test_a_text_that_looks_like_a_name_or_a_number_of_a_field_is_neither(name):
    table = FieldTable({**FIELDS.by_name, "link": ("5020", "url")}, 77)
    sent_both = sent({"custom_fields": {"LINK": "x", "5008": "y"}}, table=table)
    assert sent_both == {"3": "a@x.org", "5020": "x", "5008": "y"}
    assert refused({"email": "a@x.org", "custom_fields": {name: "x"}}, table=table)[1] == "unknown_field"


@pytest.mark.parametrize("name", ["5020", "12345678901", "\u0665\u0660", "\uff15"])
def test_no_field_is_created_whose_name_is_a_number(name):
    assert refused({"email": "a@x.org", "custom_fields": {name: "x"}}, unknown_fields="create")[1] == "unknown_field"


@pytest.mark.parametrize(
    ("text", "day"),
    [("2026-01-02", "2026-01-02"), ("2026-01-02T23:59:59Z", "2026-01-02"), ("2026-01-02 03:04", "2026-01-02")],
)
def test_a_date_is_sent_as_year_month_day(text, day):
    assert sent({"custom_fields": {"since": text}})["5005"] == day


def test_unknown_custom_fields_follow_the_policy():
    record = {"email": "a@x.org", "custom_fields": {"plan": "gold", "colour": "blue"}}
    assert refused(record) == ("custom_fields.colour", "unknown_field")
    dropping = prepared(record, unknown_fields="drop")
    assert dropping.dropped == ("colour",)
    assert dropping.encoded == b'{"3":"a@x.org","5001":"gold"}'
    with pytest.raises(FieldsNeeded) as caught:
        prepared(record, unknown_fields="create")
    assert caught.value.samples == {"colour": "blue"}
    for name, value, code in (("fresh", [1], "wrong_type"), ("9999", "x", "unknown_field"), ("", "x", "unknown_field")):
        bad = {"email": "a@x.org", "custom_fields": {name: value}}
        assert refused(bad, unknown_fields="create")[1] == code


@pytest.mark.parametrize("policy", ["refuse", "drop", "create"])
def test_a_table_never_fetched_is_asked_for_before_anybody_is_refused(policy):
    with pytest.raises(FieldsNeeded) as caught:
        prepared({"email": "a@x.org", "custom_fields": {"plan": "gold"}}, FieldTable(), unknown_fields=policy)
    assert caught.value.samples == {"plan": "gold"}
    assert prepared({"email": "a@x.org", "custom_fields": {}}, FieldTable()).encoded == b'{"3":"a@x.org"}'


@pytest.mark.parametrize(
    "record",
    [
        {"email": "hidden-ann.example.org"},
        {"email": "a@x.org", "first_name": "hidden" * 20},
        {"email": "a@x.org", "country": "hidden"},
        {"email": "a@x.org", "opt_in": "hidden"},
        {"email": "a@x.org", "hidden@x.org": "x"},
        {"email": "a@x.org", "custom_fields": {"hidden@x.org": "x"}},
        {"email": "a@x.org", "custom_fields": {"since": "hidden"}},
        {"email": "a@x.org", "custom_fields": {"seats": "hidden"}},
        {"email": "a@x.org", "custom_fields": {"topics": ["hidden"]}},
    ],
)
def test_a_refusal_never_repeats_what_it_refuses(record):
    with pytest.raises(Refused) as caught:
        prepared(record)
    assert "hidden" not in str(caught.value)


def test_what_is_no_record_is_refused():
    for raw in (b"[]", b"{", b"7", b"\xff", b'{"email":"a@x.org","custom_fields":' + b"[" * 100_000):
        with pytest.raises(Refused, match="record"):
            emarsys().prepare(raw, FIELDS)


NAMES = st.sampled_from(["email", "external_id", "phone", "phone_number", "country", "opt_in", "first_name", "city"])
TEXTS = st.text() | st.emails() | st.sampled_from(["1", "2026-01-02", "5001"])
CUSTOM = st.dictionaries(
    st.sampled_from([entry["name"] for entry in LISTING] + ["4711", "31", "colour"]) | st.text(),
    JSON | TEXTS | st.lists(st.integers(0, 9)),
)
ANY_RECORD = st.builds(
    lambda known, custom, other: {**other, "email": "a@x.org", "external_id": "C-1", **known, **custom},
    st.dictionaries(NAMES, TEXTS | JSON),
    st.fixed_dictionaries({}, optional={"custom_fields": CUSTOM}),
    st.dictionaries(st.text(), JSON, max_size=1),
)


@PATIENT
@given(
    record=ANY_RECORD,
    policy=st.sampled_from(["refuse", "drop", "create"]),
    identity=st.sampled_from([EXTERNAL, Identity(external_id_field="4711"), Identity()]),
)
def test_any_object_is_prepared_or_refused_or_asks_for_fields(record, policy, identity):
    try:
        done = prepared(record, unknown_fields=policy, identity=identity)
    except Refused as refusal:
        assert refusal.code  # noqa: PT017 - both ends are right, nothing else is
        return
    except FieldsNeeded as needed:
        assert set(needed.samples) <= set(record["custom_fields"])  # noqa: PT017
        return
    contact = orjson.loads(done.encoded)
    assert done.identities == (f"{identity.key_field}:{contact[identity.key_id]}",)
    assert ("31" in contact) == ("opt_in" in record)
    assert all(name.isdigit() for name in contact)
