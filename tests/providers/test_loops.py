"""Loops' wire contract, byte for byte, and what each of its replies means."""

import random
import re

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.errors import FieldsNeeded, Refused, SettingError
from contact_ingest.model.http_message import Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.merge import merge_fields, without_newer_fields
from contact_ingest.model.record import FIELDS as NEUTRAL
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import Done, FieldTable, Healthy, Limited, Rejected, Retry, RowError, Stop
from contact_ingest.packing.payload import Payload
from contact_ingest.providers import registry
from contact_ingest.providers.base import SigningContext
from contact_ingest.providers.loops.provider import Loops

KEY = "made-up-0123456789abcdef"
LANE = Lane("app", "app")
SIGNING = SigningContext("", 1_795_000_000.0, "0" * 32)
NOW_S = 1_795_000_000.0
PROPERTIES = [
    {"key": "planName", "label": "Plan", "type": "string"},
    {"key": "seats", "label": "Seats", "type": "number"},
    {"key": "isAdmin", "label": "Admin", "type": "boolean"},
    {"key": "since", "label": "Since", "type": "date"},
    {"key": "mood", "label": "Mood", "type": "emoji"},
]
POLICIES = ("refuse", "drop", "create")

#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def loops(**config):
    return Loops(api_key=SecretStr(KEY), **config)


def reply(status, body=None, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 5)


def verdict(status, body=None, **headers):
    return loops().read_upsert(reply(status, body, **headers), NOW_S)


FIELDS = loops().read_definitions(reply(200, PROPERTIES), 77)


def prepared(record, table=FIELDS, **config):
    return loops(**config).prepare(orjson.dumps(record), table)


def sent(record, **config):
    return orjson.loads(prepared(record, **config).encoded)


def sent_custom(name, value):
    contact = sent({"email": "a@x.org", "custom_fields": {name: value}})
    return next(value for name, value in contact.items() if name != "email")


def refused(record, **config):
    with pytest.raises(Refused) as caught:
        prepared(record, **config)
    return caught.value.field, caught.value.code


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"base_url": "app.loops.so"}, "base_url"),
        ({"base_url": "https://user:secret@app.loops.so"}, "base_url"),
        ({"base_url": "https://app.loops.so/api/v1/"}, "base_url"),
        ({"unknown_fields": "ignore"}, "unknown_fields"),
        ({"api_key": SecretStr(" ")}, "api_key"),
        ({"api_key": SecretStr("two\nlines")}, "api_key"),
        ({"source": "x" * 499}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"on_behalf_of": "sub"}, "on_behalf_of"),
    ],
)
def test_a_wrong_setting_is_named(config, name):
    with pytest.raises(SettingError) as caught:
        registry.build("loops", **{"api_key": SecretStr(KEY), **config})
    assert caught.value.name == name
    assert "secret" not in str(caught.value)


def test_the_key_shows_nowhere():
    account = loops()
    signed = account.sign(account.upsert(LANE, [b"{}"]), SIGNING)
    assert KEY not in f"{account!r} {account.account} {signed!r}"


def test_an_account_is_its_key_and_its_address():
    names = {
        loops().account,
        loops(base_url="http://127.0.0.1:8025").account,
        Loops(api_key=SecretStr("other")).account,
    }
    assert len(names) == 3
    assert loops().account == loops(base_url="https://app.loops.so/api/", source="x").account


def test_all_requests_count_against_the_one_limit_of_the_team():
    account = loops()
    built = (account.upsert(LANE, [b"{}"]), account.probe(), account.definitions(), account.create_field("x", 1))
    assert {request.endpoint for request in built} == {"upsert"}
    assert account.rates == {"upsert": (10, 1.0)}
    assert loops(rates={"upsert": (25, 1.0)}).rates == {"upsert": (25, 1.0)}


@pytest.mark.parametrize(("name", "says"), [("list_ids", "mailing_lists"), ("colour", "none")])
def test_a_lane_of_loops_takes_no_options(name, says):
    assert loops().lane_options() == {}
    with pytest.raises(SettingError, match=says) as caught:
        loops().lane_options(**{name: ["l1"]})
    assert caught.value.name == name


