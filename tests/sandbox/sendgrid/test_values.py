"""What the SendGrid stand-in refuses of a contact: its identifiers, fields and custom values."""

import pytest
from support.stand_in_sendgrid import ANN, make_field, stored, upsert


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("external_id", 254),
        ("anonymous_id", 254),
        ("first_name", 50),
        ("last_name", 50),
        ("address_line_1", 100),
        ("address_line_2", 100),
        ("city", 60),
        ("state_province_region", 50),
        ("country", 50),
    ],
)
def test_a_field_at_its_limit_passes_and_one_character_more_does_not(client, name, limit):
    assert upsert(client, {**ANN, name: "é" * limit}).status_code == 202
    reply = upsert(client, {**ANN, name: "é" * (limit + 1)})
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["field"] == f"contacts[0].{name}"


def test_an_address_of_254_passes_and_one_character_more_does_not(client):
    labels = ".".join(["d" * 60, "d" * 60, "d" * 59, "example"])
    address = "a" * 64 + "@" + labels
    assert len(address) == 254
    assert upsert(client, {"email": address}).status_code == 202
    assert upsert(client, {"email": address + "s"}).json()["errors"][0]["field"] == "contacts[0].email"


@pytest.mark.parametrize(("unit", "text"), [("utf16", "😀" * 26), ("bytes", "é" * 26)])
def test_the_unit_of_the_limits_is_a_dial(client, sandbox, unit, text):
    assert upsert(client, {**ANN, "first_name": text}).status_code == 202
    sandbox.dials(length_unit=unit)
    assert upsert(client, {**ANN, "first_name": text}).status_code == 400


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
@pytest.mark.parametrize(
    "name", ["email", "first_name", "postal_code", "custom_fields", "alternate_emails", "facebook"]
)
def test_a_value_of_another_type_is_refused_null_included(client, name, value):
    if (name, value) in (("custom_fields", {}), ("alternate_emails", [])):
        assert upsert(client, {**ANN, name: value}).status_code == 202
    else:
        assert upsert(client, {**ANN, name: value}).status_code == 400


def test_unknown_fields_are_refused_and_reserved_ones_pass(client):
    reserved = {"phone_number": "+31201234567", "whatsapp": "w", "line": "l", "facebook": "f", "unique_name": "u"}
    assert upsert(client, ANN | reserved).status_code == 202
    reply = upsert(client, {**ANN, "company": "x"})
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (400, "contacts[0].company")


@pytest.mark.parametrize(
    "phone", ["0201234567", "31201234567", "+0123456789", "+31 20 1234567", "+1234", "+" + "1" * 16]
)
@pytest.mark.parametrize("name", ["phone_number", "phone_number_id"])
def test_a_phone_number_that_is_not_e164_is_refused(client, name, phone):
    assert upsert(client, {**ANN, name: phone}).status_code == 400


def test_more_than_five_alternate_addresses_or_a_bad_one_are_refused(client):
    alternates = [f"a{n}@example.com" for n in range(6)]
    assert upsert(client, {**ANN, "alternate_emails": alternates[:5]}).status_code == 202
    assert upsert(client, {**ANN, "alternate_emails": alternates}).status_code == 400
    assert upsert(client, {**ANN, "alternate_emails": ["nobody"]}).status_code == 400
    assert upsert(client, {**ANN, "alternate_emails": [None]}).status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        *("", "ann", "ann@", "@example.com", "ann@example", "ann@@example.com", "a nn@example.com", " ann@example.com"),
        *(
            "ann@example.com\n",
            "ann.@example.com",
            "a..b@example.com",
            "ann@-example.com",
            "ann@example.c",
            "ann@1.2.3.4",
        ),
        *("änn@example.com", "ann@exämple.com", "a" * 65 + "@example.com", "Ann <ann@example.com>", "a@x.nl,b@x.nl"),
    ],
)
def test_one_invalid_address_refuses_the_whole_request_by_name(client, sandbox, address):
    reply = upsert(client, ANN, {"email": address})
    message = f"email '{address}' is not valid"
    entry = {"message": message, "field": "contacts[1].identifier", "error_id": "", "parameter": ""}
    assert (reply.status_code, reply.json()) == (400, {"errors": [entry]})
    assert stored(sandbox) == {}


