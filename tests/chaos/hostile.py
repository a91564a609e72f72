"""Hostile records and hostile replies against the whole product: does anything fall over, leak, grow or get lost?

    python tests/chaos/hostile.py [--seed N] [--records N] [--replies N] [--json]

1. Records go through `enqueue`, through files on the command line, through messages of Celery, and past every door
   right into the lanes, to all platforms; a real worker (prefork, two children) takes them to the sandbox. A server
   that breaks every rule of HTTP, and error files that are traps, are two more destinations.
2. Parsed replies of every kind are read by engines in this process, on a clock that is turned forward.

Exits with 1 if a worker's log has a traceback, an error or a planted word, if a process has needed 300 MB or more, if
the books of a lane do not balance, or if a record is unaccounted for. Memory is the kernel's own peak, on Linux alone.
"""

import argparse
import contextlib
import gzip
import io
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "benchmarks")]

from backlog import Peaks
from celery import Celery
from hostile_wire import HostileServer
from measure import Table, show
from stage import follow
from support.fuzz_records import CANARY, Records
from support.fuzz_replies import WIRES, Replies
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import cli, enqueue
from contact_ingest.cli.demo.processes import WorkerProcess
from contact_ingest.config.destinations import read
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.pipeline.enqueue import EnqueueBuffer
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books
from contact_ingest.store.lanes import append

MAX_PEAK_BYTES = 300_000_000
KEY = "SG.hostile"
PREFIX = "hostile"
#: Largest records: many of them in one lane must not be held at once. And how large they are.
LARGE_SHARE, LARGE_BYTES = 400, 900_000
CONFIG = """
[destinations.sendgrid]
platform = "sendgrid"
api_key = "{key}"
base_url = "{sandbox}"
unknown_fields = "drop"

[destinations.loops]
platform = "loops"
api_key = "{key}"
base_url = "{sandbox}/api"
rate_limit = 100000
rate_window_s = 1

[destinations.emarsys]
platform = "emarsys"
client_id = "sandbox-client"
client_secret = "sandbox-secret"
base_url = "{sandbox}/api"
token_url = "{sandbox}/oauth2/token"
[destinations.emarsys.fields]
rename = {{ "custom_fields.plan" = "city" }}

[destinations.wire]
platform = "loops"
api_key = "{key}"
base_url = "{wire}"
rate_limit = 100000
rate_window_s = 1

[destinations.files]
platform = "sendgrid"
api_key = "{key}"
base_url = "{wire}"
"""
SETTINGS = {
    "MAX_WAIT_S": "0.5",
    "POLL_FIRST_S": "0.1",
    "ORPHAN_WAIT_S": "1",
    "BREAKER_S": "0.2",
    "RETRY_WINDOW_S": "60",
}
NO_LIMITS = {
    name: {"limit": 1_000_000, "window_s": 1}
    for name in ("sendgrid.upsert", "sendgrid.imports", "sendgrid.fields", "loops", "emarsys", "emarsys.token")
}
#: A wait is kept, a quarter of an hour at most: in a worker on a clock of its own nobody can wait for that.
QUICK = {kind: wire for kind, wire in WIRES.items() if kind != "a year's wait"}
#: Error files that cost far more to read than to send.
FILES = {
    "file: lists of lists": b"[" + b"[]," * 3_900_000 + b"[]]",
    "file: a million cells": b"".join(b"x%d@hostile.example" % n + b",a" * 60 + b"\n" for n in range(80_000)),
    "file: a gzip bomb": gzip.compress(bytes(300_000_000), 9),
    "file: wide text": ("\U0001f600\n" + "x;" * 5_900_000).encode(),
    "file: too long": b"y" * 60_000_000,
    "file: quotes": b'"' * 11_000_000,
}


