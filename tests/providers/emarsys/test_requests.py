"""Requests to Emarsys, byte by byte, and the fields of its accounts."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_emarsys import (
    EXTERNAL,
    FIELDS,
    LISTED,
    LISTING,
    NOW_S,
    PATIENT,
    PLAIN,
    WSSE,
    emarsys,
    envelope,
    prepared,
    reply,
)

from contact_ingest.errors import Refused
from contact_ingest.model.verdicts import (
    Healthy,
    Limited,
    Retry,
)
from contact_ingest.packing.payload import Payload
from contact_ingest.providers.emarsys.identity import Identity


def test_an_upsert_is_these_bytes():
    rows = [
        prepared({"last_name": "Selvig", "email": "Erik.Selvig@example.com"}).encoded,
        b",",
        prepared({"email": "ian.boothby@example.com", "last_name": "Boothby"}).encoded,
    ]
    request = emarsys().upsert(LISTED, rows)
    assert (request.method, request.url, request.endpoint) == (
        "PUT",
        "https://api.emarsys.net/api/v3/contact/?create_if_not_exists=1",
        "upsert",
    )
    assert request.headers == {"accept": "application/json", "content-type": "application/json"}
    assert b"".join(request.body) == (
        b'{"key_id":"3","contact_list_id":123456,"contacts":['
        b'{"3":"erik.selvig@example.com","2":"Selvig"},{"3":"ian.boothby@example.com","2":"Boothby"}]}'
    )


def test_the_other_requests_are_these():
    account = emarsys(WSSE, base_url="http://127.0.0.1:8025/api/")
    requests = [
        account.probe(),
        account.definitions(),
        account.create_field("Seats", 3),
        account.upsert(PLAIN, [b"{}"]),
    ]
    assert [(r.method, r.url, b"".join(r.body)) for r in requests] == [
        ("GET", "http://127.0.0.1:8025/api/v2/settings", b""),
        ("GET", "http://127.0.0.1:8025/api/v2/field/translate/en", b""),
        ("POST", "http://127.0.0.1:8025/api/v2/field", b'{"name":"Seats","application_type":"numeric"}'),
        (
            "PUT",
            "http://127.0.0.1:8025/api/v2/contact/?create_if_not_exists=1",
            b'{"key_id":"3","contacts":[{}]}',
        ),
    ]


def test_ids_that_emarsys_gives_only_update():
    account = emarsys(identity=Identity("external_id", "uid"))
    row = account.prepare(b'{"external_id":"U-1","city":"Ulm"}', FIELDS).encoded
    request = account.upsert(PLAIN, [row])
    assert request.url.endswith("contact/?create_if_not_exists=0")
    assert b"".join(request.body) == b'{"key_id":"uid","contacts":[{"uid":"U-1","11":"Ulm"}]}'


@PATIENT
@given(
    ids=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20, unique=True),
    lane=st.sampled_from([PLAIN, LISTED]),
)
def test_the_body_is_what_encoding_the_whole_would_give(ids, lane):
    account = emarsys(identity=EXTERNAL)
    body = Payload(account.limits(lane))
    for external_id in ids:
        body.add(account.prepare(orjson.dumps({"external_id": external_id, "city": 'ß"'}), FIELDS).encoded)
    size, packed = body.size, body.close()
    whole = orjson.loads(packed.body)
    assert orjson.dumps(whole) == packed.body
    assert len(packed.body) == size
    assert [contact["4711"] for contact in whole["contacts"]] == ids
    start, end = len(account.limits(lane).prefix), len(packed.body) - len(account.limits(lane).suffix)
    assert b"".join(account.upsert(lane, [packed.body[start:end]]).body) == packed.body


def test_definitions_are_read_from_a_list_or_a_map():
    assert FIELDS.fetched_ms == 77
    assert FIELDS.by_name["crm number"] == FIELDS.by_name["4711"] == ("4711", "shorttext")
    holes = dict(enumerate(LISTING[:2]))
    body = envelope(0, {str(place): entry for place, entry in holes.items()})
    table = emarsys().read_definitions(reply(200, body), 77)
    assert table.by_name["first name"] == ("1", "shorttext")


def test_the_reply_to_a_probe_tells_whether_the_account_works_and_nothing_of_its_fields():
    account, body = emarsys(), envelope(0, {"id": 7, "environment": "suite.example.org", "name": "acme"})
    assert account.read_probe(reply(200, body), NOW_S) == Healthy()
    assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    for odd in (b"<html>", envelope(0, ""), envelope(0, None), ["odd"]):
        assert account.read_probe(reply(200, odd), NOW_S) == Retry("unreadable_reply")
    assert account.read_probe(reply(200, envelope(9001)), NOW_S) == Retry("reply_9001")
    assert account.read_probe(reply(503), NOW_S) == Retry("http_503")
    assert account.read_probe(reply(429, retry_after="3"), NOW_S) == Limited(3.0)
    assert account.read_probe(reply(401), NOW_S).code == "unauthorized"


def test_definitions_that_cannot_be_had_say_why():
    account = emarsys()
    for body in (b"<html>", envelope(0, ""), envelope(0, []), envelope(0, ["odd"])):
        assert account.read_definitions(reply(200, body), 77) == Retry("unreadable_reply")
    assert account.read_definitions(reply(200, envelope(9001)), 77) == Retry("reply_9001")
    assert account.read_definitions(reply(400, envelope(2001)), 77) == Retry("reply_2001")
    assert account.read_definitions(reply(503), 77) == Retry("http_503")
    assert account.read_definitions(reply(429, retry_after="3"), 77) == Limited(3.0)
    assert account.read_definitions(reply(401), 77).code == "unauthorized"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "numeric"), (0.5, "numeric"), ("x", "longtext"), ("x" * 256, "largetext"), ("2026-01-02", "date")],
)
def test_a_new_field_gets_the_type_of_its_value(value, kind):
    (body,) = emarsys().create_field("Fresh one", value).body
    assert body == b'{"name":"Fresh one","application_type":"%b"}' % kind.encode()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("fresh", True, "wrong_type"),
        ("fresh", [1], "wrong_type"),
        ("fresh", None, "null"),
        ("", "x", "unknown_field"),
        ("  ", "x", "unknown_field"),
        ("1234", "x", "unknown_field"),
        ("a\nb", "x", "unknown_field"),
        ("x" * 256, "x", "unknown_field"),
    ],
)
def test_a_field_that_cannot_be_created_is_refused(name, value, code):
    with pytest.raises(Refused) as caught:
        emarsys().create_field(name, value)
    assert caught.value.code == code
