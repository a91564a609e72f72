"""When a lane becomes bodies: full ones at once, partial ones when they have waited enough."""

import threading

import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to
from support.people import person

from contact_ingest import enqueue
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.schedule import WakeUp

LIST = "00000000-0000-4000-8000-000000000001"
CAP = 65_536


def run_round(harness, lane="sendgrid"):
    """One round over a lane; returns how many batches are due for dispatch now."""
    harness.runtime.aggregator.aggregate(lane)
    return harness.runtime.store.client.zcard(harness.runtime.store.keys("due:dispatch"))


def bodies(harness):
    """The bodies that are due for dispatch, in order."""
    runtime = harness.runtime
    numbers = map(int, runtime.store.client.zrange(runtime.store.keys("due:dispatch"), 0, -1))
    return [runtime.store.client.get(runtime.store.keys(f"batch:{number}:body")) for number in numbers]


def contacts_of(body):
    return orjson.loads(body)["contacts"]


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed for failed in harness.runtime.failures}


def failed_raw(harness):
    return {orjson.loads(failed.raw).get("email"): orjson.loads(failed.raw) for failed in harness.runtime.failures}


@pytest.fixture
def slow(make_harness):
    """A destination whose partial bodies wait for a minute."""
    return make_harness(max_wait_s=60, max_body_bytes=CAP)


def in_flight(harness, *records):
    """Put records into a batch that is due for dispatch, and leave it there."""
    enqueue(list(records))
    harness.runtime.schedule.flush("sendgrid")
    run_round(harness)


def settle(harness):
    for lane in lane_names(harness.runtime.store):
        harness.runtime.schedule.flush(lane)
    harness.run_until_settled()


def test_a_body_full_by_bytes_goes_at_once_and_the_rest_waits(slow):
    enqueue(person(number, postal_code="x" * 500) for number in range(150))

    assert run_round(slow) == 1

    [body] = bodies(slow)
    assert 0.98 * CAP < len(body) <= CAP
    assert len(contacts_of(body)) + slow.books()["waiting"] == 150


def test_a_body_full_by_count_goes_at_once(make_harness, sandbox):
    harness = make_harness(max_wait_s=60)
    enqueue({"email": f"{number}@x.cd"} for number in range(30_100))

    assert run_round(harness) == 1

    assert [len(contacts_of(body)) for body in bodies(harness)] == [30_000]
    assert harness.books()["waiting"] == 100


def test_a_partial_body_waits_for_its_time_by_the_clock_and_needs_no_further_arrival(slow):
    enqueue(person(1))
    assert run_round(slow) == 0
    advance(slow.runtime, 30)
    enqueue(person(2))
    assert run_round(slow) == 0
    assert slow.books()["waiting"] == 2

    advance(slow.runtime, 31)

    assert WakeUp("aggregate", "sendgrid") in slow.runtime.schedule.tick(4).wakeups
    assert run_round(slow) == 1
    assert [len(contacts_of(body)) for body in bodies(slow)] == [2]


def test_the_age_of_a_lane_is_that_of_its_oldest_record(slow):
    enqueue(person(number, postal_code="x" * 500) for number in range(100))
    advance(slow.runtime, 59)
    enqueue(person(number, postal_code="x" * 500) for number in range(100, 150))
    assert run_round(slow) == 1

    advance(slow.runtime, 2)

    assert run_round(slow) == 1, "what is left came later and has not waited long enough"
    advance(slow.runtime, 58)
    assert run_round(slow) == 2


def test_a_lane_that_is_flushed_leaves_now(slow):
    enqueue(person(1))
    slow.runtime.schedule.flush("sendgrid")
    enqueue(person(2))

    assert run_round(slow) == 1
    assert slow.books()["waiting"] == 0


