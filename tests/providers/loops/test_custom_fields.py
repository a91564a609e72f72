"""Custom properties of Loops: their types, dates, and which are created."""

import re

import orjson
import pytest
from support.provider_loops import POLICIES, PROPERTIES, loops, prepared, refused, reply, sent

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import FieldTable, Limited, Retry


def sent_custom(name, value):
    contact = sent({"email": "a@x.org", "custom_fields": {name: value}})
    return next(value for name, value in contact.items() if name != "email")


SENT = "sent"
#: What becomes of null, "", 0 and false: sent as they are, or the code of the refusal.
EMPTY_VALUES = (None, "", 0, False)
OUTCOMES = {
    "first_name": (SENT, SENT, "wrong_type", "wrong_type"),
    "last_name": (SENT, SENT, "wrong_type", "wrong_type"),
    "user_group": (SENT, SENT, "wrong_type", "wrong_type"),
    "source": (SENT, SENT, "wrong_type", "wrong_type"),
    "external_id": ("null", "empty", "wrong_type", "wrong_type"),
    "subscribed": ("null", "wrong_type", "wrong_type", SENT),
    "mailing_lists": ("null", "wrong_type", "wrong_type", "wrong_type"),
    "custom_fields.planName": (SENT, SENT, "wrong_type", "wrong_type"),
    "custom_fields.seats": (SENT, "wrong_type", SENT, "wrong_type"),
    "custom_fields.isAdmin": (SENT, "wrong_type", "wrong_type", SENT),
    "custom_fields.since": (SENT, "bad_date", "bad_date", "wrong_type"),
    "custom_fields.mood": (SENT, SENT, SENT, SENT),
}


@pytest.mark.parametrize("field", OUTCOMES)
@pytest.mark.parametrize("column", range(4), ids=["null", "empty", "zero", "false"])
def test_null_empty_zero_and_false_are_values_of_their_own(field, column):
    value, expected = EMPTY_VALUES[column], OUTCOMES[field][column]
    name = field.removeprefix("custom_fields.")
    record = {"email": "a@x.org", **({"custom_fields": {name: value}} if name != field else {name: value})}
    if expected == SENT:
        encoded = prepared(record).encoded
        assert re.search(rb'":(null|""|0|false)}$', encoded)[1] == orjson.dumps(value)
    else:
        assert refused(record) == (field, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seats", -(2**63)), ("seats", 0.5), ("isAdmin", True), ("mood", 3), ("planName", "0"), ("since", None)],
)
def test_a_value_of_the_right_type_is_sent_as_it_is(name, value):
    assert sent_custom(name, value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("planName", 3), ("planName", True), ("seats", "3"), ("seats", True), ("isAdmin", "true"), ("isAdmin", 1)),
        *(("since", 1.5), ("since", True), ("since", []), ("mood", {})),
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    assert refused({"email": "a@x.org", "custom_fields": {name: value}}) == (f"custom_fields.{name}", "wrong_type")


@pytest.mark.parametrize(
    ("value", "date_sent"),
    [
        (1_795_000_000_000, 1_795_000_000_000),
        ("1795000000000", "1795000000000"),
        (631_152_000_000, 631_152_000_000),
        (-631_152_000_000, -631_152_000_000),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T23:59", "2026-01-31T23:59"),
        ("2026-01-31 23:59:58", "2026-01-31 23:59:58"),
        ("2026-01-31T23:59:58.123", "2026-01-31T23:59:58.123"),
        ("2026-01-31T23:59:58+02:00", "2026-01-31T23:59:58+02:00"),
        ("2026-01-31T23:59Z", "2026-01-31T23:59Z"),
        ("2026-01-31T23:59:58.123456+00:00", "2026-01-31T23:59:58.123+00:00"),
        ("2026-01-31T23:59:58.5", "2026-01-31T23:59:58.500"),
    ],
)
def test_a_date_is_sent_in_a_layout_that_loops_reads(value, date_sent):
    assert sent_custom("since", value) == date_sent


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1_795_000_000, "seconds"),
        ("1795000000", "seconds"),
        (0, "seconds"),
        (1_795_000_000_000_000, "9999"),
        ("yesterday", "9 characters"),
        ("01/31/2026", "10 characters"),
        ("2026-02-30", "10 characters"),
        ("2026-01-31T24:00", "16 characters"),
        ("2026-01-31Z", "11 characters"),
        ("2026-01-31T23", "13 characters"),
        ("2026-01-31T23:59.5", "18 characters"),
        ("20260131", "seconds"),
        (" 2026-01-31", "11 characters"),
        ("2026-01-31\n", "11 characters"),
        ("٢٠٢٦-01-31", "10 characters"),
        ("9" * 21, "21 characters"),
    ],
)
def test_a_date_that_would_be_read_as_another_or_none_is_refused(value, says):
    with pytest.raises(Refused, match=says) as caught:
        prepared({"email": "a@x.org", "custom_fields": {"since": value}})
    assert (caught.value.field, caught.value.code) == ("custom_fields.since", "bad_date")


