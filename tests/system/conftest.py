"""A stage for the tests that use real workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.stage import Stage

from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer


@pytest.fixture
def stage(client: Any, redis_server: EmbeddedServer, sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Stage]:
    """An empty server, a sandbox with quick imports, and what is needed to start workers on them."""
    sandbox.dials(job_seconds=[0, 0.1])
    with Stage(redis_server.url, sandbox.url, tmp_path) as made:
        yield made
