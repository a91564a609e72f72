"""From the first record to the last verdict, against a real server and the strict sandbox."""

import orjson

from worker import enqueue


def person(number: int, **more):
    return {"email": f"p{number}@example.com", "first_name": f"Name {number}", **more}


def test_every_record_arrives_and_the_books_balance(engine, sandbox):
    receipt = enqueue(person(i) for i in range(1200))

    engine.run_until_settled()

    assert receipt.accepted == 1200
    assert engine.books()["delivered"] == 1200
    assert {c["email"]: c["first_name"] for c in sandbox.contacts()} == {
        f"p{i}@example.com": f"Name {i}" for i in range(1200)
    }
    engine.assert_books_balance()


def test_a_bad_record_of_each_kind_fails_alone_with_its_reason(engine, sandbox):
    marks = {
        10: "[[reject-named]]",
        300: "[[reject-silent]]",
        500: "[[reject-index]]",
        700: "[[fail-import]]",
    }
    bad = {number: person(number, last_name=mark) for number, mark in marks.items()}
    bad[900] = person(900, last_name="x" * 51)
    enqueue(bad.get(i, person(i)) for i in range(1000))

    engine.run_until_settled()

    failed = {orjson.loads(f.raw)["email"]: f.about for f in engine.site.failures}
    assert set(failed) == {f"p{i}@example.com" for i in bad}
    assert failed["p900@example.com"]["stage"] == "aggregate"
    assert "last_name" in failed["p900@example.com"]["reason"]
    assert failed["p700@example.com"]["stage"] == "import"
    assert engine.books()["delivered"] == 995
    assert len(list(sandbox.contacts())) == 995
    engine.assert_books_balance()
