"""Every row of the table at the head of decide.py, without a server: a batch and an answer in, a settlement out."""

from dataclasses import replace
from math import ceil, log2

import pytest

from contact_ingest.model import verdicts
from contact_ingest.model.batch import Batch, BatchState, BisectState, NewBatch
from contact_ingest.model.row_ranges import rows, size, union
from contact_ingest.model.verdicts import RowError
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.pipeline.decide import (
    MAX_HINTS,
    NEW_FIELD_TRIES,
    PATIENCE_REQUESTS,
    POISON_CLAIMS,
    SMALLEST_CAP,
    Answer,
    decide,
    is_poisoned,
    isolate_poison,
)
from contact_ingest.pipeline.decide_poll import ErrorFileRead, ErrorFileUnavailable, decide_poll
from contact_ingest.store.rate_limiter import BreakerState

NOW_MS = 1_763_982_000_000
LIMITS = TimeLimits()
UP = BreakerState(now=NOW_MS)
HOUR_MS = 3_600_000
BAD = RowError("bad_email", "not an address", "x@example.com")


def a_batch(count=10, **more):
    given = {"state": BatchState.SENDING, "claims_count": 1, "created_ms": NOW_MS - 1_000, **more}
    return Batch(7, "newsletter", 7, given.pop("bisect", BisectState(((0, count),))), **given)


def decided(verdict, batch=None, **answer):
    return decide(batch or a_batch(), Answer(verdict, breaker=UP, **answer), NOW_MS, LIMITS)


def what_failed(settlement):
    return {row: reason.code for row, reason in settlement.reasons_by_row.items()}


def assert_every_row_is_somewhere(batch, settlement):
    """Rows sent, set aside, delivered, failed, or in a child: each in one place, none lost."""
    left = [settlement.batch.bisect.all, *(child.batch.bisect.all for child in settlement.children)]
    kept = sum(map(size, left))
    assert size(union(*left)) == kept, "a row is in two places"
    assert kept + settlement.delivered + len(settlement.reasons_by_row) == size(batch.bisect.all)


# The answer to an upsert.


def test_a_batch_that_is_accepted_as_a_job_is_polled_after_the_first_gap():
    settlement = decided(verdicts.Pending("job-1"), request_id="r-1", sent_bytes=412)

    after = settlement.batch
    assert (after.state, after.job, after.sent_ms, after.request_id) == (BatchState.POLLING, "job-1", NOW_MS, "r-1")
    assert (settlement.due_set, settlement.delay_ms, after.sent_bytes) == ("due:poll", LIMITS.poll_first_ms, 412)
    assert (after.attempts, after.first_ms) == (1, NOW_MS)


def test_a_part_that_is_accepted_in_a_search_is_polled_as_a_child_and_the_search_goes_on_in_the_other_half():
    batch = a_batch(bisect=BisectState(((0, 4),), ((4, 8),), ((8, 20),)), attempts=3)

    settlement = decided(verdicts.Pending("job-2"), batch)

    [child] = settlement.children
    assert (child.batch.state, child.batch.bisect.all, child.delay_ms) == (BatchState.POLLING, ((0, 4),), 5_000)
    assert (child.batch.claims_count, child.batch.attempts) == (1, 4)
    assert settlement.batch.bisect == BisectState(((4, 6),), ((6, 8),), ((8, 20),), 0, 4)
    assert settlement.accepted
    assert settlement.batch.state is BatchState.READY
    assert_every_row_is_somewhere(batch, settlement)


def test_rows_that_are_applied_at_once_are_delivered_and_those_named_fail():
    settlement = decided(verdicts.Done((BAD,)), failed={3: BAD}, not_found=2)

    assert (settlement.ended, settlement.delivered, settlement.unattributed) == (True, 9, 2)
    assert what_failed(settlement) == {3: "bad_email"}
    assert_every_row_is_somewhere(a_batch(), settlement)


def test_rows_that_may_succeed_another_time_go_again_as_a_child_and_fail_once_the_window_is_over():
    again = RowError("busy", "locked")

    settlement = decided(verdicts.Done(again=(again,)), again={1: again, 2: again}, failed={2: BAD}, jitter=1.0)
    late = decided(verdicts.Done(again=(again,)), a_batch(first_ms=NOW_MS - LIMITS.retry_window_ms), again={1: again})

    [child] = settlement.children
    assert (child.batch.bisect.all, child.delay_ms, child.batch.state) == (((1, 2),), 1_000, BatchState.READY)
    assert (settlement.delivered, what_failed(settlement)) == (8, {2: "bad_email"})
    assert (late.children, late.delivered, what_failed(late)) == ((), 9, {1: "busy"})


