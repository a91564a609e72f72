"""Whatever is written as a file is read back whole."""

import csv
import io

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.source_files import people, read, rejects, rows

from contact_ingest.cli.csv_export import harmless
from contact_ingest.model.cell import is_rounded, marked
from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import SourceRow

PEOPLE_HEADER = [
    "first_name",
    "last_name",
    "company_name",
    "address",
    "city",
    "county",
    "state",
    "zip",
    "phone1",
    "phone2",
    "email",
    "web",
]
PEOPLE_MAP = {
    "address": "address_line_1",
    "county": "custom_fields.county",
    "state": "state_province_region",
    "zip": "postal_code",
    "phone1": "phone",
}


def test_five_hundred_people_arrive_whole_with_the_zeros_of_their_postal_codes(put):
    made = people(500, 20)
    out = io.StringIO()
    writer = csv.DictWriter(out, PEOPLE_HEADER)
    writer.writeheader()
    writer.writerows(made)

    with open_source(put("people.csv", out.getvalue()), mapping=PEOPLE_MAP, region="US") as source:
        found = list(source)
        assert source.ignored_columns == ("company_name", "phone2", "web")

    assert rows(found) == [
        (
            line,
            {
                "first_name": person["first_name"],
                "last_name": person["last_name"],
                "address_line_1": person["address"],
                "city": "New Example",
                "custom_fields": {"county": "Orleans"},
                "state_province_region": "LA",
                "postal_code": person["zip"],
                "phone": "+1" + person["phone1"].replace("-", ""),
                "email": person["email"],
            },
        )
        for line, person in enumerate(made, 2)
    ]
    assert len(found) == 500
    assert sum(record["postal_code"].startswith("0") for _, record in rows(found)) == 20


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"), max_size=12).filter(
    lambda text: not is_rounded(text.strip().lstrip("'"))  # refused in a code such as unique_name
)
COLUMNS = ["email", "city", "custom_fields.note", "unique_name"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.lists(TEXT, min_size=4, max_size=4), max_size=8), delimiter=st.sampled_from(",;\t|"))
def test_whatever_is_written_as_a_table_is_read_back(put, cells, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([COLUMNS, *([harmless(cell.strip()) for cell in row] for row in cells)])
    expected = []
    for row in cells:
        email, city, note, unique_name = (cell.strip() for cell in row)
        custom = note and {"note": marked(note, None)}
        record = {"email": email, "city": city, "unique_name": unique_name, "custom_fields": custom}
        expected.append({field: value for field, value in record.items() if value})

    found = read(put("people.csv", out.getvalue()), delimiter=delimiter)

    assert [record for _, record in rows(found)] == [record for record in expected if record]
    assert rejects(found) == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.dictionaries(TEXT.filter(lambda key: not key.startswith("phone")), TEXT), min_size=1))
def test_whatever_is_written_as_json_is_read_back(put, records):
    lines = [orjson.dumps(record) for record in records]

    assert rows(read(put("people.jsonl", b"\n".join(lines)))) == list(enumerate(records, 1))
    assert rows(read(put("people.json", b"[" + b",\n".join(lines) + b"]"))) == list(enumerate(records, 1))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"a@example.com", b" ", b"\0", b"\xff", b'""'])))
def test_no_table_however_broken_stops_the_reader_or_goes_backwards(put, rest):
    found = read(put("people.csv", b"email,city\n" + b"".join(rest) + b"\nlast@example.com,Oslo\n"))

    lines = [item.line for item in found]
    assert lines == sorted(set(lines))
    assert any("last@example.com" in str(item.record if isinstance(item, SourceRow) else item.raw) for item in found)
