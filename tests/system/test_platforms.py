"""The three platforms through the whole engine, against their sandboxes."""

import random
from collections import Counter

import orjson
import pytest

from contact_ingest import enqueue
from contact_ingest.store import books

LOOPS = {"platform": "loops", "api_key": "SG.test-key"}
EMARSYS = {"platform": "emarsys", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}


@pytest.fixture
def three(make_harness, sandbox):
    """Makes an engine with these destinations, by platform."""

    def make(*platforms, **settings):
        tables = {
            "sendgrid": {},
            "loops": {**LOOPS, "base_url": f"{sandbox.url}/api"},
            "emarsys": {**EMARSYS, "base_url": f"{sandbox.url}/api", "token_url": f"{sandbox.url}/oauth2/token"},
        }
        return make_harness(destinations={name: tables[name] for name in platforms}, **settings)

    return make


def requests(sandbox, endpoint):
    return [entry for entry in sandbox.journal() if entry["endpoint"] == endpoint]


def codes(harness, destination):
    return Counter(failed.code for failed in harness.engine.runtime(destination).failures)


def test_five_thousand_contacts_are_five_requests_and_each_bad_row_fails_by_its_own_code(three, sandbox):
    harness = three("emarsys")
    planted = {700 * n + 11: f"[[emarsys-{code}]]" for n, code in enumerate((2004, 2005, 2007, 2008, 2010, 2009))}
    enqueue(
        {"email": f"p{n}@example.com", "first_name": planted.get(n, f"Name {n}"), "last_name": "x"} for n in range(5000)
    )

    harness.run_until_settled(60)

    sent = requests(sandbox, "emarsys.contacts")
    assert [entry["contacts"] for entry in sent[:5]] == [1000] * 5
    assert [entry["contacts"] for entry in sent[5:]] == [1], "the race of 2009 is tried again, alone"
    assert sum(codes(harness, "emarsys").values()) == 5
    assert harness.books()["delivered"] == 4995
    assert len(list(sandbox.contacts("emarsys"))) == 4995
    harness.assert_books_balance()


def test_a_token_that_is_refused_in_the_middle_is_renewed_once_and_nobody_notices(three, sandbox):
    harness = three("emarsys")
    enqueue({"email": f"p{n}@example.com"} for n in range(1000))
    harness.run_until_settled()
    sandbox.dials(emarsys_tokens_revoked=1)
    enqueue({"email": f"q{n}@example.com"} for n in range(3000))

    harness.run_until_settled()

    statuses = Counter(entry["status"] for entry in requests(sandbox, "emarsys.contacts"))
    assert statuses == {200: 4, 401: 1}
    assert len(requests(sandbox, "emarsys.token")) == 2
    assert harness.books()["delivered"] == 4000


def test_an_expired_wsse_clock_is_reported_as_such(make_harness, sandbox):
    table = {"platform": "emarsys", "username": "sandbox001", "secret": "sandbox-secret"}
    harness = make_harness(destinations={"emarsys": {**table, "base_url": f"{sandbox.url}/api"}})
    harness.engine.client.set(harness.runtime.store.keys("clock_offset"), -600_000)
    enqueue({"email": "a@example.com"})

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    assert "clock" in harness.runtime.state.read()["why"]
    assert harness.books()["failed"] == 0


def test_one_contact_a_request_stays_within_the_teams_limit(three, sandbox):
    harness = three("loops")
    enqueue({"email": f"p{n}@example.com", "first_name": f"Name {n}"} for n in range(40))

    harness.run_until_settled()

    arrivals = [entry["at"] for entry in requests(sandbox, "loops.update")]
    assert len(arrivals) == 40
    assert all(later - earlier > 1.0 for earlier, later in zip(arrivals, arrivals[10:], strict=False))
    assert {entry["status"] for entry in requests(sandbox, "loops.update")} == {200}
    assert {contact["firstName"] for contact in sandbox.contacts("loops")} == {f"Name {n}" for n in range(40)}


def test_a_storm_of_refusals_spends_no_attempt(three, sandbox):
    harness = three("loops")
    sandbox.dials(script=["429"] * 3, faults_on=["loops.update"])
    enqueue({"email": f"p{n}@example.com"} for n in range(5))

    harness.run_until_settled(60)

    attempts = {
        int(harness.engine.client.hget(key, "attempts")) for key in harness.engine.client.keys("*}:batch:[0-9]*")
    }
    assert attempts == {1}
    assert harness.books()["delivered"] == 5


