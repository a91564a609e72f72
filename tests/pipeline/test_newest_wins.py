"""Newest wins, from enqueue to the platform: retried failures, two lanes of a destination, records that share one
identifier and contradict in another. The platform is the sandbox, or a scripted peer where it has to wait."""

import httpx
import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to
from support.stage import KEY

from contact_ingest import enqueue
from contact_ingest.pipeline.aggregate_lane import MAX_RETRIES_IN_FLIGHT
from contact_ingest.store.lanes import cancel

LONG = "x" * 51
FAILS = "[[fail-import]]"


def person(number, **more):
    return {"email": f"p{number}@example.com", **more}


def raws(harness):
    return {failed.id: orjson.loads(failed.raw) for failed in harness.runtime.failures}


def retry(harness, *ids):
    return harness.runtime.failures.retry(harness.runtime.failures.get(ids))


def mend(sandbox):
    sandbox.dials(markers={"fail_import": "[[never]]"})


def again(harness, lane):
    return list(map(int, harness.runtime.store.client.zrange(harness.runtime.store.keys(f"retry:{lane}"), 0, -1)))


def fail(harness, *records, **options):
    lane = enqueue(list(records), **options).lane
    harness.run_until_settled()
    return lane


def stored(sandbox):
    return {contact["email"]: contact for contact in sandbox.contacts()}


@pytest.fixture
def lists(sandbox):
    """The id of one list: records for a list are on a lane of their own."""
    there = f"{sandbox.url}/v3/marketing/lists"
    made = httpx.post(there, json={"name": "News"}, headers={"authorization": f"Bearer {KEY}"})
    return [made.json()["id"]]


@pytest.fixture
def held_up(harness, sandbox):
    """A failure that was retried while its contact is in flight: it waits in the retry queue."""
    fail(harness, person(1, city="old", country="kept", last_name=FAILS))
    sandbox.dials(job_seconds=[0.3, 0.3])
    enqueue(person(1, line="first"))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    assert retry(harness, "sendgrid:0") == 1
    harness.runtime.aggregator.aggregate("sendgrid")
    return harness


def test_a_newer_record_of_another_lane_takes_its_fields_from_a_retried_one(held_up, sandbox, lists):
    mend(sandbox)
    held_up.runtime.state.pause("sendgrid", "so that the other lane goes first")
    enqueue(person(1, city="new"), list_ids=lists)
    held_up.run_until(lambda: held_up.books()["delivered"] == 2)
    held_up.assert_books_balance()

    held_up.runtime.state.resume("sendgrid")
    held_up.run_until_settled()

    contact = stored(sandbox)["p1@example.com"]
    assert (contact["city"], contact["country"]) == ("new", "kept")
    assert held_up.books() | {"accepted": 3, "delivered": 3, "failed": 0} == held_up.books()
    held_up.assert_books_balance()


def test_a_retried_record_waits_in_its_place_while_its_contact_is_in_flight(held_up):
    assert again(held_up, "sendgrid") == [0]
    assert held_up.books() | {"held": 1, "failed": 0, "batched": 1} == held_up.books()
    assert raws(held_up) == {}, "it is not listed as failed any more"
    assert held_up.runtime.failures.get(["sendgrid:0"]) == []
    assert held_up.runtime.failures.discard(["sendgrid:0"]) == 0, "what is on its way again is cancelled, not discarded"
    held_up.assert_books_balance()


def test_a_retried_record_can_be_cancelled(held_up):
    assert cancel(held_up.runtime.store, "sendgrid", [(0, 0)]) == 1
    assert cancel(held_up.runtime.store, "sendgrid", [(0, 0)]) == 0
    held_up.run_until_settled()

    assert held_up.books() | {"discarded": 1, "delivered": 1, "held": 0} == held_up.books()
    held_up.assert_books_balance()
    client, keys = held_up.runtime.store.client, held_up.runtime.store.keys
    assert not client.exists(*(keys(f"failures{index}") for index in ("", ":by_time", ":digests", ":by_digest")))


