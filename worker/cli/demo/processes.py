"""The demonstration's own processes: server, sandbox, worker. They are gone when it is gone, by whatever death.

Nothing of the user's environment reaches them that could name a Redis, a platform or a key.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from contact_ingest.sandbox.redis_server import GUARD

#: What a process needs of the environment to run at all.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT")


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A fresh environment: what programs need to run, and these settings."""
    found = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Where this package lies, so that a checkout that was never installed works as well.
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), found.get("PYTHONPATH"))))
    return found | dict(settings)


class WorkerProcess(AbstractContextManager["WorkerProcess"]):
    """A Celery worker as a child; its log goes to a file."""

    def __init__(self, settings: Mapping[str, str], log: Path, *, concurrency: int = 2) -> None:
        self._settings = settings
        self._log = log
        self._concurrency = concurrency
        self._guard: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def __enter__(self) -> Self:
        worker = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "contact_ingest.tasks",
            "worker",
            "--concurrency",
            str(self._concurrency),
        ]
        guard = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), ""]
        with self._log.open("ab") as log:
            self._guard = subprocess.Popen(
                [*guard, *worker, "--without-gossip", "--without-mingle"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(self._settings),
                cwd=self._log.parent,  # no configuration file of the user's is read
                start_new_session=True,  # Ctrl-C is for the demonstration, which then ends it in order
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())
        return self

    @property
    def is_alive(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def __exit__(self, *_: object) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        assert guard.stdout is not None
        try:
            guard.stdin.write(b"t")
            guard.stdin.close()
        except BrokenPipeError:
            pass  # it has ended by itself
        guard.wait()
        guard.stdout.close()
