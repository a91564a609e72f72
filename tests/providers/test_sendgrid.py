"""SendGrid's wire contract, byte for byte, and what each of its replies means."""

import gzip
import string

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.errors import FieldsNeeded, Refused, SettingError
from contact_ingest.model.http_message import Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import (
    FieldTable,
    JobEnded,
    JobMissing,
    JobRunning,
    Limited,
    Named,
    Pending,
    Rejected,
    Retry,
    RowError,
    Stop,
    TooLarge,
)
from contact_ingest.packing.payload import Payload
from contact_ingest.providers import registry
from contact_ingest.providers.base import SigningContext
from contact_ingest.providers.sendgrid.lane import lane_options
from contact_ingest.providers.sendgrid.provider import SendGrid

KEY = "SG.made-up.key"
LISTS = ("0b1a2c3d-0000-4000-8000-000000000001", "0b1a2c3d-0000-4000-8000-000000000002")
PLAIN = Lane("news", "crm")
LISTED = Lane("news", "crm", {"list_ids": LISTS})
FIELDS = FieldTable(
    {"plan": ("e1_T", "Text"), "seats": ("e2_N", "Number"), "since": ("e3_D", "Date"), "mood": ("e4_X", "Mood")}, 1
)
NOW_S = 1_795_000_000.0

#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sendgrid(**config):
    return SendGrid(api_key=SecretStr(KEY), **config)


def prepared(record, table=FIELDS, **config):
    return sendgrid(**config).prepare(orjson.dumps(record), table)


def sent(record, **config):
    return orjson.loads(prepared(record, **config).encoded)


def refused(record, **config):
    with pytest.raises(Refused) as caught:
        prepared(record, **config)
    return caught.value.field, caught.value.code


def reply(status, body=None, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 5)


def verdict(status, body=None, **headers):
    return sendgrid().read_upsert(reply(status, body, **headers), NOW_S)


