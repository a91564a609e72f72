"""The attack with records: they come by every way there is, and a real worker takes them to the sandbox."""

import contextlib
import gzip
import io
from pathlib import Path
from typing import Any

from celery import Celery
from chaos.hostile.engine import CONFIG, KEY, PREFIX, all_totals, settled, unbalanced, wired_to
from chaos.hostile.found import Found
from chaos.hostile.wire import HostileServer
from support.fuzz_records import CANARY, Records
from support.fuzz_replies import WIRES
from support.memory import Peaks
from support.processes import WorkerProcess, clean_environment
from support.waiting import wait_while_it_progresses

from contact_ingest import cli, enqueue
from contact_ingest.engine import Engine
from contact_ingest.pipeline.enqueue import EnqueueBuffer
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books
from contact_ingest.store.lanes import append

#: Largest records: many of them in one lane must not be held at once. And how large they are.
LARGE_SHARE, LARGE_BYTES = 400, 900_000
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


class Givers:
    """The ways by which records come, and what `enqueue` said to them."""

    def __init__(self, engine: Engine, source: Records, found: Found, folder: Path) -> None:
        self._engine = engine
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
        lane = self._engine.producer.lane(to)
        filling, store = EnqueueBuffer(self._engine.producer.enqueue_options(lane)), self._engine.runtime(to).store
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
        return books.totals(books.read(self._engine.runtime(to).store))["accepted"]


def attack_with_records(seed: int, count: int, found: Found, folder: Path) -> None:
    with (
        EmbeddedServer() as server,
        SandboxProcess(key=KEY, dials={"job_seconds": [0, 0.2], "limits": NO_LIMITS}) as sandbox,
        HostileServer(QUICK, FILES) as wire,
    ):
        config = folder / "contact-ingest.toml"
        config.write_text(CONFIG.format(key=KEY, sandbox=sandbox.url, wire=wire.url))
        ours = {f"CONTACT_INGEST_{name}": value for name, value in SETTINGS.items()}
        environment = clean_environment(REDIS_URL=server.url, CONTACT_INGEST_KEY_PREFIX=PREFIX, **ours)
        # The worker reads the file of destinations in its own directory.
        worker = WorkerProcess(environment, folder, pool="prefork", concurrency=2)
        with wired_to(server.url, config) as engine, worker:
            peaks = Peaks(worker.pid)
            give(engine, Records(seed), found, folder, server.url, count)

            def progress() -> object:
                peaks.look()
                return all_totals(engine)

            broker = f"{PREFIX}:broker:contacts"
            wait_while_it_progresses(
                lambda: settled(engine) and not engine.client.llen(broker), progress, lambda: worker.log, pause_s=0.1
            )
            peaks.look()
            found.totals += all_totals(engine)
            found.wrong += unbalanced(engine)
            found.met.update({f"wire: {kind}": times for kind, times in wire.met.items()})
            found.peaks |= {"worker, main": peaks.main or 0, "worker, children": max(peaks.pool, default=0)}
        found.read_log(worker.log)


def give(engine: Engine, source: Records, found: Found, folder: Path, url: str, count: int) -> None:
    givers = Givers(engine, source, found, folder)
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
