"""The pools of a worker: those that are supported work, and any other ends the worker at its start with one line."""

import importlib.util

import pytest
from support.people import person
from support.processes import WorkerProcess
from support.waiting import wait_until


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_supported_pool_delivers(stage, pool):
    with stage.worker(pool=pool, concurrency=2):
        stage.enqueue(person(number) for number in range(20))

        assert stage.wait_until_settled(of=20)["delivered"] == 20


@pytest.mark.parametrize("pool", ["custom", "eventlet", "gevent"])
def test_another_pool_ends_the_worker_with_one_line(stage, pool):
    if pool != "custom" and importlib.util.find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed")
    stage.enqueue([person(1)])

    environment = stage.environment() | {"CELERY_CUSTOM_WORKER_POOL": "celery.concurrency.base:BasePool"}
    with WorkerProcess(environment, stage.directory, pool=pool) as worker:
        wait_until(lambda: worker.has_ended, 30, lambda: worker.log)

    lines = worker.log.splitlines()
    assert worker.child.returncode == 2
    assert lines[-1].startswith("--pool: ")
    assert lines[-1].endswith("is not supported; start the worker with prefork, threads, solo")
    assert "Traceback" not in worker.log
    assert stage.books()["waiting"] == 1