def report(status, body=None, **headers):
    return sendgrid().read_job(reply(status, body, **headers), NOW_S)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"max_body_bytes": 6_000_001}, "max_body_bytes"),
        ({"max_body_bytes": 65_535}, "max_body_bytes"),
        ({"base_url": "api.sendgrid.com"}, "base_url"),
        ({"base_url": "https://user:secret@api.sendgrid.com"}, "base_url"),
        ({"base_url": "https://api.sendgrid.com:port"}, "base_url"),
        ({"on_behalf_of": "sub\nuser"}, "on_behalf_of"),
        ({"unknown_fields": "ignore"}, "unknown_fields"),
        ({"api_key": SecretStr(" ")}, "api_key"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_setting_is_named(config, name):
    with pytest.raises(SettingError) as caught:
        registry.build("sendgrid", **{"api_key": SecretStr(KEY), **config})
    assert caught.value.name == name
    assert "secret" not in str(caught.value)


def test_a_missing_key_and_an_unknown_platform_are_named():
    for platform, name in (("sendgrid", "api_key"), ("carrier-pigeon", "platform")):
        with pytest.raises(SettingError) as caught:
            registry.build(platform)
        assert caught.value.name == name


def test_the_key_shows_nowhere():
    account = sendgrid(on_behalf_of="sub")
    shown = f"{account!r} {account.account} {account.upsert(PLAIN, [b'{}'])!r} {account.job('1')!r}"
    assert KEY not in shown
    assert "sub" not in shown


def test_an_account_is_its_key_its_address_and_its_subuser():
    names = {
        sendgrid().account,
        sendgrid(on_behalf_of="sub").account,
        sendgrid(base_url="https://api.eu.sendgrid.com").account,
        SendGrid(api_key=SecretStr("SG.other")).account,
    }
    assert len(names) == 4
    assert sendgrid().account == sendgrid(base_url="https://api.sendgrid.com/", max_body_bytes=100_000).account


# --- lanes and limits -----------------------------------------------------------------------------------------------


def test_list_ids_are_lower_case_sorted_and_single():
    assert lane_options(list_ids=[LISTS[1].upper(), LISTS[0], LISTS[1]]) == {"list_ids": LISTS}
    assert lane_options() == lane_options(list_ids=[]) == {}


@pytest.mark.parametrize(
    ("options", "name", "says"),
    [
        ({"list_ids": [LISTS[0], "news"]}, "list_ids", "item 2"),
        ({"list_ids": [LISTS[0], None]}, "list_ids", "item 2"),
        ({"list_ids": LISTS[0]}, "list_ids", "text"),
        ({"list_ids": [f"{n:08x}-0000-0000-0000-000000000000" for n in range(1_001)]}, "list_ids", "1001"),
        ({"lists": LISTS}, "lists", "list_ids"),
    ],
)
def test_a_wrong_lane_option_is_named_with_its_position(options, name, says):
    with pytest.raises(SettingError) as caught:
        lane_options(**options)
    assert caught.value.name == name
    assert says in caught.value.problem


def test_limits_are_the_documented_ones_and_a_learned_cap_only_lowers_them():
    limits = sendgrid().limits(LISTED)
    assert (limits.max_contacts, limits.max_bytes) == (30_000, 6_000_000)
    assert limits.prefix == b'{"list_ids":["%b","%b"],"contacts":[' % tuple(item.encode() for item in LISTS)
    assert sendgrid().limits(PLAIN).prefix == b'{"contacts":['
    assert sendgrid().limits(PLAIN, 1_000_000).max_bytes == 1_000_000
    assert sendgrid(max_body_bytes=500_000).limits(PLAIN, 1_000_000).max_bytes == 500_000


# --- requests -------------------------------------------------------------------------------------------------------


def test_an_upsert_is_these_bytes():
    rows = [prepared({"email": "Ann@Example.org"}).encoded, b",", prepared({"external_id": "c-2"}).encoded]
    request = sendgrid(on_behalf_of="sub").upsert(PLAIN, rows)
    assert (request.method, request.url, request.endpoint) == (
        "PUT",
        "https://api.sendgrid.com/v3/marketing/contacts",
        "upsert",
    )
    assert request.headers == {
        "accept": "application/json",
        "content-type": "application/json",
        "on-behalf-of": "sub",
    }
    assert b"".join(request.body) == b'{"contacts":[{"email":"ann@example.org"},{"external_id":"c-2"}]}'
    assert "on-behalf-of" not in sendgrid().upsert(PLAIN, rows).headers


def test_requests_are_built_without_the_key_and_signed_with_it():
    account = sendgrid(on_behalf_of="sub")
    signing = SigningContext("", NOW_S, "0" * 32)
    built = (account.upsert(PLAIN, [b"{}"]), account.job("1"), account.definitions(), account.create_field("x", 1))
    for request in built:
        assert "authorization" not in request.headers
        signed = account.sign(request, signing)
        assert signed.headers == {**request.headers, "authorization": f"Bearer {KEY}"}
        assert (signed.method, signed.url, signed.body) == (request.method, request.url, request.body)
        assert KEY not in repr(signed)


def test_the_other_requests_are_these():
    account = sendgrid(base_url="http://127.0.0.1:8025/")
    job, probe, made = account.job("a/../b"), account.probe(), account.create_field("seats", 3)
    assert (job.method, job.url, job.endpoint) == (
        "GET",
        "http://127.0.0.1:8025/v3/marketing/contacts/imports/a%2F..%2Fb",
        "job",
    )
    assert (probe.method, probe.url, probe.endpoint, probe.body) == (
        "GET",
        "http://127.0.0.1:8025/v3/marketing/field_definitions",
        "definitions",
        (),
    )
    assert (made.method, made.url, b"".join(made.body)) == (
        "POST",
        "http://127.0.0.1:8025/v3/marketing/field_definitions",
        b'{"name":"seats","field_type":"Number"}',
    )


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://api.sendgrid.com", "https://api.sendgrid.com:443"),
        ("http://127.0.0.1:8025", "http://127.0.0.1:8025"),
        ("http://[::1]:8025", "http://[::1]:8025"),
    ],
)
def test_an_error_file_is_fetched_without_credentials_even_from_the_platform(base_url, origin):
    request = sendgrid(base_url=base_url, on_behalf_of="sub").error_file(f"{base_url}/errors/1")
    assert request.headers == {"accept": "*/*"}
    assert sendgrid(base_url=base_url).sign(request, SigningContext("", NOW_S, "0" * 32)).headers == {"accept": "*/*"}
    assert request.public_only
    assert request.allowed_origin == origin
    assert request.max_reply_bytes == 10_000_000


