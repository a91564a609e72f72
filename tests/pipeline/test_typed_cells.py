"""Marked cells get the type of the account's field at aggregation, at every platform, and JSON values none."""

import orjson
import pytest
from pydantic import SecretStr
from support.provider_emarsys import EXTERNAL, emarsys
from support.provider_emarsys import FIELDS as EMARSYS_FIELDS
from support.provider_loops import FIELDS as LOOPS_FIELDS
from support.provider_loops import loops
from support.provider_sendgrid import sendgrid
from support.toy import Toy

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.merge import merge_records
from contact_ingest.model.record import QueuedRecord
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.encode import NO_MAPPING, identities_of, prepare
from contact_ingest.sync.destination_fields import DestinationFields

SENDGRID_FIELDS = FieldTable(
    {"visits": ("e1_N", "Number"), "since": ("e2_D", "Date"), "code": ("e3_T", "Text"), "odd": ("e4_X", "Hologram")}, 77
)


def sent(provider, table, custom, *, mapping=NO_MAPPING, **more):
    """The custom values that go out, by the platform's names."""
    raw = orjson.dumps({"email": "a@example.com", "custom_fields": custom, **more})
    return orjson.loads(prepare(provider, mapping, raw, table).encoded)


def cell(text, **more):
    return {"cell": text, **more}


@pytest.mark.parametrize(
    ("name", "value", "field_id", "wanted"),
    [
        ("visits", cell("12"), "e1_N", 12),
        ("Visits", cell("-12.5"), "e1_N", -12.5),
        ("since", cell("2026-01-31"), "e2_D", "01/31/2026"),
        ("since", cell("31/12/2025"), "e2_D", "12/31/2025"),
        ("since", cell("03/04/2026", dates="dmy"), "e2_D", "04/03/2026"),
        ("code", cell("00042"), "e3_T", "00042"),
        ("code", cell("03/04/2026", dates="dmy"), "e3_T", "03/04/2026"),
        ("code", cell("yes"), "e3_T", "yes"),
        ("odd", cell("12"), "e4_X", "12"),
    ],
)
def test_sendgrid_gets_the_type_of_its_field(name, value, field_id, wanted):
    assert sent(sendgrid(), SENDGRID_FIELDS, {name: value})["custom_fields"] == {field_id: wanted}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("seats", cell("12"), 12),
        ("isAdmin", cell("No"), False),
        ("isAdmin", cell("1"), True),
        ("since", cell("31.12.2025"), "2025-12-31"),
        ("since", cell("1769817600000"), "1769817600000"),
        ("planName", cell("1"), "1"),
        ("mood", cell("1"), "1"),
    ],
)
def test_loops_gets_the_type_of_its_property(name, value, wanted):
    assert sent(loops(), LOOPS_FIELDS, {name: value})[name] == wanted


@pytest.mark.parametrize(
    ("name", "value", "field_id", "wanted"),
    [
        ("Seats", cell("00012"), "5004", "00012"),
        ("Since", cell("12/31/2025"), "5005", "2025-12-31"),
        ("Size", cell("3"), "5006", "3"),
        ("Topics", cell("3;4"), "5007", ["3", "4"]),
        ("Plan", cell("1"), "5001", "1"),
        ("Homepage", cell("0"), "5008", "0"),
    ],
)
def test_emarsys_gets_the_type_of_its_field(name, value, field_id, wanted):
    assert sent(emarsys(), EMARSYS_FIELDS, {name: value})[field_id] == wanted


@pytest.mark.parametrize(
    ("provider", "table", "name", "text"),
    [
        (sendgrid(), SENDGRID_FIELDS, "visits", "12,5"),
        (sendgrid(), SENDGRID_FIELDS, "since", "03/04/2026"),
        (loops(), LOOPS_FIELDS, "isAdmin", "2"),
        (emarsys(), EMARSYS_FIELDS, "Topics", "3;x"),
    ],
)
def test_a_cell_that_its_field_does_not_take_is_refused_by_field_without_the_value(provider, table, name, text):
    with pytest.raises(Refused) as caught:
        sent(provider, table, {name: cell(text)})

    assert caught.value.field == f"custom_fields.{name}"
    assert text not in str(caught.value)


@pytest.mark.parametrize("value", ["12", "yes", {"cell": 12}, {"cell": "12", "x": 1}])
def test_a_value_of_json_that_is_no_marked_cell_stays_refused_in_a_number_field(value):
    with pytest.raises(Refused, match="Number field"):
        sent(sendgrid(), SENDGRID_FIELDS, {"visits": value})


