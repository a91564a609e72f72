"""Everything one run needs, and the only place that knows how it hangs together: Redis behind a proxy (with a replica
behind another), the sandbox behind a third, workers, producers and a person on call.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from account import open_account
from crew import Crew
from operators import Operator
from platforms import Platform
from producers import History, MortalProducer, put
from pydantic import SecretStr
from redis import Redis
from support.checker import Failed
from support.processes import clean_environment
from support.proxy import Proxy
from support.traps import Traps
from support.waiting import wait_until
from terms import DIALS, PREFIX, SERVER, SETTINGS
from traffic import JOINED, Call, Traffic
from watch import Journal, Sampler

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.keys import Keys
from contact_ingest.store.scripts import Store

#: The last records of the history, and how long ago they were enqueued, to which newer ones are sent.
RECENT, RECENT_S = 450, 4.0


class World:
    """As a context manager it runs from `with` to the end of the block."""

    def __init__(
        self,
        directory: Path,
        platform: Platform,
        *,
        seed: int,
        replicas: int = 0,
        replicated: bool = False,
        dials: Any = None,
    ) -> None:
        self.directory = directory
        self.platform = platform
        self.replicated = replicated
        self.history = History()
        self.traps = Traps(directory / "traps")
        self.calm = threading.Event()
        self.redis_lock = threading.Lock()
        self.dial_lock = threading.Lock()
        self.kind_locks: dict[str, threading.Lock] = {}
        self.regrets: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
        self.seed = seed
        self._replicas = replicas
        self._dials = {**DIALS, "limits": platform.limits, "seed": seed, **(dials or {})}
        self._standing = 0
        self._standing_lock = threading.Lock()
        #: When the last fault that holds everybody up was over.
        self.quiet_since_s = time.monotonic()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.primary = self._server("redis")
            self.replica: EmbeddedServer | None = None
            stack.callback(self._close_servers)
            self.redis = stack.enter_context(Proxy(self.primary.url))
            self.link = stack.enter_context(Proxy(self.primary.port))
            self.sandbox = stack.enter_context(
                SandboxProcess(key=self.platform.account.get("api_key"), dials=self._dials)
            )
            self.http = stack.enter_context(Proxy(self.sandbox.url))
            self.client = Redis.from_url(self.primary.url, socket_timeout=5)
            if self.replicated:
                self.replica = self.new_replica()
            self.account = open_account(self.platform, self.sandbox)
            self.list_id = self.account.list_id
            self.journal = stack.enter_context(Journal(self.sandbox))
            self.engine = self._wiring()
            stack.callback(self.engine.close)
            self._staff(stack)
            self.sampler = stack.enter_context(Sampler(self))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _close_servers(self) -> None:
        """Those that are there by then: failovers change them."""
        for server in (self.replica, self.primary):
            if server is not None:
                server.close()

    def _staff(self, stack: contextlib.ExitStack) -> None:
        environment = self.environment()
        self.operator = Operator(environment, self.directory / "operator.log", self.platform.name)
        stack.callback(self.operator.stop)
        self.mortal = MortalProducer(
            environment, self.directory / "producer.log", self.seed, self.platform, self.accepted
        )
        self.mortal.list_id = self.list_id
        self.crew = Crew(environment, self.directory / "workers")
        stack.callback(self.crew.stop)

    def environment(self) -> dict[str, str]:
        """What workers, the producer and the person on call are given."""
        ours = {f"CONTACT_INGEST_{name.upper()}": str(value) for name, value in self._settings().items()}
        ours |= {"CONTACT_INGEST_KEY_PREFIX": PREFIX, "CONTACT_INGEST_TRAPS": str(self.traps.directory)}
        file = self.directory / "contact-ingest.toml"
        file.write_text(self.platform.file())
        ours["CONTACT_INGEST_CONFIG"] = str(file)
        return clean_environment(REDIS_URL=self.redis.url, **self.platform.variables(self.http.url), **ours)

    def _settings(self) -> dict[str, Any]:
        return {**SETTINGS, "store_ack_replicas": self._replicas}

    def _wiring(self) -> Engine:
        name, rate = self.platform.name, self.platform.rate
        addresses = {setting: self.http.url + path for setting, path in self.platform.addresses.items()}
        known = {} if rate is None else {"rate_limit": rate[0], "rate_window_s": rate[1]}
        to = Destination.model_validate({"platform": name, **self.platform.account, **addresses, **known})
        made = Settings.without_environment(
            redis_url=SecretStr(self.redis.url), key_prefix=PREFIX, destinations={name: to}, **self._settings()
        )
        parts = Engine(made)
        set_engine(parts)
        return parts

    def accepted(self, call: Call, lane: str, first: int, at_s: float) -> None:
        """Records were enqueued: into the history, and to the person on call if somebody regrets them."""
        self.history.accepted(call, lane, first, at_s)
        if call.cancelled:
            self.regrets.put((lane, first, first + len(call.made) - 1))

    def enqueue(self, call: Call) -> tuple[str, int]:
        """Here and now; returns the lane and the place of the first record."""
        at_s = time.monotonic()
        receipt = put(call, self.platform, self.list_id)
        self.accepted(call, receipt.lane, receipt.ranges[0][0], at_s)
        return receipt.lane, receipt.ranges[0][0]

    def update_recent(self, name: str) -> None:
        """Newer records for everybody who was enqueued a moment ago: if something of theirs is on its way yet and comes
        after all, it must not be what is seen in the end."""
        since_s = time.monotonic() - RECENT_S
        fields: dict[bool, dict[str, set[str]]] = {False: {}, True: {}}
        for sent in self.history.sent[-RECENT:]:
            firm = not sent.is_loose and not sent.contact.startswith("id:")
            if sent.at_s > since_s and firm and "phone" not in sent.fields:
                listed = JOINED in sent.fields
                fields[listed].setdefault(sent.contact, set()).update(sent.fields.keys() - {JOINED, "last_name"})
        traffic = self.traffic(f"newer-{name}")
        for listed, names in fields.items():
            if names:
                self.enqueue(traffic.newer({email: sorted(those) for email, those in names.items()}, listed=listed))

    def traffic(self, name: str) -> Traffic:
        """Records for this platform, from the run's seed and a name."""
        return Traffic(self.seed, name, self.platform.dialect)

    def retry(self, codes: Iterable[str]) -> int:
        """Have failures of these codes tried again; returns how many there were."""
        told = self.operator.order("retry", codes=sorted(set(codes)))
        now_s = time.monotonic()
        for id_, code, merged in told["failed"]:
            lane = id_.rpartition(":")[0]
            self.sampler.saw(Failed(id_, code, tuple(f"{lane}:{seq}" for seq in merged), now_s))
        return int(told["moved"])

    def append(self, dial: str, more: Sequence[Any]) -> None:
        """To the end of a dial that is a script."""
        if more:
            with self.dial_lock:
                self.sandbox.dials(**{dial: [*self.sandbox.dials()[dial], *more]})

    def dial(self, **changes: Any) -> None:
        with self.dial_lock:
            self.sandbox.dials(**changes)

    @property
    def store(self) -> Store:
        """The keys, past all proxies."""
        return Store(self.client, Keys(PREFIX, self.platform.name))

    @property
    def queue(self) -> str:
        """The list in which the broker keeps wake-ups."""
        return f"{PREFIX}:broker:contacts"

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """While everybody is held up by what is done here."""
        with self._standing_lock:
            self._standing += 1
        try:
            yield
        finally:
            with self._standing_lock:
                self._standing -= 1
                self.quiet_since_s = time.monotonic()

    @property
    def is_held_up(self) -> bool:
        return self._standing > 0

    def rest(self, seconds: float) -> None:
        """Let a fault last; the end of the faults ends it too."""
        self.calm.wait(seconds)

    def lock(self, name: str) -> threading.Lock:
        """One fault of a kind at a time, where they could not be told apart."""
        return self.kind_locks.setdefault(name, threading.Lock())

    def _server(self, name: str, *more: str) -> EmbeddedServer:
        server = EmbeddedServer(directory=self.directory / f"{name}-{time.monotonic_ns()}", extra=[*SERVER, *more])
        server.start()
        return server

    def new_replica(self) -> EmbeddedServer:
        """Attached to the primary, and up to date."""
        server = self._server("replica", "--replicaof", "127.0.0.1", str(self.link.port))
        with Redis.from_url(server.url) as client:
            wait_until(lambda: client.info("replication").get("master_link_status") == "up", 20)
        return server

    def fail_over(self, lag_s: float) -> None:
        """The primary dies, and the replica that has heard nothing for `lag_s` takes over."""
        assert self.replica is not None
        self.link.hold()
        time.sleep(lag_s)
        self.primary.kill()
        self.link.drop()
        self.link.let_go()
        old, self.primary, self.replica = self.primary, self.replica, None
        client = Redis.from_url(self.primary.url, socket_timeout=5)
        client.replicaof("NO", "ONE")
        self.client = client
        self.redis.point_at(self.primary.port)
        self.redis.drop()
        self.link.point_at(self.primary.port)
        old.close()
