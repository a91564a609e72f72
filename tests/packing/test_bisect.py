"""Row ranges, and the search of a refused body for the records that spoil it."""

from array import array
from itertools import pairwise
from math import ceil, log2

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contact_ingest.model.batch import Batch, BisectState
from contact_ingest.model.row_ranges import halves, rows, size, union, without
from contact_ingest.packing.bisect import (
    PARTS,
    after_acceptance,
    after_naming,
    after_refusal,
    alone,
    deal_out,
    has_more_bad_rows,
    slices,
)
from contact_ingest.packing.payload import Limits, Payload, read_offsets

ROW_SETS = st.sets(st.integers(0, 60))


def ranges(numbers):
    return union(tuple((number, number + 1) for number in numbers))


def run(search, platform):
    """Follow a search to its end. `platform` says of the rows sent: ok, or refused, or the rows it names."""
    accepted, failed, requests = [], [], 0
    searches = [search]
    while searches:
        search = searches.pop(0)
        if not size(search.sending):
            assert search.is_plain
            continue
        written = {"lane": "x", "root": "1", **Batch(1, "x", 1, search).to_fields()}
        assert Batch.from_fields(1, written).bisect == search
        requests += 1
        sent = list(rows(search.sending))
        verdict = platform(sent)
        if verdict == "ok":
            accepted += sent
            searches.append(after_acceptance(search))
        elif verdict != "refused":
            failed += verdict
            searches.append(after_naming(search, verdict))
        elif has_more_bad_rows(search):
            searches += deal_out(search)
        else:
            failed += sent if len(sent) == 1 else []
            searches.append(after_refusal(search))
    return accepted, failed, requests


def strict(bad):
    return lambda sent: "refused" if bad.intersection(sent) else "ok"


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.data())
def test_every_bad_row_fails_alone_and_every_other_row_is_accepted_once(n, data):
    bad = data.draw(st.sets(st.integers(0, n - 1), max_size=min(n, 12)))

    accepted, failed, _ = run(BisectState(((0, n),)), strict(bad))

    assert sorted(failed) == sorted(bad)
    assert sorted(accepted) == sorted(set(range(n)) - bad)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 30_000), st.data())
def test_one_bad_row_costs_no_more_requests_than_promised(n, data):
    bad = data.draw(st.integers(0, n - 1))

    accepted, failed, requests = run(BisectState(((0, n),)), strict({bad}))

    assert failed == [bad]
    assert len(accepted) == n - 1
    assert requests <= ceil(log2(n)) + 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1_000, 10_000), st.integers(10, 40), st.randoms(use_true_random=False))
def test_many_bad_rows_cost_few_requests_each_and_small_ones(n, apart, chance):
    bad = set(chance.sample(range(n), n // apart))
    sent_rows = 0

    def counting(sent):
        nonlocal sent_rows
        sent_rows += len(sent)
        return strict(bad)(sent)

    accepted, failed, requests = run(BisectState(((0, n),)), counting)

    assert sorted(failed) == sorted(bad)
    assert len(accepted) == n - len(bad)
    assert requests <= len(bad) * (log2(apart) + 3) + 12 * PARTS, "more than it takes to find each among its neighbours"
    assert sent_rows <= 8 * n + 2_000, "the whole body went again and again"


def test_what_is_dealt_out_is_everything_once_in_parts_of_about_a_size():
    search = BisectState(((0, 100), (200, 1_000)), group_size=7)

    parts = deal_out(search)

    assert [row for part in parts for row in rows(part.all)] == list(rows(search.sending))
    assert len(parts) == PARTS
    assert max(size(part.all) for part in parts) - min(size(part.all) for part in parts) <= 1
    assert {size(part.sending) for part in parts} == {7}


def test_a_search_that_meets_no_refusal_again_accuses_nobody():
    answers = iter(["refused"])

    accepted, failed, _ = run(BisectState(((0, 1000),)), lambda _: next(answers, "ok"))

    assert failed == []
    assert sorted(accepted) == list(range(1000))


@settings(deadline=None)
@given(st.integers(2, 200), st.data())
def test_named_rows_leave_and_all_others_go_again_at_once(n, data):
    bad = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=5))

    accepted, failed, requests = run(BisectState(((0, n),)), lambda sent: sorted(bad & set(sent)) or "ok")

    assert sorted(failed) == sorted(bad)
    assert sorted(accepted) == sorted(set(range(n)) - bad)
    assert requests == 1 + (len(bad) < n)


@pytest.mark.parametrize("hinted", [0, 7, 99])
def test_a_hinted_row_goes_alone_before_anybody_is_failed(hinted):
    search = alone(BisectState(((0, 50),), ((50, 80),), ((80, 100),)), hinted)

    assert list(rows(search.sending)) == [hinted]
    accepted, failed, requests = run(search, strict({hinted}))
    assert (failed, len(accepted), requests) == ([hinted], 99, 2)
    accepted, failed, requests = run(search, strict(set()))
    assert (failed, len(accepted), requests) == ([], 100, 2)


def test_a_hint_that_lies_costs_the_innocent_nothing():
    accepted, failed, _ = run(alone(BisectState(((0, 100),)), 10), strict({60}))

    assert failed == [60]
    assert len(accepted) == 99


@given(ROW_SETS)
def test_ranges_say_the_same_rows_as_the_set_they_came_from(numbers):
    assert list(rows(ranges(numbers))) == sorted(numbers)
    assert size(ranges(numbers)) == len(numbers)


@given(ROW_SETS, ROW_SETS)
def test_what_is_taken_away_is_gone_and_nothing_else(numbers, gone):
    left = without(ranges(numbers), gone)

    assert list(rows(left)) == sorted(numbers - gone)
    assert all(start < stop for start, stop in left)


@given(ROW_SETS)
def test_halves_are_in_order_the_first_no_smaller(numbers):
    first, second = halves(ranges(numbers))

    assert [*rows(first), *rows(second)] == sorted(numbers)
    assert size(first) - size(second) in (0, 1)


@given(ROW_SETS, st.integers(0, 60))
def test_a_union_of_disjoint_parts_joins_neighbours(numbers, at):
    parts = (ranges(n for n in numbers if n < at), ranges(n for n in numbers if n >= at))

    joined = union(*reversed(parts))

    assert list(rows(joined)) == sorted(numbers)
    assert all(stop < start for (_, stop), (start, _) in pairwise(joined))


@given(st.integers(1, 30), st.data())
def test_slices_between_prefix_and_suffix_are_the_body_of_those_rows(n, data):
    contacts = [{"n": number, "name": "é" * (number % 5)} for number in range(n)]
    body = Payload(Limits(100, 10_000, b"[", b"]"))
    for contact in contacts:
        body.add(orjson.dumps(contact))
    packed = body.close()
    chosen = data.draw(st.sets(st.integers(0, n - 1), min_size=1))

    sent = b"[" + b"".join(slices(packed.body, read_offsets(packed.offsets), ranges(chosen))) + b"]"

    assert sent == orjson.dumps([contacts[number] for number in sorted(chosen)])


def test_slices_of_nothing_are_nothing():
    assert slices(b"[]", array("I", [1]), ()) == []