# --- a contact ------------------------------------------------------------------------------------------------------


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


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
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


LETTERS = st.text(string.ascii_letters + 'ßé"\\\n\t😀', min_size=1, max_size=20)
GOOD_RECORD = st.fixed_dictionaries(
    {"external_id": LETTERS},
    optional={
        "email": st.from_regex(r"\A[a-zA-Z0-9]{1,20}@[a-z]{1,20}\.(org|com)\Z"),
        "first_name": LETTERS,
        "city": st.just("") | LETTERS,
        "custom_fields": st.fixed_dictionaries(
            {}, optional={"plan": LETTERS, "seats": st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15)}
        ),
    },
)


@PATIENT
@given(records=st.lists(GOOD_RECORD, min_size=1, max_size=20), listed=st.booleans())
def test_the_body_is_what_encoding_the_whole_would_give(records, listed):
    account, lane = sendgrid(), LISTED if listed else PLAIN
    body = Payload(account.limits(lane))
    for record in records:
        body.add(account.prepare(orjson.dumps(record), FIELDS).encoded)
    size, packed = body.size, body.close()
    whole = orjson.loads(packed.body)
    assert orjson.dumps(whole) == packed.body
    assert len(packed.body) == size
    assert [contact["external_id"] for contact in whole["contacts"]] == [record["external_id"] for record in records]
    start, end = len(account.limits(lane).prefix), len(packed.body) - len(account.limits(lane).suffix)
    assert b"".join(account.upsert(lane, [packed.body[start:end]]).body) == packed.body


# --- what replies mean ----------------------------------------------------------------------------------------------


def test_an_upsert_is_pending_only_with_a_job_to_ask_about():
    job = "3c4d5e6f-0000-4000-8000-000000000000"
    assert verdict(202, {"job_id": job}) == Pending(job)
    assert verdict(200, {"job_id": job}) == Pending(job)
    for body in (b"", b"{}", b"<html>", {"job_id": ""}, {"job_id": 7}, {"job_id": "../x"}, {"job_id": "x" * 201}, []):
        assert verdict(202, body) == Retry("unreadable_reply", unknown=True)
    cut = Response(202, {}, orjson.dumps({"job_id": job}), 5, truncated=True)
    assert sendgrid().read_upsert(cut, NOW_S) == Retry("unreadable_reply", unknown=True)