@pytest.mark.parametrize("list_ids", [[], [LIST]])
def test_with_a_backlog_every_body_is_filled_to_ninety_nine_percent(make_harness, list_ids):
    harness = make_harness(max_wait_s=60, max_body_bytes=200_000)
    lane = enqueue(
        (person(number, postal_code="é" * (number % 97)) for number in range(12_000)), list_ids=list_ids
    ).lane

    assert run_round(harness, lane) > 4

    for body in bodies(harness):
        assert 0.99 * 200_000 <= len(body) <= 200_000
        assert body == orjson.dumps(orjson.loads(body))


def test_a_lane_has_no_more_batches_due_for_dispatch_than_may_be(make_harness):
    harness = make_harness(max_wait_s=0, max_body_bytes=CAP, max_open_batches=3)
    enqueue(person(number, postal_code="x" * 500) for number in range(1000))

    for _ in range(5):
        run_round(harness)

    assert len(bodies(harness)) == 3
    assert harness.books()["waiting"] > 500


def test_a_refused_record_fails_with_field_and_reason_keeps_its_id_and_can_be_retried(harness):
    enqueue([person(0), person(1, last_name="x" * 51), {"email": "nobody"}, person(3, city=None)])
    harness.run_until_settled()

    found = failures(harness)
    assert {email: failed.code for email, failed in found.items()} == {
        "p1@example.com": "too_long",
        "nobody": "bad_email",
        "p3@example.com": "null",
    }
    assert found["p1@example.com"].id == "sendgrid:1"
    assert found["p1@example.com"].stage == "aggregate"
    assert found["p1@example.com"].reason.startswith("last_name: has 51 characters")
    assert "x" * 51 not in found["p1@example.com"].reason
    assert harness.runtime.failures.retry(list(harness.runtime.failures)) == 3
    harness.run_until_settled()
    again = failures(harness)["p1@example.com"]
    assert (again.id, again.attempts, again.first_ms) == (
        "sendgrid:1",
        2,
        found["p1@example.com"].first_ms,
    )
    assert harness.books() | {"accepted": 4, "delivered": 1, "failed": 3} == harness.books()
    harness.assert_books_balance()


def test_thousands_of_refusals_do_not_stand_in_the_way_of_the_good(harness):
    enqueue(person(number, **({"last_name": "x" * 51} if number % 2 else {})) for number in range(5_000))

    harness.run_until_settled()

    assert harness.books() | {"failed": 2_500, "delivered": 2_500} == harness.books()
    harness.assert_books_balance()


def test_a_contact_larger_than_the_cap_is_refused_with_its_size_not_sent_and_not_dropped(make_harness, sandbox):
    harness = make_harness(max_body_bytes=CAP)
    enqueue([person(1), person(2, postal_code="x" * CAP), person(3)])

    harness.run_until_settled()

    assert harness.books() | {"failed": 1, "delivered": 2} == harness.books()
    failed = failures(harness)["p2@example.com"]
    assert failed.code == "too_large"
    assert str(CAP) not in failed.reason.split("over")[0]
    assert sandbox.totals()["max_body_bytes"] <= CAP


def test_a_newer_record_takes_from_an_older_failed_one_what_it_sets(harness, sandbox):
    enqueue(person(1, city="old", country="kept", last_name="x" * 51))
    harness.run_until_settled()

    enqueue(person(1, city="new", last_name="short"))
    harness.run_until_settled()

    assert failed_raw(harness)["p1@example.com"] == {"email": "p1@example.com", "country": "kept"}
    harness.runtime.failures.retry(list(harness.runtime.failures))
    harness.run_until_settled()
    [stored] = sandbox.contacts()
    assert (stored["city"], stored["country"], stored["last_name"]) == ("new", "kept", "short")
    harness.assert_books_balance()


def test_a_failed_record_with_nothing_left_to_say_is_superseded_and_counts_as_merged(harness):
    enqueue(person(1, last_name="x" * 51))
    harness.run_until_settled()

    enqueue(person(1, last_name="short"))
    harness.run_until_settled()

    assert harness.books() | {"accepted": 2, "delivered": 1, "merged": 1, "failed": 0} == harness.books()
    harness.assert_books_balance()


