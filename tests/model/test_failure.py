"""Failures as three lines, and what newer records take from them."""

from dataclasses import replace

import pytest

from contact_ingest.model.failure import Failure, FailureReason, FailureStage
from contact_ingest.model.record import QueuedRecord

LINES = (
    b'{"code":"too_long","reason":"last_name: has 51 characters","stage":"aggregate","batch":null,"request_id":"",'
    b'"attempts":2,"first_ms":3,"last_ms":9,"merged":[1],"packed_version":4,"field_versions":[["city",1,4]]}\n'
    b'{"email":"a@example.com","city":"\\n"}\n'
    b'{"email":"a@example.com"}'
)
FAILURE = Failure(
    "lane+00000001:7",
    "too_long",
    "last_name: has 51 characters",
    FailureStage.AGGREGATE,
    raw=b'{"email":"a@example.com","city":"\\n"}',
    mapped=b'{"email":"a@example.com"}',
    attempts=2,
    first_ms=3,
    last_ms=9,
    merged=(1,),
    packed_version=4,
    field_versions=(("city", 1, 4),),
)


def test_a_failure_is_three_lines_and_reads_back_as_it_was():
    assert FAILURE.to_bytes() == LINES
    assert Failure.from_bytes(FAILURE.id, LINES) == FAILURE


@pytest.mark.parametrize("mapped", [b"", b'{"a":1}', b'{"a":"x\\ny"}\n{"b":2}'])
def test_lines_after_the_second_belong_to_the_record_as_it_was_sent(mapped):
    failure = replace(FAILURE, mapped=mapped)

    assert Failure.from_bytes(failure.id, failure.to_bytes()) == failure


def test_the_record_of_a_failure_goes_its_way_under_its_old_number_with_all_that_is_known_of_it():
    assert FAILURE.queued == QueuedRecord(7, FAILURE.raw, (1,), 2, 3, 4, (("city", 1, 4),))
    assert (FAILURE.lane, FAILURE.seq) == ("lane+00000001", 7)


def test_a_record_that_fails_again_keeps_when_it_failed_first_and_counts_its_attempts():
    why = FailureReason("gave_up", "x" * 2_000, FailureStage.DISPATCH, 12, "r-1")

    again = Failure.of("lane+00000001", FAILURE.queued, why, 50)

    assert (again.id, again.attempts, again.first_ms, again.last_ms) == (FAILURE.id, 3, 3, 50)
    assert (again.stage, again.batch, again.request_id) == (FailureStage.DISPATCH, 12, "r-1")
    assert len(again.reason) == 1_000
    assert Failure.from_bytes(again.id, again.to_bytes()) == again


def test_a_stage_of_an_older_release_is_refused():
    with pytest.raises(ValueError, match="import"):
        Failure.from_bytes(FAILURE.id, LINES.replace(b'"aggregate"', b'"import"'))


def test_a_failure_shows_the_record_only_when_it_is_asked_for():
    assert "contact" not in FAILURE.public(contents=False)
    assert FAILURE.public(contents=False)["merged"] == ["lane+00000001:1"]
    assert "example.com" not in repr(FAILURE)