BAD = {"field": "contacts[3].identifier", "message": "email 'Bad@x.org' is not valid"}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "body",
    [
        {"errors": [BAD]},
        {"errors": BAD},
        [BAD],
        BAD,
        {"error": BAD},
        {"errors": [{"message": BAD["message"], "parameter": BAD["field"], "error_id": "x"}]},
        {"errors": [{"field": None, "message": "contacts[3].identifier: email 'Bad@x.org' is not valid"}]},
    ],
)
def test_a_quoted_address_is_named_whatever_the_shape(status, body):
    (error,) = verdict(status, body).failed
    assert (error.code, error.value, error.hint) == ("bad_identifier", "bad@x.org", 3)
    assert error.reason.endswith("email '<address>' is not valid")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('email "b@x.org" is not valid', ["b@x.org"]),
        ("email `b@x.org` is not valid", ["b@x.org"]),
        ("email “b@x.org” is not valid", ["b@x.org"]),
        ("email \u2018b@x.org\u2019 is not valid", ["b@x.org"]),
        ("email «b@x.org» is not valid", ["b@x.org"]),
        ("email <b@x.org> is not valid", ["b@x.org"]),
        ("email 'o'brien@x.org' is not valid", ["o'brien@x.org"]),
        ("email 'b@x.org', 'c@x.org' are not valid", ["b@x.org", "c@x.org"]),
        ("email 'b@x.org','c@x.org' are not valid", ["b@x.org", "c@x.org"]),
        ("email b@x.org is not valid.", ["b@x.org"]),
        ("phone_number_id '+4930' is not valid", ["+4930"]),
        ("'external_id' 'C-1' is not valid", ["C-1"]),
    ],
)
@pytest.mark.parametrize("shape", [lambda text: {"errors": [text]}, lambda text: {"error": text}])
def test_every_style_of_quotes_is_read(text, values, shape):
    assert [error.value for error in verdict(400, shape(text)).failed] == values


def test_an_index_alone_is_a_hint():
    assert verdict(400, {"errors": [{"field": "contacts[7].first_name", "message": "too long"}]}) == Named(
        (RowError("bad_contact", "too long", "", 7),)
    )


def test_a_refusal_that_was_cut_off_still_names_whom_it_quotes():
    body = orjson.dumps({"errors": [BAD, {**BAD, "message": "email 'c@x.org' is not valid"}]})[:-10]
    assert {e.value for e in sendgrid().read_upsert(Response(400, {}, body, 5, truncated=True), NOW_S).failed} == {
        "bad@x.org",
        "c@x.org",
    }


def test_refused_custom_field_ids_are_named():
    (error,) = verdict(400, {"errors": [{"message": "invalid custom field ids supplied - e9_T,w1"}]}).failed
    assert (error.code, error.fields, error.value, error.hint) == ("unknown_field_id", ("e9_T", "w1"), "", None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"errors": [{"message": "invalid JSON"}]}, "invalid_json"),
        ({"errors": [{"message": "contact support@sendgrid.com"}]}, "http_400"),
        ({"errors": [{"message": "field 'email' is 'odd'"}]}, "http_400"),
        ({"errors": []}, "http_400"),
        ({"errors": None}, "http_400"),
        ({}, "http_400"),
        (b"<html>", "http_400"),
        (b"", "http_400"),
        ([[[None]]], "http_400"),
    ],
)
def test_a_refusal_that_names_nobody_says_so(body, code):
    outcome = verdict(400, body)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert outcome.reason


def test_a_complaint_about_the_lists_stops_the_lane_only_if_its_path_says_so():
    assert verdict(400, {"errors": [{"field": "list_ids[0]", "message": "no"}]}).code == "bad_list"
    assert isinstance(verdict(400, {"errors": [{"field": None, "message": "list_ids are odd"}]}), Rejected)


def test_reasons_are_short_and_without_addresses():
    rejected = verdict(400, {"errors": [{"message": "m" * 5_000}]})
    assert len(rejected.reason) == 1_000
    assert "x.org" not in verdict(400, {"errors": [BAD]}).failed[0].reason
    assert "C-1" not in verdict(400, {"errors": ["external_id 'C-1' is not valid"]}).failed[0].reason


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (402, "payment"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "http_405"),
        (415, "http_415"),
        (301, "http_301"),
        (307, "http_307"),
    ],
)
def test_a_wrong_destination_stops(status, code):
    stop = verdict(status, {"errors": [{"message": f"key {KEY} is bad"}]})
    assert isinstance(stop, Stop)
    assert stop.code == code
    assert KEY not in stop.why


@pytest.mark.parametrize("status", [408, 500, 503, 599])
def test_a_passing_trouble_is_tried_again_no_sooner_than_asked(status):
    assert verdict(status, b"<html>", retry_after="17") == Retry(f"http_{status}", 17.0)
    assert verdict(status) == Retry(f"http_{status}")


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_in_between_leaves_the_fate_unknown(status):
    assert verdict(status) == Retry(f"http_{status}", unknown=True)


