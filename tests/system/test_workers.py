"""`celery worker` is all that must run: every pool delivers, says what it did and no more, and ends in good order.

The workers are real processes; the records come from this one.
"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest
from celery import Celery
from support.people import person
from support.processes import WorkerProcess
from support.stage import KEY, Stage
from support.waiting import wait_until

from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.schedule import WAKEUP_SILENCE_MS

POOLS = [("prefork", 2), ("threads", 4), ("solo", 1)]


@pytest.fixture
def sender(stage: Stage) -> Iterator[Celery]:
    with stage.celery("elsewhere") as made:
        yield made


def test_workers_do_not_talk_to_each_other(stage):
    """Gossip and mingle are off without an option of the command line."""
    with stage.worker() as one, stage.worker() as other:
        stage.enqueue([person(1)])
        stage.wait_until_settled(of=1)
        assert "mingle" not in one.log + other.log
    assert [key for key in stage.client.keys(f"{stage.prefix}:broker:*") if b"celeryev" in key] == []


def upserts(sandbox: SandboxProcess) -> list[dict[str, object]]:
    return [entry for entry in sandbox.journal() if entry["method"] == "PUT"]


@pytest.mark.parametrize(("pool", "concurrency"), POOLS)
def test_a_worker_is_all_that_must_run(stage, sandbox, pool, concurrency):
    with stage.worker(pool=pool, concurrency=concurrency) as worker:
        for part in range(4):
            stage.enqueue(
                person(i, "Mixed-Case.example", last_name="[[fail-import]]" if i == 250 else "Doe")
                for i in range(part * 100, part * 100 + 100)
            )
        totals = stage.wait_until_settled(400)
        wait_until(lambda: lines_of_batches(worker) == len(stage.batches()), 5, lambda: worker.log)

        assert totals["delivered"] == 399
        assert totals["failed"] == 1
        assert len(list(sandbox.contacts())) == 399
        stage.assert_books_balance()
        # One line for each batch; no address in any letter case, no name, no key.
        assert "mixed-case" not in worker.log.lower()
        assert not re.search(r"p\d+@|Name \d|Doe", worker.log)
        assert KEY not in worker.log
        assert " ERROR " not in worker.log, worker.log
        assert worker.stop() == 0


def lines_of_batches(worker: WorkerProcess) -> int:
    return len(re.findall(r" INFO contact_ingest\.batches batch ended lane=sendgrid batch=\d+ rows=\d+ ", worker.log))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's own books of sockets")
def test_connections_are_made_after_the_fork(stage, sandbox, redis_server):
    ports = {redis_server.port: "redis", int(sandbox.url.rpartition(":")[2]): "platform"}
    with stage.worker(pool="prefork", concurrency=2) as worker:
        # Enough for both children to have work, and to keep their connections to the platform.
        children = wait_until(lambda: pool_children(worker.pid))
        assert len(children) == 2
        number = 0

        def both_have_worked() -> bool:
            nonlocal number
            number += 1
            stage.enqueue([person(number)])
            return all("redis" in sockets(pid, ports).values() for pid in children)

        wait_until(both_have_worked)
        stage.wait_until_settled(number)
        owned = [set(sockets(pid, ports)) for pid in (worker.pid, *children)]

    for mine, others in [(owned[i], set().union(*(owned[:i] + owned[i + 1 :]))) for i in range(3)]:
        assert mine
        assert not mine & others, "two processes share a socket"


def test_a_pool_child_that_is_replaced_makes_connections_of_its_own(stage):
    """Its parent has connections by then: the ticker's. A child that used them would mix up replies."""
    with stage.worker(pool="prefork", concurrency=2, more=["--max-tasks-per-child", "1"]) as worker:
        for part in range(5):
            stage.enqueue(person(i) for i in range(part * 20, part * 20 + 20))
        totals = stage.wait_until_settled(100)
        assert totals["delivered"] == 100
        assert " ERROR " not in worker.log, worker.log
    stage.assert_books_balance()


