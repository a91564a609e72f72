"""Fixtures of the tests in this folder."""

import pytest
from support.aggregating import CAP
from support.configured import Configured

from contact_ingest.store.rate_limiter import RateLimiter


@pytest.fixture
def slow(make_harness):
    """A destination whose partial bodies wait for a minute."""
    return make_harness(max_wait_s=60, max_body_bytes=CAP)


@pytest.fixture
def rate_limiter(harness):
    return RateLimiter(harness.runtime.store, harness.runtime.provider.account, {}, lease_ms=45_000)


@pytest.fixture
def configured(client, tmp_path, monkeypatch, redis_server):
    """Engines made from variables and a file, as a process makes them at its start."""
    made = Configured(client, tmp_path, monkeypatch, redis_server.url)
    yield made
    made.close()
