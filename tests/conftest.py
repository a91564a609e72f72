"""Real parts for the tests: a Redis-protocol server, the sandbox, and an engine that rings its own bells.

Nothing is read from the environment: a developer's own Redis and keys are out of reach.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from support.harness import KEY
from support.in_process import Harness

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer

FOREIGN = ("REDIS_URL", "CELERY_BROKER_URL", "SENDGRID_API_KEY", "SENDGRID_BASE_URL")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> None:
    for name in [*FOREIGN, *(name for name in os.environ if name.startswith("CONTACT_INGEST_"))]:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def client(redis_server: EmbeddedServer) -> Iterator["Redis[bytes]"]:
    with Redis.from_url(redis_server.url) as made:
        made.flushall()
        yield made


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess(key=KEY) as process:
        yield process


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.reset()
    sandbox_process.dials(job_seconds=[0.05, 0.2])
    return sandbox_process


@pytest.fixture
def make_harness(
    client: "Redis[bytes]", redis_server: EmbeddedServer, sandbox: SandboxProcess
) -> Iterator[Callable[..., Harness]]:
    """`make_engine(max_wait_s=0, ...)`: settings by name; destination settings under `destination=`."""

    made: list[Engine] = []

    def make(*, destinations: dict[str, dict[str, Any]] | None = None, **settings: Any) -> Harness:
        base: dict[str, Any] = {"max_wait_s": 0, "poll_first_s": 0.05, "orphan_wait_s": 1, "lease_s": 45}
        ours = {"platform": "sendgrid", "api_key": KEY, "base_url": sandbox.url}
        configs = destinations or {"sendgrid": {}}
        settings_ = Settings(REDIS_URL=redis_server.url, **{**base, **settings}).model_copy(
            update={
                "destinations": {
                    name: Destination(**config if "platform" in config else {**ours, **config})
                    for name, config in configs.items()
                }
            }
        )
        parts = Engine(settings_)
        set_engine(parts)
        made.append(parts)
        return Harness(parts)

    yield make
    for parts in made:
        parts.close()


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    return make_harness()