@dataclass(slots=True)
class Found:
    """What has been seen, by name, and what is wrong."""

    given: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    accepted: int = 0
    consume_wakeup: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Givers:
    """The ways by which records come, and what became of them at the door."""

    def __init__(self, parts: Engine, source: Records, found: Found, folder: Path) -> None:
        self._parts = parts
        self._source = source
        self._found = found
        self._folder = folder

    def objects(self, to: str, count: int) -> None:
        given: list[Any] = []
        for _ in range(count):
            kind, record = self._source.python()
            self._found.given[f"object: {kind}"] += 1
            given.append(record)
        receipt = enqueue(given, to=to)
        self._found.accepted += receipt.accepted
        self._found.refused += receipt.refused_count
        if receipt.accepted + receipt.refused_count != count:
            self._found.wrong.append(
                f"{to}: {count} objects given, {receipt.accepted + receipt.refused_count} answered"
            )

    def large(self, to: str, count: int) -> None:
        for _ in range(count):
            self._found.given["object: of 900 kB"] += 1
            self._found.accepted += enqueue(self._source.large(LARGE_BYTES), to=to).accepted

    def past_the_door(self, to: str, count: int) -> None:
        """Bytes right into the lane, as a program with a bug of its own would put them there."""
        lane = self._parts.lane(to)
        filling, store = EnqueueBuffer(self._parts.enqueue_options(lane)), self._parts.runtime(to).store
        for start in range(0, count, 500):
            filling._records = []
            for _ in range(min(500, count - start)):
                kind, raw = self._source.raw()
                self._found.given[f"in the lane: {kind}"] += 1
                filling._records.append(raw)
            call = filling.next_call()
            assert call is not None
            self._found.accepted += append(store, call).count

    def files(self, to: str, count: int) -> None:
        before = self._accepted(to)
        for number in range(count):
            kind, ending, content = self._source.file()
            self._found.given[f"file: {kind}"] += 1
            path = self._folder / f"f{number}{ending}"
            path.write_bytes(content)
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = cli.run(["enqueue", str(path), "--to", to, "--rejects", f"{path}.rejects"])
            if code not in (0, 1, 2, 4) or "Traceback" in out.getvalue():
                self._found.wrong.append(f"a file of {kind} ended the command with {code}: {out.getvalue()[-200:]}")
        self._found.accepted += self._accepted(to) - before

    def messages(self, producer: Celery, count: int) -> None:
        """How many records of them are taken in is for the books alone to say."""
        for _ in range(count):
            task, args, kwargs = self._source.message()
            self._found.given[f"message: {task}"] += 1
            producer.send_task(f"contacts.{task}", args, kwargs, argsrepr="(redacted)", kwargsrepr="(redacted)")

    def _accepted(self, to: str) -> int:
        return books.totals(books.read(self._parts.runtime(to).store))["accepted"]


def all_totals(parts: Engine) -> Counter[str]:
    found: Counter[str] = Counter()
    for runtime in parts.runtimes():
        found.update(books.totals(books.read(runtime.store)))
    return found


def settled(parts: Engine) -> bool:
    for runtime in parts.runtimes():
        if runtime.schedule.state().get("state") == "stopped":
            runtime.schedule.resume(None)  # as the person on call would
    found = all_totals(parts)
    return not any(found[name] for name in ("waiting", "held", "batched"))


def unbalanced(parts: Engine) -> list[str]:
    return [
        wrong
        for runtime in parts.runtimes()
        for lane in books.read(runtime.store)
        for wrong in books.disagreements(runtime.store, lane.lane)
    ]


@contextlib.contextmanager
def wired_to(redis_url: str, config: Path, **more: float) -> Iterator[Engine]:
    """This process's wiring; nothing but the given file and address is read."""
    # Celery would prefer what these say to the address it is given.
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        os.environ.pop(name, None)
    values = {"max_wait_s": 0.5, "poll_first_s": 0.1, "orphan_wait_s": 1, **more}
    made = Settings(REDIS_URL=redis_url, key_prefix=PREFIX, **values)  # type: ignore[arg-type]
    parts = Engine(made.model_copy(update={"destinations": read(config)}))
    set_engine(parts)
    try:
        yield parts
    finally:
        parts.close()


