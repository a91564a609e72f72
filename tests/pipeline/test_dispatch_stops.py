"""Refused keys stop a destination; crashes, fences and slots."""

from math import ceil, log2

import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to
from support.upserts import (
    LIST,
    batch,
    batch_on_its_way,
    busy,
    contacts_of,
    crash,
    dispatch,
    facing,
    failures,
    person,
)

from contact_ingest import enqueue
from contact_ingest.model.batch import Settlement
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.schedule import PROBE_FIRST_MS, PROBE_LAST_MS


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_the_destination_fails_nobody_and_a_probe_resumes_it(harness, status):
    platform = facing(harness, reply(status))
    number = batch_on_its_way(harness)
    runtime = harness.runtime

    dispatch(harness)

    assert runtime.state.read()["state"] == "stopped"
    assert harness.books() | {"failed": 0, "batched": 1} == harness.books()
    assert (batch(harness, number)["attempts"], batch(harness, number)["claims_count"]) == ("0", "0")
    dispatch(harness)
    assert len(platform.sent) == 1
    advance(runtime, 61)
    assert [bell.kind for bell in runtime.schedule.tick(4).wakeups if bell.kind == "dispatch"] == ["dispatch"]
    dispatch(harness)
    assert "state" not in runtime.state.read()
    assert platform.peer.consume_wakeup[-1].method == "GET"
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_a_key_that_is_wrong_in_the_sandbox_stops_and_resumes_too(harness, sandbox):
    sandbox.dials(auth_down=True)
    enqueue(person(1))
    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")
    sandbox.dials(auth_down=False)

    advance(harness.runtime, 61)

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_probes_that_fail_come_at_growing_gaps(harness):
    peer = Peer(lambda _: reply(401))
    speak_to(peer, harness)
    batch_on_its_way(harness)
    runtime, gaps = harness.runtime, []
    dispatch(harness)

    for _ in range(6):
        gaps.append(int(runtime.state.read()["probe_at"]) - runtime.clock.now_ms())
        advance(runtime, gaps[-1] / 1000 + 1)
        dispatch(harness)

    assert [round(gap / PROBE_FIRST_MS) for gap in gaps] == [1, 2, 4, 8, 10, 10]
    assert max(gaps) <= PROBE_LAST_MS
    assert sum(request.method == "PUT" for request in peer.consume_wakeup) == 1


def test_several_requests_refused_at_once_do_not_lengthen_the_wait(harness):
    for _ in range(8):
        harness.runtime.state.stop("unauthorized", "the key is wrong")

    wait = int(harness.runtime.state.read()["probe_at"]) - harness.runtime.clock.now_ms()
    assert wait <= PROBE_FIRST_MS


def test_a_person_resumes_a_stopped_destination_at_once(harness):
    facing(harness, reply(401))
    batch_on_its_way(harness)
    dispatch(harness)

    harness.runtime.state.resume(None)

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_what_a_person_has_paused_stays_paused_when_a_request_on_its_way_is_refused(harness):
    def paused_meanwhile(_):
        harness.runtime.state.pause(None, "a person said so")
        return reply(401)

    speak_to(Peer(paused_meanwhile), harness)
    batch_on_its_way(harness)

    dispatch(harness)

    assert harness.runtime.state.read()["state"] == "paused"
    assert harness.books()["batched"] == 1


def test_a_complaint_about_the_lists_stops_instead_of_failing_thousands(harness, sandbox):
    sandbox.dials(list_error="named")
    enqueue((person(n) for n in range(100)), list_ids=[LIST])

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    assert harness.runtime.state.read()["code"] == "bad_list"
    assert harness.books() | {"failed": 0, "batched": 100} == harness.books()


def test_a_batch_whose_worker_died_is_due_again_and_its_contacts_stay_busy_for_the_orphan(make_harness):
    harness = make_harness(orphan_wait_s=600)
    facing(harness)
    batch_on_its_way(harness)

    crash(harness)
    harness.run_until_settled()

    assert harness.books()["delivered"] == 1
    assert busy(harness) == 1
    advance(harness.runtime, 601)
    harness.runtime.schedule.tick(4)
    assert busy(harness) == 0


def test_a_worker_that_comes_back_late_changes_nothing(harness):
    platform = facing(harness)
    number = batch_on_its_way(harness)

    def frozen(request):
        platform.peer.answer = platform.answer
        advance(harness.runtime, 46)
        dispatch(harness)  # another worker takes over
        return reply(400, {"errors": [{"message": "no"}]})

    platform.peer.answer = frozen
    assert dispatch(harness) == ()

    assert batch(harness, number)["state"] == "polling"
    assert harness.books() | {"failed": 0, "batched": 1} == harness.books()
    harness.assert_books_balance()


def test_a_body_that_kills_three_workers_is_searched_and_only_the_killer_fails(harness):
    """The worker that sends p7 dies; every other part is sent and arrives."""
    platform = facing(harness)
    batch_on_its_way(harness, *(person(n) for n in range(16)))
    deaths = 0

    class Died(BaseException):
        """The end of a worker."""

    def deadly(request):
        if request.method == "PUT" and "p7@example.com" in {c["email"] for c in contacts_of(request)}:
            return Died()
        return platform.answer(request)

    platform.peer.answer = deadly
    while harness.books()["batched"] and deaths < 60:
        advance(harness.runtime, 46)
        try:
            dispatch(harness)
            harness.runtime.poller.poll("sendgrid")
        except Died:
            deaths += 1

    assert {email: about["code"] for email, about in failures(harness).items()} == {"p7@example.com": "poison"}
    assert harness.books()["delivered"] == 15
    assert deaths <= 3 * (ceil(log2(16)) + 1)
    harness.assert_books_balance()


def test_three_crashes_of_a_deployment_blame_nobody(harness):
    facing(harness)
    batch_on_its_way(harness, *(person(n) for n in range(8)))
    for _ in range(4):
        crash(harness)

    harness.run_until_settled()

    assert harness.books() | {"delivered": 8, "failed": 0} == harness.books()


def test_no_more_exchanges_are_under_way_than_there_are_slots(harness):
    platform = facing(harness)
    harness.runtime.state.set_slots(1)
    batch_on_its_way(harness)
    held = harness.runtime.batch_store.claim("dispatch").batch
    batch_on_its_way(harness, person(2))

    dispatch(harness)

    assert platform.sent == []
    harness.runtime.batch_store.settle(held, Settlement(held.sends(held.bisect)))
    dispatch(harness)
    assert len(platform.sent) == 1


def test_a_paused_lane_sends_nothing_and_its_neighbour_does(harness):
    platform = facing(harness)
    batch_on_its_way(harness)
    enqueue(person(2), list_ids=[LIST])
    [lane] = [name for name in lane_names(harness.runtime.store) if name != "sendgrid"]
    harness.runtime.aggregator.aggregate(lane)
    harness.runtime.state.pause("sendgrid", "a person said so")

    for _ in range(3):
        dispatch(harness)

    assert [orjson.loads(body)["contacts"][0]["email"] for body in platform.sent] == ["p2@example.com"]


def test_the_log_of_a_batch_that_ended_names_no_one(harness, caplog):
    facing(harness)
    with caplog.at_level("INFO", logger="contact_ingest"):
        enqueue(person(1))
        harness.run_until_settled()

    [record] = [record for record in caplog.records if record.message == "batch ended"]
    assert (record.rows, record.delivered, record.failed) == (1, 1, 0)
    assert "p1@" not in str(vars(record))
