"""The demonstration's worker process and the environment it runs in.

The worker ends when the demonstration ends, whatever ends it. No variable of the user's environment that could name a
Redis, a platform or a key reaches the worker.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from contact_ingest.sandbox.process_guard import GuardedProcess

#: The variables that a process needs to run at all.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT")


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A fresh environment: the variables that programs need to run, and `settings`."""
    found = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # The folder of this package: a checkout that was never installed works as well.
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), found.get("PYTHONPATH"))))
    return found | dict(settings)


class WorkerProcess(AbstractContextManager["WorkerProcess"]):
    """A Celery worker as a child process for the length of a `with` block; its log goes to a file.

    The worker's current directory is that of its log: no configuration file of the user's is read.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, *, concurrency: int = 2) -> None:
        self._settings = settings
        self._log = log
        self._concurrency = concurrency
        self._process: GuardedProcess | None = None
        self.pid = 0

    def __enter__(self) -> Self:
        celery = [sys.executable, "-m", "celery", "-A", "contact_ingest.tasks", "worker"]
        options = ["--concurrency", str(self._concurrency)]
        environment = clean_environment(self._settings)
        self._process = GuardedProcess(
            [*celery, *options], self._log, environment=environment, directory=self._log.parent
        )
        self.pid = self._process.pid
        return self

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()
