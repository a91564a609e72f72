"""Records in the words of SendGrid: what is sent, what is refused, and by which field and code."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_sendgrid import FIELDS, JSON, PATIENT, prepared, sendgrid

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.verdicts import (
    FieldTable,
)


def sent(record, **config):
    return orjson.loads(prepared(record, **config).encoded)


def refused(record, **config):
    with pytest.raises(Refused) as caught:
        prepared(record, **config)
    return caught.value.field, caught.value.code


def test_a_whole_contact_is_sent_in_the_words_of_sendgrid():
    record = {
        "email": "Ann.O'Neil+x@Example.ORG",
        "external_id": "C-1",
        "phone_number_id": "+4930123456",
        "anonymous_id": "Anon",
        "alternate_emails": ["B@x.org"],
        "phone": "+4930999999",
        "first_name": "Ánn",
        "last_name": "",
        "custom_fields": {"PLAN": "", "seats": 0, "since": "2026-01-31T23:30:00-05:00", "mood": "up"},
    }
    done = prepared(record)
    assert orjson.loads(done.encoded) == {
        "email": "ann.o'neil+x@example.org",
        "external_id": "C-1",
        "phone_number_id": "+4930123456",
        "anonymous_id": "Anon",
        "alternate_emails": ["b@x.org"],
        "phone_number": "+4930999999",
        "first_name": "Ánn",
        "last_name": "",
        "custom_fields": {"e1_T": "", "e2_N": 0, "e3_D": "01/31/2026", "e4_X": "up"},
    }
    assert done.identities == (
        "email:ann.o'neil+x@example.org",
        "external_id:C-1",
        "phone_number_id:+4930123456",
        "anonymous_id:Anon",
    )
    assert done.dropped == ()


@pytest.mark.parametrize(
    ("extra", "field", "code"),
    [
        ({"first_name": "x" * 51}, "first_name", "too_long"),
        ({"city": "x" * 61}, "city", "too_long"),
        ({"address_line_2": "x" * 101}, "address_line_2", "too_long"),
        ({"external_id": "x" * 255}, "external_id", "too_long"),
        ({"external_id": ""}, "external_id", "empty"),
        ({"email": "x" * 250 + "@x.org"}, "email", "too_long"),
        ({"email": ""}, "email", "empty"),
        ({"email": "nobody"}, "email", "bad_email"),
        ({"email": "a..b@x.org"}, "email", "bad_email"),
        ({"email": " a@x.org"}, "email", "bad_email"),
        ({"email": "a@x"}, "email", "bad_email"),
        ({"email": "x" * 65 + "@x.org"}, "email", "bad_email"),
        ({"alternate_emails": ["a@x.org", "b"]}, "alternate_emails", "bad_email"),
        ({"alternate_emails": ["a@x.org", 1]}, "alternate_emails", "wrong_type"),
        ({"alternate_emails": ["a@x.org"] * 6}, "alternate_emails", "too_many"),
        ({"alternate_emails": "a@x.org"}, "alternate_emails", "wrong_type"),
        ({"phone": "030 123456"}, "phone", "bad_phone"),
        ({"phone_number": "030 123456"}, "phone", "bad_phone"),
        ({"phone": "+4930123456", "phone_number": "+4930123457"}, "phone", "bad_phone"),
        ({"phone_number_id": "+49"}, "phone_number_id", "bad_phone"),
        ({"first_name": 3}, "first_name", "wrong_type"),
        ({"first_name": None}, "first_name", "null"),
        ({"colour": "blue"}, "colour", "unknown_field"),
        ({"custom_fields": []}, "custom_fields", "wrong_type"),
        ({"custom_fields": {"plan": None}}, "custom_fields.plan", "null"),
        ({"custom_fields": {"plan": 3}}, "custom_fields.plan", "wrong_type"),
        ({"custom_fields": {"plan": "x" * 1_001}}, "custom_fields.plan", "too_long"),
        ({"custom_fields": {"seats": "3"}}, "custom_fields.seats", "wrong_type"),
        ({"custom_fields": {"seats": True}}, "custom_fields.seats", "wrong_type"),
        ({"custom_fields": {"since": "yesterday"}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"since": "02/30/2026"}}, "custom_fields.since", "bad_date"),
        ({"custom_fields": {"since": 20260101}}, "custom_fields.since", "wrong_type"),
        ({"custom_fields": {"mood": ["up"]}}, "custom_fields.mood", "wrong_type"),
        ({"custom_fields": {"colour": "blue"}}, "custom_fields.colour", "unknown_field"),
    ],
)
def test_what_breaks_a_documented_rule_is_refused_by_field_and_code(extra, field, code):
    assert refused({"external_id": "c-1", **extra}) == (field, code)


@pytest.mark.parametrize(
    ("name", "most"), [("first_name", 50), ("last_name", 50), ("address_line_1", 100), ("city", 60), ("country", 50)]
)
def test_a_text_at_its_limit_in_characters_is_sent(name, most):
    assert sent({"external_id": "c-1", name: "ß" * most})[name] == "ß" * most


@pytest.mark.parametrize(
    "record",
    [
        {"email": "hidden-ann.example.org"},
        {"email": "a@x.org", "phone": "hidden 030"},
        {"email": "a@x.org", "first_name": "hidden" * 20},
        {"email": "a@x.org", "hidden@x.org": "x"},
        {"email": "a@x.org", "custom_fields": {"hidden@x.org": "x"}},
        {"email": "a@x.org", "custom_fields": {"since": "hidden"}},
        {"email": "a@x.org", "custom_fields": {"plan": "hidden" * 200}},
    ],
)
def test_a_refusal_never_repeats_what_it_refuses(record):
    with pytest.raises(Refused) as caught:
        prepared(record)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("mailing_lists", {"l1": True}, "SendGrid does not have: lists go with the lane, as list_ids"),
        ("subscribed", False, "SendGrid does not have: leave it out"),
        ("user_group", "vip", "SendGrid does not have: leave it out"),
        ("source", "web", "SendGrid does not have: leave it out"),
        ("colour", "blue", "own fields go into custom_fields"),
    ],
)
@pytest.mark.parametrize("policy", ["refuse", "drop", "create"])
def test_a_field_of_another_platform_is_refused_by_name(name, value, says, policy):
    with pytest.raises(Refused, match=f"^{name}: .*{says}") as caught:
        prepared({"email": "a@x.org", name: value}, unknown_fields=policy)
    assert caught.value.code == "unknown_field"


def test_a_phone_that_is_not_e164_says_what_to_do():
    with pytest.raises(Refused, match=r"phone: is not in E\.164 form .*--region US"):
        prepared({"email": "a@x.org", "phone": "030 123456"})


def test_an_empty_phone_is_a_value():
    assert sent({"email": "a@x.org", "phone": ""})["phone_number"] == ""


def test_a_record_without_identifier_is_refused():
    assert refused({"first_name": "Ann"}) == ("record", "no_identifier")
    for raw in (b"[]", b"{", b"7", b"\xff", b'{"custom_fields":' + b"[" * 100_000):
        with pytest.raises(Refused, match="record"):
            sendgrid().prepare(raw, FIELDS)


@pytest.mark.parametrize("address", ["jörg@müller.example.de", "a@xn--mller-kva.xn--p1ai", "x_y-z@sub.a-b.co"])
def test_unusual_addresses_are_taken(address):
    assert prepared({"email": address}).identities[0].startswith("email:")


@pytest.mark.parametrize(
    ("given_date", "date_sent"),
    [
        ("1/2/2026", "01/02/2026"),
        ("01/02/2026", "01/02/2026"),
        ("2026-01-02", "01/02/2026"),
        ("2026-01-02T23:59:59Z", "01/02/2026"),
        ("2026-01-02 03:04:05", "01/02/2026"),
    ],
)
def test_a_date_is_sent_as_month_day_year(given_date, date_sent):
    assert sent({"email": "a@x.org", "custom_fields": {"since": given_date}})["custom_fields"]["e3_D"] == date_sent


def test_unknown_custom_fields_follow_the_policy():
    record = {"email": "a@x.org", "custom_fields": {"plan": "gold", "colour": "blue"}}
    assert refused(record) == ("custom_fields.colour", "unknown_field")
    dropping = prepared(record, unknown_fields="drop")
    assert dropping.dropped == ("colour",)
    assert orjson.loads(dropping.encoded)["custom_fields"] == {"e1_T": "gold"}
    assert "custom_fields" not in sent({"email": "a@x.org", "custom_fields": {"b": 1}}, unknown_fields="drop")
    with pytest.raises(FieldsNeeded) as caught:
        prepared(record, unknown_fields="create")
    assert caught.value.samples == {"colour": "blue"}
    assert "blue" not in str(caught.value)
    assert refused({"email": "a@x.org", "custom_fields": {"fresh": [1]}}, unknown_fields="create") == (
        "custom_fields.fresh",
        "wrong_type",
    )
    for name in ("no spaces", "1st", "email", "x" * 101):
        bad = {"email": "a@x.org", "custom_fields": {name: "x"}}
        assert refused(bad, unknown_fields="create")[1] == "unknown_field"


@pytest.mark.parametrize("policy", ["refuse", "drop", "create"])
def test_a_table_never_fetched_is_asked_for_before_anybody_is_refused(policy):
    with pytest.raises(FieldsNeeded) as caught:
        prepared({"email": "a@x.org", "custom_fields": {"plan": "gold"}}, FieldTable(), unknown_fields=policy)
    assert caught.value.samples == {"plan": "gold"}
    assert prepared({"email": "a@x.org", "custom_fields": {}}, FieldTable()).encoded == b'{"email":"a@x.org"}'


NAMES = st.sampled_from(
    ["email", "phone", "phone_number", "phone_number_id", "external_id", "anonymous_id", "city", "alternate_emails"]
)
CUSTOM = st.dictionaries(st.sampled_from(["plan", "seats", "since", "mood", "colour"]) | st.text(), JSON)
TEXTS = st.text() | st.emails() | st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z")
ANY_RECORD = st.builds(
    lambda known, custom, other: {**other, **known, **custom},
    st.dictionaries(NAMES, TEXTS | JSON | st.lists(TEXTS, max_size=6)),
    st.fixed_dictionaries({}, optional={"custom_fields": CUSTOM}),
    st.dictionaries(st.text(), JSON, max_size=1),
)


@PATIENT
@given(record=ANY_RECORD, policy=st.sampled_from(["refuse", "drop", "create"]))
def test_any_object_is_prepared_or_refused_or_asks_for_fields(record, policy):
    try:
        done = prepared(record, unknown_fields=policy)
    except Refused as refusal:
        assert refusal.code  # noqa: PT017 - both ends are right, nothing else is
        return
    except FieldsNeeded as needed:
        assert set(needed.samples) <= set(record["custom_fields"])  # noqa: PT017
        return
    contact = orjson.loads(done.encoded)
    names = ("email", "external_id", "phone_number_id", "anonymous_id")
    assert done.identities == tuple(f"{name}:{contact[name]}" for name in names if name in contact)
    assert done.identities
