"""What tests with real processes share: workers as child processes, a keyspace to work on, waiting for conditions.

Everything started here is ended by its own process id when its `with` block ends, also by a failed assertion. Workers
get an environment of their own: nothing of the developer's reaches them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson
from redis import Redis

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import DestinationRuntime, Engine
from contact_ingest.pipeline import enqueue
from contact_ingest.pipeline.enqueue import Receipt
from contact_ingest.store import books
from contact_ingest.store.keys import Keys
from contact_ingest.store.lanes import append
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import Workers

ROOT = Path(__file__).parents[2]
KEY = "SG.test-key"
Found = TypeVar("Found")

#: Everything as soon as it can be, so that a test is not spent on waiting.
HASTE = {"MAX_WAIT_S": "0", "POLL_FIRST_S": "0.05", "ORPHAN_WAIT_S": "1"}


def wait_until(condition: Callable[[], Found], timeout_s: float = 20, what: Callable[[], object] | str = "") -> Found:
    """The first true value of the condition; fails with `what` if there is none in time."""
    gives_up_s = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > gives_up_s:
            raise AssertionError(f"not true within {timeout_s} s: {what() if callable(what) else what}")
        time.sleep(0.01)
    return found


def person(number: int, domain: str = "example.com", **more: Any) -> dict[str, Any]:
    return {"email": f"p{number}@{domain}", "first_name": f"Name {number}", **more}


def clean_environment(**more: str) -> dict[str, str]:
    """What a child gets: where programs are, where the project is, and what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
    # Coverage and the like must not follow; a warning for being root in a container says nothing about the product.
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **more}


class WorkerProcess:
    """`celery worker` as a child in a session of its own: its pool children die with it."""

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


class Stage:
    """One keyspace on one server with one sandbox behind it: what a worker is pointed at, and what a test looks at."""

    def __init__(self, redis_url: str, sandbox_url: str, directory: Path, prefix: str = "stage", **set_: str) -> None:
        self.redis_url = redis_url
        self.prefix = prefix
        self.directory = directory
        self.set = {**HASTE, **set_}
        self._sandbox_url = sandbox_url
        self.client = Redis.from_url(redis_url)
        values = {name.lower(): value for name, value in self.set.items() if name not in ("TRAPS", "CONFIG")}
        destination = Destination(platform="sendgrid", api_key=KEY, base_url=sandbox_url)  # type: ignore[arg-type]
        settings = Settings(REDIS_URL=redis_url, key_prefix=prefix, **values)  # type: ignore[arg-type]
        self.engine = Engine(settings.model_copy(update={"destinations": {"sendgrid": destination}}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()
        self.client.close()

    @property
    def runtime(self) -> DestinationRuntime:
        return self.engine.runtime("sendgrid")

    @property
    def broker_options(self) -> dict[str, Any]:
        return {"global_keyprefix": f"{self.prefix}:broker:", "priority_steps": [0]}

    @property
    def queue(self) -> str:
        """The list in which bells lie."""
        return f"{self.prefix}:broker:contacts"

    def environment(self, **more: str) -> dict[str, str]:
        """The settings a worker gets; `more` without the prefix CONTACT_INGEST_."""
        given = {"KEY_PREFIX": self.prefix, **self.set, **more}
        platform = {} if "CONFIG" in given else {"SENDGRID_API_KEY": KEY, "SENDGRID_BASE_URL": self._sandbox_url}
        ours = {f"CONTACT_INGEST_{name}": value for name, value in given.items()}
        return clean_environment(REDIS_URL=self.redis_url, **platform, **ours)

    @contextlib.contextmanager
    def worker(
        self, *, pool: str = "solo", concurrency: int = 1, ready: bool = True, more: Iterable[str] = (), **set_: str
    ) -> Iterator[WorkerProcess]:
        """A worker of the product, by default one that has been heard of in Redis."""
        process = WorkerProcess(self.environment(**set_), self.directory, pool=pool, concurrency=concurrency, more=more)
        with process:
            if ready:
                self.wait_for_heartbeat(process)
            yield process

    def wait_for_heartbeat(self, process: WorkerProcess) -> None:
        workers = Workers(self.client, self.prefix)
        name = f"{socket.gethostname()}:{process.pid}"
        wait_until(lambda: process.has_ended or name in {m.name for m in workers.members()}, 30, lambda: process.log)
        assert not process.has_ended, process.log

    def enqueue(self, records: Iterable[Mapping[str, Any]], key: str | None = None, wait_s: float = 0) -> Receipt:
        """The door, without the process-wide wiring, so that stages can be used side by side."""
        lane = self.engine.producer.lane("sendgrid")
        door = self.engine.producer.enqueue_options(lane, key=key)
        [receipt] = enqueue.enqueue(records, [(door, lambda call: append(self.runtime.store, call))], wait_s)
        return receipt

    def follow(self, kind: str, target: str) -> None:
        """Do in this process what a bell says."""
        runtime = self.runtime
        journeys = {
            "aggregate": runtime.aggregator.aggregate,
            "dispatch": runtime.dispatcher.dispatch,
            "poll": runtime.poller.poll,
        }
        journeys[kind](target)

    def books(self, destination: str = "sendgrid") -> dict[str, int]:
        return books.totals(books.read(Store(self.client, Keys(self.prefix, destination))))

    def is_settled(self, destination: str = "sendgrid", of: int = 1) -> bool:
        """At least `of` records came, and nothing of them waits, is held or is in flight."""
        found = self.books(destination)
        return found["accepted"] >= of and not any(found[name] for name in ("waiting", "held", "batched"))

    def wait_until_settled(self, of: int, timeout_s: float = 30, destination: str = "sendgrid") -> dict[str, int]:
        wait_until(lambda: self.is_settled(destination, of), timeout_s, lambda: self.books(destination))
        return self.books(destination)

    def batches(self) -> dict[int, dict[str, str]]:
        k = self.runtime.store.keys
        numbers = map(int, self.client.zrange(k("batches"), 0, -1))
        found = {number: self.client.hgetall(k(f"batch:{number}")) for number in numbers}
        return {n: {name.decode(): value.decode() for name, value in fields.items()} for n, fields in found.items()}

    def assert_books_balance(self) -> None:
        for lane in books.read(self.runtime.store):
            assert lane.balanced, lane
            assert books.disagreements(self.runtime.store, lane.lane) == []

    def bells(self) -> list[dict[str, Any]]:
        """The raw messages that lie in the broker, oldest first."""
        return [orjson.loads(text) for text in reversed(self.client.lrange(self.queue, 0, -1))]