def test_unknown_custom_fields_follow_the_policy():
    record = {
        "email": "a@x.org",
        "city": "Berlin",
        "custom_fields": {"planName": "gold", "colour": "blue", "old": None},
    }
    dropping = prepared(record, unknown_fields="drop")
    assert dropping.dropped == ("city", "colour", "old")
    assert orjson.loads(dropping.encoded) == {"email": "a@x.org", "planName": "gold"}
    del record["city"]
    assert refused(record) == ("custom_fields.colour", "unknown_field")
    with pytest.raises(FieldsNeeded) as caught:
        prepared(record, unknown_fields="create")
    assert caught.value.samples == {"colour": "blue"}
    assert "blue" not in str(caught.value)


def test_null_in_a_property_that_there_is_not_is_left_out_where_properties_are_created():
    done = prepared({"email": "a@x.org", "custom_fields": {"old": None}}, unknown_fields="create")
    assert (done.encoded, done.dropped) == (b'{"email":"a@x.org"}', ("old",))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_table_never_fetched_is_asked_for_before_anybody_is_refused(policy):
    with pytest.raises(FieldsNeeded) as caught:
        prepared({"email": "a@x.org", "custom_fields": {"planName": "gold"}}, FieldTable(), unknown_fields=policy)
    assert caught.value.samples == {"planName": "gold" if policy == "create" else None}
    assert prepared({"email": "a@x.org", "custom_fields": {}}, FieldTable()).encoded == b'{"email":"a@x.org"}'


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((3, "number"), (0.5, "number"), (True, "boolean"), ("x", "string"), ("", "string"), ("2026-01-02", "date")),
        *(("2026-01-02T03:04Z", "date"), ("1795000000000", "string"), (1_795_000_000_000, "number")),
    ],
)
def test_a_new_property_gets_the_type_of_its_value(value, kind):
    (body,) = loops().create_field("freshOne2", value).body
    assert orjson.loads(body) == {"name": "freshOne2", "type": kind}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("fresh", None, "null"),
        ("fresh", [], "wrong_type"),
        ("fresh", {}, "wrong_type"),
        ("Fresh", "x", "unknown_field"),
        ("fresh_one", "x", "unknown_field"),
        ("1st", "x", "unknown_field"),
        ("", "x", "unknown_field"),
        ("x" * 499, "x", "unknown_field"),
        ("custom_fields.fresh", None, "unknown_field"),
        ("teamId", "x", "reserved"),
        ("subscribed", True, "reserved"),
    ],
)
def test_a_property_that_loops_would_not_create_is_refused(name, value, code):
    with pytest.raises(Refused) as caught:
        loops().create_field(name, value)
    assert caught.value.code == code
    bad = {"email": "a@x.org", "custom_fields": {name: value}}
    if value is not None:
        assert refused(bad, unknown_fields="create")[1] == code


def test_properties_are_read_by_lower_case_name_unless_that_is_not_theirs_alone():
    odd = [{"label": "no key"}, "odd", {"key": "mood"}, {"key": "subscribed", "type": "boolean"}]
    body = [*PROPERTIES[:2], {"key": "Seats", "type": "String"}, *odd]
    table = loops().read_definitions(reply(200, body), 77)
    assert table == FieldTable(
        {
            "planname": ("planName", "string"),
            "seats": ("seats", "number"),
            "Seats": ("Seats", "string"),
            "mood": ("mood", ""),
        },
        77,
    )
    both = {"email": "a@x.org", "custom_fields": {"seats": 1, "Seats": "x"}}
    assert sent(both, table=table) == {"email": "a@x.org", "seats": 1, "Seats": "x"}
    assert loops().read_definitions(reply(200, []), 77) == FieldTable({}, 77)
    table = FieldTable({"Seats": ("Seats", ""), "SEATS": ("SEATS", "")}, 7)
    neither = {"email": "a@x.org", "custom_fields": {"seatS": 1}}
    assert refused(neither, table=table, unknown_fields="create") == ("custom_fields.seatS", "ambiguous_field")


@pytest.mark.parametrize("name", ["Plan", "plan name", "planN\uff41me", "p\u217canName"])
def test_a_label_or_a_text_that_looks_like_a_key_is_no_key(name):
    assert refused({"email": "a@x.org", "custom_fields": {name: "x"}})[1] == "unknown_field"


def test_definitions_that_cannot_be_had_say_why():
    account = loops()
    for body in (b"<html>", b"", {"success": False}, {}, 7):
        assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    assert account.read_definitions(Response(200, {}, b"[]", 5, truncated=True), 77) == Retry("unreadable_reply")
    assert account.read_definitions(reply(503), 77) == Retry("http_503")
    assert account.read_definitions(reply(429, retry_after="3"), 77) == Limited(3.0)
    assert account.read_definitions(reply(401), 77).code == "unauthorized"
    assert account.read_definitions(reply(404), 77).code == "not_found"
