"""Records that are refused while a lane is aggregated, and what newer records take from them."""

import orjson
from support.aggregating import CAP, LIST, failures, run_round
from support.people import person

from contact_ingest import enqueue


def failed_raw(harness):
    return {orjson.loads(failed.raw).get("email"): orjson.loads(failed.raw) for failed in harness.runtime.failures}


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