def test_a_record_refused_in_the_same_round_as_a_newer_one_loses_what_that_one_sets(harness, sandbox):
    enqueue(
        [
            person(1, city="old", country="kept", last_name="x" * 51),
            person(1, city="new", last_name="short"),
            person(2, last_name="x" * 51),
            person(2, last_name="short"),
        ]
    )
    harness.run_until_settled()

    assert failed_raw(harness) == {"p1@example.com": {"email": "p1@example.com", "country": "kept"}}
    assert harness.books() | {"accepted": 4, "delivered": 2, "merged": 1, "failed": 1} == harness.books()
    harness.assert_books_balance()


def test_a_record_refused_after_a_good_older_one_loses_nothing_to_it(harness):
    newer = person(1, city="newer", last_name="x" * 51)
    enqueue([person(1, city="older"), newer])

    harness.run_until_settled()

    assert failed_raw(harness)["p1@example.com"] == newer


def test_an_older_record_that_is_retried_takes_nothing_from_a_newer_failed_one(harness, sandbox):
    newer = person(1, city="new", last_name="x" * 51)
    enqueue(person(1, city="old", last_name="[[fail-import]]"))
    harness.run_until_settled()
    enqueue(newer)
    harness.run_until_settled()
    assert harness.books()["failed"] == 2
    sandbox.dials(markers={"fail_import": "[[never]]"})

    harness.runtime.failures.retry([failed for failed in harness.runtime.failures if failed.id == "sendgrid:0"])
    harness.run_until_settled()

    assert failed_raw(harness) == {"p1@example.com": newer}


def test_an_address_that_the_platform_writes_differently_is_still_the_same_contact(harness, sandbox):
    sandbox.dials(unicode_addresses=True)
    odd = "ann@bu\u0308cher.de"  # u and a combining diaeresis: the platform writes one character
    enqueue({"email": odd, "city": "old", "last_name": "[[fail-import]]"})
    harness.run_until_settled()
    assert harness.books()["failed"] == 1

    enqueue({"email": odd, "city": "new", "last_name": "fine"})
    harness.run_until_settled()

    assert harness.books() | {"delivered": 1, "merged": 1, "failed": 0} == harness.books()


def test_a_newer_record_of_another_lane_leaves_the_failed_one_its_identifiers(harness, sandbox):
    enqueue(person(1, last_name="x" * 51))
    harness.run_until_settled()
    sandbox.dials(list_error="named")

    lane = enqueue(person(1, last_name="short"), list_ids=[LIST]).lane
    run_round(harness, lane)

    assert failed_raw(harness)["p1@example.com"] == {"email": "p1@example.com"}
    assert harness.books()["failed"] == 1
    harness.assert_books_balance()


def test_failures_retried_out_of_order_never_put_the_older_value_over_the_newer(harness, sandbox):
    sandbox.dials(job_seconds=[0.3, 0.3])
    enqueue(person(1, city="old", last_name="[[fail-import]]"))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    enqueue(person(1, city="new", last_name="x" * 51))
    harness.run_until_settled()
    failed = {one.id: one for one in harness.runtime.failures}
    assert set(failed) == {"sendgrid:0", "sendgrid:1"}
    sandbox.dials(markers={"fail_import": "[[never]]"})

    for record_id in ("sendgrid:1", "sendgrid:0"):
        harness.runtime.failures.retry([failed[record_id]])
    harness.run_until_settled()

    # The newer record is still refused for its name; the older one has to leave the city alone once it is mended.
    left = {one.id: orjson.loads(one.raw) for one in harness.runtime.failures}
    assert left.get("sendgrid:1", {}).get("city") == "new" or next(sandbox.contacts())["city"] == "new"
    harness.assert_books_balance()


def test_two_lanes_of_a_destination_share_who_is_in_flight(slow):
    in_flight(slow, person(1, city="first"))
    lane = enqueue(person(1, city="second"), list_ids=[LIST]).lane
    slow.runtime.schedule.flush(lane)

    assert run_round(slow, lane) == 1

    assert slow.books()["held"] == 1
    slow.assert_books_balance()


