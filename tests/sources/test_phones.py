"""Telephone numbers become international, or are rejected without being quoted."""

import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.product import ROOT
from support.source_files import read, rows

from contact_ingest.errors import Refused
from contact_ingest.sources.files import open_source
from contact_ingest.sources.phones import PhoneParser
from contact_ingest.sources.rows import SourceError


def test_national_numbers_become_international_with_a_region(put):
    path = put("people.csv", "email,phone,phone_number\na@example.com,504-621-8927,(856) 555-0100\n")

    record = rows(read(path, region="us"))[0][1]

    assert (record["phone"], record["phone_number"]) == ("+15046218927", "+18565550100")


def test_international_numbers_need_no_region_and_are_not_bent_to_one(put):
    path = put("people.jsonl", '{"phone_number_id":"+44 20 7946 0018"}\n{"phone":""}\n{"phone":null}\n')

    for region in (None, "US"):
        assert [record for _, record in rows(read(path, region=region))] == [
            {"phone_number_id": "+442079460018"},
            {"phone": ""},
            {"phone": None},
        ]


@pytest.mark.parametrize("name", ["people.csv", "people.jsonl"])
@pytest.mark.parametrize(
    ("region", "number", "remedy"),
    [
        (None, "504-621-8927", "a national number needs a region: give --region US (or the like), or write it as +…"),
        ("US", "621-8927", "international form"),
        ("US", "+1504621892712", "international form"),
        ("US", "call me", "not a telephone number"),
        ("US", "504-621-8927 x12", "an extension cannot be kept"),
        (None, "+999123456", "not a telephone number"),
        ("US", "+1504621892\u0667", "has U+0667 ARABIC-INDIC DIGIT SEVEN at position 12"),
        ("US", "\uff15046218927", "has U+FF15 FULLWIDTH DIGIT FIVE at position 1"),
        (None, "+12015550123 ext. 12", "an extension cannot be kept"),
        (None, "+12015550123;ext=12", "an extension cannot be kept"),
        (None, "+12015550123#7", "an extension cannot be kept"),
        ("US", "A12015550123", "not a telephone number: has U+0041 LATIN CAPITAL LETTER A at position 1"),
        ("US", "B12015550123", "has U+0042 LATIN CAPITAL LETTER B at position 1"),
        ("US", "tel:+12015550123", "has U+0074 LATIN SMALL LETTER T at position 1"),
        (None, "+1201555ABCD", "has U+0041 LATIN CAPITAL LETTER A at position 9"),
        ("US", "1-800-FLOWERS", "has U+0046 LATIN CAPITAL LETTER F at position 7"),
        ("US", "201555012O", "has U+004F LATIN CAPITAL LETTER O at position 10"),
        ("US", "2015550123 or so", "has U+006F LATIN SMALL LETTER O at position 12"),
        ("US", "*2015550123", "has U+002A ASTERISK at position 1"),
        ("US", "\u00e92015550123", "has U+00E9 LATIN SMALL LETTER E WITH ACUTE at position 1"),
        (None, "\uff0b15046218927", "has U+FF0B FULLWIDTH PLUS SIGN at position 1"),
    ],
)
def test_a_number_that_cannot_be_read_is_rejected_by_field_with_a_remedy_and_never_quoted(
    put, name, region, number, remedy
):
    line = orjson.dumps({"phone": number}).decode()
    path = put(
        name, f"phone\n{number}\n+15046218927\n" if name.endswith("csv") else f'{line}\n{{"phone":"+15046218927"}}'
    )

    found = read(path, region=region)

    reject = found[0]
    assert (reject.line, reject.field) == (2 if name.endswith("csv") else 1, "phone")
    assert remedy in reject.rule
    assert number not in reject.rule
    assert number in str(reject.raw)
    assert rows(found)[0][1] == {"phone": "+15046218927"}


@given(
    at=st.integers(0, 12),
    foreign=st.characters(exclude_characters="0123456789+ ().-/", exclude_categories=["Cs", "Zs", "Pd", "Cf"]).filter(
        lambda character: character not in "\u2212\uff08\uff09\uff0e\uff0f"
    ),
)
def test_no_other_character_is_dropped_or_turned_into_a_digit(at, foreign):
    number = "+12015550123"

    with pytest.raises(Refused) as refused:
        PhoneParser("US").to_e164("phone", number[:at] + foreign + number[at:])

    assert f"U+{ord(foreign):04X}" in refused.value.rule or "extension" in refused.value.rule


@pytest.mark.parametrize(
    "written",
    [
        "+1 (201) 555-0123",
        "+1.201.555.0123",
        "+1 201/555/0123",
        "+1\u00a0201\u00a0555\u20110123",
        "+1 201 555\u22120123",
    ],
)
def test_blanks_dashes_dots_slashes_and_brackets_between_the_digits_do_not_matter(written):
    assert PhoneParser(None).to_e164("phone", written) == "+12015550123"


def test_a_number_of_a_range_nobody_has_allocated_yet_is_taken(put):
    assert rows(read(put("people.csv", "phone\n555-555-5555\n"), region="US")) == [(2, {"phone": "+15555555555"})]


@pytest.mark.parametrize("region", ["", "XX", "USA", "001"])
def test_an_unknown_region_is_an_error_that_names_the_option(put, region):
    with pytest.raises(SourceError, match=f"^--region {region}: is not a country"):
        open_source(put("people.csv", "email\n"), region=region)


def test_a_file_without_telephone_numbers_does_not_load_their_library(put):
    path = put("people.csv", "email\na@example.com\n")
    program = (
        "import sys; from contact_ingest.sources.files import open_source\n"
        f"with open_source({path!r}) as source: list(source)\n"
        "sys.exit('phonenumbers' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
