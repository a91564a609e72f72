"""Bad records inside a body that is refused: each is found and fails alone, and fresh traffic does not wait."""

from math import ceil, log2

import orjson
import pytest
from support.dispatching import (
    batch,
    batch_on_its_way,
    busy,
    contacts_of,
    dispatch,
    due_in_s,
    facing,
    failures,
    person,
    upserts,
)
from support.peer import advance, reply

from contact_ingest import enqueue


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
        assert len(upserts(sandbox)) == 4, "the row, all others, and the row again once the others were accepted"


def refuse(platform, bad):
    """Refuse, and name nobody, whatever holds one of these people."""

    def answer(request):
        if request.method == "PUT" and any(c["email"] in bad for c in contacts_of(request)):
            return reply(400, {"errors": [{"message": "no"}]})
        return platform.answer(request)

    platform.peer.answer = answer


def test_a_body_with_many_nameless_bad_records_is_searched_in_parts_behind_fresh_traffic(harness):
    platform = facing(harness)
    refuse(platform, {f"p{n}@example.com" for n in range(0, 150, 10)})
    number = batch_on_its_way(harness, *(person(n) for n in range(150)))
    runtime = harness.runtime

    # How many requests come before the search is dealt out depends on the row that is sent as a control, by chance.
    for _ in range(20):
        if batch(harness, number)["state"] == "done":
            break
        dispatch(harness)

    assert batch(harness, number)["state"] == "done"
    assert runtime.store.client.zcard(runtime.store.keys("due:dispatch:low")) > 1, "what is left is not in parts"
    assert runtime.store.client.zcard(runtime.store.keys("due:dispatch")) == 0
    fresh = batch_on_its_way(harness, person(1001))
    dispatch(harness)
    assert batch(harness, fresh)["state"] == "polling"
    harness.run_until_settled()
    assert set(failures(harness)) == {f"p{n}@example.com" for n in range(0, 150, 10)}
    harness.assert_books_balance()


def test_imports_of_parts_are_asked_about_behind_fresh_ones(harness):
    # Two rows are bad: what is left after the first is dealt out.
    refuse(facing(harness), {"p0@example.com", "p40@example.com"})
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
    platform = facing(harness)

    def cap(request):
        if request.method == "PUT" and len(contacts_of(request)[0]["postal_code"]) > 20_000:
            return reply(413)
        return platform.answer(request)

    platform.peer.answer = cap
    enqueue([person(1, postal_code="x" * 70_000), person(2, postal_code="1")])

    harness.run_until_settled()

    assert {email: about["code"] for email, about in failures(harness).items()} == {"p1@example.com": "too_large"}
    assert harness.books()["delivered"] == 1
    harness.assert_books_balance()


def test_a_cap_is_never_learned_below_the_smallest(harness):
    facing(harness, reply(413))
    batch_on_its_way(harness, person(1), person(2))

    dispatch(harness)

    assert harness.runtime.state.read()["cap_bytes"] == "65536"
