"""A platform that answers at once vouches for the rows whose ids it gives: all others are counted as unattributed."""

import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue

ACCOUNT = {"platform": "emarsys", "username": "acme001", "secret": "s3cr3t", "base_url": "http://127.0.0.1:9"}
KEYED = {**ACCOUNT, "key_field": "external_id", "external_id_field": "4711"}
FIELDS = [{"id": "3", "name": "E-Mail", "application_type": "longtext"}, {"id": "4711", "name": "CRM"}]


def answered(make_harness, account, records, *answers):
    """An Emarsys that gives these answers to upserts, the last one to all further ones."""
    waiting, heard = list(answers), []

    def answer(request):
        if request.method == "GET":
            return reply(200, {"replyCode": 0, "replyText": "OK", "data": FIELDS})
        heard.append(orjson.loads(b"".join(request.body))["contacts"])
        data = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return reply(200, {"replyCode": 0, "replyText": "OK", "data": data})

    harness = make_harness(destinations={"emarsys": account})
    speak_to(Peer(answer), harness)
    enqueue(records)
    for _ in range(4):
        harness.pump()
        advance(harness.runtime, 61)
    return harness, heard


@pytest.mark.parametrize(
    ("data", "delivered", "failed", "unattributed"),
    [
        ({"ids": list(range(60))}, 100, 0, 40),
        ({"ids": [[1, 2], ["3", [4]]], "errors": []}, 100, 0, 96),
        ({"ids": list(range(99)), "errors": {"p1@example.com": {"2005": "bad"}}}, 99, 1, 0),
        ({"ids": list(range(60)), "errors": {"p1@example.com": {"2005": "bad"}}}, 99, 1, 39),
        ({"ids": list(range(99)), "errors": {"who@example.com": {"2005": "bad"}}}, 100, 0, 1),
        ({"ids": list(range(100)), "errors": {"who@example.com": {"2009": "race"}}}, 100, 0, 1),
        ({"ids": [], "errors": {"p1@example.com": {"2005": "bad"}}}, 99, 1, 99),
        ({"ids": list(range(100))}, 100, 0, 0),
        ({"ids": list(range(200))}, 100, 0, 0),
    ],
)
def test_rows_that_no_id_vouches_for_are_unattributed(make_harness, data, delivered, failed, unattributed):
    harness, _ = answered(make_harness, ACCOUNT, [{"email": f"p{n}@example.com"} for n in range(100)], data)

    assert harness.books() | {"delivered": delivered, "failed": failed, "unattributed": unattributed} == harness.books()
    harness.assert_books_balance()


@pytest.mark.parametrize("quoted", ["12", " 12", "00012"])
def test_a_row_that_lost_a_race_goes_again_though_its_key_comes_back_written_otherwise(make_harness, quoted):
    race = {"ids": [1, 2], "errors": {quoted: {"2009": "Contact with the external id already exists"}}}
    records = [{"external_id": key} for key in ("0012", "13", "14")]
    harness, heard = answered(make_harness, KEYED, records, race, {"ids": [3]})

    assert [[contact["4711"] for contact in contacts] for contacts in heard] == [["0012", "13", "14"], ["0012"]]
    assert harness.books() | {"delivered": 3, "failed": 0, "unattributed": 0} == harness.books()
