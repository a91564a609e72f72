"""Files that a platform exported are read as they are: read-only columns and keys are left out by name, and listed."""

import gzip
import json

import orjson
import pytest
from support.source_files import read, rejects, rows

from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers.sendgrid.contact import prepare
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.files import open_source

# The header of an export from the user interface. Source: public programs that read such files, checked 2026-11-25.
HEADER = (
    "EMAIL,FIRST_NAME,LAST_NAME,ADDRESS_LINE_1,ADDRESS_LINE_2,CITY,STATE_PROVINCE_REGION,POSTAL_CODE,COUNTRY,"
    "ALTERNATE_EMAILS,PHONE_NUMBER,WHATSAPP,LINE,FACEBOOK,UNIQUE_NAME,CREATED_AT,UPDATED_AT,CONTACT_ID,NAME,CAR,"
    "COMPANY_NAME,PHONE_NUMBER_ID,EXTERNAL_ID,ANONYMOUS_ID"
)
ROWS = (
    "ann@example.com,Ann,Lee,1 High St,,Oslo,,00501,NO,,,,,,,2020-06-19T10:05:25Z,2020-07-09T02:00:14Z,b3,x,,Co,,,",
    'bo@example.com,,,,,,,,,"b@example.com,c@example.com",+15042345678,w,l,f,u,2020,,b5,,,,+15042345679,r-1,a',
)
# An object of GET /v3/marketing/contacts, in the shape of recorded replies, checked 2026-11-25.
FROM_THE_API = {
    "id": "b3c77877",
    "first_name": "Ann",
    "last_name": "",
    "unique_name": "",
    "email": "ann@example.com",
    "alternate_emails": None,
    "address_line_1": "",
    "address_line_2": "",
    "city": "Oslo",
    "state_province_region": "",
    "country": "",
    "postal_code": "",
    "phone_number": "",
    "phone_number_id": "",
    "external_id": "",
    "anonymous_id": "",
    "whatsapp": "",
    "line": "",
    "facebook": "",
    "list_ids": ["8d1b0a0e-3f7e-4b52-9d0f-0f4f6a3d2c11"],
    "segment_ids": [],
    "custom_fields": {},
    "created_at": "2020-06-19T10:05:25Z",
    "updated_at": "2020-07-09T02:00:14.123456789Z",
    "_metadata": {"self": "https://api.example/v3/marketing/contacts/b3c77877"},
}
READ_ONLY_OF_THE_API = ("_metadata", "created_at", "id", "list_ids", "segment_ids", "updated_at")
# A line of a JSON export. Source: sendgrid-csharp#1024, checked 2026-11-25.
EXPORTED = {
    "contact_id": "b53aa4b2",
    "created_at": "2020-06-19T10:05:25Z",
    "custom_fields": {"company_name": "Company LTD", "seats": 4, "unset": None},
    "email": "ann@example.com",
    "first_name": "Ann",
    "alternate_emails": [],
    "updated_at": "2020-07-08T04:52:21Z",
}
TABLE = FieldTable({"company_name": ("e1_T", "Text"), "seats": ("e2_N", "Number")}, 1)


@pytest.mark.parametrize("name", ["export.csv", "export.csv.gz", "export.csv.gzip", "export.gzip"])
def test_a_table_that_sendgrid_exported_is_read_without_mapping(put, name):
    content = "\n".join([HEADER, *ROWS]).encode()
    with open_source(put(name, gzip.compress(content) if "gz" in name else content)) as source:
        found = list(source)
        assert source.format == "csv"
        assert source.ignored_columns == ("CREATED_AT", "UPDATED_AT", "CONTACT_ID", "NAME", "CAR", "COMPANY_NAME")
        options = ("--map 'NAME=custom_fields.NAME'", "--map 'CAR=custom_fields.CAR'")
        assert all(
            option in source.notices[0] for option in (*options, "--map 'COMPANY_NAME=custom_fields.COMPANY_NAME'")
        )
        assert "CONTACT_ID" not in source.notices[0]

    assert rejects(found) == []
    assert rows(found) == [
        (
            2,
            {
                "email": "ann@example.com",
                "first_name": "Ann",
                "last_name": "Lee",
                "address_line_1": "1 High St",
                "city": "Oslo",
                "postal_code": "00501",
                "country": "NO",
            },
        ),
        (
            3,
            {
                "email": "bo@example.com",
                "alternate_emails": ["b@example.com", "c@example.com"],
                "phone_number": "+15042345678",
                "whatsapp": "w",
                "line": "l",
                "facebook": "f",
                "unique_name": "u",
                "phone_number_id": "+15042345679",
                "external_id": "r-1",
                "anonymous_id": "a",
            },
        ),
    ]
    for _, record in rows(found):
        assert prepare(orjson.dumps(record), TABLE, "refuse").dropped == ()


def test_the_custom_columns_of_a_table_that_sendgrid_exported_are_mapped_as_the_summary_says(put):
    mapping = parse_mapping(["COMPANY_NAME=custom_fields.COMPANY_NAME"])
    found = read(put("export.csv", "\n".join([HEADER, *ROWS])), mapping=mapping)

    contact = orjson.loads(prepare(orjson.dumps(rows(found)[0][1]), TABLE, "refuse").encoded)
    assert contact["custom_fields"] == {"e1_T": "Co"}


@pytest.mark.parametrize(
    ("given", "record", "ignored"),
    [
        (FROM_THE_API, {"email": "ann@example.com", "first_name": "Ann", "city": "Oslo"}, READ_ONLY_OF_THE_API),
        (
            EXPORTED,
            {
                "email": "ann@example.com",
                "first_name": "Ann",
                "custom_fields": {"company_name": "Company LTD", "seats": 4},
            },
            ("contact_id", "created_at", "updated_at"),
        ),
    ],
)
@pytest.mark.parametrize("form", ["lines", "array", "object", "gzip"])
def test_objects_that_sendgrid_gave_out_are_read_without_mapping(put, given, record, ignored, form):
    text = json.dumps(given)
    name, content = {
        "lines": ("export.json", text),
        "array": ("export.json", f"[{text}]"),
        "object": ("export.json", f'{{"result": [{text}], "contact_count": 1, "_metadata": {{}}}}'),
        "gzip": ("export.json.gzip", gzip.compress(text.encode())),
    }[form]

    with open_source(put(name, content)) as source:
        found = list(source)
        assert source.ignored_columns == ignored

    assert rows(found) == [(1, record)]
    assert prepare(orjson.dumps(record), TABLE, "refuse").dropped == ()


@pytest.mark.parametrize(
    "record",
    [
        {"email": "a@example.com", "id": 7, "created_at": "x", "updated_at": "y", "city": ""},
        {"email": "a@example.com", "contact_id": "7", "city": None},
        {"email": "a@example.com", "list_ids": ["x"], "id": "x"},
    ],
)
def test_objects_of_others_keep_every_key_and_every_empty_value(put, record):
    with open_source(put("people.jsonl", json.dumps(record))) as source:
        assert rows(source) == [(1, record)]
        assert source.ignored_columns == ()


def test_a_read_only_key_that_is_mapped_is_taken(put):
    path = put("export.jsonl", json.dumps(EXPORTED))
    with open_source(path, mapping={"contact_id": "external_id"}) as source:
        assert rows(source)[0][1]["external_id"] == "b53aa4b2"
        assert source.ignored_columns == ("created_at", "updated_at")
        assert source.unseen_columns == frozenset()
