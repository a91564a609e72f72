"""Celery workers as child processes: for the tests of the whole system, the fault campaign and the benchmarks.

A worker is started by `with` and ended by its own process id when the block ends, also by a failed assertion. Its
environment is its own: nothing of the developer's reaches it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from support.product import ROOT
from support.waiting import wait_until

#: Variables that a developer's shell may have. Celery prefers its own to the address that it is given.
FOREIGN = (
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
    "SENDGRID_API_KEY",
    "SENDGRID_BASE_URL",
)


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a child: where programs are, where the project is, and what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
    # A warning for being root in a container says nothing about the product.
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **more}


def forget_environment() -> None:
    """Take everything out of this process's environment that could name a Redis, a platform or a key of the user's."""
    for name in [*FOREIGN, *(name for name in os.environ if name.startswith("CONTACT_INGEST_"))]:
        os.environ.pop(name, None)


class WorkerProcess:
    """`celery worker` as a child in a session of its own, so that its pool's children can be ended with it."""

    def __init__(
        self,
        environment: Mapping[str, str],
        directory: Path,
        *,
        app: str = "contact_ingest.tasks",
        pool: str = "solo",
        concurrency: int = 1,
        more: Iterable[str] = (),
    ) -> None:
        self._environment = dict(environment)
        self._directory = directory
        self._command = [sys.executable, "-m", "celery", "-A", app, "worker", "--pool", pool]
        self._command += ["--concurrency", str(concurrency), *more]
        self._child: subprocess.Popen[bytes] | None = None
        self._log = Path()

    @property
    def child(self) -> "subprocess.Popen[bytes]":
        assert self._child is not None
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def log(self) -> str:
        """Everything it has said so far, standard output and error together."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._log = self._directory / f"worker-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_until_consuming(self, timeout_s: float = 20) -> None:
        wait_until(lambda: " ready." in self.log or self.has_ended, timeout_s, lambda: self.log)
        assert not self.has_ended, self.log

    @property
    def has_ended(self) -> bool:
        return self.child.poll() is not None

    def wait(self, timeout_s: float = 20) -> int:
        """Its exit code; negative is the signal that killed it."""
        return self.child.wait(timeout_s)

    def stop(self, timeout_s: float = 20) -> int:
        """Ask it to end, as a supervisor does; returns the exit code."""
        self.child.terminate()
        return self.wait(timeout_s)

    def freeze(self) -> None:
        """Stop the main process where it stands."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def kill(self) -> None:
        """End it and its children at once. Their session is the one we made, so its number is ours to kill."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
