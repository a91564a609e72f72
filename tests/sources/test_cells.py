"""Cells of CSV: text marks, codes, consent, emptied fields."""

import csv
import io

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.source_files import read, rows

from contact_ingest.cli.csv_export import harmless
from contact_ingest.model.cell import unmarked
from contact_ingest.sources.cells import CellOptions, is_error_value, without_mark
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.rows import RejectedRow, SourceError

CUSTOM = "custom_fields.code"


@pytest.mark.parametrize(
    ("field", "cell", "content"),
    [
        ("external_id", "'7012345678901", "7012345678901"),
        ("external_id", '="00042"', "00042"),
        ("anonymous_id", "'0012-AB", "0012-AB"),
        ("postal_code", "'01001", "01001"),
        ("postal_code", '="01001"', "01001"),
        ("unique_name", "'00042", "00042"),
        (CUSTOM, "'01001", "01001"),
        (CUSTOM, "'2026-01-31", "2026-01-31"),
        (CUSTOM, '="say ""hi"""', 'say "hi"'),
        ("last_name", '="Smith"', "Smith"),
        ("city", "'=Ulm", "=Ulm"),
        ("last_name", "'@home", "@home"),
        ("address_line_1", "'-12 Main St", "-12 Main St"),
        ("first_name", "''90s", "'90s"),
        ("whatsapp", "'+12015550123", "+12015550123"),
    ],
)
def test_a_text_mark_is_no_content(field, cell, content):
    assert without_mark(field, cell) == content


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("last_name", "'t Hart"),
        ("city", "'s-Gravenhage"),
        ("last_name", "'90s Radio"),
        ("address_line_1", "'12 Main St"),
        ("email", "'7up@example.com"),
        ("external_id", "'abc"),
        (CUSTOM, "'90s"),
        (CUSTOM, "'n Roll"),
        (CUSTOM, '="a"&"b"'),
        (CUSTOM, "=1+1"),
        ("external_id", "00042'"),
        ("city", "''"),
    ],
)
def test_a_real_apostrophe_and_any_other_formula_stay(field, cell):
    assert without_mark(field, cell) == cell


TEXT = st.text(max_size=12)
MARKED = st.from_regex(r"\A['\"= @+-]{0,3}(?:[0-9]{0,4}|[A-Za-z ]{0,4})\"?\Z", fullmatch=True)


@settings(max_examples=500)
@given(text=TEXT | MARKED, field=st.sampled_from(["external_id", "postal_code", "last_name", "city", CUSTOM, "email"]))
@example(text="'7012", field="external_id")
@example(text="'7012", field="city")
@example(text='="00042"', field="external_id")
@example(text="''", field=CUSTOM)
def test_what_the_safe_export_writes_is_read_as_the_value_again(text, field):
    assert without_mark(field, harmless(text)) == text


def line(columns, *cells):
    out = io.StringIO()
    csv.writer(out).writerows([columns, cells])
    return out.getvalue()


def one(put, columns, *cells, mapping=(), **options):
    """The record of a file of one row, or the field and the rule by which its row was refused."""
    found = read(put("people.csv", line(columns, *cells)), mapping=parse_mapping(mapping), **options)
    assert len(found) == 1
    (row,) = found
    return (row.field, row.rule) if isinstance(row, RejectedRow) else row.record


def test_the_marks_of_a_row_go_and_its_custom_cells_are_marked_for_their_type(put):
    record = one(
        put,
        ["email", "external_id", "postal_code", "phone", "last_name", "custom_fields.visits", "custom_fields.plan"],
        *["a@example.com", "'7012345678901", '="01001"', "'+1 504 621 8927", "'t Hart", "'0012", "pro"],
    )

    assert record == {
        "email": "a@example.com",
        "external_id": "7012345678901",
        "postal_code": "01001",
        "phone": "+15046218927",
        "last_name": "'t Hart",
        "custom_fields": {"visits": {"cell": "0012"}, "plan": "pro"},
    }