def test_a_child_stays_behind_fresh_traffic_where_its_parent_was():
    again, batch = RowError("busy", "locked"), a_batch(low_priority=True)

    [child] = decided(verdicts.Done(again=(again,)), batch, again={1: again}).children

    assert child.batch.due_set == "due:dispatch:low"
    assert (child.batch.claims_count, child.batch.attempts) == (1, 1)


def test_a_refusal_that_names_rows_fails_them_and_sends_all_others_at_once():
    settlement = decided(verdicts.Named((BAD,)), failed={0: BAD, 9: BAD})

    assert what_failed(settlement) == {0: "bad_email", 9: "bad_email"}
    assert (settlement.batch.bisect, settlement.delay_ms) == (BisectState(((1, 9),)), 0)
    assert_every_row_is_somewhere(a_batch(), settlement)


def test_a_row_that_is_only_hinted_at_goes_alone_before_it_is_failed():
    hint = verdicts.Named((RowError("bad_phone", "no", hint=4),))

    first = decided(hint)
    often = decided(hint, a_batch(hints_followed=MAX_HINTS))

    assert (first.batch.bisect.sending, first.reasons_by_row, first.batch.hints_followed) == (((4, 5),), {}, 1)
    assert size(first.batch.bisect.parked) == 9
    assert often.batch.bisect.sending == ((0, 5),), "a plain search"


@pytest.mark.parametrize("hint", [10, 99, None])
def test_a_hint_that_points_nowhere_is_a_refusal_without_a_name(hint):
    settlement = decided(verdicts.Named((RowError("bad_phone", "no", hint=hint),)))

    assert (settlement.batch.bisect.sending, settlement.reasons_by_row) == (((0, 5),), {})


def test_a_custom_field_that_may_be_too_new_is_tried_again_with_the_table_fetched_anew():
    unknown = verdicts.Named((RowError("unknown_field_id", "no such field", fields=("e7",)),))

    new = decided(unknown, jitter=0.0)
    old = decided(unknown, a_batch(attempts=NEW_FIELD_TRIES))

    assert (new.custom_fields_stale, new.delay_ms, new.batch.bisect) == (True, 3_000, a_batch().bisect)
    assert not old.custom_fields_stale
    assert old.batch.bisect.sending == ((0, 5),)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1_000, 30_000])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_bad_row_that_nobody_names_is_found_alone_within_the_bound(count, where):
    bad, batch, requests, failed, delivered = round(where * (count - 1)), a_batch(count), 0, {}, 0
    while True:
        requests += 1
        is_bad = bad in set(rows(batch.bisect.sending))
        settlement = decided(verdicts.Rejected("http_400", "no") if is_bad else verdicts.Done(), batch)
        failed |= what_failed(settlement)
        delivered += settlement.delivered
        assert settlement.children == ()
        if settlement.ended:
            break
        batch = replace(settlement.batch, state=BatchState.SENDING)

    assert failed == {bad: "http_400"}
    assert delivered == count - 1
    assert requests <= ceil(log2(count)) + 3


def test_a_second_bad_row_has_the_rest_dealt_out_behind_fresh_traffic():
    batch = a_batch(bisect=BisectState(((0, 64),), group_size=4))

    settlement = decided(verdicts.Rejected("http_400", "no"), batch)

    assert settlement.ended
    assert len(settlement.children) > 1
    assert {child.batch.due_set for child in settlement.children} == {"due:dispatch:low"}
    assert_every_row_is_somewhere(batch, settlement)


def test_after_many_requests_for_one_body_what_is_left_goes_behind_fresh_traffic():
    few, many = (a_batch(requests=count) for count in (PATIENCE_REQUESTS, PATIENCE_REQUESTS + 1))

    assert decided(verdicts.Rejected("http_400", "no"), few).due_set == "due:dispatch"
    assert decided(verdicts.Rejected("http_400", "no"), many).due_set == "due:dispatch:low"


def test_a_refusal_for_what_all_rows_share_fails_all_that_were_sent_and_no_other():
    batch = a_batch(bisect=BisectState(((0, 3),), ((3, 6),)))

    settlement = decided(verdicts.AllFailed("bad_list", "no such list"), batch)

    assert what_failed(settlement) == dict.fromkeys(range(3), "bad_list")
    assert_every_row_is_somewhere(batch, settlement)