def pool_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sockets(pid: int, ports: dict[int, str]) -> dict[str, str]:
    """Sockets of a process that are connected to one of the ports: inode to what it is."""
    owned = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            owned.add(target.removeprefix("socket:[").removesuffix("]"))
    found = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        remote, inode = int(fields[2].rpartition(":")[2], 16), fields[9]
        if inode in owned and remote in ports:
            found[inode] = ports[remote]
    return found


def test_with_the_json_switch_every_line_is_an_object(stage):
    with stage.worker(LOG_JSON="true") as worker:
        stage.enqueue(person(i) for i in range(10))
        stage.wait_until_settled(10)
        wait_until(lambda: "batch ended" in worker.log, 5, lambda: worker.log)
        assert worker.stop() == 0
        # Celery's banner and its word at the end go to standard output; log lines are what begins with a brace.
        lines = [orjson.loads(line) for line in worker.log.splitlines() if line.startswith("{")]

        (batch,) = [line for line in lines if line["message"] == "batch ended"]
        assert batch["level"] == "INFO"
        assert batch["logger"] == "contact_ingest.batches"
        assert (batch["lane"], batch["rows"], batch["delivered"], batch["failed"]) == ("sendgrid", 10, 10, 0)
        assert any(line["message"].endswith(" ready.") for line in lines)
        assert not re.search(r"^\d{4}-\d\d-\d\dT", worker.log, re.MULTILINE), "a line in the other format"
        assert "p1@example.com" not in worker.log.lower()


@pytest.mark.parametrize(("pool", "concurrency"), POOLS)
def test_a_worker_asked_to_end_finishes_what_is_in_hand(stage, sandbox, pool, concurrency):
    sandbox.dials(latency_ms=[1500, 1500])
    with stage.worker(pool=pool, concurrency=concurrency) as worker:
        stage.enqueue(person(i) for i in range(50))
        wait_until(lambda: upserts(sandbox), 10)
        asked_s = time.monotonic()

        assert worker.stop(timeout_s=10) == 0
        assert time.monotonic() - asked_s < 5
        (batch,) = stage.batches().values()
        assert batch["state"] == "polling", "the exchange under way was not settled"

    sandbox.dials(latency_ms=[0, 0])
    with stage.worker():
        assert stage.wait_until_settled(50)["delivered"] == 50
    assert len(upserts(sandbox)) == 1, "what was in hand was sent again"
    stage.assert_books_balance()


def test_an_idle_worker_ends_at_once(stage):
    with stage.worker(pool="prefork", concurrency=2) as worker:
        worker.wait_until_consuming()
        asked_s = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - asked_s < 4


def test_a_platform_that_never_answers_delays_another_by_less_than_two_seconds(stage, sandbox, tmp_path):
    with ExitStack() as stack:
        dark = stack.enter_context(SandboxProcess(key=KEY, dials={"job_seconds": [0, 0.1], "rate_headers": "none"}))
        config = tmp_path / "two.toml"
        config.write_text(
            f'[destinations.sendgrid]\nplatform = "sendgrid"\napi_key = "{KEY}"\nbase_url = "{sandbox.url}"\n'
            f'[destinations.dark]\nplatform = "sendgrid"\napi_key = "{KEY}"\nbase_url = "{dark.url}"\n'
        )
        for _ in range(2):
            stack.enter_context(stage.worker(CONFIG=str(config)))

        def delay_s(first: int) -> float:
            began_s = time.monotonic()
            stage.enqueue(person(i) for i in range(first, first + 20))
            stage.wait_until_settled(first + 20)
            return time.monotonic() - began_s

        alone_s = max(delay_s(start) for start in (0, 20, 40))
        # The other has answered once, and said nothing of limits: from then on only its share of workers holds it back.
        door = dark_door(stage, dark.url)
        door([person(0)], ())
        stage.wait_until_settled(1, destination="dark")
        dark.dials(black_hole=True)
        seen = len(dark.journal())
        # A backlog of many batches: what is for different lists goes in different ones.
        for part in range(8):
            door([person(part + 1)], (f"{part:08x}-0000-0000-0000-000000000000",))
        wait_until(lambda: dark.journal(after=seen), 10, stage.books)
        beside_s = max(delay_s(start) for start in (60, 80, 100))

        assert beside_s - alone_s < 2
        assert stage.books("dark")["batched"] > 0, "the dark platform was not in the way"


