"""Who is blamed when a platform refuses and names nobody: the bad rows, and never a row for its lane or its account."""

from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lane_model import LaneModel

from contact_ingest.model import verdicts
from contact_ingest.model.verdicts import RowError

NO = verdicts.Rejected("http_400", "no")
QUOTA = verdicts.Rejected("http_400", "the plan takes no more contacts")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def refusing(bad, verdict=NO):
    return lambda sent: verdict if bad.intersection(sent) else None


SIZES = st.lists(st.sampled_from([1, 1, 2, 3, 7, 40, 300]), min_size=1, max_size=8)


@given(sizes=SIZES, seed=st.integers(0, 99), data=st.data())
@settings(max_examples=150, deadline=None)
def test_bad_rows_among_good_ones_fail_and_nobody_else_does(sizes, seed, data):
    total = sum(sizes)
    bad = data.draw(st.sets(st.integers(0, total - 1), max_size=min(total - 1, 12)))
    model = LaneModel(sizes, refusing(bad), seed)

    arrived = total
    model.run(until_ms=model.now_ms + HOUR_MS)
    while model.waiting:  # nothing but bad rows is left: the next good record tells that the lane works
        assert arrived < total + len(bad)
        model.arrive(1)
        arrived += 1
        model.run(until_ms=model.now_ms + HOUR_MS)

    assert set(model.failed) == bad
    assert model.delivered == set(range(arrived)) - bad
    trials = 30 * (arrived - total + 1)
    assert model.requests <= 2 * len(sizes) + len(bad) * (3 * ceil(log2(max(sizes) + 1)) + 20) + trials


@given(sizes=SIZES, seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_lane_that_refuses_everything_blames_nobody_stops_soon_and_goes_on_when_it_is_mended(sizes, seed):
    total, mended = sum(sizes), []
    model = LaneModel(sizes, lambda _: None if mended else NO, seed)
    if total < 3:
        return  # one or two rows are no lane

    while not model.is_stopped:
        model.run(model.requests + 1)

    assert model.failed == {}
    assert model.requests <= len(sizes) * (ceil(log2(max(sizes))) + 5)
    model.run(until_ms=model.now_ms + DAY_MS)
    assert model.failed == {}
    assert model.requests <= len(sizes) * (ceil(log2(max(sizes))) + 5) + 320, "a day of trials at most every 5 minutes"
    mended.append(True)
    model.run()
    assert (model.failed, model.delivered) == ({}, set(range(total)))


@given(sizes=SIZES, left=st.integers(0, 50), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_quota_that_is_used_up_blames_at_most_two_and_none_of_many(sizes, left, seed):
    total = sum(sizes)
    taken, quota = set(), [left]

    def platform(sent):
        if len(taken | set(sent)) > quota[0]:
            return QUOTA
        taken.update(sent)
        return None

    model = LaneModel(sizes, platform, seed)
    model.run(until_ms=DAY_MS)
    few = 2 if total - left <= 2 else 0
    assert len(model.failed) <= few
    quota[0] = total
    model.run()
    assert len(model.failed) <= few
    assert model.delivered == set(range(total)) - set(model.failed)


@pytest.mark.parametrize("bad", [1, 12, 30, 300])
def test_rows_that_are_named_fail_however_many(bad):
    def platform(sent):
        found = [row for row in sent if row < bad]
        return verdicts.Named(tuple(RowError("bad_contact", "no", hint=row) for row in found)) if found else None

    model = LaneModel([100, 100, 100], platform)
    model.run()

    assert set(model.failed) == set(range(bad))
    assert model.requests <= 6


def test_fifty_bad_records_in_a_row_at_a_platform_of_one_record_a_request_do_not_stop_the_lane_for_ever():
    bad = set(range(20, 70))
    model = LaneModel([1] * 120, refusing(bad))

    model.run()

    assert set(model.failed) == bad
    assert model.now_ms < 15 * 60_000


def test_a_thousand_records_refused_for_a_quota_cost_few_requests_and_blame_nobody():
    model = LaneModel([1] * 1_000, lambda _: QUOTA)

    model.run(until_ms=3_600_000)

    assert model.failed == {}
    assert model.requests <= 25


def test_three_hundred_rows_refused_for_a_list_that_does_not_exist_cost_a_search_and_blame_nobody():
    model = LaneModel([300], lambda _: NO)

    while not model.is_stopped:
        model.run(model.requests + 1)

    assert model.failed == {}
    assert model.requests <= ceil(log2(300)) + 5


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_bad_records_alone_on_a_lane_fail_within_seconds(count):
    model = LaneModel([1] * count, lambda _: NO)
    began_ms = model.now_ms

    model.run()

    assert len(model.failed) == count
    assert model.now_ms - began_ms < 15_000


@pytest.mark.parametrize("bad", [0, 1, 2, 3, 14_999, 15_000, 17_321, 29_997, 29_998, 29_999])
def test_one_bad_row_of_thirty_thousand_costs_eighteen_requests_at_most(bad):
    model = LaneModel([30_000], refusing({bad}))

    model.run()

    assert set(model.failed) == {bad}
    assert model.requests <= 18