def test_a_held_record_goes_once_its_contact_is_free_and_the_newest_value_wins(harness, sandbox):
    sandbox.dials(job_seconds=[0.4, 0.4])
    enqueue(person(1, city="first", country="kept"))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    enqueue(person(1, city="second"))
    enqueue(person(1, city="third"))
    harness.run_until(lambda: harness.books()["held"] == 1)

    harness.run_until_settled()

    [stored] = sandbox.contacts()
    assert (stored["city"], stored["country"]) == ("third", "kept")
    assert harness.books() | {"delivered": 2, "merged": 1} == harness.books()
    harness.assert_books_balance()


def test_one_busy_contact_does_not_hold_up_the_others(slow):
    in_flight(slow, person(1))
    enqueue([person(1, city="again"), *(person(number) for number in range(2, 50))])
    slow.runtime.schedule.flush("sendgrid")

    assert run_round(slow) == 2

    assert len(contacts_of(bodies(slow)[1])) == 48
    assert slow.books()["held"] == 1


def test_a_lane_with_as_many_held_as_may_be_rests_until_one_is_free(slow):
    in_flight(slow, *(person(number) for number in range(100)))
    runtime = slow.runtime
    runtime.aggregator._policy = type(runtime.aggregator._policy)(max_wait_ms=60_000, max_held=50)
    enqueue(person(number, city="again") for number in range(100))
    runtime.schedule.flush("sendgrid")
    run_round(slow)
    version = runtime.store.client.get(runtime.store.keys("version"))

    assert runtime.aggregator.aggregate("sendgrid") == ()

    assert slow.books() | {"held": 50, "waiting": 50, "batched": 100} == slow.books()
    assert runtime.store.client.get(runtime.store.keys("version")) == version, (
        "a round with nothing to do stops the others"
    )
    due = runtime.store.client.zscore(runtime.store.keys("due:aggregate"), "sendgrid")
    assert due - runtime.clock.now_ms() > 30_000
    slow.assert_books_balance()
    settle(slow)
    assert slow.books() | {"delivered": 200} == slow.books()


@pytest.mark.parametrize(
    ("policy", "expected", "custom"),
    [
        ("refuse", {"delivered": 1, "failed": 1, "dropped": 0}, {}),
        ("drop", {"delivered": 2, "failed": 0, "dropped": 1}, {}),
        ("create", {"delivered": 2, "failed": 0, "dropped": 0}, {"e1_T": "pro"}),
    ],
)
def test_an_unknown_custom_field_follows_the_policy(make_harness, sandbox, policy, expected, custom):
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": policy}})
    enqueue([person(1), person(2, custom_fields={"plan": "pro"})])

    harness.run_until_settled()

    runtime = harness.runtime
    dropped = int(runtime.store.client.hget(runtime.store.keys("books:sendgrid"), "dropped") or 0)
    assert {**harness.books(), "dropped": dropped} | expected == {**harness.books(), "dropped": dropped}
    stored = {contact["email"]: contact["custom_fields"] for contact in sandbox.contacts()}
    assert stored.get("p2@example.com", {}) == custom
    if policy == "refuse":
        assert failures(harness)["p2@example.com"].code == "unknown_field"


def test_a_custom_field_that_appears_at_the_platform_is_found_on_retry(make_harness, sandbox):
    harness = make_harness()
    enqueue(person(1, custom_fields={"plan": "pro"}))
    harness.run_until_settled()
    assert harness.books()["failed"] == 1
    runtime = harness.runtime
    runtime.exchanger.send(runtime.provider.create_field("plan", "pro"), None)
    advance(runtime, 60)

    runtime.failures.retry(list(runtime.failures))
    harness.run_until_settled()

    assert harness.books()["delivered"] == 1


def test_definitions_that_cannot_be_had_make_the_lane_wait_and_nobody_fail(harness):
    peer = Peer(lambda _: reply(503))
    speak_to(peer, harness, custom_fields=True)
    runtime = harness.runtime
    enqueue(person(1, custom_fields={"plan": "pro"}))

    assert run_round(harness) == 0

    assert harness.books() | {"waiting": 1, "failed": 0} == harness.books()
    assert runtime.store.client.zscore(runtime.store.keys("due:aggregate"), "sendgrid") > runtime.clock.now_ms()