def test_a_retried_record_that_has_nothing_left_to_say_counts_as_merged(harness):
    fail(harness, person(1, city="old", last_name=LONG))
    harness.runtime.state.pause("sendgrid", "a person said so")
    retry(harness, "sendgrid:0")
    harness.runtime.state.resume("sendgrid")
    enqueue(person(1, city="new", last_name="short"))

    harness.run_until_settled()

    assert harness.books() | {"accepted": 2, "delivered": 1, "merged": 1, "failed": 0, "held": 0} == harness.books()
    harness.assert_books_balance()


def test_a_record_that_is_stripped_keeps_the_time_of_its_failure(harness):
    fail(harness, person(1, city="old", country="kept", last_name=LONG))
    client, name = harness.runtime.store.client, harness.runtime.store.keys("failures:by_time")
    before = client.zrange(name, 0, -1, withscores=True)
    advance(harness.runtime, 3_600)

    fail(harness, person(1, city="new"))

    assert raws(harness)["sendgrid:0"] == person(1, country="kept", last_name=LONG)
    assert client.zrange(name, 0, -1, withscores=True) == before


def test_a_record_between_two_that_were_merged_keeps_what_is_newer_than_the_first(harness, sandbox):
    """The first and the third become one row. The second was refused; it is newer than the first only."""
    fail(harness, person(1, city="1"), person(1, city="2", country="2", last_name=LONG), person(1, country="3"))
    assert raws(harness) == {"sendgrid:1": person(1, city="2", last_name=LONG)}
    harness.assert_books_balance()


@pytest.mark.parametrize("turns", [["1", "2"], ["2", "1"], ["12"]])
def test_a_merged_record_that_failed_loses_to_a_newer_one_what_its_older_part_had_set(harness, sandbox, turns):
    sandbox.dials(job_seconds=[0.3, 0.3])
    enqueue([person(1, city="1"), person(1, city="2", last_name=LONG), person(1, last_name=FAILS)])
    harness.run_until_settled()
    assert raws(harness) == {"sendgrid:1": person(1, city="2"), "sendgrid:2": person(1, city="1", last_name=FAILS)}
    mend(sandbox)

    for seqs in turns:
        retry(harness, *(f"sendgrid:{seq}" for seq in seqs))
        harness.run_until_settled()

    assert stored(sandbox)["p1@example.com"]["city"] == "2"
    assert harness.books()["failed"] == 0
    harness.assert_books_balance()


@pytest.mark.parametrize("first", [0, 1])
def test_failures_of_two_lanes_come_back_in_any_order_and_the_one_that_left_later_wins(harness, sandbox, lists, first):
    """The newer one was refused before dispatch, for a custom field that exists at the time of the retry."""
    sandbox.dials(job_seconds=[0.3, 0.3])
    enqueue(person(1, city="old", country="kept", last_name=FAILS))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    newer = fail(harness, person(1, city="new", custom_fields={"later": "x"}), list_ids=lists)
    assert set(raws(harness)) == {"sendgrid:0", f"{newer}:0"}
    mend(sandbox)
    harness.runtime.exchanger.send(harness.runtime.provider.create_field("later", "x"), None)
    advance(harness.runtime, 60)

    for record_id in [("sendgrid:0", f"{newer}:0"), (f"{newer}:0", "sendgrid:0")][first]:
        retry(harness, record_id)
        harness.run_until_settled()

    contact = stored(sandbox)["p1@example.com"]
    assert (contact["city"], contact["country"]) == ("new", "kept")
    assert harness.books()["failed"] == 0
    harness.assert_books_balance()


def test_a_record_of_another_lane_that_has_lost_all_it_said_still_joins_its_list(harness, sandbox, lists):
    """The record stays failed although the field it was refused for has been taken from it."""
    refused = fail(harness, person(1, city="old", last_name=LONG), list_ids=lists)
    fail(harness, person(2), person(1, city="new", last_name="short"))
    assert raws(harness) == {f"{refused}:0": person(1)}

    retry(harness, f"{refused}:0")
    harness.run_until_settled()

    contact = stored(sandbox)["p1@example.com"]
    assert (contact["city"], contact["last_name"], contact["list_ids"]) == ("new", "short", lists)
    assert harness.books() | {"accepted": 3, "delivered": 3, "failed": 0} == harness.books()
    harness.assert_books_balance()


