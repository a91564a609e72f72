"""From the first record to the last verdict, against a real server and the strict sandbox."""

import orjson
from support.people import person

from contact_ingest import enqueue


def test_every_record_arrives_and_the_books_balance(harness, sandbox):
    receipt = enqueue(person(i) for i in range(1200))

    harness.run_until_settled()

    assert receipt.accepted == 1200
    assert harness.books()["delivered"] == 1200
    assert {c["email"]: c["first_name"] for c in sandbox.contacts()} == {
        f"p{i}@example.com": f"Name {i}" for i in range(1200)
    }
    harness.assert_books_balance()


def test_a_bad_record_of_each_kind_fails_alone_with_its_reason(harness, sandbox):
    marks = {
        10: "[[reject-named]]",
        300: "[[reject-silent]]",
        500: "[[reject-index]]",
        700: "[[fail-import]]",
    }
    bad = {number: person(number, last_name=mark) for number, mark in marks.items()}
    bad[900] = person(900, last_name="x" * 51)
    enqueue(bad.get(i, person(i)) for i in range(1000))

    harness.run_until_settled()

    failed = {orjson.loads(f.raw)["email"]: f.public(contents=False) for f in harness.runtime.failures}
    assert set(failed) == {f"p{i}@example.com" for i in bad}
    assert failed["p900@example.com"]["stage"] == "aggregate"
    assert "last_name" in failed["p900@example.com"]["reason"]
    assert failed["p700@example.com"]["stage"] == "poll"
    assert harness.books()["delivered"] == 995
    assert len(list(sandbox.contacts())) == 995
    harness.assert_books_balance()


def test_hot_contacts_end_with_their_newest_values_while_twenty_jobs_finish_in_any_order(make_harness, sandbox):
    harness = make_harness(max_body_bytes=65_536)
    sandbox.dials(job_seconds=[0.2, 3.0])
    filler = {"address_line_1": "x" * 100, "address_line_2": "y" * 100}
    cold = [person(i, **filler) for i in range(20 * 240)]
    hot = range(0, len(cold), 100)
    enqueue(cold)
    harness.run_until(lambda: sandbox.totals()["jobs_pending"] >= 15)

    versions = 0
    while sandbox.totals()["jobs_pending"]:
        versions += 1
        enqueue(
            {
                "email": f"p{i}@example.com",
                "city": f"v{versions}",
                f"{'first' if versions % 2 else 'last'}_name": f"v{versions}",
            }
            for i in hot
        )
        harness.pump()
        if versions == 40:
            break
    harness.run_until_settled()

    stored = {c["email"]: c for c in sandbox.contacts()}
    odd, even = versions - (versions + 1) % 2, versions - versions % 2
    assert versions > 5
    assert {(stored[f"p{i}@example.com"]["city"]) for i in hot} == {f"v{versions}"}
    assert {(stored[f"p{i}@example.com"]["first_name"]) for i in hot} == {f"v{odd}"}
    assert {(stored[f"p{i}@example.com"]["last_name"]) for i in hot} == {f"v{even}"}
    assert len(stored) == len(cold)
    assert harness.books()["failed"] == 0
    harness.assert_books_balance()