# --- requests -------------------------------------------------------------------------------------------------------


def test_a_body_is_one_contact_and_nothing_else():
    limits = loops().limits(LANE)
    assert (limits.max_contacts, limits.max_bytes, limits.prefix, limits.suffix) == (1, 1_000_000, b"", b"")
    assert loops().limits(LANE, 70_000).max_bytes == 70_000
    assert loops().limits(LANE, 9_000_000).max_bytes == 1_000_000
    encoded = prepared({"email": "a@x.org", "first_name": "Ann"}).encoded
    body = Payload(limits)
    body.add(encoded)
    assert not body.fits(encoded)
    assert body.close().body == encoded


def test_an_update_is_these_bytes():
    record = {"email": "Ann@Example.org", "external_id": "u-1", "custom_fields": {"planName": "pro"}}
    request = loops().upsert(LANE, [prepared(record).encoded])
    assert (request.method, request.url) == ("PUT", "https://app.loops.so/api/v1/contacts/update")
    assert request.headers == {"accept": "application/json", "content-type": "application/json"}
    assert b"".join(request.body) == b'{"email":"ann@example.org","userId":"u-1","planName":"pro"}'


def test_the_other_requests_are_these():
    account = loops(base_url="http://127.0.0.1:8025/api/")
    found = [
        (request.method, request.url, b"".join(request.body), "content-type" in request.headers)
        for request in (account.probe(), account.definitions(), account.create_field("planName", "pro"))
    ]
    base = "http://127.0.0.1:8025/api/v1"
    assert found == [
        ("GET", f"{base}/api-key", b"", False),
        ("GET", f"{base}/contacts/properties?list=custom", b"", False),
        ("POST", f"{base}/contacts/properties", b'{"name":"planName","type":"string"}', True),
    ]


def test_requests_are_built_without_the_key_and_signed_with_it():
    account = loops()
    for request in (account.upsert(LANE, [b"{}"]), account.probe(), account.definitions()):
        assert "authorization" not in request.headers
        signed = account.sign(request, SIGNING)
        assert signed.headers == {**request.headers, "authorization": f"Bearer {KEY}"}
        assert (signed.method, signed.url, signed.body) == (request.method, request.url, request.body)


def test_no_row_is_ever_named_since_a_request_has_one():
    assert loops().find_rows([b"{}"], [RowError("c", "r", "a@x.org")]) == [[]]


# --- a contact ------------------------------------------------------------------------------------------------------


def test_a_whole_contact_is_sent_in_the_words_of_loops():
    record = {
        "email": "Ann.O'Neil+x@Example.ORG",
        "external_id": "U-1",
        "first_name": "Ánn",
        "last_name": "",
        "user_group": "vip",
        "source": "Web",
        "subscribed": False,
        "mailing_lists": {"l1": True, "l2": False},
        "custom_fields": {"PLANNAME": "", "seats": 0, "isadmin": False, "since": "2026-01-31", "mood": "up"},
    }
    done = prepared(record)
    assert done.encoded == orjson.dumps(
        {
            "email": "ann.o'neil+x@example.org",
            "userId": "U-1",
            "firstName": "Ánn",
            "lastName": "",
            "userGroup": "vip",
            "source": "Web",
            "subscribed": False,
            "mailingLists": {"l1": True, "l2": False},
            "planName": "",
            "seats": 0,
            "isAdmin": False,
            "since": "2026-01-31",
            "mood": "up",
        }
    )
    assert done.identities == ("email:ann.o'neil+x@example.org", "external_id:U-1")
    assert done.dropped == ()


@pytest.mark.parametrize("record", [{"email": "a@x.org"}, {"external_id": "u-1"}])
def test_either_identifier_is_enough(record):
    assert len(prepared(record).identities) == 1