def test_a_formula_of_nothing_is_an_empty_cell(put):
    assert one(put, ["email", "city", CUSTOM], "a@example.com", '=""', '=""') == {"email": "a@example.com"}


def test_a_national_number_behind_a_text_mark_is_read_with_the_region(put):
    assert one(put, ["phone"], "'(504) 621-8927", region="US") == {"phone": "+15046218927"}


@pytest.mark.parametrize("field", ["external_id", "anonymous_id", "postal_code", "phone", "phone_number_id", "line"])
@pytest.mark.parametrize("cell", ["7.01234E+12", "7,01E+12", "'1E+05"])
def test_a_code_that_a_spreadsheet_has_rounded_is_refused_with_the_remedy(put, field, cell):
    refused_field, rule = one(put, ["email", field], "a@example.com", cell, region="US")

    assert refused_field == field
    assert "format the column as text" in rule
    assert cell not in rule


ERROR_VALUES = [
    "#N/A",
    "#REF!",
    "#VALUE!",
    "#NAME?",
    "#DIV/0!",
    "#NULL!",
    "#NUM!",
    "####",
    "##########",
    "#n/a",
    '="#N/A"',
]


@pytest.mark.parametrize("field", ["email", "external_id", "postal_code", "phone", "alternate_emails", "city", CUSTOM])
@pytest.mark.parametrize("cell", ERROR_VALUES)
def test_an_error_value_of_a_spreadsheet_is_no_content(put, field, cell):
    refused = read(put("people.csv", line(["anonymous_id", field], "u1", cell)), region="US")[0]

    assert isinstance(refused, RejectedRow)
    assert (refused.field, refused.code) == (field, "invalid")
    assert "export it again" in refused.rule
    reject = {"line": 2, "field": field, "rule": refused.rule, "record": refused.raw}
    again = read(put("rejects.jsonl", orjson.dumps(reject).decode()))[0]
    assert isinstance(again, RejectedRow)
    assert again.field == field


@pytest.mark.parametrize("field", ["external_id", "postal_code", "phone_number", "email"])
@pytest.mark.parametrize("cell", ["#BEZUG!", "#NV", "#N/D", "#¡VALOR!", "#NOM?", "#WERT!"])
def test_an_error_value_in_another_language_is_no_code(put, field, cell):
    assert one(put, ["anonymous_id", field], "u1", cell)[0] == field


@pytest.mark.parametrize("cell", ["#1", "#12 Main St", "###", "C#", "#N/A today", "N/A", "#REF", "x ####", "#yes!"])
def test_other_text_with_a_number_sign_is_content(put, cell):
    record = one(put, ["email", "address_line_1", CUSTOM], "a@example.com", cell, cell)

    assert (record["address_line_1"], record["custom_fields"]["code"]) == (cell, cell)


def test_an_error_value_may_be_the_text_that_empties_a_field(put):
    cells = CellOptions(clear="#N/A", cleared="")

    assert one(put, ["email", "city", CUSTOM], "a@example.com", "#N/A", "#N/A", cells=cells) == {
        "email": "a@example.com",
        "city": "",
        "custom_fields": {"code": ""},
    }


def test_the_same_form_in_a_name_or_a_text_is_content(put):
    assert one(put, ["email", "city", CUSTOM], "a@example.com", "1E5", "1E+05") == {
        "email": "a@example.com",
        "city": "1E5",
        "custom_fields": {"code": {"cell": "1E+05"}},
    }


MAP = ["sub=subscribed", "opt=opt_in", "news=mailing_lists.cm06f5v0e", "offers=mailing_lists.cm16k73gq"]


def test_mapped_consent_is_read_from_a_closed_list_of_words(put):
    record = one(put, ["email", "sub", "opt", "news", "offers"], "a@example.com", "TRUE", "no", "1", "0", mapping=MAP)

    assert record == {
        "email": "a@example.com",
        "subscribed": True,
        "opt_in": 2,
        "mailing_lists": {"cm06f5v0e": True, "cm16k73gq": False},
    }


