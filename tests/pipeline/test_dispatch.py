"""What becomes of a batch when the platform says no, one test for each answer there is."""

from math import ceil, log2

import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown, NotSent
from contact_ingest.model.batch import Settlement
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.schedule import PROBE_FIRST_MS, PROBE_LAST_MS

LIST = "00000000-0000-4000-8000-000000000001"


def person(number, **more):
    return {"email": f"p{number}@example.com", "first_name": f"Name {number}", **more}


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed.public(contents=False) for failed in harness.runtime.failures}


def upserts(sandbox):
    return [entry for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"]


def batch_on_its_way(harness, *records):
    """Cut one batch; returns its number."""
    enqueue(list(records) or person(1))
    harness.runtime.aggregator.aggregate("sendgrid")
    runtime = harness.runtime
    return int(runtime.store.client.zrange(runtime.store.keys("due:dispatch"), 0, -1)[-1])


def batch(harness, number):
    runtime = harness.runtime
    found = runtime.store.client.hgetall(runtime.store.keys(f"batch:{number}"))
    return {name.decode(): value.decode() for name, value in found.items()}


def dispatch(harness):
    return harness.runtime.dispatcher.dispatch("sendgrid")


def busy(harness):
    return harness.runtime.store.client.hlen(harness.runtime.store.keys("inflight"))


def due_in_s(harness, number):
    runtime = harness.runtime
    return (runtime.store.client.zscore(runtime.store.keys("due:dispatch"), number) - runtime.clock.now_ms()) / 1000


def contacts_of(request):
    return orjson.loads(b"".join(request.body))["contacts"]


class Imports:
    """A platform whose upserts meet one answer after the other, then go well, as do all imports."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []
        self.peer = Peer(self.answer)

    def answer(self, request):
        if request.method == "PUT":
            self.sent.append(b"".join(request.body))
            return self.answers.pop(0) if self.answers else reply(202, {"job_id": f"job-{len(self.sent)}"})
        if "/imports/" in request.url:
            return reply(200, {"status": "completed"})
        return reply(200, {"custom_fields": []})


def facing(harness, *answers):
    platform = Imports(*answers)
    speak_to(platform.peer, harness)
    return platform


# Named, nameless, hinted.


def test_a_named_record_fails_alone_and_the_rest_go_again_at_once(harness, sandbox):
    enqueue(person(n, **({"last_name": "[[reject-named]]"} if n == 700 else {})) for n in range(1000))

    harness.run_until_settled()

    assert len(upserts(sandbox)) == 2
    [(email, about)] = failures(harness).items()
    assert email == "p700@example.com"
    assert (about["stage"], about["code"], about["attempts"]) == ("dispatch", "bad_identifier", 1)
    assert "p700" not in about["reason"]
    assert harness.books()["delivered"] == len(list(sandbox.contacts())) == 999
    harness.assert_books_balance()


@pytest.mark.parametrize("bad", [0, 17_321, 29_999])
def test_one_nameless_bad_record_among_thirty_thousand_is_found_in_eighteen_requests(make_harness, sandbox, bad):
    harness = make_harness(max_wait_s=60)
    enqueue({"email": f"p{n}@x.cd", **({"last_name": "[[reject-silent]]"} if n == bad else {})} for n in range(30_000))

    harness.run_until_settled()

    assert set(failures(harness)) == {f"p{bad}@x.cd"}
    assert harness.books()["delivered"] == 29_999
    assert len(upserts(sandbox)) <= ceil(log2(30_000)) + 3 == 18
    harness.assert_books_balance()


def test_several_nameless_bad_records_fail_and_no_innocent_does(harness, sandbox):
    bad = {3, 4, 250, 499}
    enqueue(person(n, **({"last_name": "[[reject-silent]]"} if n in bad else {})) for n in range(500))

    harness.run_until_settled()

    assert set(failures(harness)) == {f"p{n}@example.com" for n in bad}
    assert {c["email"] for c in sandbox.contacts()} == {f"p{n}@example.com" for n in set(range(500)) - bad}
    assert sum(entry["contacts"] for entry in upserts(sandbox)) == 496, "an accepted contact was sent twice"
    harness.assert_books_balance()


@pytest.mark.parametrize("shift", [0, 1, -1, 40_000])
def test_an_index_is_a_hint_and_blames_nobody_unproved(harness, sandbox, shift):
    sandbox.dials(index_shift=shift)
    enqueue(person(n, **({"last_name": "[[reject-index]]"} if n == 60 else {})) for n in range(100))

    harness.run_until_settled()

    assert set(failures(harness)) == {"p60@example.com"}
    assert harness.books()["delivered"] == 99
    assert len(upserts(sandbox)) <= ceil(log2(100)) + 3 + 2 * 3
    if shift == 0:
        assert len(upserts(sandbox)) == 3


def test_a_body_with_many_nameless_bad_records_is_searched_in_parts_behind_fresh_traffic(harness):
    platform = facing(harness, *[reply(400, {"errors": [{"message": "no"}]})] * 1000)
    number = batch_on_its_way(harness, *(person(n) for n in range(150)))
    runtime = harness.runtime

    for _ in range(20):
        dispatch(harness)

    assert batch(harness, number)["state"] == "done"
    assert runtime.store.client.zcard(runtime.store.keys("due:dispatch:low")) > 1, "what is left is not in parts"
    assert runtime.store.client.zcard(runtime.store.keys("due:dispatch")) == 0
    fresh = batch_on_its_way(harness, person(1000))
    platform.answers = []
    dispatch(harness)
    assert batch(harness, fresh)["state"] == "polling"
    harness.run_until_settled()
    assert harness.books()["delivered"] > 1
    harness.assert_books_balance()


def test_imports_of_parts_are_asked_about_behind_fresh_ones(harness):
    refusal = reply(400, {"errors": [{"message": "no"}]})
    # The first row is bad, and then somebody else is: what is left is dealt out.
    facing(harness, *[refusal] * 8)
    batch_on_its_way(harness, *(person(n) for n in range(64)))
    runtime = harness.runtime
    while not runtime.store.client.zcard(runtime.store.keys("due:poll:low")):
        dispatch(harness)
    batch_on_its_way(harness, person(1000))
    while not runtime.store.client.zcard(runtime.store.keys("due:poll")):
        dispatch(harness)
    advance(runtime, 5)

    fresh, part = (runtime.batch_store.claim("poll").batch for _ in range(2))
    assert (fresh.low_priority, fresh.due_set) == (0, "due:poll")
    assert (part.low_priority, part.due_set) == (1, "due:poll:low")


def test_a_named_one_after_the_other_does_not_block_fresh_traffic_either(harness):
    platform = facing(harness)
    bad = {f"p{n}@example.com" for n in range(220)}

    def name_the_first(request):
        if request.method == "PUT":
            found = next((c["email"] for c in contacts_of(request) if c["email"] in bad), None)
            if found:
                return reply(400, {"errors": [{"message": f"email '{found}' is not valid"}]})
        return platform.answer(request)

    platform.peer.answer = name_the_first
    number = batch_on_its_way(harness, *(person(n) for n in range(300)))
    for _ in range(202):
        dispatch(harness)

    assert harness.runtime.store.client.zscore(harness.runtime.store.keys("due:dispatch:low"), number) is not None
    fresh = batch_on_its_way(harness, person(1000))
    dispatch(harness)
    assert batch(harness, fresh)["state"] == "polling"
    harness.run_until_settled()
    assert harness.books() | {"failed": 220, "delivered": 81} == harness.books()


def test_refused_custom_field_ids_are_tried_again_before_their_records_fail(harness):
    refusal = reply(
        400, {"errors": [{"field": "custom_fields", "message": "invalid custom field ids supplied - e9_T"}]}
    )
    platform = facing(harness, *[refusal] * 4)
    client, keys = harness.runtime.store.client, harness.runtime.store.keys
    table = {"fields": {"plan": ["e9_T", "Text"]}, "fetched_ms": harness.runtime.clock.now_ms()}
    client.set(keys("custom_fields"), orjson.dumps(table))
    number = batch_on_its_way(harness, person(1, custom_fields={"plan": "pro"}), person(2))

    for attempt in range(1, 4):
        dispatch(harness)
        assert (batch(harness, number)["attempts"], harness.books()["failed"]) == (str(attempt), 0)
        assert due_in_s(harness, number) > 2
        advance(harness.runtime, 1000)
    assert not client.exists(keys("custom_fields"))
    harness.run_until_settled()

    assert set(failures(harness)) == {"p1@example.com"}
    assert harness.books()["delivered"] == 1
    assert len(platform.sent) == 5


def test_more_failures_than_one_step_may_carry_are_all_written_down(harness):
    named = [{"message": f"email 'p{n}@example.com' is not valid"} for n in range(2_500)]
    facing(harness, reply(400, {"errors": named}))
    enqueue(person(n) for n in range(3_000))

    harness.run_until_settled()

    assert harness.books() | {"failed": 2_500, "delivered": 500} == harness.books()
    harness.assert_books_balance()


# Too large, limited, passing trouble.


def test_a_body_too_large_is_split_without_an_attempt_and_the_cap_is_learned(harness, sandbox):
    sandbox.dials(hidden_byte_cap=100_000)
    enqueue(person(n, postal_code="x" * 500) for n in range(600))

    harness.run_until_settled()

    assert harness.books()["delivered"] == len(list(sandbox.contacts())) == 600
    assert failures(harness) == {}
    cap = int(harness.runtime.state.read()["cap_bytes"])
    assert 65_536 <= cap <= 200_000
    refused = len([entry for entry in upserts(sandbox) if entry["status"] == 413])
    enqueue(person(n, postal_code="x" * 500) for n in range(600))
    harness.run_until_settled()
    again = [entry for entry in upserts(sandbox) if entry["status"] == 413]
    assert len(again) <= refused + 1
    harness.assert_books_balance()


def test_a_split_makes_views_that_start_afresh_and_ends_the_parent(harness):
    facing(harness, reply(413))
    number = batch_on_its_way(harness, *(person(n) for n in range(5)))

    dispatch(harness)

    parent = batch(harness, number)
    assert (parent["state"], parent["attempts"], parent["claims_count"]) == ("done", "0", "0")
    runtime = harness.runtime
    children = [int(n) for n in runtime.store.client.zrange(runtime.store.keys("due:dispatch"), 0, -1)]
    assert [batch(harness, n)["sending"] for n in children] == ["[[0,3]]", "[[3,5]]"]
    assert {batch(harness, n)["root"] for n in children} == {str(number)}
    assert busy(harness) == 5
    harness.assert_books_balance()
    harness.run_until_settled()
    assert busy(harness) == 0


def test_one_contact_that_is_too_large_for_the_platform_fails_alone(harness):
    facing(harness, *[reply(413)] * 4)
    enqueue([person(1), person(2)])

    harness.run_until_settled()

    assert harness.books()["delivered"] + harness.books()["failed"] == 2
    assert {about["code"] for about in failures(harness).values()} == {"too_large"}
    harness.assert_books_balance()


def test_a_cap_is_never_learned_below_the_smallest(harness):
    facing(harness, reply(413))
    batch_on_its_way(harness, person(1), person(2))

    dispatch(harness)

    assert harness.runtime.state.read()["cap_bytes"] == "65536"


def test_a_429_spends_no_attempt_and_everybody_waits(harness):
    platform = facing(harness, reply(429, retry_after="30"))
    number = batch_on_its_way(harness)

    dispatch(harness)
    dispatch(harness)

    found = batch(harness, number)
    assert len(platform.sent) == 1, "sent again although the platform said wait"
    assert (found["attempts"], found["claims_count"]) == ("0", "0")
    assert harness.runtime.schedule.tick(4).wakeups == ()
    advance(harness.runtime, 31)
    dispatch(harness)
    assert batch(harness, number)["state"] == "polling"


def test_a_hundred_429s_fail_nobody(harness):
    facing(harness, *[reply(429, retry_after="600")] * 100)
    number = batch_on_its_way(harness)

    for _ in range(100):
        dispatch(harness)
        advance(harness.runtime, 601)
    dispatch(harness)

    assert batch(harness, number)["state"] == "polling"
    assert harness.books()["failed"] == 0


@pytest.mark.parametrize("answer", [reply(500), reply(503), reply(408), NotSent("connect"), NotSent("dns")])
def test_passing_trouble_sends_the_same_bytes_again_and_leaves_no_orphan(harness, answer):
    platform = facing(harness, answer)
    number = batch_on_its_way(harness)

    dispatch(harness)
    assert batch(harness, number) | {"attempts": "1", "state": "ready"} == batch(harness, number)
    advance(harness.runtime, 10)
    harness.run_until_settled()

    assert platform.sent[0] == platform.sent[1]
    assert (len(platform.sent), harness.books()["delivered"], busy(harness)) == (2, 1, 0)


def test_faults_by_the_dozen_lose_nothing(harness, sandbox):
    sandbox.dials(
        script=["500", "drop_before", "503", "429", "502", "drop_after", "unreadable", "408"],
        faults_on=["sendgrid.upsert"],
    )
    enqueue(person(n) for n in range(50))
    runtime = harness.runtime

    def settled():
        advance(runtime, 20)
        return not any(harness.books()[name] for name in ("waiting", "held", "batched"))

    harness.run_until(settled)

    assert harness.books()["delivered"] == len(list(sandbox.contacts())) == 50
    harness.assert_books_balance()


def test_what_the_platform_asks_for_is_the_shortest_wait(harness):
    facing(harness, reply(503, retry_after="300"))
    number = batch_on_its_way(harness)

    dispatch(harness)

    assert 295 <= due_in_s(harness, number) <= 301


def test_a_setback_in_the_midst_of_a_search_waits_no_longer_than_a_first_one(harness, monkeypatch):
    """Ten answers that were part of the search are no reason to wait a quarter of an hour."""
    monkeypatch.setattr("contact_ingest.pipeline.dispatch.random.random", lambda: 1.0)
    nobody = reply(400, {"errors": [{"message": "invalid request"}]})
    facing(harness, *[nobody] * 10, reply(503), reply(503), nobody, reply(503))
    number = batch_on_its_way(harness, *map(person, range(2_000)))

    for _ in range(10):
        dispatch(harness)
    assert int(batch(harness, number)["attempts"]) == 10
    dispatch(harness)
    assert 0 < due_in_s(harness, number) <= 1

    advance(harness.runtime, 1)
    dispatch(harness)
    assert 1 < due_in_s(harness, number) <= 2, "the second in a row waits longer"

    for _ in range(2):
        advance(harness.runtime, 2)
        dispatch(harness)
    assert 0 < due_in_s(harness, number) <= 1, "an answer in between ends the row"


def test_when_the_window_is_over_the_records_fail_as_given_up_and_can_be_retried(make_harness):
    harness = make_harness(retry_window_s=3600)
    platform = facing(harness, *[reply(500)] * 500)
    batch_on_its_way(harness, person(1), person(2))

    for _ in range(60):  # an hour, and the longest pause there is
        dispatch(harness)
        advance(harness.runtime, 100)

    assert {about["code"] for about in failures(harness).values()} == {"gave_up"}
    assert harness.books()["failed"] == 2
    assert len(platform.sent) > 10, "ended by count, not by window"
    platform.answers = []
    harness.runtime.failures.retry(list(harness.runtime.failures))
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2
    harness.assert_books_balance()


# Unknown fates.


@pytest.mark.parametrize(
    "answer", [FateUnknown("reset"), FateUnknown("deadline"), reply(202, b"<html>"), reply(200, {}), reply(504)]
)
def test_an_unknown_fate_is_no_success_and_keeps_its_contacts_busy_after_a_later_attempt(make_harness, answer):
    harness = make_harness(orphan_wait_s=600)
    facing(harness, answer)
    number = batch_on_its_way(harness)

    dispatch(harness)
    assert harness.books() | {"batched": 1, "delivered": 0} == harness.books()
    assert batch(harness, number)["attempts"] == "1"
    advance(harness.runtime, 10)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1

    assert busy(harness) == 1, "the orphan job may still overwrite what is newer"
    enqueue(person(1, city="newer"))
    harness.run_until(lambda: harness.books()["held"] == 1)
    advance(harness.runtime, 601)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2
    advance(harness.runtime, 601)
    harness.runtime.schedule.tick(4)
    assert busy(harness) == 0


@pytest.mark.parametrize("fault", ["drop_after", "unreadable"])
def test_an_orphan_job_of_the_sandbox_never_overwrites_newer_data(make_harness, sandbox, fault):
    harness = make_harness(orphan_wait_s=2)
    sandbox.dials(script=[fault], faults_on=["sendgrid.upsert"], job_seconds=[1.0, 1.0])
    enqueue(person(1, city="old"))
    # Where the pause is short, the same turn has sent it again already.
    harness.run_until(lambda: upserts(sandbox) and harness.books()["batched"] == 1)
    sandbox.dials(job_seconds=[0.0, 0.0])
    enqueue(person(1, city="new"))

    harness.run_until_settled()

    assert sandbox.totals()["jobs_pending"] == 0
    assert [c["city"] for c in sandbox.contacts()] == ["new"]


# Keys, rights, stops.


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


# Crashes, fences, slots.


def crash(harness):
    """A worker takes the next batch and is never heard of again."""
    claimed = harness.runtime.batch_store.claim("dispatch")
    advance(harness.runtime, 46)
    return claimed


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
