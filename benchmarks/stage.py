"""What the benchmarks with a server share: a server, the sandbox, and this process's engine between them.

Nothing is read from the environment, so no Redis, platform or key of the user's is ever touched.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from support.processes import forget_environment
from support.stage import KEY, Stage

from contact_ingest.engine import set_engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer

#: The sandbox's own request limits would be what is measured.
NO_LIMITS = {f"sendgrid.{name}": {"limit": 1_000_000, "window_s": 1} for name in ("upsert", "imports")}
#: An address at which nothing listens, for benchmarks that send nothing.
NOWHERE = "http://127.0.0.1:9"


class BenchmarkStage(Stage):
    """A stage whose settings are the product's own, except those that a benchmark gives."""

    defaults: ClassVar[Mapping[str, str]] = {}
    sandbox: SandboxProcess


@contextlib.contextmanager
def stage(dials: Mapping[str, Any] | None = None, **settings: object) -> Iterator[BenchmarkStage]:
    """A stage with a sandbox. `settings` hold for workers and for this process; names without CONTACT_INGEST_."""
    with (
        SandboxProcess(key=KEY, dials={"limits": NO_LIMITS, **(dials or {})}) as sandbox,
        stage_without_sandbox(sandbox.url, **settings) as made,
    ):
        made.sandbox = sandbox
        yield made


@contextlib.contextmanager
def stage_without_sandbox(platform_url: str = NOWHERE, **settings: object) -> Iterator[BenchmarkStage]:
    """A stage on a server of its own. `contact_ingest.enqueue` of this process enqueues to it."""
    forget_environment()
    texts = {name: str(value) for name, value in settings.items()}
    with (
        EmbeddedServer() as server,
        tempfile.TemporaryDirectory(prefix="contact-ingest-") as folder,
        BenchmarkStage(server.url, platform_url, Path(folder), **texts) as made,
    ):
        set_engine(made.engine)
        yield made
