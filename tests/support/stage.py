"""One keyspace on one Redis with one sandbox behind it: what workers are pointed at, and what a test looks at."""

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import orjson
from celery import Celery
from pydantic import SecretStr
from redis import Redis
from support.processes import WorkerProcess, clean_environment
from support.waiting import wait_until

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import DestinationRuntime, Engine
from contact_ingest.pipeline import enqueue
from contact_ingest.pipeline.enqueue import Receipt
from contact_ingest.store import books
from contact_ingest.store.keys import Keys
from contact_ingest.store.lanes import append
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import Workers

#: The sandbox's API key, where a test does not say another.
KEY = "SG.test-key"
#: Everything as soon as it can be, so that a test is not spent on waiting.
HASTE = {"MAX_WAIT_S": "0", "POLL_FIRST_S": "0.05", "ORPHAN_WAIT_S": "1"}


class Stage:
    """A keyspace under `prefix`, workers on it, and this process's own engine on it."""

    #: Settings of workers and of the engine, unless others are given.
    defaults: ClassVar[Mapping[str, str]] = HASTE

    def __init__(self, redis_url: str, sandbox_url: str, directory: Path, prefix: str = "stage", **set_: str) -> None:
        self.redis_url = redis_url
        self.prefix = prefix
        self.directory = directory
        self.set = {**self.defaults, **set_}
        self._sandbox_url = sandbox_url
        self.client = Redis.from_url(redis_url)
        values = {name.lower(): value for name, value in self.set.items() if name not in ("TRAPS", "CONFIG")}
        destination = Destination(platform="sendgrid", api_key=SecretStr(KEY), base_url=sandbox_url)
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

    @contextlib.contextmanager
    def celery(self, name: str) -> Iterator[Celery]:
        """An app of a program that shares nothing with the product but the broker."""
        with Celery(name, broker=self.redis_url, set_as_current=False) as made:
            made.conf.update(broker_transport_options=self.broker_options, task_default_queue="contacts")
            yield made

    @property
    def queue(self) -> str:
        """The list in which the broker keeps wake-ups."""
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
        """Do in this process what a wake-up asks for."""
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

    def wakeups(self) -> list[dict[str, Any]]:
        """The raw messages that lie in the broker, oldest first."""
        return [orjson.loads(text) for text in reversed(self.client.lrange(self.queue, 0, -1))]