def test_a_refused_record_is_known_by_its_address_as_the_platform_writes_it(harness, sandbox):
    sandbox.dials(unicode_addresses=True)
    odd = "ann@bu\u0308cher.de"  # u and a combining diaeresis: the platform writes one character
    fail(harness, {"email": odd, "city": "old", "last_name": LONG})

    fail(harness, {"email": odd, "city": "new", "last_name": "short"})

    assert harness.books() | {"delivered": 1, "merged": 1, "failed": 0} == harness.books()


def test_several_failures_of_one_contact_go_again_as_one_in_the_order_of_their_ids(harness, sandbox):
    later = {"custom_fields": {"later": "x"}}
    fail(harness, person(1, city="0", **later), person(1, city="1", line="kept", **later))
    fail(harness, person(1, city="2", **later))
    harness.runtime.exchanger.send(harness.runtime.provider.create_field("later", "x"), None)
    advance(harness.runtime, 60)
    harness.runtime.state.pause("sendgrid", "until all are back")

    for record_id in ("sendgrid:2", "sendgrid:0", "sendgrid:1"):
        assert retry(harness, record_id) == 1
    harness.runtime.state.resume("sendgrid")
    harness.run_until_settled()

    contact = stored(sandbox)["p1@example.com"]
    assert (contact["city"], contact["line"]) == ("2", "kept")
    assert harness.books() | {"accepted": 3, "delivered": 1, "merged": 2, "failed": 0} == harness.books()
    harness.assert_books_balance()


def test_a_record_refused_and_retried_while_an_older_one_is_held_goes_behind_it(harness, sandbox):
    sandbox.dials(job_seconds=[0.4, 0.4])
    enqueue(person(1, city="0"))
    harness.run_until(lambda: harness.books()["batched"] == 1)
    enqueue([person(1, city="1", line="kept"), person(1, city="2", custom_fields={"later": "x"})])
    harness.run_until(lambda: harness.books() | {"held": 1, "failed": 1} == harness.books())
    harness.runtime.exchanger.send(harness.runtime.provider.create_field("later", "x"), None)
    advance(harness.runtime, 60)

    assert retry(harness, "sendgrid:2") == 1
    harness.run_until_settled()

    contact = stored(sandbox)["p1@example.com"]
    assert (contact["city"], contact["line"]) == ("2", "kept")
    assert harness.books() | {"delivered": 3, "failed": 0} == harness.books()


def test_a_record_retried_while_the_rest_of_its_body_is_still_searched_waits_for_it(harness):
    answers = [
        reply(400, {"errors": [{"message": "email 'p1@example.com' is not valid"}]}),
        reply(503),
        *[reply(202, {"job_id": "job-1"})] * 2,
    ]

    def answer(request):
        if request.method == "PUT":
            return answers.pop(0)
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    peer = Peer(answer)
    speak_to(peer, harness)
    enqueue([person(1, city="1"), person(2)])
    harness.run_until(lambda: harness.books()["failed"] == 1)

    retry(harness, "sendgrid:0")
    harness.runtime.aggregator.aggregate("sendgrid")
    assert harness.books() | {"held": 1, "batched": 1, "failed": 0} == harness.books()
    advance(harness.runtime, 60)
    harness.run_until_settled()

    assert harness.books() | {"delivered": 2, "failed": 0} == harness.books()
    assert len([request for request in peer.heard if request.method == "PUT"]) == 4
    harness.assert_books_balance()