def test_one_stream_reaches_three_destinations_with_books_and_values_of_their_own(three, sandbox):
    harness = three("sendgrid", "loops", "emarsys")
    chance = random.Random(5)
    records = [
        {
            "email": f"P{n}@Example.com",
            "first_name": f"Ünï{n}",
            **({"last_name": f"L{n}"} if chance.random() < 0.5 else {}),
        }
        for n in range(60)
    ]

    receipts = enqueue(records, to=["sendgrid", "loops", "emarsys"])
    harness.run_until(
        lambda: all(harness.books(name)["delivered"] == 60 for name in ("sendgrid", "loops", "emarsys")), 60
    )

    assert {name: receipt.accepted for name, receipt in receipts.items()} == dict.fromkeys(receipts, 60)
    expected = {r["email"].lower(): (r["first_name"], r.get("last_name")) for r in records}
    sendgrid = {c["email"]: (c["first_name"], c.get("last_name")) for c in sandbox.contacts()}
    loops = {c["email"]: (c["firstName"], c.get("lastName")) for c in sandbox.contacts("loops")}
    emarsys = {c["fields"]["3"]: (c["fields"]["1"], c["fields"].get("2")) for c in sandbox.contacts("emarsys")}
    assert sendgrid == expected
    assert loops == expected
    assert emarsys == expected
    harness.assert_books_balance()


def test_what_a_platform_cannot_hold_is_refused_there_and_delivered_elsewhere(three, sandbox):
    harness = three("sendgrid", "loops", "emarsys")

    enqueue({"email": "a@example.com", "city": "Ulm"}, to=["sendgrid", "loops", "emarsys"])
    harness.run_until(lambda: harness.books("loops")["failed"] and harness.books("emarsys")["delivered"])
    harness.run_until(lambda: harness.books("sendgrid")["delivered"])

    (failed,) = harness.engine.runtime("loops").failures
    assert failed.reason.startswith("city: ")
    assert orjson.loads(failed.raw)["city"] == "Ulm"


@pytest.mark.parametrize("platform", ["sendgrid", "loops", "emarsys"])
def test_only_the_record_itself_subscribes_anybody(three, sandbox, platform):
    harness = three(platform)
    sandbox.seed("loops", [{"email": "a@example.com", "subscribed": False}])
    enqueue({"email": "a@example.com", "first_name": "Ann"})

    harness.run_until_settled()

    assert harness.books()["delivered"] == 1
    totals = sandbox.totals()
    assert (totals.get("resubscribed", 0), totals.get("consent_cleared", 0)) == (0, 0)
    assert all(c["subscribed"] is False for c in sandbox.contacts("loops"))
    assert all("31" not in c["fields"] for c in sandbox.contacts("emarsys"))


def test_the_books_of_several_destinations_stand_side_by_side(three):
    harness = three("sendgrid", "loops")

    enqueue([{"email": "a@example.com"}, {"email": "b@example.com"}], to={"sendgrid": {}, "loops": {}})

    for name in ("sendgrid", "loops"):
        (lane,) = books.read(harness.engine.runtime(name).store)
        assert (lane.lane, lane.counts["accepted"]) == (name, 2)


@pytest.mark.parametrize("status", [200, 400])
def test_a_key_that_the_platform_cannot_search_by_stops_the_destination_and_fails_nobody(status, make_harness, sandbox):
    sandbox.dials(emarsys_fields=[{"id": 1001, "name": "crm id", "kind": "shorttext"}], emarsys_bad_key=status)
    table = {**EMARSYS, "base_url": f"{sandbox.url}/api", "token_url": f"{sandbox.url}/oauth2/token"}
    harness = make_harness(destinations={"emarsys": {**table, "key_field": "external_id", "external_id_field": "1001"}})
    enqueue({"email": f"p{n}@example.com", "external_id": f"crm-{n}"} for n in range(20))

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    assert harness.runtime.state.read()["code"] == "bad_key_field"
    assert harness.books() | {"batched": 20, "failed": 0} == harness.books()
    assert list(sandbox.contacts("emarsys")) == []
    harness.assert_books_balance()