def test_a_learned_cap_is_kept_and_after_a_day_one_body_asks_again(slow):
    records = [person(number, postal_code="x" * 500) for number in range(400)]
    slow.runtime.state.learn_cap(CAP // 2)
    enqueue(records)
    run_round(slow)
    assert max(map(len, bodies(slow))) <= CAP // 2

    advance(slow.runtime, 86_401)
    enqueue(person(number, postal_code="x" * 500) for number in range(1000, 1400))
    run_round(slow)

    assert max(map(len, bodies(slow))) > 0.98 * CAP


def test_bodies_made_before_a_cap_was_learned_do_not_raise_it_again(slow):
    slow.runtime.state.learn_cap(CAP // 2)
    slow.runtime.state.learn_cap(CAP)

    assert slow.runtime.state.read()["cap_bytes"] == str(CAP // 2)


def test_of_two_rounds_on_one_version_one_commits_and_nothing_is_lost(harness):
    enqueue(person(number) for number in range(100))
    runtime = harness.runtime
    rounds = []
    barrier = threading.Barrier(2, timeout=10)

    class Meeting:
        """The store of both rounds: each waits for the other between its snapshot and its first commit."""

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        def commit(self, commit):
            if not rounds:
                barrier.wait()
            took = self._store.commit(commit)
            rounds.append(took)
            return took

    runtime.aggregator._store = Meeting(runtime.aggregator._store)
    threads = [threading.Thread(target=runtime.aggregator.aggregate, args=("sendgrid",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert rounds.count(True) >= 1
    assert False in rounds
    assert harness.books() | {"batched": 100, "waiting": 0} == harness.books()
    staged = [k for k in runtime.store.client.scan_iter("*:body") if runtime.store.client.ttl(k) != -1]
    assert staged == [], "the loser's bodies are left behind"
    harness.assert_books_balance()


def test_records_that_arrive_during_a_round_make_the_lane_due_again(harness):
    enqueue(person(1))
    runtime = harness.runtime
    store = runtime.aggregator._store
    apply = store.commit

    def enqueue_and_apply(commit):
        enqueue(person(2))
        return apply(commit)

    store.commit = enqueue_and_apply
    runtime.aggregator.aggregate("sendgrid")
    store.commit = apply

    assert runtime.store.client.zscore(runtime.store.keys("due:aggregate"), "sendgrid") <= runtime.clock.now_ms()
    harness.run_until_settled()
    assert harness.books()["delivered"] == 2


@pytest.mark.parametrize("lane", ["sendgrid", None])
def test_a_paused_lane_waits_and_goes_on_when_it_is_resumed(harness, lane):
    harness.runtime.state.pause(lane, "a person said so")
    enqueue(person(1))
    assert run_round(harness) == 0
    assert harness.books()["waiting"] == 1

    harness.runtime.state.resume(lane)

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_a_paused_lane_does_not_stop_its_neighbour(harness, sandbox):
    harness.runtime.state.pause("sendgrid", "a person said so")
    enqueue(person(1))
    enqueue(person(2), list_ids=[LIST])

    harness.run_until(lambda: harness.books()["waiting"] == 1)

    assert harness.books()["waiting"] == 1


def test_a_destinations_field_mapping_holds_for_all_its_records(make_harness, sandbox):
    mapping = {"rename": {"company": "last_name"}, "drop": ["facebook"], "constants": {"country": "Denmark"}}
    harness = make_harness(destinations={"sendgrid": {"fields": mapping}})
    enqueue({"email": "a@example.com", "company": "Acme", "facebook": "acme"})

    harness.run_until_settled()

    (stored,) = sandbox.contacts()
    assert (stored["last_name"], stored["country"], "facebook" in stored) == ("Acme", "Denmark", False)