def test_a_body_too_large_is_told_apart():
    assert verdict(413, {"message": "Request Too Long"}) == TooLarge()


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({}, None),
        ({"retry_after": "7", "x_ratelimit_reset": "24"}, 7.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "24"}, 24.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(NOW_S) + 30)}, 30.0),
        ({"x_ratelimit_reset": "24"}, 24.0),
        ({"x_ratelimit_remaining": "5", "x_ratelimit_reset": "24"}, None),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "soon"}, None),
    ],
)
def test_a_429_waits_for_what_the_headers_say(headers, after_s):
    body = {"errors": [{"field": None, "message": "too many requests"}]}
    assert verdict(429, body, **headers) == Limited(after_s)
    assert report(429, body, **headers) == Limited(after_s)


@PATIENT
@given(status=st.integers(100, 999), body=JSON | st.binary().map(bytes), cut=st.booleans())
def test_no_reply_is_beyond_words(status, body, cut):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = Response(status, {"retry-after": "x"}, content, 5, truncated=cut)
    assert sendgrid().read_upsert(response, NOW_S) is not None
    assert sendgrid().read_job(response, NOW_S) is not None
    assert sendgrid().read_definitions(response, 1) is not None


# --- whose fault ----------------------------------------------------------------------------------------------------

CONTACTS = [
    {"email": "ann@x.org", "custom_fields": {"e1_T": "x"}},
    {"email": "joann@x.org", "external_id": "C-1"},
    {"phone_number_id": "+4930123456", "first_name": "ann@x.org"},
    {"email": "bob@x.org", "alternate_emails": ["ann@x.org"], "custom_fields": {"e2_N": 1}},
    {"anonymous_id": "ann@x.org"},
    {"email": 'qu"ote@x.org'},
    {"external_id": "c-9"},
]
ROWS = [orjson.dumps(contact) for contact in CONTACTS]


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize(
    ("error", "places"),
    [
        (RowError("c", "r", "ANN@x.org"), [0, 3, 4]),
        (RowError("c", "r", "x.org"), []),
        (RowError("c", "r", "C-1"), [1]),
        (RowError("c", "r", "c-1"), []),
        (RowError("c", "r", "C-9"), []),
        (RowError("c", "r", "+4930123456"), [2]),
        (RowError("c", "r", 'qu"ote@x.org'), [5]),
        (RowError("c", "r", fields=("e1_T", "e2_N")), [0, 3]),
        (RowError("c", "r", fields=("e9_T",)), []),
        (RowError("c", "r", hint=1), []),
        (RowError("c", "r", "gone@x.org", hint=1), []),
    ],
)
def test_rows_are_found_by_whole_identifiers_only(error, places, padding):
    others = [RowError("c", "r", f"nobody{number}@x.org") for number in range(padding)]
    assert sendgrid().find_rows(ROWS, [error, *others]) == [places, *([] for _ in others)]


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_recorded_first_poll_is_running():
    assert report(200, {"id": "1", "job_type": "upsert_contacts", "status": "pending", "results": {}}) == JobRunning(
        "pending"
    )


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ({"status": "completed"}, JobEnded("completed", 0)),
        ({"status": " Completed ", "results": None}, JobEnded("completed", 0)),
        ({"status": "completed", "results": {"errored_count": "3"}}, JobEnded("completed", None)),
        (
            {"status": "completed", "results": {"requested_count": 9, "errored_count": 3}},
            JobEnded("errored", 3),
        ),
        (
            {"status": "errored", "results": {"requested_count": 9, "errored_count": 3, "errors_url": "https://f/1"}},
            JobEnded("errored", 3, "https://f/1"),
        ),
        ({"status": "ERRORED", "results": {"errored_count": -3}}, JobEnded("errored", None)),
        ({"status": "errored", "results": {"errors_url": "javascript:1"}}, JobEnded("errored", None)),
        (
            {"status": "errored", "results": {"requested_count": 3, "errored_count": 3}},
            JobEnded("errored", 3, all_failed=True),
        ),
        ({"status": "failed", "results": {"requested_count": 4}}, JobEnded("failed", 4, all_failed=True)),
        (
            {"status": "failed", "errors": [{"message": "you have hit your contact limit"}]},
            JobEnded("failed", None, all_failed=True, reason="you have hit your contact limit"),
        ),
    ],
)
def test_a_job_ends_as_its_status_says(body, ended):
    assert report(200, body) == ended


