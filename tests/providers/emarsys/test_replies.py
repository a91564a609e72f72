"""What every reply of Emarsys means, down to the row."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_emarsys import (
    DATE,
    EXTERNAL,
    JSON,
    NOW_S,
    OAUTH,
    PATIENT,
    WSSE,
    emarsys,
    envelope,
    prepared,
    reply,
)

from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import (
    Done,
    Limited,
    Named,
    Rejected,
    Retry,
    RowError,
    Stop,
    StopLane,
    TooLarge,
)


def verdict(status, body=None, signs=OAUTH, **headers):
    return emarsys(signs).read_upsert(reply(status, body, **headers), NOW_S)


#: The example of the documentation on updating multiple contacts.
DOCUMENTED = {
    "replyCode": 0,
    "replyText": "OK",
    "data": {
        "ids": ["285291248", 285292533],
        "errors": {
            "erik.selvig@example.com": {"2008": "No contact found with the external id: 3 - erik.selvig@example.com"},
            "12345": {"2010": "More contacts found with the external id: 12345"},
        },
    },
}


def test_rows_that_failed_inside_a_success_are_named_without_their_keys_in_the_reason():
    assert verdict(200, DOCUMENTED) == Done(
        (
            RowError("reply_2008", "No contact found with the external id: 3 - <address>", "erik.selvig@example.com"),
            RowError("reply_2010", "More contacts found with the external id: …", "12345"),
        ),
        applied=2,
    )


@pytest.mark.parametrize("errors", [{}, [], None, ""])
@pytest.mark.parametrize(
    ("ids", "applied"),
    [
        (["1"], 1),
        ([1], 1),
        (["1", 2, ["3"]], 3),
        ([["1", 2], [[3], []]], 3),
        ({"a@x.org": "1"}, 1),
        (["1", None, ""], 1),
    ],
)
def test_no_errors_come_in_several_shapes_and_every_id_vouches_for_a_row(errors, ids, applied):
    assert verdict(200, envelope(0, {"ids": ids, "errors": errors})) == Done(applied=applied)
    assert verdict(200, envelope(0, {"ids": ids})) == Done(applied=applied)


def test_errors_in_a_list_are_read_too():
    errors = [{"key": 77, "errorCode": "2008", "errorMsg": "none such"}]
    assert verdict(200, envelope(0, {"ids": [], "errors": errors})) == Done(
        (RowError("reply_2008", "none such", "77"),), applied=0
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"[]",
        b"{}",
        {"replyCode": None},
        {"replyCode": True, "data": {"ids": [1]}},
        {"replyCode": "OK", "data": {"ids": [1]}},
        envelope(0, ""),
        envelope(0, []),
        envelope(0, {}),
        envelope(0, {"ids": [], "errors": []}),
        envelope(0, {"ids": ["1"], "errors": ["odd"]}),
        envelope(0, {"ids": ["1"], "errors": 7}),
    ],
)
def test_a_success_that_cannot_be_read_is_none(body):
    assert verdict(200, body) == Retry("unreadable_reply", unknown=True)


def test_a_success_that_was_cut_off_is_none():
    cut = Response(200, {}, orjson.dumps(DOCUMENTED), 5, truncated=True)
    assert emarsys().read_upsert(cut, NOW_S) == Retry("unreadable_reply", unknown=True)


@pytest.mark.parametrize("code", [2004, 2013, 2005, 2006, 2007, 2008, 2010, 2012, 9999])
def test_a_row_fails_by_any_code_but_that_of_the_race(code):
    body = envelope(0, {"ids": [1], "errors": {"b@x.org": {str(code): "bad"}}})
    assert verdict(200, body) == Done((RowError(f"reply_{code}", "bad", "b@x.org"),), applied=1)


def test_a_row_that_lost_a_race_is_sent_again():
    errors = {
        "a@x.org": {"2009": "Contact with the external id already exists: 3"},
        "b@x.org": {"2007": "bad"},
        "c@x.org": {"2009": "race", "2006": "bad field"},
    }
    assert verdict(200, envelope(0, {"ids": [1], "errors": errors})) == Done(
        (RowError("reply_2007", "bad", "b@x.org"), RowError("reply_2006", "bad field", "c@x.org")),
        (RowError("reply_2009", "Contact with the external id already exists: 3", "a@x.org"),),
        applied=1,
    )


@pytest.mark.parametrize("said", [{}, [], None, "odd words", {"x": 7}])
def test_a_row_error_without_a_code_fails_the_row_still(said):
    (error,) = verdict(200, envelope(0, {"ids": [], "errors": {"b@x.org": said}})).failed
    assert (error.code, error.value) == ("reply_unknown", "b@x.org")
    assert error.reason


@pytest.mark.parametrize(("status", "code"), [(200, 0), (200, 2004), (400, 2004)])
def test_a_key_that_is_refused_is_a_matter_of_the_destination_and_fails_no_row(status, code):
    errors = {"<NO_KEY_ID>": {"2004": "Invalid key field id: 9"}, "b@x.org": {"2007": "bad"}}
    stop = verdict(status, envelope(code, {"ids": [], "errors": errors}))
    assert (type(stop), stop.code) == (Stop, "bad_key_field")
    assert "key_field" in stop.why


@pytest.mark.parametrize(
    ("code", "kind", "means"),
    [
        (2004, Stop, "bad_key_field"),
        (2013, Stop, "bad_source"),
        (2020, StopLane, "bad_list"),
        (3004, StopLane, "bad_list"),
        (3006, StopLane, "bad_list"),
    ],
)
@pytest.mark.parametrize(("status", "of_all"), [(200, 0), (400, 2007), (400, 0)])
def test_what_every_row_says_and_all_share_is_no_fault_of_a_row(code, kind, means, status, of_all):
    errors = {"a@x.org": {str(code): "no"}, "b@x.org": {str(code): "no"}}
    shared = verdict(status, envelope(of_all, {"ids": [], "errors": errors}))
    assert (type(shared), shared.code) == (kind, means)


KEY, SOURCE, LIST, REFUSED, AGAIN, OURS, SPLIT = "key", "source", "list", "refused", "again", "ours", "split"


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        (200, 2004, KEY),
        (404, 2004, KEY),
        (404, 2013, SOURCE),
        (200, 3006, LIST),
        (200, 2005, REFUSED),
        (200, 2006, REFUSED),
        (200, 2007, REFUSED),
        (200, 2008, REFUSED),
        (200, 2010, REFUSED),
        (200, 1, REFUSED),
        (400, 1, REFUSED),
        (400, 1000, SPLIT),
        (400, 1001, REFUSED),
        (400, 1006, REFUSED),
        (400, 1007, REFUSED),
        (400, 1008, REFUSED),
        (400, 1010, REFUSED),
        (400, 1016, REFUSED),
        (400, 2001, AGAIN),
        (400, 2002, OURS),
        (400, 2003, OURS),
        (400, 2004, KEY),
        (400, 2005, REFUSED),
        (400, 2006, REFUSED),
        (400, 2007, REFUSED),
        (400, 2008, REFUSED),
        (404, 2008, REFUSED),
        (400, 2009, AGAIN),
        (400, 2010, REFUSED),
        (400, 2012, REFUSED),
        (400, 2013, SOURCE),
        (400, 2020, LIST),
        (404, 2020, LIST),
        (400, 3004, LIST),
        (404, 3004, LIST),
        (400, 3006, LIST),
        (404, 3006, LIST),
    ],
)
def test_a_reply_code_means_what_the_registry_says_of_it_under_that_status(status, code, means):
    verdicts = {
        KEY: (Stop, "bad_key_field"),
        SOURCE: (Stop, "bad_source"),
        LIST: (StopLane, "bad_list"),
        REFUSED: (Rejected, f"reply_{code}"),
        AGAIN: (Retry, f"reply_{code}"),
        OURS: (Retry, "internal"),
        SPLIT: (TooLarge, None),
    }
    meant = verdict(status, envelope(code, "", "some words"))
    assert (type(meant), getattr(meant, "code", None)) == verdicts[means]


@pytest.mark.parametrize("status", [200, 400, 402, 403, 404, 405, 410, 422])
@pytest.mark.parametrize(
    ("code", "text"), [(2020, "no"), (3004, "no"), (3006, "no"), (1008, "Invalid value for contact_list_id")]
)
def test_a_reply_code_about_the_list_stops_the_lane_whatever_the_status(status, code, text):
    of_rows = {"errors": {"a@x.org": {str(code): text}, "b@x.org": {str(code): text}}}
    bodies = [envelope(code, "", text), *([] if code == 1008 else [envelope(2007, of_rows, "failed")])]
    for body in bodies:
        stop = verdict(status, body)
        assert (type(stop), stop.code) == (StopLane, "bad_list")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Stop), (408, Retry), (409, Retry), (413, TooLarge), (429, Limited), (503, Retry)]
)
def test_a_status_about_the_credentials_or_a_passing_trouble_is_believed_before_a_code_about_the_list(status, kind):
    assert isinstance(verdict(status, envelope(3004, "", "no")), kind)


@pytest.mark.parametrize(("status", "code"), [(404, 1008), (404, 5001), (405, 2007), (403, 2008)])
def test_a_reply_code_about_anything_else_stops_no_lane(status, code):
    assert isinstance(verdict(status, envelope(code, "", "some words")), Stop)


@pytest.mark.parametrize(
    ("text", "is_list"),
    [
        ("Invalid value for contact_list_id", True),
        ("The contact list does not exist", True),
        ("List does not exist: 4711", True),
        ("Contact lists cannot be loaded", True),
        ("Invalid value for field 31", False),
        ("", False),
        ("Enlist the value", False),
    ],
)
def test_an_invalid_value_is_a_matter_of_the_lane_where_the_text_speaks_of_its_list(text, is_list):
    assert isinstance(verdict(400, envelope(1008, "", text)), StopLane if is_list else Rejected)


@pytest.mark.parametrize("status", [400, 402, 403, 406, 409, 418, 422, 431, 451])
@pytest.mark.parametrize("body", [b"<html>blocked", b"Request blocked", {}, {"message": "Forbidden"}, [], None, 7])
def test_what_is_not_the_word_of_emarsys_blames_nobody_and_stops_nothing(status, body):
    assert verdict(status, body, retry_after="4").code == f"http_{status}"
    assert isinstance(verdict(status, body), Retry)


def test_a_refusal_that_names_rows_fails_those_alone():
    errors = {"b@x.org": {"2007": "bad"}, "c@x.org": {"2009": "race"}}
    assert verdict(400, envelope(2007, {"errors": errors})) == Named((RowError("reply_2007", "bad", "b@x.org"),))
    race = {"errors": {"c@x.org": {"2009": "race"}}}
    assert verdict(400, envelope(2007, race)) == Retry("reply_2009")


@pytest.mark.parametrize(
    ("status", "body", "headers", "means"),
    [
        (413, b"", {}, TooLarge()),
        (500, envelope(2011), {}, Retry("http_500")),
        (500, envelope(1), {}, Retry("http_500")),
        (500, envelope(1003), {}, Retry("http_500")),
        (500, envelope(7003), {}, Retry("http_500")),
        (502, b"", {}, Retry("http_502", unknown=True)),
        (503, b"", {"retry_after": "9"}, Retry("http_503", 9.0)),
        (504, b"", {}, Retry("http_504", unknown=True)),
        (408, b"", {}, Retry("http_408")),
        (423, envelope(10003), {}, Retry("http_423")),
        (429, envelope(7003), {}, Limited(None)),
        (429, b"too many requests", {"x_ratelimit_reset": str(int(NOW_S) + 17)}, Limited(17.0)),
        (429, b"", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(NOW_S) + 17)}, Limited(17.0)),
        (429, b"", {"retry_after": "3", "x_ratelimit_reset": str(int(NOW_S) + 17)}, Limited(3.0)),
        (429, envelope(15011), {}, Limited(None)),
    ],
)
def test_other_statuses_mean_what_they_say(status, body, headers, means):
    assert verdict(status, body, **headers) == means


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, envelope(1), "unauthorized"),
        (402, envelope(1), "payment"),
        (403, envelope(1), "forbidden"),
        (401, b"<html>", "unauthorized"),
        (405, b"", "not_allowed"),
        (403, b"", "forbidden"),
        (404, b"<html>", "not_found"),
        (404, envelope(1), "not_found"),
        (400, envelope(1009), "wrong_method"),
        (302, b"", "http_302"),
    ],
)
def test_what_somebody_has_to_mend_stops_the_destination(status, body, code):
    stop = verdict(status, body)
    assert (type(stop), stop.code) == (Stop, code)


@pytest.mark.parametrize(
    ("signs", "off_s", "says"),
    [
        (WSSE, 301, "clock is 5 minutes ahead of"),
        (WSSE, -3600, "clock is 60 minutes behind"),
        (WSSE, 299, "check username, secret"),
        (OAUTH, 3600, "check client_id, client_secret"),
    ],
)
def test_a_clock_that_is_off_is_named_where_it_matters(signs, off_s, says):
    stop = emarsys(signs).read_upsert(reply(401, envelope(1), date=DATE), NOW_S + off_s)
    assert says in stop.why


def test_a_date_that_cannot_be_read_accuses_no_clock():
    for date in ("", "yesterday", "Wed, 99 Nov 2026 12:26:40 GMT"):
        assert "clock" not in verdict(401, b"", WSSE, date=date).why


@PATIENT
@given(status=st.integers(200, 599), content=JSON, headers=st.dictionaries(st.sampled_from(["date"]), st.text()))
def test_no_reply_raises(status, content, headers):
    for body in (content, envelope(0, content), envelope(0, {"errors": content}), envelope(2007, {"errors": content})):
        assert verdict(status, body, WSSE, **headers) is not None
        assert emarsys().read_definitions(reply(status, body), 77) is not None
        assert emarsys().read_token(reply(status, body, **headers)) is not None


def errors_of(*values):
    return [RowError("reply_2008", "none such", value) for value in values]


def test_rows_are_found_by_their_key_as_text_never_by_place():
    rows = [prepared({"email": mail}).encoded for mail in ("a@x.org", "b@x.org", "1@x.org")]
    found = emarsys().find_rows(
        [rows[0], b"," + rows[1], rows[2] + b","], errors_of("B@X.org", "0", "", "1@x.org", "1")
    )
    assert found == [[1], [], [], [2], []]
    external = [prepared({"external_id": key}, identity=EXTERNAL).encoded for key in ("007", "7", "Ab")]
    account = emarsys(identity=EXTERNAL)
    assert account.find_rows(external, errors_of("7", "007", "ab", "Ab")) == [[1], [0], [], [2]], "each is named once"
    assert account.find_rows(external, [RowError("reply_2005", "no key", hint=1)]) == [[]]


def test_a_value_that_is_not_the_key_names_nobody():
    row = prepared({"email": "a@x.org", "external_id": "C-1"}, identity=EXTERNAL).encoded
    assert emarsys(identity=EXTERNAL).find_rows([row], errors_of("a@x.org", "C-1")) == [[], [0]]
