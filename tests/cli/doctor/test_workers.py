"""The doctor on workers: silent ones, hanging pools and messages that nobody takes are found."""

import os
import signal
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from celery import Celery
from support.diagnosis import run, wrong
from support.people import person
from support.stage import Stage
from support.traps import Traps
from support.waiting import wait_until

from contact_ingest.operations.doctor import broker


def test_silent_workers_are_found(wire, client):
    parts = wire()
    parts.workers.heartbeat("host:1", 4)
    client.hset("contact-ingest:workers", "host:1", orjson.dumps([client.time()[0] - 20, 4]))

    assert "celery -A contact_ingest.tasks worker" in wrong()["workers"][1]


def test_messages_that_nobody_takes_are_found(wire, client):
    wire()
    client.lpush("contact-ingest:broker:contacts", *["wakeup"] * 101)

    assert "101" in wrong()["broker"][0]


def test_a_long_queue_is_no_finding_while_workers_live(parts, client):
    client.lpush("contact-ingest:broker:contacts", *["wakeup"] * 101)

    assert run("doctor").exit_code == 0


@pytest.fixture
def wakeups(client):
    """`bells(late_s)`: real messages that expired so long ago, in the broker of the install."""

    def make(late_s: float, task: str = "contacts.dispatch") -> None:
        with Celery("elsewhere", broker=client_url(client), set_as_current=False) as app:
            options = {"global_keyprefix": "contact-ingest:broker:", "priority_steps": [0]}
            app.conf.update(broker_transport_options=options, task_default_queue="contacts")
            for _ in range(3):
                app.send_task(task, ["sendgrid"], expires=datetime.now(UTC) - timedelta(seconds=late_s))

    return make


def client_url(client) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def test_a_worker_that_ticks_while_its_pool_takes_nothing_is_found(parts, wakeups):
    wakeups(30)
    for _ in range(20):
        wakeups(-30)

    says, remedy = wrong()["broker"]

    assert says.startswith("63 messages wait in the queue, and the oldest expired 3")
    assert "restart the workers" in remedy


def test_a_real_pool_that_hangs_leaves_its_wakeups_and_one_that_goes_on_takes_them(
    redis_server, client, sandbox, tmp_path, wakeups
):
    traps = Traps(tmp_path / "traps")
    traps.set("aggregate_commit.before", "STOP")
    with (
        Stage(redis_server.url, sandbox.url, tmp_path, "contact-ingest", TRAPS=str(traps.directory)) as stage,
        stage.worker(pool="prefork", concurrency=1),
    ):
        stage.enqueue([person(1)])
        # One wake-up has gone to the pool, which cannot take another; the next lies there, and grows old.
        wait_until(lambda: traps.strikes() and client.llen(stage.queue) > 0)
        wakeups(30)
        [found] = broker.check_broker(stage.engine)
        assert found.level == "wrong"
        assert "their pools hang" in found.says

        os.kill(traps.strikes()[0].pid, signal.SIGCONT)
        stage.wait_until_settled(1)
        wait_until(lambda: [one.level for one in broker.check_broker(stage.engine)] == ["ok"])


def test_wakeups_that_have_not_expired_for_long_and_strange_messages_are_no_finding(parts, wakeups, client):
    wakeups(-30)
    wakeups(1)
    for stranger in (b"wakeup", b"[]", b"7", b'{"headers":{"expires":"soon"}}', b'{"headers":[]}'):
        client.lpush("contact-ingest:broker:contacts", stranger)

    assert run("doctor").exit_code == 0