@pytest.mark.parametrize("word", ["y", "on", "ja", "x", "subscribed", "-1", "2.0", "wahr"])
@pytest.mark.parametrize("column", ["sub", "opt", "news"])
def test_any_other_word_of_consent_is_refused_and_never_guessed(put, column, word):
    field, rule = one(put, ["email", column], "a@example.com", word, mapping=[m for m in MAP if m.startswith(column)])

    assert field == dict(option.split("=") for option in MAP)[column]
    assert "no other word" in rule


def test_an_empty_cell_of_consent_says_nothing(put):
    assert one(put, ["email", "sub", "news"], "a@example.com", "", " ", mapping=[MAP[0], MAP[2]]) == {
        "email": "a@example.com"
    }


def test_a_cell_of_all_mailing_lists_is_read_as_an_export_writes_it(put):
    mapping = ["lists=mailing_lists"]

    assert one(put, ["email", "lists"], "a@example.com", '{"a": true}', mapping=mapping)["mailing_lists"] == {"a": True}
    assert "mailing_lists.ID" in one(put, ["email", "lists"], "a@example.com", "news", mapping=mapping)[1]


def test_all_lists_and_single_lists_cannot_both_be_mapped(put):
    with pytest.raises(SourceError, match="map either it or single lists"):
        one(put, ["email", "l", "n"], "a@example.com", "{}", "1", mapping=["l=mailing_lists", "n=mailing_lists.x"])


@pytest.mark.parametrize("emptied", [None, ""])
def test_a_cell_of_the_clear_text_empties_its_field(put, emptied):
    record = one(
        put,
        ["email", "city", "phone", "custom_fields.plan", "custom_fields.visits"],
        *["a@example.com", "NULL", "NULL", "NULL", "NULLS"],
        cells=CellOptions(clear="NULL", cleared=emptied),
    )

    assert record == {
        "email": "a@example.com",
        "city": emptied,
        "phone": emptied,
        "custom_fields": {"plan": emptied, "visits": "NULLS"},
    }


@pytest.mark.parametrize("target", ["external_id", "subscribed", "opt_in", "mailing_lists.x"])
def test_neither_an_identifier_nor_consent_can_be_emptied(put, target):
    cells = CellOptions(clear="-", cleared=None)

    field, rule = one(put, ["email", "c"], "a@example.com", "-", mapping=[f"c={target}"], cells=cells)

    assert field == target
    assert "cannot be emptied" in rule


def test_without_the_option_the_same_text_is_content(put):
    assert one(put, ["email", "city"], "a@example.com", "NULL")["city"] == "NULL"


def test_the_order_of_dates_goes_with_the_cells_that_may_be_dates(put):
    columns = ["email", "custom_fields.since", "custom_fields.visits"]

    record = one(put, columns, "a@example.com", "03/04/2026", "12", cells=CellOptions(dates="dmy"))

    assert record["custom_fields"] == {"since": {"cell": "03/04/2026", "dates": "dmy"}, "visits": {"cell": "12"}}


@pytest.mark.parametrize("cells", [CellOptions(dates="dmy"), CellOptions(clear="-")])
def test_options_of_cells_are_refused_for_json(put, cells):
    with pytest.raises(SourceError, match="is for cells of CSV"):
        read(put("people.jsonl", '{"email": "a@example.com"}\n'), cells=cells)


def test_json_stays_as_it_is(put):
    record = {"external_id": "'7012", "subscribed": "yes", "custom_fields": {"visits": "12"}}

    found = read(put("people.jsonl", '{"external_id":"\'7012","subscribed":"yes","custom_fields":{"visits":"12"}}\n'))

    assert rows(found) == [(1, record)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=3, max_size=3)
)
def test_a_row_of_the_safe_export_is_read_back_whole(put, values):
    values = ["x" if is_error_value(value.strip()) else value.strip() or "x" for value in values]
    cells = [harmless(value) for value in values]

    record = one(put, ["last_name", "city", CUSTOM], *cells)

    assert [record["last_name"], record["city"], unmarked(record["custom_fields"]["code"])] == values