@pytest.mark.parametrize("address", ["o'neil+x@mail.example.co.uk", "A_b-c@xn--exmple-cua.com", "1@2.nl"])
def test_ordinary_addresses_pass(client, address):
    assert upsert(client, {"email": address}).status_code == 202


def test_addresses_beyond_ascii_are_a_dial(client, sandbox):
    sandbox.dials(unicode_addresses=True)
    assert upsert(client, {"email": "änn@exämple.com"}).status_code == 202


def test_only_the_first_bad_row_is_listed_unless_dialled(client, sandbox):
    rows = [ANN, {"email": "bad1"}, {"email": "bad2"}]
    assert [e["field"] for e in upsert(client, *rows).json()["errors"]] == ["contacts[1].identifier"]
    sandbox.dials(all_bad_rows_listed=True, index_shift=1)
    fields = [entry["field"] for entry in upsert(client, *rows).json()["errors"]]
    assert fields == ["contacts[2].identifier", "contacts[3].identifier"]


def test_an_anonymous_refusal_names_nobody(client, sandbox):
    sandbox.dials(anonymous_400=True)
    reply = upsert(client, ANN, {"email": "bad1"})
    assert (reply.status_code, reply.json()) == (400, {"errors": [{"message": "invalid request"}]})


def test_two_contacts_with_one_identifier_are_refused_namelessly_and_counted(client, sandbox):
    twins = [{"email": "ann@example.com", "city": "A"}, {"email": "ANN@example.com", "city": "B"}]
    reply = upsert(client, *twins)
    assert (reply.status_code, reply.json()) == (400, {"errors": [{"message": "invalid request"}]})
    assert upsert(client, {**ANN, "external_id": "7"}, {"external_id": "7"}).status_code == 400
    assert sandbox.totals()["by_note"] == {"duplicate identifiers": 2}
    assert sandbox.totals()["contacts"] == 0


@pytest.mark.parametrize(("dial", "city"), [("last", "B"), ("first", "A")])
def test_duplicates_can_be_dialled_to_pass(client, sandbox, dial, city):
    sandbox.dials(duplicates=dial)
    twins = [{"email": "ann@example.com", "city": "A"}, {"email": "ANN@example.com", "city": "B"}]
    assert upsert(client, *twins).status_code == 202
    assert stored(sandbox)["ann@example.com"]["city"] == city


def test_unknown_custom_fields_refuse_the_whole_request_with_all_their_ids(client):
    known = make_field(client, "plan", "Text")
    rows = [{**ANN, "custom_fields": {known: "x", "e9_T": "y"}}, {"email": "b@example.com", "custom_fields": {"w1": 1}}]
    reply = upsert(client, *rows)
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["message"] == "invalid custom field ids supplied - e9_T,w1"
    assert upsert(client, {**ANN, "custom_fields": {"plan": "x"}}).status_code == 400


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("Text", ["", "x" * 1000], ["x" * 1001, 1, True, None, ["x"], {}]),
        ("Number", [0, -1, 2.5, 10**18], ["42", "", True, None, [1]]),
        (
            "Date",
            ["01/31/2024", "2024-01-31", "2024-01-31T10:20:30Z", "2024-01-31T10:20:30.123456789+01:00"],
            ["31/01/2024", "1/1/2024", "2024-02-30", "20240131", "2024-W05-1", "yesterday", "", 1706659200, None],
        ),
    ],
)
def test_custom_values_must_be_of_their_fields_type(client, kind, good, bad):
    field = make_field(client, "field", kind)
    for value in good:
        assert upsert(client, {**ANN, "custom_fields": {field: value}}).status_code == 202, value
    for value in bad:
        assert upsert(client, {**ANN, "custom_fields": {field: value}}).status_code == 400, value


def test_iso_dates_are_a_dial(client, sandbox):
    field = make_field(client, "born", "Date")
    sandbox.dials(iso_dates=False)
    assert upsert(client, {**ANN, "custom_fields": {field: "2024-01-31"}}).status_code == 400
    assert upsert(client, {**ANN, "custom_fields": {field: "01/31/2024"}}).status_code == 202
