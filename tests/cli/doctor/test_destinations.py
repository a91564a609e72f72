"""The doctor on a destination: its key, its state, its batches and lanes, its custom fields."""

import pytest
from support.diagnosis import LANE, closed_port, notes, run, wrong

from contact_ingest import enqueue


def test_a_refused_key_is_found_and_never_shown(wire):
    wire(destination={"api_key": "SG.wr0ng"}).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["sendgrid: account"]

    assert "key is refused (401)" in says
    assert "destinations.sendgrid.api_key" in remedy
    assert "wr0ng" not in run("doctor").output


def test_a_platform_that_cannot_be_reached_is_found(wire):
    wire(destination={"base_url": f"http://127.0.0.1:{closed_port()}"}).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["sendgrid: account"]

    assert "cannot be reached" in says
    assert "base_url" in remedy


def test_a_stopped_destination_is_found_with_the_reason(parts):
    parts.runtime(LANE).state.stop("unauthorized", "the key was revoked")

    says, remedy = wrong()["sendgrid: state"]

    assert says == "stopped: the key was revoked"
    assert "contact-ingest resume --to sendgrid" in remedy


def test_a_paused_destination_and_a_paused_lane_are_found_with_the_reason(parts):
    enqueue({"email": "a@example.com"})
    parts.runtime(LANE).state.pause(None, "moving house")
    parts.runtime(LANE).state.pause(LANE, "wrong list")

    found = wrong()

    assert found["sendgrid: state"][0] == "paused: moving house"
    assert found["lane sendgrid"] == ("paused: wrong list", "`contact-ingest resume --lane sendgrid`")


def test_batches_that_nobody_takes_are_found(parts, client):
    enqueue({"email": "a@example.com"})
    runtime = parts.runtime(LANE)
    runtime.custom_fields.ready_for({})
    runtime.aggregator.aggregate(LANE)
    healthy = run("doctor")
    assert healthy.exit_code == 0
    assert "sendgrid: batches: 1 to send, 0 followed" in healthy.stdout

    client.set(runtime.store.keys("clock_offset"), round(3 * parts.settings.lease_s * 1000) + 1000)

    says, remedy = wrong()["sendgrid: batches"]
    assert says.startswith("1 have been due")
    assert "worker" in remedy


def test_imports_followed_past_their_deadline_are_found(wire, client, sandbox):
    sandbox.dials(job_seconds=[60, 60])
    parts = wire(poll_deadline_s=10, lease_s=10)
    enqueue({"email": "a@example.com"})
    runtime = parts.runtime(LANE)
    runtime.aggregator.aggregate(LANE)
    runtime.dispatcher.dispatch(LANE)
    client.set(runtime.store.keys("clock_offset"), 41_000)
    client.zadd(runtime.store.keys("due:poll"), {1: runtime.clock.now_ms() + 60_000})
    parts.workers.heartbeat("host:1", 4)

    assert "1 imports are past the deadline of 10 s" in wrong()["sendgrid: batches"][0]


def test_a_lane_that_is_due_and_that_nobody_cuts_is_found(parts, client):
    enqueue({"email": "a@example.com"})
    runtime = parts.runtime(LANE)
    client.set(runtime.store.keys("clock_offset"), 59_000)
    assert run("doctor").exit_code == 0
    client.set(runtime.store.keys("clock_offset"), 90_000)

    says, remedy = wrong()["lane sendgrid"]

    assert says.startswith("has been due for 90 s")
    assert "contacts.aggregate" in remedy
    runtime.state.pause(LANE, "for a test")
    assert wrong()["lane sendgrid"][0].startswith("paused")


def test_a_lane_whose_records_wait_for_long_with_nothing_in_flight_is_found(parts, client):
    """Nobody gets at the account's definitions, so that the lane is looked at again and again, and never cut."""
    enqueue({"email": "a@example.com", "custom_fields": {"plan": "pro"}})
    runtime = parts.runtime(LANE)
    client.set(runtime.store.keys("clock_offset"), 90_000)
    runtime.schedule.arm(LANE, 5_000)

    found = wrong()

    assert found["lane sendgrid"][0].startswith(
        "its oldest record has waited for 90 s, and nothing is in flight: waiting for the account's field definitions"
    )


@pytest.fixture
def refused_for_a_field(parts, sandbox):
    """Two records have failed and one waits, for custom fields that the account lacks; others are all right."""
    runtime = parts.runtime(LANE)
    runtime.exchanger.send(runtime.provider.create_field("Known", "x"), None)
    enqueue({"email": f"p{n}@example.com", "custom_fields": {"plan": "secret"}} for n in range(2))
    enqueue({"email": "p3@example.com", "last_name": "x" * 51})
    runtime.custom_fields.ready_for({})
    runtime.aggregator.aggregate(LANE)
    assert len(list(runtime.failures)) == 3
    runtime.state.pause(LANE, "for a test")
    enqueue([{"email": "p4@example.com", "custom_fields": {"tier": "secret", "Known": "x"}}, {"email": "p5@x.example"}])
    return runtime


def test_custom_fields_that_the_account_lacks_are_found_by_failures_and_by_what_waits(refused_for_a_field):
    says, remedy = wrong()["sendgrid: custom fields"]

    assert says == (
        "2 of the latest failures and 1 of the first records that wait name what the account lacks: plan, tier"
    )
    assert "destinations.sendgrid.unknown_fields" in remedy
    assert "contact-ingest retry --to sendgrid --code unknown_field" in remedy


def test_fields_that_failures_name_are_told_though_the_account_does_not_answer(refused_for_a_field, sandbox):
    runtime = refused_for_a_field
    runtime.state.resume(LANE)
    enqueue({"email": "p6@example.com", "custom_fields": {"Known": 7}})
    runtime.custom_fields.ready_for({})
    runtime.aggregator.aggregate(LANE)
    assert {failure.code for failure in runtime.failures} == {"unknown_field", "too_long", "wrong_type"}
    sandbox.dials(auth_down=True)

    assert wrong()["sendgrid: custom fields"][0] == "3 of the latest failures name what the account lacks: plan, tier"


def test_fields_that_have_been_created_since_are_no_finding(refused_for_a_field):
    runtime = refused_for_a_field
    for name in ("plan", "tier"):
        runtime.exchanger.send(runtime.provider.create_field(name, "x"), None)

    assert "sendgrid: custom fields" not in wrong()


def test_fields_that_a_destination_renames_drops_or_creates_are_no_finding(wire):
    rules = {"rename": {"custom_fields.plan": "first_name"}, "drop": ["custom_fields.tier"]}
    wire(destination={"fields": rules, "unknown_fields": "create"}).workers.heartbeat("host:1", 4)
    enqueue([{"email": "a@example.com", "custom_fields": {"plan": "x", "tier": "y", "level": "z"}}])

    assert run("doctor").exit_code == 0


def test_values_that_were_left_out_are_worth_a_note(parts, client):
    enqueue({"email": "a@example.com"})
    client.hincrby(parts.runtime(LANE).store.keys(f"books:{LANE}"), "dropped", 12)

    assert notes()["sendgrid: custom fields"].startswith("12 values have been left out")
