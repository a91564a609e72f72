"""Rate-limit headers as platforms write them, and the values one exchange is made of."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contact_ingest.model.http_message import LONGEST_WAIT_S, RateHeaders, Request, Response, rate_headers, slices, utc

NOW_S = 1_795_000_000.0
HEADER_TEXT = st.text(max_size=20) | st.sampled_from(["inf", "-1", "nan", "1e400", "1e308", "٣", "0x10", " 5 ", "+5"])


def read(**headers):
    return rate_headers({name.replace("_", "-"): value for name, value in headers.items()}, NOW_S)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        ("17.0", 17),
        (str(int(NOW_S) + 17), 17),
        (str(int(NOW_S) - 17), 0),
        (str(int(NOW_S * 1000) + 17_500), 17.5),
        (str(int(NOW_S * 1000) - 17_500), 0),
        (str(int(NOW_S * 1000) + 100_000_000), LONGEST_WAIT_S),
        ("999999999", LONGEST_WAIT_S),
        (str(int(NOW_S) + 100_000), LONGEST_WAIT_S),
        ("-5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_reset_is_read_as_seconds_left_or_as_unix_time_and_clamped(reset, seconds):
    assert read(x_ratelimit_reset=reset).reset_s == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("100000", LONGEST_WAIT_S),
        (str(int(NOW_S) + 60), 60),
        (str(int(NOW_S * 1000) + 60_000), 60),
        (format_datetime(datetime.fromtimestamp(NOW_S + 60, UTC), usegmt=True), 60),
        (format_datetime(datetime.fromtimestamp(NOW_S - 60, UTC), usegmt=True), 0),
        (format_datetime(datetime.fromtimestamp(NOW_S + 86_400, UTC), usegmt=True), LONGEST_WAIT_S),
        (format_datetime(datetime.fromtimestamp(NOW_S + 30, UTC).replace(tzinfo=None)), 30),
        ("tomorrow", None),
        ("Mon, 99 Foo 2026", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_clamped(text, seconds):
    assert read(retry_after=text).retry_after_s == seconds


def test_limit_and_remaining_are_whole_numbers_or_nothing():
    assert read(x_ratelimit_limit="600", x_ratelimit_remaining="0") == RateHeaders(limit=600, remaining=0)
    assert read(x_ratelimit_limit="many", x_ratelimit_remaining="-1") == RateHeaders()
    assert read() == RateHeaders()


@given(HEADER_TEXT, HEADER_TEXT, HEADER_TEXT)
def test_garbage_never_raises_and_never_parks_a_worker(limit, reset, retry_after):
    found = rate_headers({"x-ratelimit-limit": limit, "x-ratelimit-reset": reset, "retry-after": retry_after}, NOW_S)

    for seconds in (found.reset_s, found.retry_after_s):
        assert seconds is None or 0 <= seconds <= LONGEST_WAIT_S
    assert found.limit is None or found.limit >= 0


@given(st.lists(st.binary(max_size=40)), st.integers(1, 16))
def test_slices_say_the_same_bytes_in_small_pieces(parts, size):
    pieces = list(slices(parts, size))

    assert b"".join(pieces) == b"".join(parts)
    assert all(0 < len(piece) <= size for piece in pieces)


def test_requests_and_responses_show_no_content():
    request = Request("PUT", "https://host/secret", "upsert", {"authorization": "secret"}, [b"secret"])
    response = Response(200, {"x": "secret"}, b"secret", 5)

    assert "secret" not in repr(request) + repr(response)
    assert request.length == 6


def test_moments_are_written_in_utc():
    assert utc(1_795_000_000_999) == datetime.fromtimestamp(1_795_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
