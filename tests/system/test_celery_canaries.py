"""What Celery, kombu and redis-py do under faults today, shown on a tiny app of its own (canary_app.py).

The product is built around these: a canary that changes its tune with a new release says which of the product's
precautions has become unnecessary, or which is missing. Celery 5.7.0, kombu 5.7.0, redis-py 8.1; 2026-11-22.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from kombu.transport.redis import Channel
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from support.processes import WorkerProcess, clean_environment
from support.product import ROOT
from support.proxy import Proxy
from support.waiting import wait_until

from contact_ingest.engine import connect
from contact_ingest.sandbox.redis_server import EmbeddedServer


class Canary:
    """A broker of its own, and counts of task runs on the server that all tests share."""

    def __init__(self, broker: EmbeddedServer, notes: "Redis[bytes]", notes_url: str, directory: Path) -> None:
        self.broker = broker
        self.notes = notes
        self._directory = directory
        self._environment = clean_environment(CANARY_BROKER=broker.url, CANARY_NOTES=notes_url)
        self._environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'support'}"

    @contextmanager
    def worker(self, pool: str = "prefork", concurrency: int = 2) -> Iterator[WorkerProcess]:
        process = WorkerProcess(
            self._environment,
            self._directory,
            app="canary_app",
            pool=pool,
            concurrency=concurrency,
            more=["--loglevel", "INFO"],
        )
        with process:
            process.wait_until_consuming()
            wait_until(lambda: b"brpop" in b" ".join(self.commands()), 10, lambda: process.log)
            yield process

    def commands(self) -> list[bytes]:
        """What each connection to the broker asked last: a worker that listens hangs in BRPOP."""
        with Redis.from_url(self.broker.url) as client:
            return [connection["cmd"].encode() for connection in client.client_list()]

    def send(self, task: str, name: str) -> str:
        with Celery("sender", broker=self.broker.url, set_as_current=False) as app:
            app.conf.task_default_queue = "canary"
            return str(app.send_task(f"canary.{task}", [name]).id)

    def count(self, what: str, name: str) -> int:
        return int(self.notes.get(f"{what}:{name}") or 0)

    def freezes_in_brpop(self, worker: WorkerProcess) -> bool:
        """Freeze the worker. False, with the worker running again, if its BRPOP had just timed out: the server would
        hand it nothing."""
        worker.freeze()
        with Redis.from_url(self.broker.url) as client:
            if any("b" in found["flags"] and found["cmd"] == "brpop" for found in client.client_list()):
                return True
        os.kill(worker.pid, signal.SIGCONT)
        return False

    def let_go(self) -> None:
        self.notes.set("let go", 1)

    def holds(self, text: str) -> bool:
        """Whether the broker has the text anywhere at all."""
        readers = {
            b"list": lambda client, key: client.lrange(key, 0, -1),
            b"hash": lambda client, key: list(client.hgetall(key).values()),
            b"string": lambda client, key: [client.get(key)],
            b"zset": lambda client, key: client.zrange(key, 0, -1),
            b"set": lambda client, key: list(client.smembers(key)),
        }
        with Redis.from_url(self.broker.url) as client:
            return any(
                text.encode() in value for key in client.scan_iter() for value in readers[client.type(key)](client, key)
            )


@pytest.fixture
def canary(client, redis_server, tmp_path) -> Iterator[Canary]:
    with EmbeddedServer() as broker:
        yield Canary(broker, client, redis_server.url, tmp_path)


def test_a_message_popped_by_a_worker_that_dies_is_gone_so_no_data_may_be_in_one(canary):
    """BRPOP, then a second step that records it as unacknowledged: between the two, nothing knows of it."""
    with canary.worker() as worker:
        wait_until(lambda: canary.freezes_in_brpop(worker), 20)
        ident = canary.send("late", "popped")
        # The server hands it to the frozen connection, in the very moment in which it comes.
        wait_until(lambda: not canary.holds(ident), 5)
        worker.kill()

    with canary.worker():
        canary.send("early", "after")
        wait_until(lambda: canary.count("runs", "after"), 10)
        canary.let_go()
        assert canary.count("runs", "popped") == 0
        assert not canary.holds(ident), "kombu keeps it now: the loss is mended"


def test_a_worker_with_a_late_ack_task_exits_when_redis_restarts_so_we_acknowledge_early(canary):
    with canary.worker() as worker:
        canary.send("late", "late")
        wait_until(lambda: canary.count("runs", "late"), 10)
        canary.broker.kill()
        canary.broker.start()

        wait_until(lambda: "Unrecoverable error" in worker.log, 10, lambda: worker.log)
        canary.let_go()
        assert worker.wait(10) == 1, worker.log


def test_a_worker_with_an_early_ack_task_survives_a_restart_of_redis(canary):
    with canary.worker() as worker:
        canary.send("early", "early")
        wait_until(lambda: canary.count("runs", "early"), 10)
        canary.broker.kill()
        canary.broker.start()
        canary.let_go()
        canary.send("early", "next")

        wait_until(lambda: canary.count("ends", "next"), 15, lambda: worker.log)
        assert canary.count("runs", "early") == canary.count("ends", "early") == 1
        assert not worker.has_ended


def test_a_dropped_connection_starts_a_second_copy_of_a_late_ack_task_beside_the_first(canary):
    with canary.worker(pool="threads") as worker:
        canary.send("late", "late")
        wait_until(lambda: canary.count("runs", "late"), 10)
        drop_connections(canary.broker)
        wait_until(lambda: canary.count("runs", "late") == 2, 10, lambda: worker.log)
        assert canary.count("ends", "late") == 0, "the first copy had ended by then"
        canary.let_go()


def test_a_dropped_connection_leaves_an_early_ack_task_alone(canary):
    with canary.worker(pool="threads") as worker:
        canary.send("early", "early")
        wait_until(lambda: canary.count("runs", "early"), 10)
        drop_connections(canary.broker)
        canary.send("early", "next")
        wait_until(lambda: canary.count("runs", "next"), 10, lambda: worker.log)
        canary.let_go()
        wait_until(lambda: canary.count("ends", "early"), 10)
        assert canary.count("runs", "early") == 1


def drop_connections(broker: EmbeddedServer) -> None:
    with Redis.from_url(broker.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)


def test_reject_on_worker_lost_runs_a_deadly_task_for_ever_so_deliveries_are_counted(canary):
    with canary.worker(concurrency=1):
        canary.send("dies", "deadly")
        wait_until(lambda: canary.count("runs", "deadly") >= 3, 30)


def test_kombu_looks_for_abandoned_messages_every_hundred_seconds_unless_told_otherwise():
    assert Channel.unacked_restore_interval * Channel.unacked_restore_throttle == 100
    assert Channel.visibility_timeout == 3600


def test_redis_py_repeats_a_write_whose_reply_was_lost_and_our_client_does_not(client, redis_server):
    with Proxy(redis_server.url) as proxy:
        proxy.lose_replies(b"RPUSH")
        # So made; `Redis.from_url` repeats nothing (8.1).
        with Redis(host="127.0.0.1", port=proxy.port) as by_default:
            by_default.rpush("default", "once")
        assert proxy.lost == 1
        assert client.lrange("default", 0, -1) == [b"once", b"once"], "redis-py no longer repeats writes"

        proxy.lose_replies(b"RPUSH")
        with connect(proxy.url) as ours, pytest.raises(RedisConnectionError):
            ours.rpush("ours", "once")
        assert proxy.lost == 1
        assert client.lrange("ours", 0, -1) == [b"once"]
