"""The doctor on keys that are gone: each is found, and what can be mended is mended."""

import orjson
import pytest
from support.diagnosis import run, wrong
from support.people import person

from contact_ingest import enqueue
from contact_ingest.pipeline.retry import FailureFilter

LIST = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def harness(make_harness):
    made = make_harness()
    made.engine.workers.heartbeat("host:1", 4)
    return made


def keys_of(harness):
    return harness.runtime.store.client, harness.runtime.store.keys


def packed(harness, number=3, **options):
    receipt = enqueue([person(at) for at in range(number)], **options)
    harness.runtime.custom_fields.ready_for({})
    harness.runtime.aggregator.aggregate(receipt.lane)
    return receipt.lane


def repaired(*arguments):
    """The doctor's round after a repair is healthy."""
    ended = run("doctor", "--repair", "--books", *arguments)
    assert ended.exit_code == 0, ended.output
    assert "repaired sendgrid: keys: " in ended.output
    return ended.output


def test_a_healthy_keyspace_has_no_lost_keys_at_any_step(harness, sandbox):
    enqueue([person(1), person(1, last_name="b"), person(2, last_name="x" * 51)], list_ids=[LIST])
    for _ in range(30):
        harness.pump()
        found = orjson.loads(run("doctor", "--books", "--json").stdout)["findings"]
        assert [one for one in found if one["level"] == "wrong" and "lists" not in one["about"]] == []
    assert "keys: 0 mended" in run("doctor", "--repair").output


@pytest.mark.parametrize("zset", ["due:dispatch", "due:poll"])
def test_batches_in_no_queue_are_found_and_queued(harness, sandbox, zset):
    packed(harness)
    if zset == "due:poll":
        harness.runtime.dispatcher.dispatch("sendgrid")
    client, k = keys_of(harness)
    assert client.delete(k(zset)) == 1

    assert wrong()["sendgrid: keys"][0] == (
        "batches 1 have not ended, and are in no queue: nobody sends them or asks about them"
    )
    assert "1 mended" in repaired()
    harness.run_until_settled()
    assert harness.books()["delivered"] == 3


def test_a_batch_that_is_missing_in_the_list_of_batches_is_listed_again(harness, sandbox):
    packed(harness)
    client, k = keys_of(harness)
    client.delete(k("batches"))
    assert "books of sendgrid" in wrong("--books")

    client.delete(k("due:dispatch"))
    client.zadd(k("due:dispatch"), {"1": 0})
    run("doctor", "--repair")

    harness.run_until_settled()
    assert harness.books()["delivered"] == 3


def test_a_batch_whose_hash_is_gone_is_found_and_leaves_the_queue(harness):
    packed(harness)
    client, k = keys_of(harness)
    client.delete(k("batch:1"))

    assert wrong()["sendgrid: keys"][0].startswith("batches 1 are due and gone")
    run("doctor", "--repair")
    assert client.exists(k("due:dispatch"), k("batches")) == 0


@pytest.mark.parametrize("part", ["body", "offsets", "records"])
def test_a_batch_that_has_lost_a_part_of_its_body_is_found(harness, part):
    packed(harness)
    client, k = keys_of(harness)
    client.delete(k(f"batch:1:{part}"))

    says, remedy = wrong()["sendgrid: keys"]

    assert says == "batches 1 have lost their bytes or records"
    assert "keys_lost" in remedy


def test_a_list_of_lanes_that_is_gone_is_found_and_made_again(harness, sandbox, cli):
    enqueue(person(1))
    client, k = keys_of(harness)
    client.delete(k("lanes"))
    assert cli("status", "--json").json["lanes"] == []

    assert "missing in the list of lanes" in wrong()["lane sendgrid"][0]
    repaired()
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_a_lane_with_the_options_of_the_configuration_is_listed_again_and_another_is_not(make_harness, sandbox):
    made = make_harness(destinations={"sendgrid": {"list_ids": [LIST]}})
    made.engine.workers.heartbeat("host:1", 4)
    configured = enqueue(person(1)).lane
    other = enqueue(person(2), list_ids=["00000000-0000-0000-0000-000000000002"]).lane
    client, k = keys_of(made)
    client.delete(k("lanes"))

    ended = run("doctor", "--repair", "--json")

    assert [lane.decode() for lane in client.hkeys(k("lanes"))] == [configured]
    findings = {
        one["about"]: one["remedy"] for one in orjson.loads(ended.stdout)["findings"] if one["level"] == "wrong"
    }
    assert "enqueue one record with the options of the lane" in findings[f"lane {other}"]
    enqueue(person(3), list_ids=["00000000-0000-0000-0000-000000000002"])
    assert f"lane {other}" not in run("doctor").output.replace("books of lane", "")


def test_a_lane_that_waits_in_no_queue_is_found_and_queued(harness, sandbox):
    enqueue(person(1))
    client, k = keys_of(harness)
    client.delete(k("due:aggregate"))

    assert "nobody cuts them" in wrong()["sendgrid: keys"][0]
    repaired()
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_contacts_in_flight_in_an_ended_batch_are_found_and_their_records_leave(harness, sandbox):
    packed(harness)
    client, k = keys_of(harness)
    client.delete(k("batch:1:digests"))
    harness.run_until_settled()
    enqueue(person(1, last_name="newer"))
    harness.pump()
    assert harness.books()["held"] == 1

    assert "3 identifiers count as in flight" in wrong("--books")["sendgrid: keys"][0]
    assert "3 mended" in repaired()
    harness.runtime.schedule.arm("sendgrid", 0)
    harness.run_until_settled()
    assert harness.books()["delivered"] == 4


def failed(harness, number=3):
    enqueue([person(at, last_name="x" * 51) for at in range(number)])
    harness.run_until_settled()
    assert harness.books()["failed"] == number


def test_failures_in_no_order_are_found_and_ordered(harness, sandbox):
    failed(harness)
    client, k = keys_of(harness)
    before = client.zrange(k("failures:by_time"), 0, -1, withscores=True)
    client.delete(k("failures:by_time"))

    assert "3 failures are in no order" in wrong("--books")["sendgrid: keys"][0]
    repaired()
    after = client.zrange(k("failures:by_time"), 0, -1, withscores=True)
    assert [record for record, _ in after] == [record for record, _ in before]
    assert max(abs(at_ms - was_ms) for (_, at_ms), (_, was_ms) in zip(after, before, strict=True)) < 1_000


@pytest.mark.parametrize("retried", [False, True])
def test_failures_that_are_gone_and_listed_count_as_discarded_after_a_repair(harness, sandbox, retried):
    failed(harness)
    if retried:
        harness.runtime.retrier.retry(FailureFilter())
    client, k = keys_of(harness)
    client.delete(k("failures"))

    assert "3 failures are listed and gone" in wrong("--books")["sendgrid: keys"][0]
    repaired()
    assert (harness.books()["discarded"], harness.books()["failed"], harness.books()["held"]) == (3, 0, 0)


def test_a_repair_touches_nothing_that_is_whole(harness, sandbox, client):
    packed(harness)
    failed_before = {key: client.dump(key) for key in client.keys("contact-ingest:{*")}

    assert "keys: 0 mended" in repaired()

    assert {key: client.dump(key) for key in client.keys("contact-ingest:{*")} == failed_before
