"""Addresses that only look alike are different people, from enqueue to the platform."""

import orjson
import pytest

from contact_ingest import enqueue
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.operations.erase import DataSubject, RecordMatcher

KATE = "kate@example.com"
#: Texts of which lower case, trimming or normalisation would make Kate's address.
ALIKE = ["\u212aate@example.com", f"{KATE}\u00a0", f"\x1f{KATE}", "kate@ex\uff41mple.com", "kate@example\u3002com"]
LONG = "x" * 51


def run(harness, *records):
    enqueue(list(records))
    harness.run_until_settled()


def raws(harness):
    return [orjson.loads(failed.raw) for failed in harness.runtime.failures]


@pytest.mark.parametrize("odd", ALIKE)
def test_a_refused_address_takes_nothing_from_whom_it_looks_like(harness, sandbox, odd):
    kate = {"email": KATE, "city": "Kate's", "last_name": LONG}
    run(harness, kate)
    run(harness, {"email": odd, "city": "new", "last_name": "new"})

    assert raws(harness) == [kate, {"email": odd, "city": "new", "last_name": "new"}]
    assert list(sandbox.contacts()) == []


@pytest.mark.parametrize("odd", ALIKE)
def test_whom_it_looks_like_takes_nothing_from_a_refused_address(harness, sandbox, odd):
    run(harness, {"email": odd, "city": "odd"}, {"email": KATE, "city": "Kate's"})

    assert raws(harness) == [{"email": odd, "city": "odd"}]
    [kate] = sandbox.contacts()
    assert (kate["email"], kate["city"]) == (KATE, "Kate's")
    assert harness.books() | {"delivered": 1, "failed": 1, "merged": 0} == harness.books()


def test_both_spellings_of_a_domain_are_one_contact_in_one_body(harness, sandbox):
    run(harness, {"email": "ann@Bücher.example", "city": "old"}, {"email": "Ann@xn--bcher-kva.example", "city": "new"})

    [ann] = sandbox.contacts()
    assert (ann["email"], ann["city"]) == ("ann@xn--bcher-kva.example", "new")
    assert harness.books() | {"delivered": 1, "failed": 0, "merged": 1} == harness.books()


@pytest.mark.parametrize("odd", ALIKE)
def test_erasing_one_person_is_not_erasing_whom_their_address_looks_like(odd):
    assert not RecordMatcher(DataSubject(odd), FieldMapping()).is_about(orjson.dumps({"email": KATE}))
    assert not RecordMatcher(DataSubject(KATE), FieldMapping()).is_about(orjson.dumps({"email": odd}))
    assert RecordMatcher(DataSubject(odd), FieldMapping()).is_about(orjson.dumps({"email": odd}))
