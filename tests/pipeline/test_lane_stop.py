"""One lane or one body never stops a destination: a lane that is wrong is held alone, and goes on by itself."""

from dataclasses import replace

import orjson
import pytest
from support.dispatching import LIST, contacts_of, dispatch, facing, failures, person
from support.peer import advance, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.model.batch import StopKind
from contact_ingest.model.verdicts import StopLane
from contact_ingest.pipeline.backoff import TRIAL_MS
from contact_ingest.store import books
from contact_ingest.store.keys import DUE_DISPATCH

QUOTA = reply(400, {"errors": [{"message": "the plan takes 0 more contacts (request 7f3a9)"}]})
FIREWALL = reply(403, b"<html>Request blocked</html>")
FORBIDDEN = reply(403, {"errors": [{"message": "access forbidden"}]})


def listed(number, **more):
    enqueue([person(number, **more)], list_ids=[LIST])


def lane_of(harness):
    """The lane with the list."""
    [name] = (lane.lane for lane in books.read(harness.runtime.store) if "+" in lane.lane)
    return name


def numbers_in(harness, zset):
    return [int(n) for n in harness.runtime.store.client.zrange(harness.runtime.store.keys(zset), 0, -1)]


def counts(harness, lane):
    [found] = (each.counts for each in books.read(harness.runtime.store) if each.lane == lane)
    return found


class Rules:
    """A platform whose answer to an upsert is chosen by a function of the request; None: it takes the body."""

    def __init__(self, harness, rule):
        self.platform, self.rule, self.asked = facing(harness), rule, []
        self.platform.peer.answer = self.answer
        speak_to(self.platform.peer, harness, custom_fields=True)

    def answer(self, request):
        if request.method == "PUT":
            self.asked.append([contact["email"] for contact in contacts_of(request)])
            if (refusal := self.rule(request)) is not None:
                return refusal
        return self.platform.answer(request)


def names_of(request):
    return {contact["email"] for contact in contacts_of(request)}


def has_list(request):
    return bool(orjson.loads(b"".join(request.body)).get("list_ids"))


@pytest.fixture
def bad_list(harness, monkeypatch):
    """A platform that refuses requests with the list, as a fault of the lane's option, until `mended`."""
    rules = Rules(harness, lambda request: QUOTA if has_list(request) else None)
    provider = type(harness.runtime.provider)
    read = provider.read_upsert

    def read_upsert(self, response, now_s):
        refused = response.status == 400
        return StopLane("bad_list", "check list_ids") if refused else read(self, response, now_s)

    monkeypatch.setattr(provider, "read_upsert", read_upsert)
    return rules


def test_a_wrong_option_stops_its_lane_alone_fails_nobody_and_the_other_lanes_go_on(harness, bad_list):
    for number in range(20):
        listed(number)
    enqueue(person(n) for n in range(100, 189))

    harness.run_until(lambda: counts(harness, "sendgrid")["delivered"] == 89)

    lane = lane_of(harness)
    assert harness.runtime.state.stopped_lanes() == {lane: ("bad_list", "check list_ids")}
    assert "state" not in harness.runtime.state.read()
    assert (counts(harness, lane)["failed"], counts(harness, lane)["delivered"]) == (0, 0)
    assert sum(len(asked) == 1 for asked in bad_list.asked) <= 4, "every batch of the stopped lane was sent"
    harness.assert_books_balance()


def test_a_stopped_lane_is_tried_at_growing_gaps_and_an_acceptance_lets_all_of_it_go(harness, bad_list):
    listed(1)
    harness.run_until(harness.runtime.state.stopped_lanes)
    client, k, lane = harness.runtime.store.client, harness.runtime.store.keys, lane_of(harness)
    gaps = []
    for _ in range(7):
        gaps.append(int(client.hget(k(f"lane:{lane}"), "try_at")) - harness.runtime.clock.now_ms())
        dispatch(harness)
        assert len(bad_list.asked) == len(gaps), "it was tried before its time"
        advance(harness.runtime, gaps[-1] / 1000 + 0.1)
        dispatch(harness)
    first_ms, last_ms = TRIAL_MS[StopKind.OPTION]
    assert [round(gap / first_ms) for gap in gaps] == [1, 2, 4, 8, 16, 30, 30]
    assert max(gaps) <= last_ms

    bad_list.rule = lambda request: None
    listed(2)
    harness.pump()
    advance(harness.runtime, 901)
    harness.run_until_settled()

    assert harness.runtime.state.stopped_lanes() == {}
    assert counts(harness, lane)["delivered"] == 2
    assert not [zset for zset in DUE_DISPATCH if numbers_in(harness, zset)]
    harness.assert_books_balance()


@pytest.mark.parametrize("whole", [False, True])
def test_a_person_lets_a_stopped_lane_go_on_at_once(harness, bad_list, whole):
    listed(1)
    harness.run_until(harness.runtime.state.stopped_lanes)
    bad_list.rule = lambda request: None

    harness.runtime.state.resume(None if whole else lane_of(harness))

    harness.run_until_settled()
    assert harness.books() | {"delivered": 1, "failed": 0} == harness.books()