def attack_with_records(seed: int, count: int, found: Found, folder: Path) -> None:
    with (
        EmbeddedServer() as server,
        SandboxProcess(key=KEY, dials={"job_seconds": [0, 0.2], "limits": NO_LIMITS}) as sandbox,
        HostileServer(QUICK, FILES) as wire,
    ):
        config = folder / "contact-ingest.toml"
        config.write_text(CONFIG.format(key=KEY, sandbox=sandbox.url, wire=wire.url))
        ours = {f"CONTACT_INGEST_{name}": value for name, value in SETTINGS.items()}
        environment = {"REDIS_URL": server.url, "CONTACT_INGEST_KEY_PREFIX": PREFIX, "PYTHONWARNINGS": "ignore", **ours}
        log = folder / "contact_ingest.log"
        with wired_to(server.url, config) as parts, WorkerProcess(environment, log) as worker:
            peaks = Peaks(worker.pid)
            give(parts, Records(seed), found, folder, server.url, count)

            def progress() -> object:
                peaks.look()
                return all_totals(parts)

            broker = f"{PREFIX}:broker:contacts"
            follow(lambda: settled(parts) and not parts.client.llen(broker), progress, log, pause_s=0.1)
            peaks.look()
            found.totals += all_totals(parts)
            found.wrong += unbalanced(parts)
            found.consume_wakeup.update({f"wire: {kind}": times for kind, times in wire.met.items()})
            found.peaks |= {"worker, main": peaks.main or 0, "worker, children": max(peaks.pool, default=0)}
        read_log(log.read_text(errors="replace"), found)


