"""Records in the words of Loops: what is sent, what is refused, and by which field and code."""

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_loops import FIELDS, JSON, PATIENT, POLICIES, PROPERTIES, loops, prepared, refused, reply, sent

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.merge import merge_fields, without_newer_fields
from contact_ingest.model.record import FIELDS as NEUTRAL
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable


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
