"""What the platform teaches an aggregation: its custom fields and the size of a body that it takes."""

import pytest
from support.aggregating import CAP, bodies, failures, run_round
from support.peer import Peer, advance, reply, speak_to
from support.people import person

from contact_ingest import enqueue


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
