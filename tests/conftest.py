"""Real parts for the tests: a Redis-protocol server, the sandbox, and an engine in this process.

Nothing is read from the environment: a developer's own Redis and keys are out of reach.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from support.command_line import Said, command_line
from support.in_process import Harness
from support.processes import forget_environment
from support.servers import ServerKind, choose_server, server_kinds
from support.stage import KEY

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer

choose_server()


@pytest.fixture(scope="session", params=list(server_kinds()), ids=lambda kind: kind.name)
def server_kind(request: pytest.FixtureRequest) -> ServerKind:
    """Each server on which the promises about Redis are tested (see support/servers.py)."""
    found: ServerKind = request.param
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> None:
    forget_environment()


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
    """`make_harness(max_wait_s=0, destinations={"sendgrid": {...}})`: settings and destinations by name."""

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
        engine = Engine(settings_)
        set_engine(engine)
        made.append(engine)
        return Harness(engine)

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    return make_harness()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command line in this process: `cli("status", "--json").json`."""
    return command_line(capsys)
