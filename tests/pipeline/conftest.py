"""Fixtures of the tests in this folder."""

import pytest
from support.aggregating import CAP

from contact_ingest.store.rate_limiter import RateLimiter


@pytest.fixture
def slow(make_harness):
    """A destination whose partial bodies wait for a minute."""
    return make_harness(max_wait_s=60, max_body_bytes=CAP)


@pytest.fixture
def rate_limiter(harness):
    return RateLimiter(harness.runtime.store, harness.runtime.provider.account, {}, lease_ms=45_000)