def test_a_cell_waits_for_the_definitions_and_is_a_text_where_the_account_lacks_the_field():
    with pytest.raises(FieldsNeeded) as needed:
        sent(sendgrid(), FieldTable(), {"visits": cell("12")})
    assert needed.value.samples == {"visits": "12"}
    with pytest.raises(FieldsNeeded) as needed:
        sent(sendgrid(unknown_fields="create"), SENDGRID_FIELDS, {"new": cell("12")})
    assert needed.value.samples == {"new": "12"}
    with pytest.raises(Refused, match="not a custom field"):
        sent(sendgrid(), SENDGRID_FIELDS, {"new": cell("12")})
    assert "custom_fields" not in sent(sendgrid(unknown_fields="drop"), SENDGRID_FIELDS, {"new": cell("12")})


def test_a_field_mapping_decides_which_field_a_cell_is_for():
    to_number = FieldMapping(rename={"custom_fields.code": "custom_fields.visits"})
    to_name = FieldMapping(rename={"custom_fields.code": "city"})

    assert sent(sendgrid(), SENDGRID_FIELDS, {"code": cell("12")}, mapping=to_number)["custom_fields"] == {"e1_N": 12}
    assert sent(sendgrid(), SENDGRID_FIELDS, {"code": cell("12")}, mapping=to_name)["city"] == "12"


def test_merged_records_keep_the_newer_cell_or_value():
    older = QueuedRecord(1, orjson.dumps({"email": "a@example.com", "custom_fields": {"a": cell("1"), "b": cell("2")}}))
    newer = QueuedRecord(2, orjson.dumps({"email": "a@example.com", "custom_fields": {"b": "text", "c": cell("3")}}))

    both = orjson.loads(merge_records(older, newer).raw)

    assert both["custom_fields"] == {"a": cell("1"), "b": "text", "c": cell("3")}


def test_a_platform_that_says_nothing_of_types_gets_text():
    toy = Toy(api_key=SecretStr("a" * 20), base_url="https://toy.example.com", unknown_fields="drop")

    mapping = FieldMapping(rename={"custom_fields.nick": "first_name"})
    record = {"email": "a@example.com", "custom_fields": {"nick": cell("1"), "visits": cell("2")}}

    prepared = prepare(toy, mapping, orjson.dumps(record), FieldTable(fetched_ms=1))

    assert orjson.loads(prepared.encoded) == {"mail": "a@example.com", "name": "1"}
    assert prepared.dropped == ("custom_fields",)


def test_a_cell_that_the_destination_renames_to_an_identifier_is_that_identifier():
    mapping = FieldMapping(rename={"custom_fields.crm": "external_id"})
    raw = orjson.dumps({"custom_fields": {"crm": cell("00042")}})

    assert prepare(sendgrid(), mapping, raw, SENDGRID_FIELDS).identities == ("external_id:00042",)
    assert "external_id:00042" in identities_of(raw, sendgrid(), mapping)


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("custom_fields.User status", "read-only"),
        ("custom_fields.Voucher", "read-only"),
        ("custom_fields.Interests", "read-only"),
        ("custom_fields.First Name", "give it as first_name"),
        ("custom_fields.Twice", "several fields"),
        ("custom_fields.nosuch", "not a field of this account"),
        ("subscribed", "not a field"),
        ("mailing_lists.x1", "not a field"),
        ("address_line_2", "not a field"),
        ("external_id", "external_id_field"),
    ],
)
def test_of_a_field_that_takes_no_value_at_all_the_provider_says_why(field, why):
    fields = DestinationFields(emarsys(), NO_MAPPING, EMARSYS_FIELDS, EMARSYS_FIELDS.fetched_ms)

    assert why in fields.problem(field)


@pytest.mark.parametrize("field", ["custom_fields.Topics", "custom_fields.Size", "custom_fields.Seats", "opt_in"])
@pytest.mark.parametrize("provider", [emarsys(), emarsys(identity=EXTERNAL)])
def test_a_field_that_takes_some_value_is_no_problem(provider, field):
    assert DestinationFields(provider, NO_MAPPING, EMARSYS_FIELDS, 0).problem(field) == ""


def test_names_that_loops_keeps_are_known_without_the_definitions():
    fields = DestinationFields(loops(), NO_MAPPING, FieldTable(), 0)

    assert fields.problem("custom_fields.subscribed")
    assert fields.problem("city")
    assert fields.problem("custom_fields.plan") == ""
    assert DestinationFields(loops(unknown_fields="drop"), NO_MAPPING, FieldTable(), 0).problem("city") == ""