@pytest.mark.parametrize(
    ("extra", "field", "code"),
    [
        ({"email": ""}, "email", "empty"),
        ({"email": None}, "email", "null"),
        ({"email": "nobody"}, "email", "bad_email"),
        ({"email": "x" * 250 + "@x.org"}, "email", "too_long"),
        ({"email": 7}, "email", "wrong_type"),
        ({"external_id": ""}, "external_id", "empty"),
        ({"external_id": None}, "external_id", "null"),
        ({"external_id": 7}, "external_id", "wrong_type"),
        ({"external_id": "x" * 499}, "external_id", "too_long"),
        ({"first_name": 3}, "first_name", "wrong_type"),
        ({"first_name": "x" * 499}, "first_name", "too_long"),
        ({"user_group": ["a"]}, "user_group", "wrong_type"),
        ({"subscribed": None}, "subscribed", "null"),
        ({"subscribed": "true"}, "subscribed", "wrong_type"),
        ({"subscribed": 1}, "subscribed", "wrong_type"),
        ({"mailing_lists": None}, "mailing_lists", "null"),
        ({"mailing_lists": ["l1"]}, "mailing_lists", "wrong_type"),
        ({"mailing_lists": {"l1": None}}, "mailing_lists", "null"),
        ({"mailing_lists": {"l1": "true"}}, "mailing_lists", "wrong_type"),
        ({"mailing_lists": {"l1": 1}}, "mailing_lists", "wrong_type"),
        ({"mailing_lists": {"": True}}, "mailing_lists", "empty"),
        ({"mailing_lists": {"x" * 499: True}}, "mailing_lists", "too_long"),
        ({"phone": "+4930123456"}, "phone", "unknown_field"),
        ({"city": "Berlin"}, "city", "unknown_field"),
        ({"anonymous_id": "a"}, "anonymous_id", "unknown_field"),
        ({"userId": "u"}, "userId", "unknown_field"),
        ({"mailingLists": {"l1": True}}, "mailingLists", "unknown_field"),
        ({"colour": "blue"}, "colour", "unknown_field"),
        ({"custom_fields": None}, "custom_fields", "null"),
        ({"custom_fields": []}, "custom_fields", "wrong_type"),
        ({"custom_fields": {"colour": "blue"}}, "custom_fields.colour", "unknown_field"),
        ({"custom_fields": {"planName": "a", "PLANNAME": "b"}}, "custom_fields.PLANNAME", "twice"),
        ({"custom_fields": {"mood": ["up"]}}, "custom_fields.mood", "wrong_type"),
    ],
)
def test_what_breaks_a_documented_rule_is_refused_by_field_and_code(extra, field, code):
    assert refused({"external_id": "u-1", **extra}) == (field, code)


@pytest.mark.parametrize(
    "record",
    [
        {"email": "hidden.example.org"},
        {"email": "a@x.org", "first_name": "hidden" * 100},
        {"email": "a@x.org", "hidden@x.org": "x"},
        {"email": "a@x.org", "mailing_lists": {"hidden": "x"}},
        {"email": "a@x.org", "custom_fields": {"hidden@x.org": "x"}},
        {"email": "a@x.org", "custom_fields": {"since": "hidden"}},
        {"email": "a@x.org", "custom_fields": {"planName": "hidden" * 100}},
    ],
)
def test_a_refusal_never_repeats_what_it_refuses(record):
    with pytest.raises(Refused) as caught:
        prepared(record)
    assert "hidden" not in str(caught.value)


