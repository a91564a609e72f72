"""A Redis whose memory is full all the time: what waits arrives, and every command works. On every supported server.

Before each step the limit is set below what is used, so that not one usual write goes through.
"""

import itertools

import orjson
import pytest
from redis.exceptions import OutOfMemoryError
from support.in_process import Harness
from support.people import person
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest import LaneFull
from contact_ingest.engine import set_engine
from contact_ingest.store import redis_server

#: By so many bytes more is used than may be. Our own scripts may go 4 MB beyond the limit.
BEYOND = 200_000
RECORDS = 2_000


@pytest.fixture(scope="module")
def server(server_kind):
    with server_kind.start() as running:
        yield running


@pytest.fixture
def stage(server, sandbox, tmp_path):
    sandbox.dials(job_seconds=[0, 0.02])
    with Stage(server.url, sandbox.url, tmp_path) as made:
        made.client.config_set("maxmemory", 0)
        made.client.flushall()
        set_engine(made.engine)
        yield made
        made.client.config_set("maxmemory", 0)


def make_full(stage):
    stage.client.config_set("maxmemory", 100_000)
    stage.client.config_set("maxmemory", redis_server.read_memory(stage.client).used - BEYOND)
    with pytest.raises(OutOfMemoryError):
        stage.client.set("one", b"more")


class FullHarness(Harness):
    """Every step is taken without any memory."""

    def __init__(self, stage):
        super().__init__(stage.engine)
        self._stage = stage

    def follow(self, wakeup):
        make_full(self._stage)
        return super().follow(wakeup)


def test_everything_that_waits_arrives(stage, sandbox):
    harness = FullHarness(stage)
    bad = {7: {"last_name": "[[reject-named]]"}, 9: {"last_name": "x" * 60}}
    stage.enqueue(person(number, external_id=f"e-{number}", **bad.get(number, {})) for number in range(RECORDS))
    make_full(stage)

    harness.run_until_settled(60)

    found = harness.books()
    assert (found["delivered"], found["failed"]) == (RECORDS - 2, 2)
    assert len(list(sandbox.contacts())) == RECORDS - 2
    harness.assert_books_balance()
    with pytest.raises(LaneFull, match="the memory of Redis is full"):
        stage.enqueue([person(number) for number in range(RECORDS)])
    stage.client.config_set("maxmemory", 0)
    assert stage.enqueue([person(5_000)]).accepted == 1


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_that_starts_with_full_memory_delivers(stage, sandbox, pool):
    stage.enqueue(person(number) for number in range(RECORDS))
    make_full(stage)

    with stage.worker(pool=pool, concurrency=2 if pool == "prefork" else 1) as worker:
        wait_until(lambda: stage.is_settled(of=RECORDS), 40, lambda: (stage.books(), worker.log[-3_000:]))
        assert worker.stop() == 0
    assert stage.books()["delivered"] == RECORDS == len(list(sandbox.contacts()))


def prepared(stage, sandbox):
    """Failed, delivered and waiting records, and an import under way."""
    harness = Harness(stage.engine)
    stage.enqueue([person(1, last_name="[[reject-named]]"), person(2, last_name="x" * 60), person(3)])
    harness.run_until_settled()
    sandbox.dials(job_seconds=[60, 60])
    stage.enqueue([person(4)])
    harness.pump()
    stage.runtime.state.pause(None, "for a test")
    return stage.enqueue(person(number) for number in range(10, 30))


def test_every_command_works(stage, sandbox, cli, tmp_path):
    receipt = prepared(stage, sandbox)
    receipts = tmp_path / "receipt.json"
    receipts.write_bytes(orjson.dumps({"lane": receipt.lane, "ranges": receipt.ranges, "epoch": receipt.epoch}))
    first, last = receipt.ranges[0]
    calls = {
        ("status",): 0,
        ("status", "--json"): 0,
        ("batches",): 0,
        ("batches", "--json"): 0,
        ("batch", 1): 0,
        ("batch", 1, "--json"): 0,
        ("failures",): 0,
        ("failures", "--json", "--contents"): 0,
        ("failures", "export", tmp_path / "failed.csv"): 0,
        ("retry", "--all", "--dry-run"): 0,
        ("retry", "--all"): 0,
        ("cancel", receipt.lane, f"{first}-{first + 2}"): 0,
        ("flush",): 0,
        ("pause", "--lane", receipt.lane, "--why", "cleaning"): 0,
        ("resume", "--lane", receipt.lane): 0,
        ("resume",): 0,
        ("pause", "--to", "sendgrid", "--why", "cleaning"): 0,
        ("erase", person(last)["email"], "--yes"): 0,
        ("cancel", "--receipt", receipts): 0,
        ("flush", "--wait", "--timeout", 0.1): 3,
        ("doctor",): 1,  # it says that the memory is full, and that there is no worker
        ("doctor", "--books"): 1,
        ("migrate",): 0,
        ("migrate", "--dry-run"): 0,
    }
    for call, code in calls.items():
        make_full(stage)

        said = cli(*call)

        assert said.code == code, (call, said)
        assert "Redis" not in said.err, (call, said)
        assert "bug" not in said.err, (call, said)
    make_full(stage)
    assert "producers are refused" in cli("doctor").out
    assert stage.books()["discarded"] == 20
    stage.assert_books_balance()


def test_a_load_from_a_file_says_that_the_memory_is_full(stage, cli, tmp_path):
    make_full(stage)
    people = tmp_path / "people.jsonl"
    people.write_bytes(b"\n".join(orjson.dumps(person(number)) for number in range(50)))

    said = cli("enqueue", people, "--to", "sendgrid")

    assert said.code != 0
    assert "the memory of Redis is full" in said.err
    assert stage.books()["accepted"] == 0


def test_what_the_store_keeps_beside_records_goes_through(stage):
    """Heartbeats, tokens, field tables, limits, slots, claims: all that a worker writes."""
    runtime = stage.runtime
    runtime.schedule.tick(4)
    make_full(stage)

    stage.engine.workers.heartbeat("host:1", 4)
    stage.engine.check_schema()
    for number in itertools.count():
        permit = runtime.rate_limiter.acquire("upsert")
        if not permit.granted or number > 3:
            break
        runtime.rate_limiter.release(permit)
    runtime.state.set_slots(2)
    runtime.state.learn_cap(1_000_000)
    runtime.state.stop("refused", "for a test")
    runtime.state.resume(None)
    token = runtime.batch_store.claim_without_batch()
    runtime.batch_store.release_claim(token)
    runtime.breaker.reset()
    assert runtime.schedule.sweep(0, 0) == (0, 0)
    assert runtime.schedule.may_notify("dispatch", 4)
    assert stage.client.ping()
