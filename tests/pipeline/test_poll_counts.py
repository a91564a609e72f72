"""The numbers of an import job: what nobody vouches for is counted, never taken for delivered in silence."""

import pytest
from support.peer import reply
from support.polling import FILE_URL, assert_books, facing, failures, job, poll

FILE = reply(200, b"email,error\np1@example.com,no\n")


@pytest.mark.parametrize("status", ["completed", "errored"])
@pytest.mark.parametrize("count", ["3", "3.0", " 3 ", 3.0, 3])
def test_a_count_of_errors_is_read_however_it_is_written(harness, status, count):
    facing(harness, job(status, errored_count=count), records=5)
    poll(harness)

    assert_books(harness, batched=0, delivered=5, failed=0, unattributed=3)


@pytest.mark.parametrize("count", [-1, 2.5, "many", "", True, [], {"n": 1}, "-3", "1e3"])
def test_a_count_that_is_none_is_not_taken_for_no_errors(harness, count):
    facing(harness, job("completed", errored_count=count), records=5)
    poll(harness)

    assert_books(harness, batched=0, delivered=5, failed=0, unattributed=1)


@pytest.mark.parametrize("more", [{}, {"errored_count": 0}, {"errored_count": "x"}, {"requested_count": 5}])
def test_an_error_file_is_fetched_though_no_error_is_counted(harness, more):
    facing(harness, job("completed", errors_url=FILE_URL, **more), files=[FILE], records=5)
    poll(harness)
    poll(harness)

    assert set(failures(harness)) == {"p1@example.com"}
    assert_books(harness, batched=0, delivered=4, failed=1, unattributed=0)


def test_an_error_file_that_names_nobody_where_nothing_is_counted_is_not_taken_for_no_errors(harness):
    facing(harness, job("completed", errors_url=FILE_URL), files=[reply(200, b"<html>sign in</html>")], records=5)
    poll(harness)
    poll(harness)

    assert_books(harness, batched=0, delivered=5, failed=0, unattributed=1)


@pytest.mark.parametrize(
    ("results", "unattributed"),
    [
        ({"requested_count": 60}, 40),
        ({"requested_count": "60"}, 40),
        ({"requested_count": 60, "created_count": 60}, 40),
        ({"requested_count": 60, "errored_count": 5}, 45),
        ({"requested_count": 99.0}, 1),
        ({"requested_count": 100}, 0),
        ({"requested_count": 1_000}, 0),
        ({"requested_count": 0}, 0),
        ({"requested_count": -4}, 0),
        ({"requested_count": None}, 0),
        ({}, 0),
    ],
)
def test_rows_that_the_job_never_took_are_unattributed(harness, results, unattributed):
    facing(harness, job("completed", **results), records=100)
    poll(harness)

    assert_books(harness, batched=0, delivered=100, failed=0, unattributed=unattributed)


def test_rows_that_the_job_never_took_are_unattributed_beside_those_that_its_file_names(harness):
    report = job("errored", requested_count=60, errored_count=5, errors_url=FILE_URL)
    facing(harness, report, files=[FILE], records=100)
    poll(harness)
    poll(harness)

    assert_books(harness, batched=0, delivered=99, failed=1, unattributed=44)
