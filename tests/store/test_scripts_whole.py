"""A script changes everything or nothing, whatever its arguments and keys are: Redis undoes no write of a script that
fails. On each server, since what a server refuses differs: Redis 6.2 and 7.0 refuse `-0`, Valkey 9 does not."""

from importlib.resources import files

import pytest
from support.in_process import Harness
from support.people import person
from support.replayed_scripts import Recorder, half_written, replay, restore, with_wrong_arguments, wrong_keys
from support.stage import Stage

from contact_ingest import cancel
from contact_ingest.engine import set_engine
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.store import books
from contact_ingest.store.inspect import newest_batches
from contact_ingest.store.lanes import mend_held_lanes

#: Parts of scripts.
LIBRARIES = {"checks", "common", "breaker", "epoch", "lane_stop", "retries"}
SCRIPTS = sorted(
    name.removesuffix(".lua")
    for name in (file.name for file in files("contact_ingest.store").joinpath("lua").iterdir())
    if name.removesuffix(".lua") not in LIBRARIES
)


@pytest.fixture(scope="module")
def server(server_kind):
    with server_kind.start("--appendonly", "no") as running:
        yield running


@pytest.fixture
def stage(server, sandbox, tmp_path):
    with Stage(server.url, sandbox.url, tmp_path) as made:
        made.client.flushall()
        set_engine(made.engine)
        yield made


def journey(stage, sandbox):
    """Everything that a script is for, in little."""
    harness, runtime = Harness(stage.engine), stage.runtime
    stage.engine.check_schema()
    stage.engine.workers.heartbeat("host:1", 4)
    token = runtime.batch_store.claim_without_batch()
    runtime.batch_store.release_claim(token)
    stage.enqueue([person(number) for number in range(6)], key="signup")
    stage.enqueue([person(number) for number in range(6)], key="signup")
    stage.enqueue([person(10, last_name="x" * 60), person(11, last_name="[[reject-named]]"), person(12)])
    harness.run_until_settled()
    sandbox.dials(job_seconds=[2, 2])
    stage.enqueue([person(20, external_id="e-20"), person(21)])
    harness.pump()
    stage.enqueue([person(20, city="Linz"), person(22, external_id="e-22"), person(10, last_name="y")])
    harness.pump()
    receipt = stage.enqueue([person(30), person(31)])
    runtime.state.pause("sendgrid", "for a test")
    cancel(receipt)
    runtime.retrier.retry(FailureFilter())
    runtime.state.resume("sendgrid")
    runtime.schedule.flush("sendgrid")
    harness.pump()
    sandbox.dials(job_seconds=[0, 0.02], hidden_byte_cap=400)
    stage.enqueue([person(number) for number in range(40, 48)])
    harness.run_until_settled()
    sandbox.dials(hidden_byte_cap=None, script=["503"] * 3, faults_on=["sendgrid.upsert"])
    stage.enqueue([person(50)])
    harness.run_until(lambda: runtime.schedule.make_due_now() >= 0 and not any_waiting(harness))
    runtime.schedule.may_notify("dispatch", 4)
    runtime.breaker.reset()
    stage.runtime.aggregator.aggregate("sendgrid")
    books.recount(runtime.store, "sendgrid")
    stage.enqueue([person(60, last_name="x" * 60)])
    harness.run_until_settled()
    runtime.failures.discard([failed.id for failed in runtime.failures][:1])
    for repair in (("batch", 1), ("contact", b"12345678", 1), ("lane", "sendgrid", ""), ("failure", "sendgrid:99", 1)):
        runtime.store.run("repair", *repair)
    runtime.schedule.sweep(-1, -1)
    mend_held_lanes(runtime.store)
    runtime.store.run("read", "waiting:sendgrid", 0, 10, 1_000)
    small_body(stage)


def any_waiting(harness):
    return any(harness.books()[name] for name in ("waiting", "held", "batched"))


def small_body(stage):
    """A body that may go beyond the memory is staged by a script."""
    stage.runtime.store.run("aggregate_stage", 60_000, b"body", b"offsets", b"records", b"digests")


@pytest.mark.timeout(400)
def test_no_script_fails_after_its_first_write(stage, sandbox):
    recorder = Recorder(stage.engine.client, SCRIPTS)
    journey(stage, sandbox)
    stage.engine.client.evalsha = recorder._evalsha
    assert sorted(recorder.runs) == SCRIPTS

    found = []
    for run in recorder.recorded():
        replay(stage.client, run)
        found += [half_written(stage.client, wrong) for wrong in with_wrong_arguments(run)]
        restore(stage.client, run.keys)
        for what, commands in list(wrong_keys(stage.client, run)):
            said = half_written(stage.client, run, *commands)
            found += [f"{what}: {said}"] if said else []

    found = [said for said in found if said]
    assert not found, "\n".join([str(len(found)), *found[:20]])


def test_failures_are_tried_again_behind_records_that_were_all_cancelled(stage, sandbox):
    """Nothing but cancelled records lies in front of the lane: no bytes leave it."""
    harness, runtime = Harness(stage.engine), stage.runtime
    stage.enqueue([person(number, last_name="[[reject-named]]") for number in range(20)])
    harness.run_until_settled()
    assert harness.books()["failed"] == 20
    runtime.state.pause("sendgrid", "for a test")
    receipt = stage.enqueue([person(number) for number in range(100, 105)])
    assert cancel(receipt) == 5

    assert runtime.retrier.retry(FailureFilter()) == 20
    runtime.state.resume("sendgrid")
    harness.run_until_settled()

    found = harness.books()
    assert (found["failed"], found["discarded"], found["accepted"]) == (20, 5, 25)
    harness.assert_books_balance()
    numbers = [batch.number for batch in newest_batches(runtime.store)]
    assert len(numbers) == len(set(numbers)) > 1


@pytest.mark.parametrize("cancelled", ["none", "first", "all"])
@pytest.mark.parametrize("held", [False, True])
def test_a_lane_goes_on_however_much_of_it_was_cancelled(stage, sandbox, cancelled, held):
    harness = Harness(stage.engine)
    sandbox.dials(job_seconds=[0.3, 0.3] if held else [0, 0.02])
    stage.enqueue([person(1)])
    harness.pump()
    receipts = [stage.enqueue([person(1, city="Linz")]), stage.enqueue([person(2), person(3)])]
    for receipt in {"none": [], "first": receipts[:1], "all": receipts}[cancelled]:
        cancel(receipt)

    harness.run_until_settled()

    assert harness.books()["delivered"] + harness.books()["merged"] == {"none": 4, "first": 3, "all": 1}[cancelled]
    harness.assert_books_balance()


@pytest.mark.parametrize("broken", ["gone", "of another type", "a counter is no number", "the root is gone"])
def test_a_batch_that_is_broken_keeps_no_other_from_being_claimed(stage, sandbox, broken):
    harness, keys = Harness(stage.engine), stage.runtime.store.keys
    for number in (1, 2):
        stage.enqueue([person(number)])
        stage.follow("aggregate", "sendgrid")
    if broken in ("gone", "of another type"):
        stage.client.delete(keys("batch:1"))
    if broken == "of another type":
        stage.client.rpush(keys("batch:1"), "x")
    if broken == "a counter is no number":
        stage.client.hset(keys("batch:1"), "fence", "x")
    if broken == "the root is gone":
        stage.client.hdel(keys("batch:1"), "root")

    harness.run_until(lambda: harness.books()["delivered"] == 1, 10)

    assert [contact["email"] for contact in sandbox.contacts()] == [person(2)["email"]]
