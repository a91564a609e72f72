"""Fixtures of the tests in this folder."""

import socket
from typing import Any

import pytest
from support.diagnosis import KEY, LANE

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.redis_server import EmbeddedServer, find_binary


@pytest.fixture(scope="module")
def redis_server():
    """A server of this file's own: its configuration is turned. It is the embedded one in every run, because the doctor
    has nothing to say against it; what the doctor says of others is in tests/system/test_redis_modes.py."""
    with EmbeddedServer(program=find_binary()) as server:
        yield server


@pytest.fixture(autouse=True)
def turned_back(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync")
    before = {name: client.config_get(name)[name] for name in names}
    yield
    for name, value in before.items():
        client.config_set(name, value)


@pytest.fixture
def wire(redis_server, sandbox):
    """The parts of this process: `wire(url, destination={...}, setting=...)`."""
    made: list[Engine] = []

    def make(url: str = "", *, destination: dict[str, Any] | None = None, **settings: Any) -> Engine:
        given = {"platform": "sendgrid", "api_key": KEY, "base_url": sandbox.url, **(destination or {})}
        base = Settings(REDIS_URL=url or redis_server.url, **{"max_wait_s": 0, **settings})
        parts = Engine(base.model_copy(update={"destinations": {LANE: Destination(**given)}}))
        set_engine(parts)
        made.append(parts)
        return parts

    yield make
    for parts in made:
        parts.close()


@pytest.fixture
def parts(wire):
    """All is well: a server, an account, a worker that ticks."""
    parts = wire()
    parts.workers.heartbeat(f"{socket.gethostname()}:1", 4)
    return parts
