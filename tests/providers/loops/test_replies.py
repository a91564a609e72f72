"""What every reply of Loops means."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_loops import JSON, KEY, PATIENT, loops, reply

from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import Done, Healthy, Limited, Rejected, Retry, RowError, Stop

NOW_S = 1_795_000_000.0


def verdict(status, body=None, **headers):
    return loops().read_upsert(reply(status, body, **headers), NOW_S)


def test_no_row_is_ever_named_since_a_request_has_one():
    assert loops().find_rows([b"{}"], [RowError("c", "r", "a@x.org")]) == [[]]


def test_the_reply_to_the_probe_tells_whether_the_account_works_and_nothing_of_its_fields():
    account, body = loops(), {"success": True, "teamName": "T"}
    assert account.read_probe(reply(200, body), NOW_S) == Healthy()
    assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    for odd in (b"<html>", [], {"success": False}):
        assert account.read_probe(reply(200, odd), NOW_S) == Retry("unreadable_reply")
    assert account.read_probe(reply(503), NOW_S) == Retry("http_503")
    refused = account.read_probe(reply(401, {"success": False, "error": "Invalid API key"}), NOW_S)
    assert refused.code == "unauthorized"


def test_an_update_is_done_only_if_the_reply_says_so():
    body = {"success": True, "id": "cm0abc123def456ghi789jkl"}
    assert verdict(200, body) == Done()
    for other in (b"", b"{}", b"<html>", {**body, "success": False}, {**body, "success": "true"}, [body]):
        assert verdict(200, other) == Retry("unreadable_reply", unknown=True)
    for other in ({"success": True}, {"success": True, "id": ""}, {"success": True, "id": 7}):
        assert verdict(200, other) == Retry("unreadable_reply", unknown=True)
    cut = Response(200, {}, orjson.dumps(body), 5, truncated=True)
    assert loops().read_upsert(cut, NOW_S) == Retry("unreadable_reply", unknown=True)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "http_400"), (404, "http_404"), (409, "http_409"), (413, "too_large"), (422, "http_422")]
)
def test_a_refused_contact_fails_with_the_words_of_loops(status, code):
    outcome = verdict(status, {"success": False, "message": "Ann@x.org has a bad value"})
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.reason) == (code, "<address> has a bad value")


NOT_LOOPS = [
    b"",
    b"<html>",
    b"Request blocked",
    {},
    [],
    None,
    {"message": "Forbidden"},
    {"error": "Bad Request", "status": 400},
    {"success": True, "message": "x"},
    {"success": "false", "message": "x"},
    {"success": False},
    {"success": False, "message": 7},
    {"success": False, "message": " "},
]


@pytest.mark.parametrize("status", [400, 402, 403, 406, 409, 413, 415, 418, 422, 451])
@pytest.mark.parametrize("body", NOT_LOOPS)
def test_what_is_not_the_word_of_loops_blames_nobody_and_stops_nothing(status, body):
    assert verdict(status, body) == Retry(f"http_{status}", between=True)
    assert verdict(status, body, retry_after="4") == Retry(f"http_{status}", 4.0, between=True)


def test_the_deprecated_error_is_read_where_there_is_no_message_and_reasons_are_short():
    assert verdict(400, {"success": False, "error": "Invalid email", "path": "x"}).reason == "Invalid email"
    assert verdict(400, {"success": False, "message": "new", "error": "old"}).reason == "new"
    assert len(verdict(400, {"success": False, "message": "m" * 5_000}).reason) == 1_000


@pytest.mark.parametrize("status", [400, 404])
def test_a_user_id_that_no_contact_has_is_told_apart(status):
    text = "userId not found and cannot create a new contact without an email."
    assert verdict(status, {"success": False, "message": text}).code == "unknown_user_id"


@pytest.mark.parametrize(
    "text",
    ["userId not found and cannot create a new contact without an email.", "Rate limit exceeded", "unauthorized"],
)
def test_no_text_decides_whether_something_is_sent_again(text):
    body = {"success": False, "message": text}
    kinds = {status: type(verdict(status, body)) for status in (200, 400, 401, 408, 409, 429, 500)}
    assert kinds == {200: Retry, 400: Rejected, 401: Stop, 408: Retry, 409: Rejected, 429: Limited, 500: Retry}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (402, "payment"),
        (403, "forbidden"),
        (405, "not_allowed"),
        (415, "http_415"),
        (301, "http_301"),
    ],
)
def test_a_wrong_destination_stops(status, code):
    stop = verdict(status, {"success": False, "message": f"key {KEY} is bad"})
    assert isinstance(stop, Stop)
    assert stop.code == code
    assert KEY not in stop.why


@pytest.mark.parametrize("body", NOT_LOOPS)
def test_what_anybody_says_of_the_address_or_the_credentials_stops_the_destination(body):
    assert [(type(v), v.code) for v in (verdict(status, body) for status in (401, 404, 405))] == [
        (Stop, "unauthorized"),
        (Stop, "not_found"),
        (Stop, "not_allowed"),
    ]


@pytest.mark.parametrize("status", [408, 425, 500, 503, 599])
def test_a_passing_trouble_is_tried_again_no_sooner_than_asked(status):
    assert verdict(status, b"<html>", retry_after="17") == Retry(f"http_{status}", 17.0)
    assert verdict(status) == Retry(f"http_{status}")


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_in_between_leaves_the_fate_unknown(status):
    assert verdict(status) == Retry(f"http_{status}", unknown=True)


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({"x_ratelimit_limit": "10", "x_ratelimit_remaining": "0"}, None),
        ({"retry_after": "7"}, 7.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "2"}, 2.0),
    ],
)
def test_a_429_waits_for_what_the_headers_say_if_they_do(headers, after_s):
    assert verdict(429, b"<html>", **headers) == Limited(after_s)


@PATIENT
@given(status=st.integers(100, 999), body=JSON | st.binary(), cut=st.booleans())
def test_no_reply_is_beyond_words(status, body, cut):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = Response(status, {"retry-after": "x"}, content, 5, truncated=cut)
    assert loops().read_upsert(response, NOW_S) is not None
    assert loops().read_definitions(response, 1) is not None