def test_a_body_that_is_too_large_is_halved_and_the_destination_learns_the_size():
    settlement = decided(verdicts.TooLarge(), sent_bytes=1_000_000)
    small = decided(verdicts.TooLarge(), sent_bytes=1_000)

    assert [child.batch.bisect.all for child in settlement.children] == [((0, 5),), ((5, 10),)]
    assert (settlement.refund, settlement.max_body_bytes) == (True, 500_000), "no attempt is spent"
    assert small.max_body_bytes == SMALLEST_CAP
    assert_every_row_is_somewhere(a_batch(), settlement)


def test_a_single_row_that_is_too_large_fails():
    assert what_failed(decided(verdicts.TooLarge(), a_batch(1), sent_bytes=SMALLEST_CAP + 1)) == {0: "too_large"}


def test_a_single_row_of_ordinary_size_that_is_too_large_is_not_to_blame_before_others_are_accepted():
    assert what_failed(decided(verdicts.TooLarge(), a_batch(1), sent_bytes=412)) == {}


def test_a_rate_limit_counts_nothing():
    settlement = decided(verdicts.Limited(30.0))

    assert (settlement.refund, settlement.batch.attempts, settlement.batch.state) == (True, 0, BatchState.READY)
    assert settlement.stop is None


def test_a_refused_key_stops_the_destination_and_counts_nothing():
    stop = verdicts.Stop("unauthorized", "the key is refused")

    settlement = decided(stop)

    assert (settlement.stop, settlement.refund, settlement.batch.attempts) == (stop, True, 0)
    assert settlement.reasons_by_row == {}


def test_trouble_that_may_pass_sends_the_same_bytes_again_later_and_longer_each_time():
    first = decided(verdicts.Retry("http_503"), jitter=1.0)
    third = decided(verdicts.Retry("http_503"), a_batch(failures_in_a_row=2), jitter=1.0)
    told = decided(verdicts.Retry("http_503", after_s=300.0), jitter=1.0)

    assert (first.delay_ms, third.delay_ms, told.delay_ms) == (1_000, 4_000, 300_000)
    assert (first.batch.bisect, first.batch.code, first.orphan_ms) == (a_batch().bisect, "http_503", 0)
    assert (told.batch.retry_after_given, third.batch.failures_in_a_row) == (True, 3)


def test_an_unknown_fate_keeps_the_contacts_in_flight():
    assert decided(verdicts.Retry("reset", unknown=True)).orphan_ms == LIMITS.orphan_ms


def test_after_the_retry_window_all_rows_fail_as_given_up_but_an_outage_does_not_count():
    old = a_batch(first_ms=NOW_MS - LIMITS.retry_window_ms, attempts=11)
    away = BreakerState(now=NOW_MS, began=NOW_MS - HOUR_MS, open_until=NOW_MS + 1)

    settlement = decided(verdicts.Retry("http_503"), old)
    during = decide(old, Answer(verdicts.Retry("http_503"), breaker=away), NOW_MS, LIMITS)

    assert set(what_failed(settlement).values()) == {"gave_up"}
    assert "12 attempts" in settlement.reasons_by_row[0].reason
    assert (len(settlement.reasons_by_row), settlement.ended) == (10, True)
    assert during.reasons_by_row == {}


def test_a_batch_over_which_workers_die_is_bisected_without_being_sent():
    poisoned = a_batch(claims_count=POISON_CLAIMS + 1)

    settlement = isolate_poison(poisoned, NOW_MS)

    assert not is_poisoned(a_batch(claims_count=POISON_CLAIMS))
    assert is_poisoned(poisoned)
    assert settlement.batch.bisect.sending == ((0, 5),)
    assert not is_poisoned(replace(settlement.batch, claims_count=settlement.batch.claims_count + POISON_CLAIMS))
    assert what_failed(isolate_poison(a_batch(1, claims_count=9), NOW_MS)) == {0: "poison"}


# What was learned of a job.


def polled(report, batch=None, breaker=UP):
    batch = batch or followed()
    return decide_poll(batch, report, breaker, NOW_MS, LIMITS)


def followed(count=5, **more):
    given = {"state": BatchState.POLLING, "sent_ms": NOW_MS - 60_000, "job": "job-1", "attempts": 1, **more}
    return a_batch(count, **given)


def test_a_job_that_ended_well_delivers_all_rows():
    settlement = polled(verdicts.JobEnded("completed", errored=0))

    assert (settlement.ended, settlement.delivered, settlement.unattributed) == (True, 5, 0)
    assert settlement.batch.job_status == "completed"