def give(parts: Engine, source: Records, found: Found, folder: Path, url: str, count: int) -> None:
    givers = Givers(parts, source, found, folder)
    with Celery("elsewhere", broker=url, set_as_current=False) as producer:
        options = {"global_keyprefix": f"{PREFIX}:broker:", "priority_steps": [0]}
        producer.conf.update(broker_transport_options=options, task_default_queue="contacts")
        givers.messages(producer, max(20, count // 200))
    for number in range(2 * len(QUICK)):
        found.accepted += enqueue({"email": f"{CANARY}-wire-{number}@hostile.example"}, to="wire").accepted
    for number in range(len(FILES)):
        lists = [f"00000000-0000-0000-0000-{number:012d}"]
        people = [{"email": f"{CANARY}-{number}-{person}@hostile.example"} for person in range(2)]
        found.accepted += enqueue(people, to="files", list_ids=lists).accepted
    givers.large("sendgrid", max(10, min(LARGE_SHARE, count // 100)))
    for to, share in (("sendgrid", 0.7), ("emarsys", 0.25), ("loops", 0.05)):
        part = round(count * share)
        givers.past_the_door(to, part // 2)
        givers.objects(to, part - part // 2)
        givers.files(to, max(3, count // 2_000))


def read_log(text: str, found: Found) -> None:
    for word in ("Traceback", " ERROR ", " CRITICAL ", CANARY):
        if word in text:
            at = text.index(word)
            found.wrong.append(
                f"{text.count(word)} times {word.strip()} in the worker's log: {text[at - 150 : at + 300]}"
            )


def attack_with_replies(seed: int, count: int, found: Found, folder: Path) -> None:
    """Each platform in turn, until enough replies were read; then honest ones, so that all comes to an end."""
    with EmbeddedServer() as server:
        for number, name in enumerate(("sendgrid", "emarsys", "loops")):
            config = folder / f"{name}.toml"
            whole = CONFIG.format(key=KEY, sandbox="http://127.0.0.1:9", wire="http://127.0.0.1:9")
            start = whole.index(f"[destinations.{name}]")
            config.write_text(whole[start : whole.find("\n\n", start)])
            with wired_to(server.url, config) as parts:
                pelt(parts, Replies(seed + number), -(-count // 3), found)
                found.totals += all_totals(parts)
                found.wrong += unbalanced(parts)


@dataclass(slots=True)
class Alone:
    """A destination in this process, in the shape that `speak_to` asks for."""

    engine: Engine

    @property
    def runtime(self) -> Any:
        return self.engine.runtime(self.engine.destinations[0])


def pelt(parts: Engine, replies: Replies, count: int, found: Found) -> None:
    harness, left, dice = Alone(parts), count, random.Random(count)

    def answer(request: Any) -> Any:
        nonlocal left
        if request.endpoint in ("definitions", "token") and dice.random() < 0.5:
            return honest(request)  # or nothing would ever be sent
        left -= 1
        kind, said = replies.reply()
        if request.endpoint == "error_file":
            kind, content = replies.error_file()
            said = type(said)(200, {}, content, 1)
        found.consume_wakeup[f"{request.endpoint}: {kind}"] += 1
        return said

    point_at(Peer(answer), harness)
    source, people = Records(count), 0
    gives_up_s = time.monotonic() + 600
    while left > 0:
        people += 3
        found.accepted += enqueue(
            [{"email": source.email(), "custom_fields": {"plan": "x"}} if n else source.good() for n in range(3)]
        ).accepted
        replies.values = [f"{CANARY}-{n}@hostile.example" for n in range(max(1, people - 9), people + 1)]
        turn(harness, 6)
        if time.monotonic() > gives_up_s:
            raise SystemExit(f"{left} replies are still to come")
    found.given["object: good"] += people
    point_at(Peer(honest), harness)
    while not settled(parts):
        turn(harness, 3)
        if time.monotonic() > gives_up_s:
            raise SystemExit(f"not settled: {all_totals(parts)}")


def point_at(peer: Peer, harness: Alone) -> None:
    speak_to(peer, harness, custom_fields=True)


def honest(request: Any) -> Any:
    said = {
        "upsert": {"job_id": "a", "success": True, "id": "x", "replyCode": 0, "data": {"ids": [1]}},
        "job": {"status": "completed", "results": {}},
        "token": {"access_token": "t", "expires_in": 3600},
        "definitions": {
            "custom_fields": [],
            "replyCode": 0,
            "data": [{"id": 101, "name": "a", "application_type": "x"}],
        },
    }
    content: Any = said.get(request.endpoint, {})
    if request.url.endswith("list=custom"):
        content = []
    return reply(202 if request.endpoint == "upsert" and "/v3/marketing" in request.url else 200, content)


def turn(harness: Alone, times: int) -> None:
    """Do what is due, then turn the clock by as much as any wait can last."""
    runtime = harness.runtime
    for _ in range(times):
        for name in runtime.schedule.lanes():
            runtime.aggregator.aggregate(name)
        for _ in range(4):
            runtime.dispatcher.dispatch(runtime.name)
            runtime.poller.poll(runtime.name)
        runtime.schedule.resume(None)
        advance(runtime, 1_000)


def table(found: Found, seconds: float) -> Table:
    rows: list[tuple[object, ...]] = []
    for title, counts in (("given", found.given), ("heard", found.consume_wakeup)):
        rows += [(f"{title}: {kind}", number) for kind, number in sorted(counts.items())]
    rows += [("refused at the door", found.refused), ("accepted", found.accepted)]
    rows += [(f"books: {name}", number) for name, number in found.totals.items() if number]
    rows += [(f"peak, MB: {name}", round(peak / 1e6)) for name, peak in found.peaks.items()]
    rows += [("seconds", round(seconds)), ("wrong", len(found.wrong))]
    notes = ["yardsticks: no exception at a task's top, 300 MB a process, every record in the books."]
    return Table("hostile input", ("step", "value"), rows, [*notes, *(f"WRONG: {what}" for what in found.wrong)])


def judge(found: Found) -> None:
    for name, peak in found.peaks.items():
        if peak >= MAX_PEAK_BYTES:
            found.wrong.append(f"{name} has needed {peak / 1e6:.0f} MB")
    messages = found.totals["accepted"] - found.accepted
    if not 0 <= messages <= found.given["message: enqueue"]:
        found.wrong.append(f"{found.accepted} records were accepted, the books say {found.totals['accepted']}")
    if left := sum(found.totals[name] for name in ("waiting", "held", "batched")):
        found.wrong.append(f"{left} records have come to no end")


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(None if arguments is None else list(arguments))
    found, began = Found(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="contact-ingest-") as folder:
        attack_with_records(given.seed, given.records, found, Path(folder))
        attack_with_replies(given.seed, given.replies, found, Path(folder))
    judge(found)
    show([table(found, time.monotonic() - began)], as_json=given.json, wrong=found.wrong)
    sys.exit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
