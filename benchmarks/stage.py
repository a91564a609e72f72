"""What the benchmarks with real processes share: our own server, the sandbox, and this process's wiring to both.

Nothing is read from the environment, so no Redis, platform or key of the user's is ever touched.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import DestinationRuntime, Engine, set_engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books

KEY = "SG.benchmark"
#: The sandbox's own request limits would be what is measured.
NO_LIMITS = {f"sendgrid.{name}": {"limit": 1_000_000, "window_s": 1} for name in ("upsert", "imports")}
#: Without any progress for so long, something is wrong.
STUCK_S = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, a sandbox behind it, and the parts through which this process enqueues and looks."""

    server: EmbeddedServer
    sandbox: SandboxProcess
    engine: Engine

    @property
    def runtime(self) -> DestinationRuntime:
        return self.engine.runtime("sendgrid")

    def environment(self, **more: object) -> dict[str, str]:
        """The settings of a worker; `more` without the prefix CONTACT_INGEST_."""
        ours = {f"CONTACT_INGEST_{name}": str(value) for name, value in more.items()}
        return {
            "REDIS_URL": self.server.url,
            "SENDGRID_API_KEY": KEY,
            "SENDGRID_BASE_URL": self.sandbox.url,
            "PYTHONWARNINGS": "ignore",  # that one is root in a container says nothing here
            **ours,
        }

    def books(self) -> dict[str, int]:
        return books.totals(books.read(self.runtime.store))

    def is_settled(self) -> bool:
        """Nothing waits, is held or is in flight."""
        found = self.books()
        return not any(found[name] for name in ("waiting", "held", "batched"))


@contextlib.contextmanager
def stage(dials: Mapping[str, Any] | None = None, **settings: Any) -> Iterator[Stage]:
    with (
        EmbeddedServer() as server,
        SandboxProcess(key=KEY, dials={"limits": NO_LIMITS, **(dials or {})}) as sandbox,
        wired_to(server.url, sandbox.url, **settings) as engine,
    ):
        yield Stage(server, sandbox, engine)


@contextlib.contextmanager
def wired_to(redis_url: str, platform_url: str, **settings: Any) -> Iterator[Engine]:
    """This process's wiring, for `worker.enqueue` as well."""
    # Celery would prefer what these say to the address it is given.
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        os.environ.pop(name, None)
    to = Destination(platform="sendgrid", api_key=SecretStr(KEY), base_url=platform_url)
    made = Settings.without_environment(redis_url=SecretStr(redis_url), destinations={"sendgrid": to}, **settings)
    engine = Engine(made)
    set_engine(engine)
    try:
        yield engine
    finally:
        engine.close()


def follow(ended: Callable[[], bool], progress: Callable[[], object], log: Path, pause_s: float = 0.05) -> None:
    """Look until it has ended; an error with the end of the worker's log if nothing changes any more."""
    last, changed_s = progress(), time.monotonic()
    while not ended():
        if (now := progress()) != last:
            last, changed_s = now, time.monotonic()
        if time.monotonic() - changed_s > STUCK_S:
            raise SystemExit(f"no progress any more at {last}; the worker said:\n{log.read_text()[-2000:]}")
        time.sleep(pause_s)