@pytest.mark.parametrize(
    ("report", "seen"),
    [
        (verdicts.JobRunning("pending"), "pending"),
        (verdicts.JobMissing(), "missing"),
        (verdicts.Retry("http_503"), "http_503"),
    ],
)
def test_a_job_that_has_not_ended_is_polled_again_with_growing_gaps_until_the_deadline(report, seen):
    settlement = polled(report, followed(polls=1))
    late = polled(report, followed(sent_ms=NOW_MS - LIMITS.poll_deadline_ms))

    assert (settlement.batch.polls, settlement.batch.job_status, settlement.due_set) == (2, seen, "due:poll")
    assert settlement.delay_ms == 9_800
    assert (set(what_failed(late).values()), late.orphan_ms) == ({"no_verdict"}, LIMITS.orphan_ms)
    assert seen in late.reasons_by_row[0].reason


def test_a_rate_limit_or_a_stop_leaves_a_job_as_it_is():
    stop = verdicts.Stop("unauthorized", "no")

    assert polled(verdicts.Limited(5.0)).batch == followed()
    assert polled(stop).stop == stop


def test_a_job_with_failed_rows_has_the_file_that_names_them_fetched_next():
    ended = verdicts.JobEnded("errored", 2, "https://files.example.com/e", reason="rows failed")

    settlement = polled(ended)

    after = settlement.batch
    assert (after.state, after.errors_url, after.platform_failed_count) == (
        BatchState.FETCHING_ERRORS,
        "https://files.example.com/e",
        2,
    )
    assert (settlement.due_set, settlement.delay_ms, settlement.ended) == ("due:poll", 0, False)


@pytest.mark.parametrize(
    ("counted", "named", "failed", "unattributed"),
    [
        (2, {0, 3}, {0, 3}, 0),
        (2, {0}, {0}, 1),
        (2, set(), set(), 2),
        (5, {1}, {0, 1, 2, 3, 4}, 0),
        (9, set(), {0, 1, 2, 3, 4}, 0),
        (None, set(), set(), 1),
        (None, {2}, {2}, 0),
    ],
)
def test_rows_fail_that_the_file_names_and_all_where_the_numbers_leave_nobody_else(
    counted, named, failed, unattributed
):
    batch = followed(state=BatchState.FETCHING_ERRORS, platform_failed_count=counted)

    settlement = polled(ErrorFileRead(dict.fromkeys(named, BAD)), batch)

    assert set(settlement.reasons_by_row) == failed
    assert (settlement.unattributed, settlement.delivered) == (unattributed, 5 - len(failed))
    assert all(reason.code == "bad_email" for row, reason in settlement.reasons_by_row.items() if row in named)


def test_an_import_that_failed_as_a_whole_fails_every_row_with_the_platforms_reason():
    settlement = polled(verdicts.JobEnded("failed", all_failed=True, reason="list is gone"))

    assert settlement.batch.reason == "", "a batch that has ended keeps no words of the platform"

    assert set(what_failed(settlement).values()) == {"import_failed"}
    assert settlement.reasons_by_row[0].reason == "list is gone"


def test_a_file_that_cannot_be_had_is_tried_for_an_hour_and_then_the_numbers_count():
    batch = followed(state=BatchState.FETCHING_ERRORS, platform_failed_count=2, ended_at_platform_ms=NOW_MS - 1_000)
    late = replace(batch, ended_at_platform_ms=NOW_MS - HOUR_MS)

    again = polled(ErrorFileUnavailable(may_come=True), batch)

    assert (again.batch.state, again.ended, again.due_set) == (BatchState.FETCHING_ERRORS, False, "due:poll")
    assert polled(ErrorFileUnavailable(may_come=True), late).unattributed == 2
    assert polled(ErrorFileUnavailable(may_come=False), batch).unattributed == 2


def test_a_batch_reads_back_from_its_fields_as_it_was_written():
    batch = followed(
        bisect=BisectState(((0, 2),), ((2, 4),), ((4, 9),), 3, 2), low_priority=True, retry_after_given=True, code="x"
    )
    written = {"lane": "newsletter", "root": "7", **batch.to_fields()}

    read = Batch.from_fields(7, written)

    assert replace(read, created_ms=batch.created_ms) == batch
    assert NewBatch(replace(batch, job="0", code="-1")).to_fields()["job"] == "0"
    assert read.changed_fields(batch) == {}
