"""What every reply of SendGrid to an upsert means, and whom it names."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_sendgrid import JSON, KEY, NOW_S, PATIENT, reply, report, sendgrid

from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import (
    Limited,
    Named,
    Pending,
    Rejected,
    Retry,
    RowError,
    Stop,
    StopLane,
    TooLarge,
)


def verdict(status, body=None, **headers):
    return sendgrid().read_upsert(reply(status, body, **headers), NOW_S)


def test_an_upsert_is_pending_only_with_a_job_to_ask_about():
    job = "3c4d5e6f-0000-4000-8000-000000000000"
    assert verdict(202, {"job_id": job}) == Pending(job)
    assert verdict(200, {"job_id": job}) == Pending(job)
    for body in (b"", b"{}", b"<html>", {"job_id": ""}, {"job_id": 7}, {"job_id": "../x"}, {"job_id": "x" * 201}, []):
        assert verdict(202, body) == Retry("unreadable_reply", unknown=True)
    cut = Response(202, {}, orjson.dumps({"job_id": job}), 5, truncated=True)
    assert sendgrid().read_upsert(cut, NOW_S) == Retry("unreadable_reply", unknown=True)


BAD = {"field": "contacts[3].identifier", "message": "email 'Bad@x.org' is not valid"}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "body",
    [
        {"errors": [BAD]},
        {"errors": BAD},
        [BAD],
        BAD,
        {"error": BAD},
        {"errors": [{"message": BAD["message"], "parameter": BAD["field"], "error_id": "x"}]},
        {"errors": [{"field": None, "message": "contacts[3].identifier: email 'Bad@x.org' is not valid"}]},
    ],
)
def test_a_quoted_address_is_named_whatever_the_shape(status, body):
    (error,) = verdict(status, body).failed
    assert (error.code, error.value, error.hint) == ("bad_identifier", "bad@x.org", 3)
    assert error.reason.endswith("email '<address>' is not valid")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('email "b@x.org" is not valid', ["b@x.org"]),
        ("email `b@x.org` is not valid", ["b@x.org"]),
        ("email “b@x.org” is not valid", ["b@x.org"]),
        ("email \u2018b@x.org\u2019 is not valid", ["b@x.org"]),
        ("email «b@x.org» is not valid", ["b@x.org"]),
        ("email <b@x.org> is not valid", ["b@x.org"]),
        ("email 'o'brien@x.org' is not valid", ["o'brien@x.org"]),
        ("email 'b@x.org', 'c@x.org' are not valid", ["b@x.org", "c@x.org"]),
        ("email 'b@x.org','c@x.org' are not valid", ["b@x.org", "c@x.org"]),
        ("email b@x.org is not valid.", ["b@x.org"]),
        ("phone_number_id '+4930' is not valid", ["+4930"]),
        ("'external_id' 'C-1' is not valid", ["C-1"]),
    ],
)
@pytest.mark.parametrize("shape", [lambda text: {"errors": [text]}, lambda text: {"error": text}])
def test_every_style_of_quotes_is_read(text, values, shape):
    assert [error.value for error in verdict(400, shape(text)).failed] == values


def test_an_index_alone_is_a_hint():
    assert verdict(400, {"errors": [{"field": "contacts[7].first_name", "message": "too long"}]}) == Named(
        (RowError("bad_contact", "too long", "", 7),)
    )


def test_a_refusal_that_was_cut_off_still_names_whom_it_quotes():
    body = orjson.dumps({"errors": [BAD, {**BAD, "message": "email 'c@x.org' is not valid"}]})[:-10]
    assert {e.value for e in sendgrid().read_upsert(Response(400, {}, body, 5, truncated=True), NOW_S).failed} == {
        "bad@x.org",
        "c@x.org",
    }


def test_refused_custom_field_ids_are_named():
    (error,) = verdict(400, {"errors": [{"message": "invalid custom field ids supplied - e9_T,w1"}]}).failed
    assert (error.code, error.fields, error.value, error.hint) == ("unknown_field_id", ("e9_T", "w1"), "", None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"errors": [{"message": "invalid JSON"}]}, "invalid_json"),
        ({"errors": [{"message": "contact support@sendgrid.com"}]}, "http_400"),
        ({"errors": [{"message": "field 'email' is 'odd'"}]}, "http_400"),
        ({"errors": {"message": "bad"}}, "http_400"),
        ({"errors": "bad"}, "http_400"),
        ({"error": "bad", "id": "7"}, "http_400"),
        ([{"message": "bad"}], "http_400"),
        ({"message": "bad", "field": None}, "http_400"),
    ],
)
def test_a_refusal_that_names_nobody_says_so(body, code):
    outcome = verdict(400, body)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert outcome.reason


NOT_SENDGRID = [
    b"",
    b"<html>blocked",
    b"Request blocked",
    b'{"errors": [{"message": "email \'b@x.org',
    {},
    [],
    [[[None]]],
    None,
    7,
    "blocked",
    {"errors": []},
    {"errors": None},
    {"errors": [{"status": "400", "title": "Bad Request"}]},
    {"message": "Forbidden"},
    {"message": "blocked by security@firewall.example", "request": "1"},
    {"message": "odd", "code": 400},
    {"error": "Bad Request", "status": 400, "path": "/"},
    {"fault": {"faultstring": "denied"}},
]


@pytest.mark.parametrize("status", [400, 402, 403, 406, 415, 418, 422, 431, 451])
@pytest.mark.parametrize("body", NOT_SENDGRID)
def test_what_is_not_the_word_of_sendgrid_blames_nobody_and_stops_nothing(status, body):
    assert verdict(status, body) == Retry(f"http_{status}", between=True)
    assert verdict(status, body, retry_after="4").code == report(status, body).code == f"http_{status}"


def test_a_page_that_was_cut_off_names_nobody():
    page = Response(400, {}, b"<html>email 'b@x.org' is not valid", 5, truncated=True)
    assert sendgrid().read_upsert(page, NOW_S) == Retry("http_400", between=True)


@pytest.mark.parametrize("body", NOT_SENDGRID)
def test_what_anybody_says_of_the_address_or_the_credentials_stops_the_destination(body):
    assert [(type(v), v.code) for v in (verdict(status, body) for status in (401, 404, 405))] == [
        (Stop, "unauthorized"),
        (Stop, "not_found"),
        (Stop, "not_allowed"),
    ]


@pytest.mark.parametrize("code", [404, "404", 405])
def test_a_path_that_the_router_does_not_know_is_a_matter_of_the_base_url_whatever_its_status(code):
    stop = verdict(400, {"message": "Not Found", "code": code, "refer": "x"})
    assert (type(stop), stop.code) == (Stop, "not_found")
    assert "base_url" in stop.why
    assert isinstance(verdict(400, {"errors": [{"message": "odd"}], "code": code}), Rejected)


@pytest.mark.parametrize(
    "complaint",
    [
        {"field": "list_ids[0]", "message": "no"},
        {"field": "list_ids", "message": "no"},
        {"parameter": "body.list_ids.0", "message": "no"},
        {"field": "$.list_ids[3]", "message": "'00000000-0000-0000-0000-000000000000' is unknown"},
        {"field": None, "message": "list_ids are odd"},
        {"field": None, "message": "invalid list id 00000000-0000-0000-0000-000000000000"},
        {"message": "The list does not exist"},
        {"message": "lists were not found"},
        {"message": "invalid lists supplied"},
        {"field": "list_ids", "message": "list not found"},
    ],
)
@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 410, 422])
def test_a_complaint_about_the_lists_stops_the_lane_whatever_the_status(complaint, status):
    other = {"field": "contacts[3].identifier", "message": "email 'b@x.org' is not valid"}
    for found in ([complaint], [other, complaint]):
        stop = verdict(status, {"errors": found})
        assert (type(stop), stop.code) == (StopLane, "bad_list")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Stop), (408, Retry), (409, Retry), (413, TooLarge), (429, Limited), (500, Retry), (503, Retry)],
)
def test_a_status_about_the_key_the_size_or_a_passing_trouble_is_believed_before_a_complaint_about_lists(status, kind):
    assert isinstance(verdict(status, {"errors": [{"field": "list_ids", "message": "list not found"}]}), kind)


@pytest.mark.parametrize(
    "body", [{"message": "list not found"}, {"errors": [{"message": "not found"}]}, b"list not found"]
)
def test_a_404_that_does_not_speak_of_the_lists_in_words_of_sendgrid_is_a_matter_of_the_base_url(body):
    stop = verdict(404, body)
    assert (type(stop), stop.code) == (Stop, "not_found")


@pytest.mark.parametrize(
    "complaint",
    [
        {"field": "contacts[3].alternate_emails", "message": "invalid list of texts"},
        {"field": "contacts[3].first_name", "message": "list_ids are odd"},
        {"message": "external_id 'list_ids' and 'C-1' are not valid"},
        {"message": "email 'list_id@x.org' is not valid"},
        {"message": "invalid list of addresses"},
        {"message": "contacts must be a list"},
    ],
)
def test_a_complaint_about_a_record_stops_no_lane_though_it_speaks_of_lists(complaint):
    assert isinstance(verdict(400, {"errors": [complaint]}), Named | Rejected)


def test_reasons_are_short_and_without_addresses():
    rejected = verdict(400, {"errors": [{"message": "m" * 5_000}]})
    assert len(rejected.reason) == 1_000
    assert "x.org" not in verdict(400, {"errors": [BAD]}).failed[0].reason
    assert "C-1" not in verdict(400, {"errors": ["external_id 'C-1' is not valid"]}).failed[0].reason


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (402, "payment"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "not_allowed"),
        (415, "http_415"),
        (301, "http_301"),
        (307, "http_307"),
    ],
)
def test_a_wrong_destination_stops(status, code):
    stop = verdict(status, {"errors": [{"message": f"key {KEY} is bad"}]})
    assert isinstance(stop, Stop)
    assert stop.code == code
    assert KEY not in stop.why


@pytest.mark.parametrize("status", [408, 500, 503, 599])
def test_a_passing_trouble_is_tried_again_no_sooner_than_asked(status):
    assert verdict(status, b"<html>", retry_after="17") == Retry(f"http_{status}", 17.0)
    assert verdict(status) == Retry(f"http_{status}")


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_in_between_leaves_the_fate_unknown(status):
    assert verdict(status) == Retry(f"http_{status}", unknown=True)


def test_a_body_too_large_is_told_apart():
    assert verdict(413, {"message": "Request Too Long"}) == TooLarge()


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({}, None),
        ({"retry_after": "7", "x_ratelimit_reset": "24"}, 7.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "24"}, 24.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(NOW_S) + 30)}, 30.0),
        ({"x_ratelimit_reset": "24"}, 24.0),
        ({"x_ratelimit_remaining": "5", "x_ratelimit_reset": "24"}, None),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "soon"}, None),
    ],
)
def test_a_429_waits_for_what_the_headers_say(headers, after_s):
    body = {"errors": [{"field": None, "message": "too many requests"}]}
    assert verdict(429, body, **headers) == Limited(after_s)
    assert report(429, body, **headers) == Limited(after_s)


@PATIENT
@given(status=st.integers(100, 999), body=JSON | st.binary().map(bytes), cut=st.booleans())
def test_no_reply_is_beyond_words(status, body, cut):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = Response(status, {"retry-after": "x"}, content, 5, truncated=cut)
    assert sendgrid().read_upsert(response, NOW_S) is not None
    assert sendgrid().read_job(response, NOW_S) is not None
    assert sendgrid().read_definitions(response, 1) is not None
