"""A destination that is wrong is stopped, probed and resumed; nobody fails for it."""

import pytest
from support.dispatching import LIST, batch, batch_on_its_way, dispatch, facing, person
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.store.schedule import PROBE_FIRST_MS, PROBE_LAST_MS


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_stops_the_destination_fails_nobody_and_a_probe_resumes_it(harness, status):
    refusal = reply(status, {"errors": [{"message": "access forbidden"}]})
    peer = Peer(lambda _: refusal)
    speak_to(peer, harness)
    number = batch_on_its_way(harness)
    runtime = harness.runtime

    dispatch(harness)

    assert runtime.state.read()["state"] == "stopped"
    assert harness.books() | {"failed": 0, "batched": 1} == harness.books()
    assert (batch(harness, number)["attempts"], batch(harness, number)["claims_count"]) == ("0", "0")
    dispatch(harness)
    assert [request.method for request in peer.heard] == ["PUT", "GET"], "the account is asked, once, before the stop"
    facing(harness)
    advance(runtime, 61)
    assert [wakeup.kind for wakeup in runtime.schedule.tick(4).wakeups if wakeup.kind == "dispatch"] == ["dispatch"]
    dispatch(harness)
    assert "state" not in runtime.state.read()
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
    assert sum(request.method == "PUT" for request in peer.heard) == 1


def test_several_requests_refused_at_once_do_not_lengthen_the_wait(harness):
    for _ in range(8):
        harness.runtime.state.stop("unauthorized", "the key is wrong")

    wait = int(harness.runtime.state.read()["probe_at"]) - harness.runtime.clock.now_ms()
    assert wait <= PROBE_FIRST_MS


def test_a_person_resumes_a_stopped_destination_at_once(harness):
    speak_to(Peer(lambda _: reply(401)), harness)
    batch_on_its_way(harness)
    dispatch(harness)
    assert harness.runtime.state.read()["state"] == "stopped"
    facing(harness)

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


def test_a_complaint_about_the_lists_stops_the_lane_instead_of_failing_thousands(harness, sandbox):
    sandbox.dials(list_error="named")
    enqueue((person(n) for n in range(100)), list_ids=[LIST])

    harness.run_until(harness.runtime.state.stopped_lanes)

    [(code, why)] = harness.runtime.state.stopped_lanes().values()
    assert code == "bad_list"
    assert "list_ids" in why
    assert "state" not in harness.runtime.state.read()
    assert harness.books() | {"failed": 0, "batched": 100} == harness.books()