@pytest.mark.parametrize(("status", "shown"), [("queued", "queued"), (None, "unknown"), ("a@x.org", "unknown")])
def test_an_unknown_status_is_still_running(status, shown):
    assert report(200, {"status": status}) == JobRunning(shown)


def test_the_other_replies_about_a_job():
    assert report(404, {"errors": []}) == JobMissing()
    assert report(401).code == "unauthorized"
    assert report(403).code == "forbidden"
    assert report(500, retry_after="9") == Retry("http_500", 9.0)
    assert report(400, {"errors": {"message": "bad id"}}) == Retry("http_400")
    for body in (b"", b"[]", b"<html>"):
        assert report(200, body) == Retry("unreadable_reply")


def test_an_error_file_names_rows_of_the_batch():
    packed = gzip.compress(b"email,external_id,error\nAnn@x.org,,Invalid email\nzoe@x.org,,Invalid email\n,C-1,Odd\n")
    errors = sendgrid().read_error_file(packed, ROWS)
    assert errors == [
        RowError("import_error", "Invalid email", "ann@x.org"),
        RowError("import_error", "Odd", "C-1"),
    ]
    assert sendgrid().find_rows(ROWS, errors) == [[0, 3, 4], [1]]


# --- custom fields --------------------------------------------------------------------------------------------------


def test_definitions_are_read_by_lower_case_name():
    body = {
        "custom_fields": [
            {"id": "e1_T", "name": "Plan", "field_type": "Text"},
            {"id": "e2_N", "name": "seats", "field_type": "Number"},
            {"name": "no id"},
            "odd",
        ],
        "reserved_fields": [{"id": "_rf0_T", "name": "first_name", "field_type": "Text"}],
    }
    table = sendgrid().read_definitions(reply(200, body), 77)
    assert table == FieldTable({"plan": ("e1_T", "Text"), "seats": ("e2_N", "Number")}, 77)
    assert sendgrid().read_definitions(reply(200, {"reserved_fields": []}), 77) == FieldTable({}, 77)


def test_definitions_that_cannot_be_had_say_why():
    account = sendgrid()
    assert account.read_definitions(reply(200, b"<html>"), 77) == Retry("unreadable_reply")
    assert account.read_definitions(reply(503), 77) == Retry("http_503")
    assert account.read_definitions(reply(429, retry_after="3"), 77) == Limited(3.0)
    assert account.read_definitions(reply(401), 77).code == "unauthorized"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "Number"), (0.5, "Number"), ("x", "Text"), ("", "Text"), ("2026-01-02", "Date"), ("1/2/2026", "Date")],
)
def test_a_new_field_gets_the_type_of_its_value(value, kind):
    (body,) = sendgrid().create_field("fresh", value).body
    assert orjson.loads(body) == {"name": "fresh", "field_type": kind}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("fresh", True, "wrong_type"),
        ("fresh", [], "wrong_type"),
        ("fresh", None, "null"),
        ("no spaces", "x", "unknown_field"),
        ("", "x", "unknown_field"),
        ("Email", "x", "unknown_field"),
    ],
)
def test_a_field_that_sendgrid_would_not_create_is_refused(name, value, code):
    with pytest.raises(Refused) as caught:
        sendgrid().create_field(name, value)
    assert caught.value.code == code
