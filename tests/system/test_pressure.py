"""Back-pressure: a lane or a Redis without room refuses producers or lets them wait, and drains, even at 100 %.

The memory of these servers is limited for real, and wake-ups lie in the same one.
"""

import itertools
import time
from collections.abc import Iterator

import pytest
from celery import Celery
from redis.exceptions import OutOfMemoryError
from support.pressure import large
from support.processes import WorkerProcess
from support.servers import ServerKind
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest import LaneFull
from contact_ingest.operations.status import lanes
from contact_ingest.pipeline import enqueue as intake
from contact_ingest.pipeline.aggregate import FULL_DELAY_MS, SMALL_BODY_BYTES
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import redis_server
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.inspect import read_destination
from contact_ingest.store.lanes import LaneLimits, append

MOST = 32_000_000
#: A platform that takes next to nothing, and one that takes all it can get.
SLOW = {"sendgrid.upsert": {"limit": 1, "window_s": 4}}
FAST = {"sendgrid.upsert": {"limit": 10_000, "window_s": 1}}


@pytest.fixture(scope="module")
def small_server(server_kind: ServerKind) -> Iterator[EmbeddedServer]:
    with server_kind.start("--maxmemory", str(MOST)) as server:
        yield server


@pytest.fixture
def stage(small_server, sandbox, tmp_path) -> Iterator[Stage]:
    sandbox.dials(job_seconds=[0, 0.1])
    with Stage(small_server.url, sandbox.url, tmp_path) as made:
        # The memory of the test before is free when this one begins: left to itself, Valkey frees it behind our back.
        made.client.execute_command("FLUSHALL", "SYNC")
        wait_until(lambda: redis_server.read_memory(made.client).used < MOST // 4)
        made.client.config_set("maxmemory", MOST)
        yield made


def used_share(stage: Stage) -> float:
    found = redis_server.read_memory(stage.client)
    return found.used / found.most


def fill(stage: Stage) -> None:
    """Others take all the memory that is left."""
    refused = 0
    while refused < 3:  # what is used goes up and down a little with the buffers of connections
        try:
            stage.client.append(
                "foreign", b"x" * max(1_000, min(redis_server.read_memory(stage.client).left, 1_000_000))
            )
        except OutOfMemoryError:
            refused += 1


def is_kept_full(stage: Stage) -> bool:
    fill(stage)
    try:
        stage.client.set("one", b"more")
    except OutOfMemoryError:
        return True
    return False


def test_a_backlog_stops_intake_at_80_percent_and_then_drains_to_nothing(stage, sandbox):
    sandbox.dials(limits=SLOW)
    with stage.worker(pool="prefork", concurrency=2) as worker:
        with pytest.raises(LaneFull, match=r"^the memory of Redis is full$") as stopped:
            # Longer than a body is on its way into Redis, where it comes on top until it has replaced its records.
            stage.enqueue((large(number) for number in itertools.count()), wait_s=2)
        assert 0.78 < used_share(stage) < 0.95, "intake leaves room for what is in flight"
        accepted = stopped.value.receipt.accepted
        assert stopped.value.position == accepted == stage.books()["accepted"]
        assert accepted * 660 > MOST / 2

        sandbox.dials(limits=FAST)
        stage.enqueue([large(accepted)], wait_s=30)
        found = stage.wait_until_settled(accepted + 1, timeout_s=60)

        assert found["delivered"] == found["accepted"] == accepted + 1
        assert " ERROR " not in worker.log, worker.log
    assert len(list(sandbox.contacts())) == accepted + 1
    assert used_share(stage) < 0.3
    stage.assert_books_balance()


def test_bodies_are_cut_one_ahead_and_no_larger_than_memory_allows_while_it_is_short(stage):
    with pytest.raises(LaneFull):
        stage.enqueue(large(number) for number in itertools.count())
    there = redis_server.read_memory(stage.client)
    assert 0.78 < used_share(stage) < 0.81, "without a worker it is intake itself that measures"

    for _ in range(3):
        stage.follow("aggregate", "sendgrid")

    [batch] = stage.batches().values()
    # A quarter of what was left at that moment: buffers of connections come and go in between.
    assert there.left // 5 < int(batch["bytes"]) < there.most * 0.22 // 4
    assert used_share(stage) < 0.95
    stage.assert_books_balance()


@pytest.mark.parametrize(("pool", "started"), [("prefork", "before"), ("solo", "after")])
def test_a_redis_that_others_keep_full_drains_though_no_wakeup_can_be_sent(stage, sandbox, pool, started):
    """What comes free is taken by others at once, so that all of this happens without any memory left."""

    def is_settled_while_full() -> bool:
        fill(stage)
        return stage.is_settled(of=600)

    sandbox.dials(limits=SLOW)
    worker = WorkerProcess(stage.environment(), stage.directory, pool=pool, concurrency=2 if pool == "prefork" else 1)
    if started == "before":
        worker.__enter__()
        stage.wait_for_heartbeat(worker)
    try:
        stage.enqueue(large(number) for number in range(600))
        if started == "before":
            wait_until(lambda: stage.books()["batched"])
            stage.enqueue(large(number) for number in range(600, 800))
        fill(stage)
        wait_until(lambda: is_kept_full(stage))
        sandbox.dials(limits=FAST)
        if started == "after":
            worker.__enter__()
            stage.wait_for_heartbeat(worker)

        wait_until(is_settled_while_full, 40, lambda: (stage.books(), used_share(stage), worker.log[-2000:]))

        wait_until(lambda: is_kept_full(stage))
        assert "runs what is due itself" in worker.log
        assert "redis did not answer" not in worker.log, worker.log
        assert used_share(stage) < 1.05
        assert stage.books()["delivered"] == stage.books()["accepted"] == len(list(sandbox.contacts()))
        if started == "after":
            assert max(int(batch["bytes"]) for batch in stage.batches().values()) <= SMALL_BODY_BYTES
        stage.client.delete("foreign")
        stage.enqueue([large(5_000)])
        wait_until(lambda: stage.books()["delivered"] == stage.books()["accepted"], 20, lambda: worker.log[-2000:])
        assert worker.stop() == 0
    finally:
        worker.kill()
    stage.assert_books_balance()


def test_a_worker_that_stands_in_for_its_pool_ends_in_time_and_settles_what_is_in_hand(stage, sandbox):
    sandbox.dials(latency_ms=[3_000, 3_000])
    stage.enqueue(large(number) for number in range(10))
    fill(stage)
    with stage.worker(pool="prefork", concurrency=2) as worker:
        wait_until(lambda: any(entry["method"] == "PUT" for entry in sandbox.journal()), 20, lambda: worker.log)
        asked_s = time.monotonic()

        assert worker.stop(timeout_s=20) == 0

        assert time.monotonic() - asked_s < 15
        [batch] = stage.batches().values()
        assert batch["state"] == "polling", "the exchange under way was not settled"
    stage.assert_books_balance()


def test_a_lane_rests_and_says_so_when_not_even_a_small_body_finds_room(stage):
    """Failed records take more than they took while they waited: what our own scripts may go beyond has an end."""
    stage.enqueue(large(number) for number in range(100))
    stage.client.config_set("maxmemory", 100_000)
    stage.client.config_set(
        "maxmemory", max(100_000, redis_server.read_memory(stage.client).used - redis_server.BEYOND_BYTES - 100_000)
    )
    if not redis_server.read_memory(stage.client).is_spent:  # a server that takes little itself: others take it
        stage.client.config_set("maxmemory", 0)
        stage.client.set("foreign", b"x" * 6_000_000)
        stage.client.config_set("maxmemory", 1_000_000)
    assert redis_server.read_memory(stage.client).is_spent

    stage.follow("aggregate", "sendgrid")

    assert stage.batches() == {}
    [status] = lanes(read_destination(stage.runtime.store, stage.runtime.breaker.state()), attended=True)
    assert "no memory left" in status.why
    due_ms = stage.client.zscore(stage.runtime.store.keys("due:aggregate"), "sendgrid") - stage.runtime.clock.now_ms()
    assert due_ms > FULL_DELAY_MS / 2, "it is looked at again and again"
    stage.client.config_set("maxmemory", 0)
    stage.follow("aggregate", "sendgrid")
    assert stage.books()["batched"] == 100


def test_what_was_staged_is_given_back_when_memory_ends_midway(stage, monkeypatch):
    """Others take what is left just when the body is in Redis and what belongs to it is not."""
    put = AggregationStore._put

    def put_and_fill(aggregation_store: AggregationStore, name: str, value: bytes) -> None:
        put(aggregation_store, name, value)
        if name.endswith(":body"):
            assert stage.client.exists(name)
            fill(stage)

    monkeypatch.setattr(AggregationStore, "_put", put_and_fill)
    stage.enqueue(large(number) for number in range(1_000))

    stage.follow("aggregate", "sendgrid")

    [(number, batch)] = stage.batches().items()
    assert number == 2
    assert int(batch["bytes"]) <= SMALL_BODY_BYTES
    assert {key for key in stage.client.scan_iter("*:batch:*") if stage.client.ttl(key) != -1} == set()
    stage.assert_books_balance()


def keys_and_values(stage: Stage) -> dict[bytes, bytes | None]:
    return {key: stage.client.dump(key) for key in stage.client.scan_iter(f"{stage.prefix}:*")}


def test_a_full_redis_is_a_full_lane_to_a_producer_and_nothing_is_half_written(stage):
    """Right after memory was measured, and before it is measured again."""
    stage.enqueue([large(1)])
    wait_until(lambda: is_kept_full(stage))
    before = keys_and_values(stage)
    for is_measured in (True, False):
        if is_measured:
            assert int(stage.client.get(stage.runtime.store.keys("intake_allowance")) or 0) > 1_000_000
        else:
            stage.client.delete(stage.runtime.store.keys("intake_allowance"))
            before.pop(stage.runtime.store.keys("intake_allowance").encode(), None)

        with pytest.raises(LaneFull, match=r"^the memory of Redis is full$") as stopped:
            stage.enqueue([large(2)])

        assert (stopped.value.position, stopped.value.receipt.accepted) == (0, 0)
        assert keys_and_values(stage).keys() == before.keys()
        assert {k: v for k, v in keys_and_values(stage).items() if b"room" not in k} == {
            k: v for k, v in before.items() if b"room" not in k
        }


def test_a_call_that_was_taken_is_not_refused_when_it_is_repeated_with_full_memory(stage):
    stage.enqueue([large(1)], key="signup")
    fill(stage)

    receipt = stage.enqueue([large(1)], key="signup")

    assert (receipt.accepted, receipt.repeated) == (1, 1)
    assert stage.books()["accepted"] == 1


@pytest.fixture
def sender(stage: Stage) -> Iterator[Celery]:
    with stage.celery("elsewhere") as made:
        yield made


@pytest.mark.parametrize("asked", [{}, {"wait_s": 30}], ids=str)
def test_a_message_with_records_waits_at_the_end_of_its_queue_and_leaves_the_worker_to_others(stage, sender, asked):
    """One worker process: a message that waited inside it would keep out the wake-ups that make room."""
    stage.set["MAX_LANE_BYTES"] = "1000000"
    lane = stage.engine.producer.lane("sendgrid")
    narrow = intake.EnqueueOptions(lane, LaneLimits(1_000_000, 0, 30_000, 6_000_000), 1_000_000)
    with pytest.raises(LaneFull):
        intake.enqueue(map(large, itertools.count()), [(narrow, lambda call: append(stage.runtime.store, call))])
    before = stage.books()["accepted"]
    stage.runtime.state.pause(None, "for a test")
    for part in range(3):
        records = [large(number) for number in range(10_000 + part * 200, 10_000 + part * 200 + 200)]
        sender.send_task("contacts.enqueue", [records], asked)

    with stage.worker(pool="solo") as worker:
        wait_until(lambda: stage.client.llen(stage.queue) == 0 or stage.books()["accepted"] > before, 5)
        stage.runtime.state.resume(None)
        wait_until(lambda: stage.is_settled(of=before + 600), 30, lambda: (stage.books(), worker.log[-3000:]))
        assert stage.books()["delivered"] == before + 600
        assert "@example.com" not in worker.log
    stage.assert_books_balance()