def test_contradicting_identifiers_keep_the_order_of_those_that_share_one(harness):
    """Records 1 and 2 share the address, 2 and 3 the external id; each contradicts the one before it."""
    sent = []

    def answer(request):
        if request.method == "PUT":
            sent.append(orjson.loads(b"".join(request.body))["contacts"])
            return reply(202, {"job_id": f"job-{len(sent)}"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    speak_to(Peer(answer), harness)
    enqueue(
        [
            person(1, external_id="1", city="1"),
            person(1, external_id="2", city="2"),
            person(3, external_id="2", city="3"),
            {"external_id": "1", "city": "4"},
        ]
    )
    harness.run_until_settled()

    cities = [contact["city"] for contacts in sent for contact in contacts]
    assert sorted(cities) == ["1", "2", "3", "4"]
    for older, newer in (("1", "2"), ("2", "3"), ("1", "4")):
        assert cities.index(older) < cities.index(newer)
    assert [len(contacts) for contacts in sent].count(4) == 0
    harness.assert_books_balance()


def test_a_retried_record_is_looked_at_as_soon_as_its_contact_is_free(make_harness):
    harness = make_harness(max_wait_s=3_600)
    refusal = reply(400, {"errors": [{"message": "email 'p1@example.com' is not valid"}]})
    answers = [refusal]

    def answer(request):
        if request.method == "PUT":
            return answers.pop() if answers else reply(202, {"job_id": "job-1"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    speak_to(Peer(answer), harness)
    enqueue([person(1), person(2)])
    harness.runtime.schedule.flush("sendgrid")
    harness.run_until(lambda: harness.books()["failed"] == 1)
    retry(harness, "sendgrid:0")
    harness.runtime.aggregator.aggregate("sendgrid")

    harness.run_until(lambda: harness.books()["delivered"] == 2)

    assert harness.books()["held"] == 0


@pytest.fixture
def crowd(make_harness):
    """More retried records of contacts in flight than one round reads. Nobody knows what became of their batch."""
    count = MAX_RETRIES_IN_FLIGHT + 700
    harness = make_harness(max_wait_s=0, orphan_wait_s=600, retry_window_s=60)
    answers = {"status": 504}

    def answer(request):
        if request.method == "PUT":
            return reply(answers["status"], {"job_id": "job-1"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    speak_to(Peer(answer), harness)
    enqueue(person(number, city="old") for number in range(count))
    harness.run_until(lambda: harness.books()["batched"] == count)
    while not harness.books()["failed"]:
        advance(harness.runtime, 40)
        harness.pump()
    assert harness.books() | {"failed": count, "batched": 0} == harness.books(), "given up, and perhaps applied"
    answers["status"] = 202
    assert harness.runtime.failures.retry(harness.runtime.failures) == count
    return harness


def test_a_crowd_of_retried_records_in_flight_does_not_hold_up_what_is_new(crowd):
    held = crowd.books()["held"]
    enqueue(person(number) for number in range(100_000, 100_100))

    crowd.runtime.aggregator.aggregate("sendgrid")

    assert crowd.books() | {"batched": 100, "held": held} == crowd.books()
    client, keys = crowd.runtime.store.client, crowd.runtime.store.keys
    cursor = int(client.hget(keys("lane:sendgrid"), "retry_cursor"))
    assert cursor == crowd.runtime.aggregator._store.read_snapshot("sendgrid").retry_cursor == MAX_RETRIES_IN_FLIGHT
    crowd.assert_books_balance()


def test_a_round_reads_a_part_of_the_crowd_and_the_next_ones_read_the_rest(crowd):
    client, keys = crowd.runtime.store.client, crowd.runtime.store.keys
    version = client.get(keys("version"))
    seen = []

    for _ in range(4):
        crowd.runtime.aggregator.aggregate("sendgrid")
        due_ms = client.zscore(keys("due:aggregate"), "sendgrid") - crowd.runtime.clock.now_ms()
        seen.append((int(client.hget(keys("lane:sendgrid"), "retry_cursor")), due_ms <= 100))

    assert [at for at, _ in seen] == [MAX_RETRIES_IN_FLIGHT, 0, MAX_RETRIES_IN_FLIGHT, 0]
    assert seen[0][1], "the rest is looked at soon"
    assert client.get(keys("version")) == version, "a round that moves nothing makes no other round start over"


def test_the_crowd_goes_once_its_contacts_are_free(crowd):
    held = crowd.books()["held"]
    advance(crowd.runtime, 601)

    crowd.run_until_settled()

    assert crowd.books() | {"delivered": held, "failed": 0, "held": 0} == crowd.books()
    crowd.assert_books_balance()
    advance(crowd.runtime, 601)
    crowd.run_until(lambda: not crowd.runtime.store.client.hlen(crowd.runtime.store.keys("inflight")))
