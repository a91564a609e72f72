"""An import's error file blames the contact that failed, and neither another contact of its row nor a row that went
well."""

import orjson
import pytest

from contact_ingest.providers.error_file.reader import read

PEOPLE = frozenset(f"p{n}@x.org" for n in range(10)) | {"c-7", "c-8"}
#: Columns of other contacts and of reasons.
ANOTHER = [
    *(
        "suggested_email",
        "merged_into_email",
        "conflicts_with",
        "new_email",
        "alternate",
        "duplicate_of",
        "Suggested Email",
    ),
    *(
        "newEmail",
        "existing_contact_email",
        "billing_email",
        "message",
        "reason",
        "conflicts_with_identifier",
        "details",
    ),
]


def found(content, batch):
    content = content.encode() if isinstance(content, str) else content
    return {error.value: error.reason for error in read(content, batch.__contains__)}


@pytest.mark.parametrize("name", ANOTHER)
@pytest.mark.parametrize("who", ["email", "E-Mail", "emailAddress", "contact_email"])
@pytest.mark.parametrize("culprit", ["p0@x.org", "gone@x.org"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_second_address_names_nobody_beside_a_plainly_named_one(name, who, culprit, as_json):
    for rows in ([(culprit, "p5@x.org")], [("p5@x.org", "p1@x.org"), (culprit, "p6@x.org"), (culprit, "p7@x.org")]):
        for first, second in ((who, name), (name, who)):
            pairs = [dict(zip((who, name), row, strict=True)) for row in rows]
            lines = [f"{pair[first]},{pair[second]},bad domain" for pair in pairs]
            table = "\n".join([f"{first},{second},error", *lines])
            document = orjson.dumps([{**pair, "error": "bad domain"} for pair in pairs])
            blamed = {row[0] for row in rows} & PEOPLE
            assert set(found(document if as_json else table, PEOPLE)) == blamed


@pytest.mark.parametrize("culprit", ["p0@x.org", "gone@x.org"])
@pytest.mark.parametrize(
    "beside",
    [
        {"conflicts_with": {"email": "p5@x.org"}},
        {"conflicts_with": [{"email": "p5@x.org"}, {"email": "p6@x.org"}]},
        {"duplicate_of": {"contact": {"external_id": "C-7", "email": "p5@x.org"}}},
        {"suggestions": ["p5@x.org", "p6@x.org"]},
        {"details": {"merged_into": {"identifier": "p5@x.org"}}},
    ],
)
def test_an_object_about_another_contact_names_nobody(culprit, beside):
    for document in ([{"email": culprit, "error": "bad", **beside}], {"errors": [{**beside, "email": culprit}]}):
        assert set(found(orjson.dumps(document), PEOPLE)) == {culprit} & PEOPLE


def test_a_column_about_another_contact_counts_where_there_is_no_other():
    assert set(found("duplicate_of,why\np5@x.org,twice\n", PEOPLE)) == {"p5@x.org"}
    assert set(found(orjson.dumps([{"conflicts_with": {"email": "p5@x.org"}}]), PEOPLE)) == {"p5@x.org"}
    assert found("address,suggested_email,message\np1@x.org,p5@x.org,bad\n", PEOPLE) == {"p1@x.org": "bad"}


@pytest.mark.parametrize(
    ("column", "fine"), [("status", "ok"), ("Status", "SUCCESS"), ("result", "imported"), ("ok", "true")]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_rows_that_went_well_have_not_failed(column, fine, as_json):
    rows = [{"email": f"p{n}@x.org", column: fine, "error": ""} for n in range(8)]
    rows[3]["error"] = "bad domain"
    rows[4][column] = "failed"
    rows[5][column] = ""
    rows[6]["error"] = "null"
    table = "\n".join([f"email,{column},error", *(",".join(row.values()) for row in rows)])
    assert set(found(orjson.dumps(rows) if as_json else table, PEOPLE)) == {"p3@x.org", "p4@x.org"}


def test_a_status_that_is_a_truth_value_in_json_is_read():
    rows = [{"email": "p1@x.org", "success": True}, {"email": "p2@x.org", "success": False}]
    assert set(found(orjson.dumps(rows), PEOPLE)) == {"p2@x.org"}


def test_a_file_without_a_row_that_went_well_fails_all_its_rows():
    assert set(found("email,status,error\np1@x.org,subscribed,\np2@x.org,,\n", PEOPLE)) == {"p1@x.org", "p2@x.org"}
