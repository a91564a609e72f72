"""Real parts for the tests: a Redis-protocol server, the sandbox, and an engine that rings its own bells.

Nothing is read from the environment: a developer's own Redis and keys are out of reach.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from worker.embedded import EmbeddedServer
from worker.sandbox.process import SandboxProcess
from worker.settings import Destination, Settings
from worker.store import books
from worker.store.schedule import Bell
from worker.wiring import Site, Wiring, install

KEY = "SG.test-key"
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


class Engine:
    """The whole product in one process, without Celery: bells are rung by hand, in order."""

    def __init__(self, parts: Wiring) -> None:
        self.parts = parts

    @property
    def site(self) -> Site:
        return self.parts.site(self.parts.destinations[0])

    def ring(self, bell: Bell) -> tuple[Bell, ...]:
        site = self.parts.site(self.parts.destination_of(bell.target))
        if bell.kind == "aggregate":
            return site.aggregation.aggregate(bell.target)
        journey: Callable[[str], tuple[Bell, ...]] = (
            site.delivery.dispatch if bell.kind == "dispatch" else site.tracking.poll
        )
        return journey(bell.target)

    def pump(self) -> int:
        """Look once, and do everything that follows from it at once; returns ms until something else is due."""
        ticks = [site.schedule.tick(4) for site in self.parts.sites()]
        bells = deque(bell for tick in ticks for bell in tick.bells)
        while bells:
            bells.extend(self.ring(bells.popleft()))
        return min(tick.nearest_ms for tick in ticks)

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not reached in time: {self.books()}"
            self.pump()
            time.sleep(0.005)

    def run_until_settled(self, timeout_s: float = 30) -> None:
        """Until nothing waits, is held or is in flight."""
        self.run_until(lambda: not any(self.books()[name] for name in ("waiting", "held", "batched")), timeout_s)

    def books(self, destination: str | None = None) -> dict[str, int]:
        site = self.parts.site(destination) if destination else self.site
        return books.totals(books.read(site.store))

    def assert_books_balance(self) -> None:
        for site in self.parts.sites():
            for lane in books.read(site.store):
                assert lane.balanced, lane
                assert books.disagreements(site.store, lane.lane) == []


@pytest.fixture
def make_engine(
    client: "Redis[bytes]", redis_server: EmbeddedServer, sandbox: SandboxProcess
) -> Iterator[Callable[..., Engine]]:
    """`make_engine(max_wait_s=0, ...)`: settings by name; destination settings under `destination=`."""

    made: list[Wiring] = []

    def make(*, destinations: dict[str, dict[str, Any]] | None = None, **settings: Any) -> Engine:
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
        parts = Wiring(settings_)
        install(parts)
        made.append(parts)
        return Engine(parts)

    yield make
    for parts in made:
        parts.close()


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()
