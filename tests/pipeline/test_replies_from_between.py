"""Replies of a gateway or a firewall in between, at every platform: nobody is blamed, nothing stops, all arrive later.

The kinds: a page, a text, no body, JSON of another shape; each with a status that the platform itself would give too.
"""

import pytest
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue

RECORDS = 32
BODIES = (b"<html><h1>blocked</h1></html>", b"Request blocked by policy", None, {"message": "Forbidden"}, {"fault": {}})
STATUSES = (400, 403, 406, 409, 418, 422, 451)
ACCOUNTS = {
    "sendgrid": {"platform": "sendgrid", "api_key": "SG.k"},
    "loops": {"platform": "loops", "api_key": "k"},
    "emarsys": {"platform": "emarsys", "username": "acme001", "secret": "s3cr3t"},
}
TAKEN = {
    "sendgrid": {"job_id": "job-1"},
    "loops": {"success": True, "id": "cm0"},
    "emarsys": {"replyCode": 0, "replyText": "OK", "data": {"ids": list(range(RECORDS)), "errors": {}}},
}


@pytest.mark.parametrize("platform", ACCOUNTS)
def test_a_reply_that_is_not_the_platforms_own_fails_nobody_and_stops_nothing(make_harness, platform):
    harness = make_harness(destinations={platform: {**ACCOUNTS[platform], "base_url": "http://127.0.0.1:9"}})
    replies = [reply(status, body) for status in STATUSES for body in BODIES if not (status == 403 and body is None)]
    ends = reply(200, {"status": "completed", "results": {}})

    def answer(request):
        if request.endpoint == "job":
            return ends
        if request.method == "GET":
            return reply(200, {"replyCode": 0, "data": [{"id": "3", "name": "E-Mail"}], "custom_fields": []})
        return replies.pop(0) if replies else reply(200, TAKEN[platform])

    speak_to(Peer(answer), harness)
    enqueue([{"email": f"p{n}@example.com"} for n in range(RECORDS)], to=platform)
    for _ in range(120):
        harness.pump()
        assert "state" not in harness.runtime.state.read()
        assert harness.books()["failed"] == 0
        if harness.books()["delivered"] == RECORDS:
            break
        advance(harness.runtime, 901)

    assert not replies, "each of them was met"
    assert harness.books() | {"delivered": RECORDS, "unattributed": 0} == harness.books()
    harness.assert_books_balance()
