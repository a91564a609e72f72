"""How long everything waits that is tried again. No server is needed."""

import pytest

from contact_ingest.pipeline import backoff
from contact_ingest.store.rate_limiter import BreakerState

CLOSED = BreakerState(now=1_000_000)


@pytest.mark.parametrize(
    ("failures", "after_s", "jitter", "wait_ms"),
    [
        (0, None, 1.0, 1_000),
        (5, None, 1.0, 32_000),
        (100, None, 1.0, 900_000),
        (3, None, 0.25, 2_000),
        (3, None, 0.0, 0),
        (0, 60.0, 1.0, 60_000),
        (10, 60.0, 1.0, 900_000),
    ],
)
def test_a_retry_waits_exponentially_with_full_jitter_and_never_less_than_the_platform_asks(
    failures, after_s, jitter, wait_ms
):
    assert backoff.retry_ms(failures, after_s, jitter) == wait_ms
    assert backoff.dispatch_again_ms(failures, after_s, CLOSED, jitter) == wait_ms


def test_while_the_breaker_is_open_a_batch_waits_for_it_and_for_nothing_else():
    is_open = BreakerState(now=1_000_000, open_until=1_042_000, began=990_000)

    assert backoff.dispatch_again_ms(9, None, is_open, 0.5) == 42_500
    assert backoff.dispatch_again_ms(9, 300.0, is_open, 0.5) == 300_000


def test_gaps_between_polls_grow_to_a_minute():
    gaps = [backoff.poll_gap_ms(polls, 5_000) for polls in range(12)]

    assert gaps[:3] == [5_000, 7_000, 9_800]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60_000
    assert backoff.poll_gap_ms(1, 5_000, after_s=90.0) == 90_000


@pytest.mark.parametrize(
    ("breaker", "age_ms", "over"),
    [
        (CLOSED, 99_999, False),
        (CLOSED, 100_000, True),
        # The platform was away for 60 s of the last 120: 60 s count.
        (BreakerState(now=1_000_000, began=930_000, ended=990_000), 120_000, False),
        (BreakerState(now=1_000_000, began=930_000, ended=990_000), 160_000, True),
        # It is still away.
        (BreakerState(now=1_000_000, open_until=1_060_000, began=930_000), 160_000, False),
    ],
)
def test_the_time_of_an_outage_does_not_count_as_time_in_which_something_was_tried(breaker, age_ms, over):
    assert backoff.is_over(1_000_000 - age_ms, 1_000_000, 100_000, breaker) is over