def test_a_record_without_identifier_is_refused():
    assert refused({"first_name": "Ann"}) == ("record", "no_identifier")
    for raw in (b"[]", b"{", b"7", b"\xff", b'{"custom_fields":' + b"[" * 100_000):
        with pytest.raises(Refused, match="record"):
            loops().prepare(raw, FIELDS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", sorted(NEUTRAL - {"custom_fields"}))
def test_every_neutral_field_is_sent_or_refused_by_name_or_left_out_and_counted(name, policy):
    values = {"email": "a@x.org", "subscribed": True, "mailing_lists": {"l1": True}}
    record = {"external_id": "u-1", name: values.get(name, "x")}
    try:
        done = prepared(record, unknown_fields=policy)
    except Refused as refusal:
        assert (refusal.field, refusal.code) == (name, "unknown_field")  # noqa: PT017 - one of three right ends
        assert policy != "drop"
        assert "custom_fields" in refusal.rule  # noqa: PT017
    else:
        known = len(orjson.loads(done.encoded)) == len(record)
        assert done.dropped == (() if known else (name,))
        assert known or policy == "drop"


def test_a_mistaken_name_is_refused_even_where_unknown_fields_are_left_out():
    with pytest.raises(Refused, match="firstName: is called first_name in a record"):
        prepared({"email": "a@x.org", "firstName": "Ann"}, unknown_fields="drop")
    assert refused({"email": "a@x.org", "frist_name": "Ann"}, unknown_fields="drop")[1] == "unknown_field"


def test_the_source_of_the_settings_is_for_records_that_name_none():
    assert sent({"email": "a@x.org"}, source="shop") == {"email": "a@x.org", "source": "shop"}
    assert sent({"email": "a@x.org", "source": "app"}, source="shop")["source"] == "app"
    assert sent({"email": "a@x.org", "source": None}, source="shop")["source"] is None
    assert "source" not in sent({"email": "a@x.org"})


@pytest.mark.parametrize("field", ["first_name", "custom_fields"])
@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 498, True),
        ("x" * 499, False),
        ("ß" * 498, True),
        ('"' * 249, True),
        ('"' * 249 + "x", False),
        ("\n" * 250, False),
        ("\x01" * 83, True),
        ("\x01" * 84, False),
    ],
)
def test_a_text_has_500_characters_as_json_at_most(field, text, fits):
    record = {"email": "a@x.org", field: {"planName": text} if field == "custom_fields" else text}
    if fits:
        assert text in sent(record).values()
    else:
        assert refused(record)[1] == "too_long"


# --- consent --------------------------------------------------------------------------------------------------------

CONSENT = ("subscribed", "mailinglists", "optinstatus")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "name",
    [
        *("subscribed", "Subscribed", "mailingLists", "optInStatus", "email", "userId", "firstName", "source"),
        *("userGroup", "id", "listId", "teamId", "updatedAt", "softDeleteAt"),
    ],
)
def test_a_custom_field_never_becomes_what_loops_reads_as_something_else(name, policy):
    for table in (FIELDS, FieldTable(), FieldTable({name.lower(): (name, "boolean")}, 1)):
        record = {"email": "a@x.org", "custom_fields": {name: True}}
        assert refused(record, table=table, unknown_fields=policy) == (f"custom_fields.{name}", "reserved")


def test_no_record_without_consent_fields_ever_says_anything_about_consent():
    dice = random.Random(4711)
    definitions = [*PROPERTIES, *({"key": name, "type": "boolean"} for name in ("subscribed", "mailingLists"))]
    table = loops().read_definitions(reply(200, definitions), 1)
    accounts = [loops(unknown_fields=policy, source=source) for policy in POLICIES for source in ("", "shop")]
    values = [True, False, None, "", "true", 0, 1, "x", {"l1": True}, ["l1"], "2026-01-31"]
    plain = sorted(NEUTRAL - {"custom_fields", "subscribed", "mailing_lists"})
    custom = ["planName", "seats", "isAdmin", "since", "mood", "colour", "fresh"]
    odd = ["subscribed", "Subscribed", "mailingLists", "mailing_lists", "optInStatus"]
    sent_at_all = 0
    for number in range(10_000):
        record = {"email": f"a{number}@x.org"}
        record |= {name: dice.choice(values) for name in dice.sample(plain, dice.randint(0, 2)) if name != "email"}
        names = dice.sample(custom, dice.randint(0, 3)) + dice.sample(odd, dice.random() < 0.1)
        record["custom_fields"] = {name: dice.choice(values) for name in names}
        try:
            done = dice.choice(accounts).prepare(orjson.dumps(record), table)
        except (Refused, FieldsNeeded):
            continue
        sent_at_all += 1
        assert not {name.lower() for name in orjson.loads(done.encoded)}.intersection(CONSENT)
    assert sent_at_all > 1_000


def test_what_a_record_says_about_consent_is_sent_as_it_says_it():
    for value in (True, False):
        assert sent({"email": "a@x.org", "subscribed": value})["subscribed"] is value
    lists = {"l1": False, "l2": True}
    assert sent({"email": "a@x.org", "mailing_lists": lists})["mailingLists"] == lists


