"""Telephone numbers become international, or are rejected without being quoted."""

import subprocess
import sys

import orjson
import pytest
from support.product import ROOT
from support.source_files import read, rows

from contact_ingest.sources.files import open_source
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