def dark_door(stage: Stage, url: str):
    """Enqueue for the destination `dark`, by lists."""
    from contact_ingest.config.settings import Destination  # noqa: PLC0415
    from contact_ingest.engine import Engine  # noqa: PLC0415
    from contact_ingest.pipeline import enqueue as intake  # noqa: PLC0415
    from contact_ingest.store.lanes import append  # noqa: PLC0415

    dark = Destination(platform="sendgrid", api_key=KEY, base_url=url)
    parts = Engine(stage.engine.settings.model_copy(update={"destinations": {"dark": dark}}))
    parts.client = stage.client

    def enqueue(records, list_ids):
        lane = parts.producer.lane("dark", list_ids=list_ids)
        options, store = parts.producer.enqueue_options(lane), parts.runtime("dark").store
        intake.enqueue(records, [(options, lambda call: append(store, call))])

    return enqueue


def test_a_lost_wakeup_costs_only_a_moment(stage, sender):
    """The wake-up is sent, silences the next one, and is gone from the broker before a worker takes it."""
    stage.enqueue(person(i) for i in range(10))
    (wakeup,) = stage.runtime.schedule.tick(4).wakeups
    sender.send_task(f"contacts.{wakeup.kind}", [wakeup.target])
    assert stage.client.delete(stage.queue) == 1
    lost_s = time.monotonic()

    with stage.worker() as worker:
        ready_s = time.monotonic()
        assert stage.wait_until_settled(10)["delivered"] == 10
        took_s = time.monotonic() - max(ready_s, lost_s + WAKEUP_SILENCE_MS / 1000)
        assert took_s < 2, worker.log


def test_doubled_wakeups_count_nothing_twice(stage, sender, sandbox):
    with stage.worker(pool="threads", concurrency=4) as worker:
        for part in range(10):
            stage.enqueue(person(i) for i in range(part * 30, part * 30 + 30))
            for kind in ("aggregate", "dispatch", "poll") * 8:
                sender.send_task(f"contacts.{kind}", ["sendgrid"])
        wait_until(lambda: stage.is_settled(of=300) and not stage.client.llen(stage.queue), 30, stage.books)
        assert " ERROR " not in worker.log, worker.log

    assert stage.books()["delivered"] == stage.books()["accepted"] == 300
    stage.assert_books_balance()
    assert sum(entry["contacts"] for entry in upserts(sandbox)) == 300, "something was sent twice"
    assert len(list(sandbox.contacts())) == 300


def test_a_worker_survives_a_restart_of_redis_with_a_batch_in_hand(sandbox, tmp_path):
    sandbox.dials(latency_ms=[700, 700], job_seconds=[0, 0.1])
    with EmbeddedServer() as server, Stage(server.url, sandbox.url, tmp_path) as stage:
        with stage.worker(pool="threads", concurrency=2) as worker:
            stage.enqueue(person(i) for i in range(50))
            wait_until(lambda: upserts(sandbox), 10)
            server.kill()
            server.start()
            stage.enqueue(person(i) for i in range(50, 60))

            assert stage.wait_until_settled(60)["delivered"] == 60
            assert not worker.has_ended
        stage.assert_books_balance()
    assert len(list(sandbox.contacts())) == 60
    assert len(upserts(sandbox)) == 2, "what was in hand was sent again"


def test_a_worker_says_that_it_lives_under_its_own_name(stage):
    with stage.worker(pool="threads", concurrency=3) as worker:
        (member,) = stage.engine.workers.members()
        assert (member.name, member.slots) == (f"{socket.gethostname()}:{worker.pid}", 3)
        assert member.silent_s < 5