def test_two_records_of_a_contact_keep_what_both_say_of_lists():
    old = {"email": "a@x.org", "subscribed": False, "mailing_lists": {"l1": True, "l2": True}}
    new = {"email": "a@x.org", "mailing_lists": {"l2": False, "l3": True}}
    assert merge_fields(old, new) == {**old, "mailing_lists": {"l1": True, "l2": False, "l3": True}}
    assert strip(old, new) == {**old, "mailing_lists": {"l1": True}}
    assert strip({"email": "a@x.org", "mailing_lists": {"l2": True}}, new) == {"email": "a@x.org"}


def strip(old, new):
    """What a failed record still says after a newer one."""
    late = without_newer_fields(QueuedRecord(1, orjson.dumps(old)), QueuedRecord(2, orjson.dumps(new)), same_lane=True)
    return orjson.loads(late.raw)


# --- custom properties ----------------------------------------------------------------------------------------------

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


def test_definitions_that_cannot_be_had_say_why():
    account = loops()
    for body in (b"<html>", b"", {"success": False}, {}, 7):
        assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    assert account.read_definitions(Response(200, {}, b"[]", 5, truncated=True), 77) == Retry("unreadable_reply")
    assert account.read_definitions(reply(503), 77) == Retry("http_503")
    assert account.read_definitions(reply(429, retry_after="3"), 77) == Limited(3.0)
    assert account.read_definitions(reply(401), 77).code == "unauthorized"
    assert account.read_definitions(reply(404), 77).code == "not_found"


def test_the_reply_to_the_probe_tells_whether_the_account_works_and_nothing_of_its_fields():
    account, body = loops(), {"success": True, "teamName": "T"}
    assert account.read_probe(reply(200, body), NOW_S) == Healthy()
    assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    for odd in (b"<html>", [], {"success": False}):
        assert account.read_probe(reply(200, odd), NOW_S) == Retry("unreadable_reply")
    assert account.read_probe(reply(503), NOW_S) == Retry("http_503")
    refused = account.read_probe(reply(401, {"success": False, "error": "Invalid API key"}), NOW_S)
    assert refused.code == "unauthorized"


# --- anything at all ------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
TEXTS = st.text() | st.emails() | st.from_regex(r"\A-?[0-9]{1,22}\Z") | st.datetimes().map(str)
CUSTOM = st.dictionaries(
    st.sampled_from(["planName", "seats", "isAdmin", "since", "mood", "colour", "subscribed"]) | st.text(), JSON | TEXTS
)
ANY_RECORD = st.builds(
    lambda known, custom, other: {**other, **known, **custom},
    st.dictionaries(st.sampled_from(sorted(NEUTRAL)), TEXTS | JSON | st.dictionaries(st.text(), st.booleans())),
    st.fixed_dictionaries({}, optional={"custom_fields": CUSTOM}),
    st.dictionaries(st.text(), JSON, max_size=1),
)


@PATIENT
@given(record=ANY_RECORD, policy=st.sampled_from(POLICIES), table=st.sampled_from([FIELDS, FieldTable()]))
def test_any_object_is_prepared_or_refused_or_asks_for_fields(record, policy, table):
    try:
        done = prepared(record, table, unknown_fields=policy)
    except Refused as refusal:
        assert refusal.code  # noqa: PT017 - both ends are right, nothing else is
        return
    except FieldsNeeded as needed:
        assert set(needed.samples) <= set(record["custom_fields"])  # noqa: PT017
        return
    contact = orjson.loads(done.encoded)
    pairs = (("email", "email"), ("external_id", "userId"))
    assert done.identities == tuple(f"{name}:{contact[own]}" for name, own in pairs if own in contact)
    assert done.identities
    given_names = len(record) - ("custom_fields" in record) + len(record.get("custom_fields", {}))
    assert len(contact) + len(done.dropped) == given_names
    assert all(len(orjson.dumps(value).decode()) <= 500 for value in contact.values() if isinstance(value, str))


# --- what replies mean ----------------------------------------------------------------------------------------------


