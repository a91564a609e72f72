"""Stop and start: a worker asked to end finishes what is in hand or hands it back, a rolling restart under load loses
and repeats nothing, and a time without any worker changes only when.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.peer import advance
from support.people import person
from support.processes import WorkerProcess
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest.sandbox.process import SandboxProcess

POOLS = [("prefork", 2), ("threads", 4), ("solo", 1)]
LEASE_S = 4.5
DEADLINE_S = LEASE_S * 2 / 3


@pytest.fixture
def stage(client, redis_server, sandbox, tmp_path) -> Iterator[Stage]:
    sandbox.dials(job_seconds=[0, 0.1])
    with Stage(redis_server.url, sandbox.url, tmp_path, LEASE_S=str(LEASE_S)) as made:
        yield made


def upserts(sandbox: SandboxProcess) -> list[dict[str, object]]:
    return [entry for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"]


@pytest.mark.parametrize(("pool", "concurrency"), POOLS)
def test_a_worker_asked_to_end_before_a_silent_platform_hands_back_what_it_had(stage, sandbox, pool, concurrency):
    """It ends with the deadline of the exchange. The request may have been made: it counts as an attempt, and its
    contacts wait as those of an orphan do."""
    sandbox.dials(black_hole=True)
    with stage.worker(pool=pool, concurrency=concurrency) as worker:
        stage.enqueue(person(i) for i in range(50))
        wait_until(lambda: upserts(sandbox), 20, lambda: worker.log)
        asked_s = time.monotonic()

        assert worker.stop(timeout_s=30) == 0
        assert time.monotonic() - asked_s < DEADLINE_S + 5
        (batch,) = stage.batches().values()
        assert (batch["state"], batch["attempts"]) == ("ready", "1")
        assert int(batch["orphan_until"]) > 0
        assert stage.client.zcard(stage.runtime.store.keys("claims")) == 0
    stage.assert_books_balance()

    sandbox.dials(black_hole=False)
    with stage.worker():
        assert stage.wait_until_settled(50)["delivered"] == 50
    assert len(list(sandbox.contacts())) == 50


@pytest.mark.parametrize(("pool", "concurrency"), POOLS[:2])
def test_a_worker_told_to_quit_goes_on_with_the_exchange_under_way(stage, sandbox, pool, concurrency):
    """Celery's soft shutdown then waits for its whole 35 s, whatever has ended meanwhile: nobody waits for that here. A
    solo pool has no thread to go on with; what it had in hand is due again with the lease."""
    sandbox.dials(latency_ms=[1500, 1500], faults_on=["sendgrid.upsert"])
    with stage.worker(pool=pool, concurrency=concurrency) as worker:
        stage.enqueue(person(i) for i in range(50))
        wait_until(lambda: upserts(sandbox), 20, lambda: worker.log)

        os.kill(worker.pid, signal.SIGQUIT)
        wait_until(lambda: "Initiating Soft Shutdown" in worker.log, 10, lambda: worker.log)
        assert upserts(sandbox)[0]["status"] == 0, "the exchange was over before"
        wait_until(lambda: [batch["state"] for batch in stage.batches().values()] != ["sending"], 10, stage.batches)
        assert len(upserts(sandbox)) == 1

    sandbox.dials(latency_ms=[0, 0])
    with stage.worker():
        assert stage.wait_until_settled(50)["delivered"] == 50
    assert len(upserts(sandbox)) == 1, "what was in hand was sent again"
    stage.assert_books_balance()


def test_a_worker_asked_to_end_while_it_cuts_a_backlog_leaves_the_rest_for_the_next(stage, sandbox):
    records = 60_000
    stage.enqueue(person(i) for i in range(records))
    with stage.worker() as worker:
        wait_until(stage.batches, 20, lambda: worker.log)
        assert worker.stop(timeout_s=30) == 0
    stage.assert_books_balance()
    assert stage.books()["waiting"] + stage.books()["batched"] > 0, "nothing was left to do"

    with stage.worker():
        assert stage.wait_until_settled(records, 60)["delivered"] == records
    stage.assert_books_balance()
    assert sum(int(entry["contacts"]) for entry in upserts(sandbox)) == records, "something was sent twice"


def test_a_rolling_restart_under_load_loses_and_repeats_nothing(stage, sandbox):
    """Two workers, each asked to end and replaced in turn, while records come all the time."""
    sandbox.dials(latency_ms=[20, 120], faults_on=["sendgrid.upsert"])
    number = 0

    def come(until) -> None:
        nonlocal number
        while not until():
            stage.enqueue(person(i) for i in range(number, number + 20))
            number += 20
            time.sleep(0.02)  # the pace of the load, not a wait for something

    with ExitStack() as stack:
        workers = [stack.enter_context(stage.worker(pool="threads", concurrency=2)) for _ in range(2)]
        for turn in range(4):
            old = workers[turn % 2]
            old.child.terminate()
            come(lambda old=old: old.has_ended)
            assert old.wait() == 0, old.log
            workers[turn % 2] = new = stack.enter_context(stage.worker(pool="threads", concurrency=2, ready=False))
            come(lambda new=new: is_heard_of(stage, new))
        totals = stage.wait_until_settled(number, 60)
        logs = [worker.log for worker in workers]

    assert {name: count for name, count in totals.items() if count} == {"accepted": number, "delivered": number}
    stage.assert_books_balance()
    assert sum(int(entry["contacts"]) for entry in upserts(sandbox)) == number, "something was sent twice"
    assert len(list(sandbox.contacts())) == number
    assert not [log for log in logs if " ERROR " in log]


def is_heard_of(stage: Stage, worker: WorkerProcess) -> bool:
    assert not worker.has_ended, worker.log
    return any(member.name.endswith(f":{worker.pid}") for member in stage.engine.workers.members())


def test_an_hour_without_any_worker_changes_only_when(stage, sandbox):
    """Something in each state is left behind; wake-ups, tokens and leases are long over when the next worker comes."""
    runtime = stage.runtime
    stage.enqueue([person(0)])
    stage.follow("aggregate", "sendgrid")
    stage.follow("dispatch", "sendgrid")  # at the platform
    stage.enqueue([person(1)])
    stage.follow("aggregate", "sendgrid")
    runtime.batch_store.claim("dispatch")  # in the hand of a worker that is gone
    stage.enqueue([person(2)])
    stage.follow("aggregate", "sendgrid")  # cut, not sent
    stage.enqueue([person(3), person(0, city="newer")])  # waiting, one behind its own contact
    runtime.schedule.tick(4)  # wake-ups that nobody takes

    advance(runtime, 3_600)

    with stage.worker():
        totals = stage.wait_until_settled(5)
    assert {name: count for name, count in totals.items() if count} == {"accepted": 5, "delivered": 5}
    stage.assert_books_balance()
    assert sorted((c["email"], c.get("city")) for c in sandbox.contacts()) == [
        ("p0@example.com", "newer"),
        *((f"p{i}@example.com", None) for i in (1, 2, 3)),
    ]