def test_two_hundred_due_batches_of_a_stopped_lane_delay_no_other_lane(make_harness, bad_list):
    harness = make_harness(max_open_batches=300)
    rules = Rules(harness, bad_list.rule)
    harness.runtime.aggregator._policy = replace(harness.runtime.aggregator._policy, max_unsent=300, max_open=600)
    for number in range(200):
        listed(number)
        harness.runtime.aggregator.aggregate(lane_of(harness))
    assert len(numbers_in(harness, "due:dispatch")) == 200
    enqueue([person(1000)])
    harness.runtime.aggregator.aggregate("sendgrid")

    for _ in range(3):
        dispatch(harness)

    assert len(rules.asked) == 2, "one of the lane that stops, and the healthy one"
    assert rules.asked[-1] == ["p1000@example.com"]
    assert len(numbers_in(harness, "due:dispatch:stopped")) + len(numbers_in(harness, "due:dispatch:trial")) == 200
    harness.runtime.aggregator._policy = replace(harness.runtime.aggregator._policy, max_unsent=4, max_open=8)
    enqueue([person(1001)])
    harness.run_until(lambda: counts(harness, "sendgrid")["delivered"] == 2)
    harness.assert_books_balance()


def test_a_stopped_lane_makes_few_batches_ahead(harness, bad_list):
    for number in range(30):
        listed(number)
        harness.pump()

    assert len(numbers_in(harness, "due:dispatch:stopped")) + len(numbers_in(harness, "due:dispatch:trial")) <= 10
    assert counts(harness, lane_of(harness))["waiting"] >= 20


def test_a_paused_lane_stands_in_nobodys_way_either(harness):
    facing(harness)
    harness.runtime.state.pause(None, "for the test")
    listed(1)
    harness.runtime.state.resume(None)
    harness.runtime.aggregator.aggregate(lane_of(harness))
    lane = lane_of(harness)
    harness.runtime.state.pause(lane, "a wrong list")
    enqueue([person(2)])

    harness.run_until(lambda: counts(harness, "sendgrid")["delivered"] == 1)

    assert len(numbers_in(harness, "due:dispatch:stopped")) == 1
    harness.runtime.state.resume(lane)
    harness.run_until_settled()
    assert counts(harness, lane)["delivered"] == 1
    assert numbers_in(harness, "due:dispatch:stopped") == []


def test_the_time_of_a_stop_is_no_time_of_trying(make_harness, bad_list):
    harness = make_harness(retry_window_s=3600)
    rules = Rules(harness, lambda request: reply(503) if has_list(request) else None)
    listed(1)
    harness.run_until(lambda: len(rules.asked) == 1)
    rules.rule = lambda request: QUOTA if has_list(request) else None
    advance(harness.runtime, 3000)
    harness.run_until(harness.runtime.state.stopped_lanes)
    for _ in range(100):  # a day
        advance(harness.runtime, 901)
        dispatch(harness)
    rules.rule = lambda request: reply(503)
    advance(harness.runtime, 901)
    dispatch(harness)

    assert harness.books() | {"failed": 0, "batched": 1} == harness.books()


@pytest.mark.parametrize("refusal", [FIREWALL, FORBIDDEN, reply(404, b"<html>"), reply(402, b"no")])
def test_a_body_that_something_on_the_way_refuses_stops_nobody_else(make_harness, refusal):
    harness = make_harness(retry_window_s=3600)
    rules = Rules(harness, lambda request: refusal if "p7@example.com" in names_of(request) else None)
    enqueue(person(n) for n in range(96))
    harness.pump()

    harness.run_until(lambda: harness.books()["delivered"] == 95)

    assert "state" not in harness.runtime.state.read()
    assert harness.runtime.state.stopped_lanes() == {}
    assert harness.books() | {"failed": 0, "batched": 1} == harness.books()
    assert len(rules.asked) <= 16
    for _ in range(40):
        advance(harness.runtime, 901)
        dispatch(harness)
    assert {email: about["code"] for email, about in failures(harness).items()} == {"p7@example.com": "gave_up"}


def test_an_account_that_refuses_every_body_although_its_probe_succeeds_is_stopped_after_two_lanes(harness):
    rules = Rules(harness, lambda request: FORBIDDEN)
    listed(1)
    enqueue([person(2)])

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    assert harness.runtime.state.read()["code"] == "forbidden"
    assert len(rules.asked) == 2
    assert harness.books()["failed"] == 0
    gaps = []
    for _ in range(4):
        gaps.append(int(harness.runtime.state.read()["probe_at"]) - harness.runtime.clock.now_ms())
        advance(harness.runtime, gaps[-1] / 1000 + 1)
        asked = len(rules.asked)
        while len(rules.asked) == asked or "state" not in harness.runtime.state.read():
            advance(harness.runtime, 1)
            harness.pump()
    assert len(rules.asked) <= 2 + 2 * 4
    assert gaps == sorted(gaps), "a probe that decides nothing has shortened the gap"
    assert gaps[-1] > 3 * gaps[0]
    assert harness.books()["failed"] == 0
    rules.rule = lambda request: None
    advance(harness.runtime, 601)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2


def test_one_lane_of_which_every_body_is_refused_stops_the_destination_too(harness):
    rules = Rules(harness, lambda request: FORBIDDEN)
    for number in range(6):
        enqueue([person(number)])
        harness.pump()

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    assert len(rules.asked) <= 6
    assert harness.books() | {"failed": 0, "delivered": 0} == harness.books()