def test_an_update_is_done_only_if_the_reply_says_so():
    body = {"success": True, "id": "cm0abc123def456ghi789jkl"}
    assert verdict(200, body) == Done()
    for other in (b"", b"{}", b"<html>", {**body, "success": False}, {**body, "success": "true"}, [body]):
        assert verdict(200, other) == Retry("unreadable_reply", unknown=True)
    for other in ({"success": True}, {"success": True, "id": ""}, {"success": True, "id": 7}):
        assert verdict(200, other) == Retry("unreadable_reply", unknown=True)
    cut = Response(200, {}, orjson.dumps(body), 5, truncated=True)
    assert loops().read_upsert(cut, NOW_S) == Retry("unreadable_reply", unknown=True)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "http_400"), (404, "http_404"), (409, "http_409"), (413, "too_large"), (422, "http_422")]
)
def test_a_refused_contact_fails_with_the_words_of_loops(status, code):
    outcome = verdict(status, {"success": False, "message": "Ann@x.org has a bad value"})
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.reason) == (code, "<address> has a bad value")


@pytest.mark.parametrize("status", [400, 409, 413, 422])
@pytest.mark.parametrize("body", [b"", b"<html>", {}, [], None, {"message": 7}, {"message": " "}])
def test_a_refusal_without_words_is_one_all_the_same(status, body):
    outcome = verdict(status, body)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == f"Loops answered {status} and gave no reason"


def test_the_deprecated_error_is_read_where_there_is_no_message_and_reasons_are_short():
    assert verdict(400, {"success": False, "error": "Invalid email", "path": "x"}).reason == "Invalid email"
    assert verdict(400, {"message": "new", "error": "old"}).reason == "new"
    assert len(verdict(400, {"message": "m" * 5_000}).reason) == 1_000


@pytest.mark.parametrize("status", [400, 404])
def test_a_user_id_that_no_contact_has_is_told_apart(status):
    text = "userId not found and cannot create a new contact without an email."
    assert verdict(status, {"success": False, "message": text}).code == "unknown_user_id"


@pytest.mark.parametrize(
    "text",
    ["userId not found and cannot create a new contact without an email.", "Rate limit exceeded", "unauthorized"],
)
def test_no_text_decides_whether_something_is_sent_again(text):
    body = {"success": False, "message": text}
    kinds = {status: type(verdict(status, body)) for status in (200, 400, 401, 408, 409, 429, 500)}
    assert kinds == {200: Retry, 400: Rejected, 401: Stop, 408: Retry, 409: Rejected, 429: Limited, 500: Retry}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (402, "payment"),
        (403, "forbidden"),
        (405, "not_allowed"),
        (415, "http_415"),
        (301, "http_301"),
    ],
)
def test_a_wrong_destination_stops(status, code):
    stop = verdict(status, {"success": False, "message": f"key {KEY} is bad"})
    assert isinstance(stop, Stop)
    assert stop.code == code
    assert KEY not in stop.why


@pytest.mark.parametrize("body", [b"<html>", b"", {"message": "Not Found"}, {"success": True}])
def test_a_404_that_is_not_the_word_of_loops_is_about_the_address_not_the_contact(body):
    assert verdict(404, body).code == "not_found"


@pytest.mark.parametrize("status", [408, 425, 500, 503, 599])
def test_a_passing_trouble_is_tried_again_no_sooner_than_asked(status):
    assert verdict(status, b"<html>", retry_after="17") == Retry(f"http_{status}", 17.0)
    assert verdict(status) == Retry(f"http_{status}")


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_in_between_leaves_the_fate_unknown(status):
    assert verdict(status) == Retry(f"http_{status}", unknown=True)


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({"x_ratelimit_limit": "10", "x_ratelimit_remaining": "0"}, None),
        ({"retry_after": "7"}, 7.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "2"}, 2.0),
    ],
)
def test_a_429_waits_for_what_the_headers_say_if_they_do(headers, after_s):
    assert verdict(429, b"<html>", **headers) == Limited(after_s)


@PATIENT
@given(status=st.integers(100, 999), body=JSON | st.binary(), cut=st.booleans())
def test_no_reply_is_beyond_words(status, body, cut):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = Response(status, {"retry-after": "x"}, content, 5, truncated=cut)
    assert loops().read_upsert(response, NOW_S) is not None
    assert loops().read_definitions(response, 1) is not None
