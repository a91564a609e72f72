"""Import jobs of SendGrid and their error files, and the custom fields of an account."""

import gzip

import orjson
import pytest
from support.provider_sendgrid import reply, report, sendgrid

from contact_ingest.errors import Refused
from contact_ingest.model.verdicts import (
    FieldTable,
    JobEnded,
    JobMissing,
    JobRunning,
    Limited,
    Retry,
    RowError,
)

CONTACTS = [
    {"email": "ann@x.org", "custom_fields": {"e1_T": "x"}},
    {"email": "joann@x.org", "external_id": "C-1"},
    {"phone_number_id": "+4930123456", "first_name": "ann@x.org"},
    {"email": "bob@x.org", "alternate_emails": ["ann@x.org"], "custom_fields": {"e2_N": 1}},
    {"anonymous_id": "ann@x.org"},
    {"email": 'qu"ote@x.org'},
    {"external_id": "c-9"},
]
ROWS = [orjson.dumps(contact) for contact in CONTACTS]


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize(
    ("error", "places"),
    [
        (RowError("c", "r", "ANN@x.org"), [0, 3, 4]),
        (RowError("c", "r", "x.org"), []),
        (RowError("c", "r", "C-1"), [1]),
        (RowError("c", "r", "c-1"), []),
        (RowError("c", "r", "C-9"), []),
        (RowError("c", "r", "+4930123456"), [2]),
        (RowError("c", "r", 'qu"ote@x.org'), [5]),
        (RowError("c", "r", fields=("e1_T", "e2_N")), [0, 3]),
        (RowError("c", "r", fields=("e9_T",)), []),
        (RowError("c", "r", hint=1), []),
        (RowError("c", "r", "gone@x.org", hint=1), []),
    ],
)
def test_rows_are_found_by_whole_identifiers_only(error, places, padding):
    others = [RowError("c", "r", f"nobody{number}@x.org") for number in range(padding)]
    assert sendgrid().find_rows(ROWS, [error, *others]) == [places, *([] for _ in others)]


def test_a_recorded_first_poll_is_running():
    assert report(200, {"id": "1", "job_type": "upsert_contacts", "status": "pending", "results": {}}) == JobRunning(
        "pending"
    )


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ({"status": "completed"}, JobEnded("completed", 0)),
        ({"status": " Completed ", "results": None}, JobEnded("completed", 0)),
        ({"status": "completed", "results": {"errored_count": "3"}}, JobEnded("errored", 3)),
        ({"status": "completed", "results": {"errored_count": -3}}, JobEnded("errored", None)),
        ({"status": "completed", "results": {"errors_url": "https://f/1"}}, JobEnded("errored", None, "https://f/1")),
        (
            {"status": "completed", "results": {"requested_count": 9, "errored_count": 3}},
            JobEnded("errored", 3, requested=9),
        ),
        (
            {"status": "errored", "results": {"requested_count": 9, "errored_count": 3, "errors_url": "https://f/1"}},
            JobEnded("errored", 3, "https://f/1", requested=9),
        ),
        ({"status": "ERRORED", "results": {"errored_count": -3}}, JobEnded("errored", None)),
        ({"status": "errored", "results": {"errors_url": "javascript:1"}}, JobEnded("errored", None)),
        (
            {"status": "errored", "results": {"requested_count": 3, "errored_count": 3}},
            JobEnded("errored", 3, all_failed=True, requested=3),
        ),
        ({"status": "failed", "results": {"requested_count": 4}}, JobEnded("failed", 4, all_failed=True, requested=4)),
        (
            {"status": "failed", "errors": [{"message": "you have hit your contact limit"}]},
            JobEnded("failed", None, all_failed=True, reason="you have hit your contact limit"),
        ),
    ],
)
def test_a_job_ends_as_its_status_says(body, ended):
    assert report(200, body) == ended


@pytest.mark.parametrize(("status", "shown"), [("queued", "queued"), (None, "unknown"), ("a@x.org", "unknown")])
def test_an_unknown_status_is_still_running(status, shown):
    assert report(200, {"status": status}) == JobRunning(shown)


def test_the_other_replies_about_a_job():
    assert report(404, {"errors": []}) == JobMissing()
    assert report(401).code == "unauthorized"
    assert report(403, {"errors": [{"message": "access forbidden"}]}).code == "forbidden"
    assert report(500, retry_after="9") == Retry("http_500", 9.0)
    assert report(400, {"errors": {"message": "bad id"}}) == Retry("http_400")
    for body in (b"", b"[]", b"<html>"):
        assert report(200, body) == Retry("unreadable_reply")


def test_an_error_file_names_rows_of_the_batch():
    packed = gzip.compress(b"email,external_id,error\nAnn@x.org,,Invalid email\nzoe@x.org,,Invalid email\n,C-1,Odd\n")
    errors = sendgrid().read_error_file(packed, ROWS)
    assert errors == [
        RowError("import_error", "Invalid email", "ann@x.org"),
        RowError("import_error", "Odd", "C-1"),
    ]
    assert sendgrid().find_rows(ROWS, errors) == [[0, 3, 4], [1]]


def test_definitions_are_read_by_lower_case_name():
    body = {
        "custom_fields": [
            {"id": "e1_T", "name": "Plan", "field_type": "Text"},
            {"id": "e2_N", "name": "seats", "field_type": "Number"},
            {"name": "no id"},
            "odd",
        ],
        "reserved_fields": [{"id": "_rf0_T", "name": "first_name", "field_type": "Text"}],
    }
    table = sendgrid().read_definitions(reply(200, body), 77)
    assert table == FieldTable({"plan": ("e1_T", "Text"), "seats": ("e2_N", "Number")}, 77)
    assert sendgrid().read_definitions(reply(200, {"reserved_fields": []}), 77) == FieldTable({}, 77)


def test_definitions_that_cannot_be_had_say_why():
    account = sendgrid()
    assert account.read_definitions(reply(200, b"<html>"), 77) == Retry("unreadable_reply")
    assert account.read_definitions(reply(503), 77) == Retry("http_503")
    assert account.read_definitions(reply(429, retry_after="3"), 77) == Limited(3.0)
    assert account.read_definitions(reply(401), 77).code == "unauthorized"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "Number"), (0.5, "Number"), ("x", "Text"), ("", "Text"), ("2026-01-02", "Date"), ("1/2/2026", "Date")],
)
def test_a_new_field_gets_the_type_of_its_value(value, kind):
    (body,) = sendgrid().create_field("fresh", value).body
    assert orjson.loads(body) == {"name": "fresh", "field_type": kind}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("fresh", True, "wrong_type"),
        ("fresh", [], "wrong_type"),
        ("fresh", None, "null"),
        ("no spaces", "x", "unknown_field"),
        ("", "x", "unknown_field"),
        ("Email", "x", "unknown_field"),
    ],
)
def test_a_field_that_sendgrid_would_not_create_is_refused(name, value, code):
    with pytest.raises(Refused) as caught:
        sendgrid().create_field(name, value)
    assert caught.value.code == code
