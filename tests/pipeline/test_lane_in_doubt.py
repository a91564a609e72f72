"""Rows refused alone, alike, while nothing is accepted: nobody is blamed, the lane stops and says what to look at."""

from math import ceil, log2

import orjson
import pytest
from support.dispatching import LIST, batch_on_its_way, contacts_of, dispatch, facing, failures, person
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue

REFUSALS = {
    "a list that does not exist, and no field named": reply(400, {"errors": [{"field": None, "message": "not found"}]}),
    "a quota": reply(400, {"errors": [{"message": "contact limit of 2000 reached, request 7f3a9c"}]}),
    "a path that is wrong": reply(400, {"errors": [{"field": None, "message": "unsupported"}]}),
}


def loops(make_harness, rule):
    """Loops behind a rule: a function from the contact of a request to a refusal, or None where it is taken."""
    harness = make_harness(
        destinations={"loops": {"platform": "loops", "api_key": "k-0123456789", "base_url": "http://127.0.0.1:9"}}
    )
    asked = []

    def answer(request):
        if request.method != "PUT":
            return reply(200, [] if "properties" in request.url else {"success": True, "teamName": "t"})
        contact = orjson.loads(b"".join(request.body))
        asked.append(contact["email"])
        return rule(contact) or reply(200, {"success": True, "id": f"c{len(asked)}"})

    speak_to(Peer(answer), harness, custom_fields=True)
    return harness, asked


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_three_hundred_contacts_refused_for_what_is_not_theirs_fail_nobody_and_cost_a_search(harness, cli, refusal):
    platform = facing(harness, *[refusal] * 100)
    enqueue((person(n) for n in range(300)), list_ids=[LIST])

    harness.run_until(harness.runtime.state.stopped_lanes)

    assert len(platform.sent) <= ceil(log2(300)) + 5
    assert harness.books() | {"failed": 0, "batched": 300} == harness.books()
    [(lane, (code, why))] = harness.runtime.state.stopped_lanes().items()
    assert code.startswith(("http_400", "invalid_json"))
    assert "lane's options" in why
    assert not any(text in why for text in ("2000", "7f3a9c")), "a value of the platform's text is shown"
    [status] = (each for each in cli("status", "--json").json["lanes"] if each["lane"] == lane)
    assert (status["state"], status["next"].split()[0]) == ("stopped", "try")
    assert why in status["why"]
    assert "stopped" in cli("doctor").out
    platform.answers = []
    said = cli("resume", "--lane", lane)
    assert said.code == 0
    harness.run_until_settled()
    assert harness.books() | {"failed": 0, "delivered": 300} == harness.books()
    harness.assert_books_balance()


def test_a_thousand_contacts_beyond_a_quota_at_a_platform_of_one_contact_a_request_fail_nobody(make_harness):
    full = [True]
    no = reply(400, {"success": False, "message": "the plan takes no more contacts"})
    harness, asked = loops(make_harness, lambda contact: no if full[0] else None)
    enqueue(person(n) for n in range(1_000))

    harness.run_until(harness.runtime.state.stopped_lanes)
    for _ in range(60):  # an hour
        advance(harness.runtime, 60)
        harness.pump()

    assert len(asked) <= 30
    assert harness.books()["failed"] == 0
    full[0] = False
    for _ in range(600):
        if not any(harness.books()[name] for name in ("waiting", "batched")):
            break
        advance(harness.runtime, 5)
        harness.pump()
    assert harness.books() | {"failed": 0, "delivered": 1_000} == harness.books()
    harness.assert_books_balance()


def test_fifty_bad_contacts_in_a_row_fail_and_the_others_arrive(make_harness):
    no = reply(400, {"success": False, "message": "email is not valid"})
    harness, _ = loops(make_harness, lambda contact: no if 20 <= int(contact["email"][1:-12]) < 70 else None)
    enqueue(person(n) for n in range(150))

    for _ in range(400):
        if harness.books()["delivered"] + harness.books()["failed"] == 150:
            break
        harness.pump()
        advance(harness.runtime, 2)

    assert set(failures(harness)) == {f"p{n}@example.com" for n in range(20, 70)}
    assert harness.books()["delivered"] == 100
    harness.assert_books_balance()


def test_a_lone_contact_with_a_bad_address_fails_soon_on_an_idle_lane(make_harness):
    no = reply(400, {"success": False, "message": "email is not valid"})
    harness, asked = loops(make_harness, lambda contact: no)
    enqueue([person(1)])

    harness.run_until_settled(15)

    assert set(failures(harness)) == {"p1@example.com"}
    assert len(asked) == 2


def test_a_body_whose_first_and_last_rows_are_bad_fails_just_these(harness):
    bad = {"p0@example.com", "p299@example.com"}
    platform = facing(harness)

    def answer(request):
        if request.method == "PUT" and bad & {contact["email"] for contact in contacts_of(request)}:
            return reply(400, {"errors": [{"message": "no"}]})
        return platform.answer(request)

    platform.peer.answer = answer
    batch_on_its_way(harness, *(person(n) for n in range(300)))

    for _ in range(60):
        dispatch(harness)
        advance(harness.runtime, 2)
    harness.run_until_settled()

    assert set(failures(harness)) == bad
    assert harness.books()["delivered"] == 298
    harness.assert_books_balance()


@pytest.mark.parametrize("kind", ["flush", "flush --lane"])
def test_flush_says_that_a_lane_is_stopped_and_exits_as_for_a_stopped_destination(harness, cli, kind):
    facing(harness, *[REFUSALS["a quota"]] * 50)
    enqueue(person(n) for n in range(20))
    harness.run_until(harness.runtime.state.stopped_lanes)

    more = ("--lane", "sendgrid") if "lane" in kind else ()
    said = cli("flush", *more, "--wait", "--timeout", "0.3")

    assert said.code == 3
    assert "warning: sendgrid: this lane is stopped" in said.err
