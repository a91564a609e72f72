"""Cells of tables: what a text becomes in a field of each kind, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contact_ingest.errors import Refused
from contact_ingest.model.cell import WORDS, convert, is_rounded, marked, typed, unmarked
from contact_ingest.model.failure_codes import FailureCode

#: Every kind, a text, and the value that it gives there.
READ = [
    ("text", "00042", "00042"),
    ("text", "12,5", "12,5"),
    ("number", "12", 12),
    ("number", "+12", 12),
    ("number", "-7", -7),
    ("number", "0012", 12),
    ("number", "12.50", 12.5),
    ("number", "9223372036854775807", 2**63 - 1),
    ("number", "18446744073709551615", 2**64 - 1),
    ("digits", "123456789012345678901234", "123456789012345678901234"),
    ("digits", "-1.50", "-1.50"),
    ("boolean", "true", True),
    ("boolean", "TRUE", True),
    ("boolean", "Yes", True),
    ("boolean", "1", True),
    ("boolean", "false", False),
    ("boolean", "NO", False),
    ("boolean", "0", False),
    ("date", "2026-01-31", "2026-01-31"),
    ("date", "2026-01-31 08:30:00", "2026-01-31 08:30:00"),
    ("date", "2026-01-31T08:30:00Z", "2026-01-31T08:30:00Z"),
    ("date", "31/12/2025", "2025-12-31"),
    ("date", "12/31/2025", "2025-12-31"),
    ("date", "31.12.2025", "2025-12-31"),
    ("date", "5/5/2025", "2025-05-05"),
    ("moment", "1769817600000", "1769817600000"),
    ("moment", "31-12-2025 08:30", "2025-12-31T08:30"),
    ("choice", "3", "3"),
    ("choices", "3;4| 5", ["3", "4", "5"]),
    ("opt_in", "yes", 1),
    ("opt_in", "2", 2),
    ("opt_in", "0", 2),
]


@pytest.mark.parametrize(("kind", "text", "value"), READ)
def test_a_cell_takes_the_kind_of_its_field(kind, text, value):
    found = convert("f", text, kind, None)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text", "hint"),
    [
        ("number", "12,5", "decimal point"),
        ("number", "1,234.50", "without other separators"),
        ("number", "1.234,50", "without other separators"),
        ("number", "1 234", "without other separators"),
        ("number", "1\u00a0234", "without other separators"),
        ("number", "1'234", "without other separators"),
        ("number", "7.01235E+12", "rounded"),
        ("number", "twelve", "such as 12"),
        ("number", "12 EUR", "such as 12"),
        ("number", "50%", "such as 12"),
        ("number", ".5", "such as 12"),
        ("number", "\u0661\u0662", "such as 12"),
        ("number", "18446744073709551616", "64 bits"),
        ("number", "9" * 5000, "64 bits"),
        ("number", "0.1234567890123456", "15 digits"),
        ("digits", "12,5", "decimal point"),
        ("boolean", "on", "no other word"),
        ("boolean", "y", "no other word"),
        ("boolean", "2", "no other word"),
        ("boolean", "ja", "no other word"),
        ("opt_in", "3", "no other word"),
        ("opt_in", "unset", "no other word"),
        ("date", "03/04/2026", "--dates dmy or --dates mdy"),
        ("date", "1.2.2026", "--dates dmy or --dates mdy"),
        ("date", "31/12/25", "such as 2026-01-31"),
        ("date", "45000", "such as 2026-01-31"),
        ("date", "2026-1-31", "such as 2026-01-31"),
        ("date", "20260131", "such as 2026-01-31"),
        ("date", "31 Dec 2025", "such as 2026-01-31"),
        ("date", "1769817600000", "such as 2026-01-31"),
        ("date", "2026-02-30", "no day"),
        ("date", "2026-01-31 25:00", "no day"),
        ("date", "30/02/2026", "no day"),
        ("date", "13/13/2026", "no day"),
        ("moment", "1769817600", "such as 2026-01-31"),
        ("choice", "male", "number of a choice"),
        ("choices", "3;male", "number of a choice"),
        ("choices", "3;;4", "number of a choice"),
    ],
)
def test_what_a_kind_does_not_take_is_refused_with_the_remedy_and_without_the_value(kind, text, hint):
    with pytest.raises(Refused, match=hint) as caught:
        convert("custom_fields.f", text, kind, None)

    assert caught.value.field == "custom_fields.f"
    assert len(text) < 5 or text not in caught.value.rule


@pytest.mark.parametrize(
    ("dates", "text", "day"),
    [
        ("dmy", "03/04/2026", "2026-04-03"),
        ("mdy", "03/04/2026", "2026-03-04"),
        ("dmy", "3-4-2026", "2026-04-03"),
        ("mdy", "12/31/2025", "2025-12-31"),
        ("mdy", "2026-04-03", "2026-04-03"),
    ],
)
def test_the_named_order_of_day_and_month_decides(dates, text, day):
    assert convert("f", text, "date", dates) == day


@pytest.mark.parametrize(("dates", "text"), [("mdy", "31/12/2025"), ("dmy", "12/31/2025"), ("dmy", "29/02/2026")])
def test_a_date_that_the_named_order_makes_impossible_is_refused(dates, text):
    with pytest.raises(Refused, match="order of day and month") as caught:
        convert("f", text, "date", dates)

    assert caught.value.code == FailureCode.BAD_DATE


@given(day=st.dates(), separator=st.sampled_from("/.-"), dates=st.sampled_from(["dmy", "mdy"]))
def test_a_day_is_read_as_itself_or_refused_and_never_as_another_day(day, separator, dates):
    parts = (day.day, day.month) if dates == "dmy" else (day.month, day.day)
    text = separator.join([*map(str, parts), f"{day.year:04}"])

    assert convert("f", text, "date", dates) == day.isoformat()
    if day.day > 12 or day.day == day.month:
        assert convert("f", text, "date", None) == day.isoformat()
    else:
        with pytest.raises(Refused, match="--dates"):
            convert("f", text, "date", None)


@given(st.integers(-(2**63), 2**64 - 1) | st.decimals(-99_999, 99_999, places=3))
def test_a_number_is_read_as_itself(number):
    assert convert("f", str(number), "number", None) == (number if isinstance(number, int) else float(number))


@given(st.text(), st.sampled_from([None, "dmy", "mdy"]))
def test_marking_keeps_the_text_and_in_a_text_field_it_stays(text, dates):
    cell = marked(text, dates)

    assert unmarked(cell) == text
    assert typed("f", cell, "text") == typed("f", cell, None) == text


@given(st.text() | st.sampled_from([text for _, text, _ in READ] + [word.title() for word in WORDS]))
def test_text_that_is_not_marked_is_none_that_a_number_a_word_or_a_date_field_would_convert(text):
    if marked(text, None) != text:
        return
    for kind in ("number", "digits", "boolean", "date", "choice", "choices", "opt_in"):
        with pytest.raises(Refused):
            convert("f", text, kind, None)


@pytest.mark.parametrize(
    "value", [None, 1, "12", {"cell": 12}, {"cell": "12", "dates": "ymd"}, {"cell": "12", "more": 1}, {}, ["12"]]
)
def test_a_value_that_is_no_marked_cell_is_never_converted(value):
    assert typed("f", value, "number") is value
    assert unmarked(value) is value


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("7.01235E+12", True),
        ("7,01235E+12", True),
        ("1e+05", True),
        ("1E5", False),
        ("12E4", False),
        ("12E+04", False),
        ("0E0", False),
        ("-1E-05", True),
        ("7012345678901", False),
        ("E12", False),
        ("1E", False),
        ("AB1E5", False),
        ("1E5-K", False),
    ],
)
def test_a_number_that_a_spreadsheet_has_rounded_is_known_by_its_form(text, is_one):
    assert is_rounded(text) is is_one
