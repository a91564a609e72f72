"""Custom fields of SendGrid by their ids: the only form that its documentation has."""

import orjson
import pytest
from support.provider_sendgrid import prepared, sendgrid

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.verdicts import FieldTable

TABLE = FieldTable(
    {
        "drink": ("w1", "Text"),
        "seats": ("w33", "Number"),
        "since": ("e2_D", "Date"),
        "e9_t": ("e3_T", "Text"),
        "other": ("e9_T", "Text"),
    },
    1,
)
#: The fields of the example in SendGrid's documentation of the upsert and of a contact, with values of our own.
#: Source: schemas `ContactRequest` and `ContactDetails` (github.com/twilio/sendgrid-oai), checked 2026-11-25.
DOCUMENTED = {
    "address_line_1": "1 Main St.",
    "address_line_2": "",
    "alternate_emails": ["ann.two@example.com"],
    "city": "Springfield",
    "country": "USA",
    "email": "ann@example.com",
    "phone_number_id": "+12015550123",
    "external_id": "ext-1",
    "anonymous_id": "anon-1",
    "first_name": "Ann",
    "last_name": "Example",
    "postal_code": "12345",
    "state_province_region": "CA",
    "custom_fields": {"w1": "coffee"},
}


def sent(custom, table=TABLE, **config):
    record = {"email": "a@x.org", "custom_fields": custom}
    return orjson.loads(prepared(record, table, **config).encoded).get("custom_fields")


def refused(custom, table=TABLE, **config):
    with pytest.raises(Refused) as caught:
        sent(custom, table, **config)
    return caught.value.field, caught.value.code


@pytest.mark.parametrize("policy", ["refuse", "drop", "create"])
def test_the_contact_of_the_documentation_is_sent_whole(policy):
    done = prepared(DOCUMENTED, TABLE, unknown_fields=policy)
    assert orjson.loads(done.encoded) == DOCUMENTED
    assert done.dropped == ()
    assert len(done.identities) == 4


@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        ({"w1": "coffee"}, {"w1": "coffee"}),
        ({"w33": 42}, {"w33": 42}),
        ({"e2_D": "2026-01-31"}, {"e2_D": "01/31/2026"}),
        ({"e3_T": "x"}, {"e3_T": "x"}),
        ({"e9_T": "x"}, {"e3_T": "x"}),
        ({"E9_T": "x"}, {"e3_T": "x"}),
        ({"DRINK": "tea", "w33": 0}, {"w1": "tea", "w33": 0}),
    ],
)
def test_an_exact_id_is_its_field_unless_a_field_has_that_name(custom, expected):
    assert sent(custom) == expected


@pytest.mark.parametrize(
    ("custom", "field", "code"),
    [
        ({"w33": "42"}, "custom_fields.w33", "wrong_type"),
        ({"e2_D": "yesterday"}, "custom_fields.e2_D", "bad_date"),
        ({"w1": None}, "custom_fields.w1", "null"),
        ({"W1": "x"}, "custom_fields.W1", "unknown_field"),
        ({"w2": "x"}, "custom_fields.w2", "unknown_field"),
        ({"drin\u212a": "x"}, "custom_fields", "unknown_field"),
        ({"\uff571": "x"}, "custom_fields", "unknown_field"),
        ({"w1": "x", "drink": "x"}, "custom_fields.drink", "twice"),
        ({"Drink": "x", "w1": "y"}, "custom_fields.w1", "twice"),
        ({"Drink": "x", "DRINK": "y"}, "custom_fields.DRINK", "twice"),
    ],
)
def test_a_value_by_id_follows_the_rules_of_its_field(custom, field, code):
    assert refused(custom) == (field, code)


@pytest.mark.parametrize("name", ["W1", "E2_d", "e7_T", "E12_n", "w4_D", "_rf2_T", "_RF20_N"])
def test_no_field_is_created_whose_name_is_an_id_or_looks_like_one(name):
    assert refused({name: "x"}, unknown_fields="create") == (f"custom_fields.{name}", "unknown_field")
    if name != "W1":  # without the table an id without a suffix cannot be told from a name
        with pytest.raises(Refused, match="looks like the id of a field"):
            sendgrid().create_field(name, "x")


def test_a_name_that_is_no_id_is_created():
    for name in ("q1", "w2", "e7", "plan_T", "e7_X", "abcd1_T"):
        with pytest.raises(FieldsNeeded):
            sent({name: "x"}, unknown_fields="create")
