"""Records that nobody should send: each fails by itself, with a reason, and its lane goes on."""

import json
import logging

import orjson
import pytest
from redis.exceptions import RedisError
from support.fuzz_records import CANARY
from support.hostile_lanes import failures
from support.people import person

from contact_ingest import enqueue
from contact_ingest.cli import run
from contact_ingest.errors import BUGS
from contact_ingest.packing.packer import MAX_KEPT_BYTES
from contact_ingest.pipeline.enqueue import EnqueueBuffer
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.store import aggregation
from contact_ingest.store.aggregation import CHUNK
from contact_ingest.store.lanes import append
from contact_ingest.store.scripts import Store


def put_into_lane(harness, *raws):
    """Past the door, as a producer with a bug of its own would do it."""
    lane = harness.engine.producer.lane(None)
    filling = EnqueueBuffer(harness.engine.producer.enqueue_options(lane))
    filling._records = list(raws)
    append(harness.runtime.store, filling.next_call())


def test_bytes_that_are_no_record_fail_with_a_reason_and_do_not_block_their_lane(harness, sandbox):
    deep = b'{"email":"deep@example.com","custom_fields":{"x":' + b"[" * 600 + b"]" * 600 + b"}}"
    spaced = b'{"email":\n"spaced@example.com"}'
    put_into_lane(harness, b"\xff\n\x00", b"[1]", b"7", deep, spaced, b'{"email":"good@example.com"}')
    harness.run_until_settled()

    assert {c["email"] for c in sandbox.contacts()} == {"spaced@example.com", "good@example.com"}
    found = failures(harness)
    assert {id_.rpartition(":")[2]: f.code for id_, f in found.items()} == {
        "0": "not_an_object",
        "1": "not_an_object",
        "2": "not_an_object",
        "3": "not_json",
    }
    harness.assert_books_balance()
    assert orjson.loads(found["sendgrid:0"].raw) == "\\xff\n\x00"


def test_what_failed_unreadable_can_be_shown_retried_and_exported(harness, capsys, tmp_path):
    put_into_lane(harness, b"\xff\n\x00", b'{"email":"' + b"[" * 300)
    harness.run_until_settled()

    assert harness.runtime.retrier.retry(FailureFilter()) == 2
    harness.run_until_settled()

    assert run(["failures", "--json", "--contents"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["attempts"] for line in shown] == [2, 2]
    assert run(["failures", "export", str(tmp_path / "all.jsonl")]) == 0
    assert run(["failures", "export", str(tmp_path / "all.csv")]) == 0
    harness.assert_books_balance()


def test_a_record_nested_to_the_limit_can_be_exported_after_it_failed(harness, tmp_path):
    value = "x"
    for _ in range(252):
        value = [value]
    receipt = enqueue({"email": "deep@example.com", "custom_fields": {"plan": value}})
    assert receipt.accepted == 1
    harness.run_until_settled()

    path = tmp_path / "failed.jsonl"
    assert run(["failures", "export", str(path)]) == 0
    assert orjson.loads(path.read_bytes())["contact"]["email"] == "deep@example.com"


def test_a_mistake_of_ours_over_one_record_fails_that_record_alone(harness, sandbox, monkeypatch, caplog):
    runtime = harness.runtime
    prepare = runtime.provider.prepare

    def stumbles(raw, fields):
        if b"p2@" in raw:
            raise KeyError(f"{CANARY} {raw!r}")
        return prepare(raw, fields)

    monkeypatch.setattr(runtime.provider, "prepare", stumbles)
    enqueue(person(i) for i in range(4))
    harness.run_until_settled()

    assert harness.books()["delivered"] == 3
    (failed,) = harness.runtime.failures
    assert failed.code == "internal"
    assert "KeyError" in failed.reason
    assert CANARY not in failed.reason
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "KeyError" in line.problem
    assert CANARY not in caplog.text


def test_what_redis_or_a_time_limit_raises_is_no_defect_of_a_record(harness, monkeypatch):
    class TimeIsUp(Exception):  # noqa: N818 - as celery's is: an exception of its own, under none of Python's
        pass

    for ends in (TimeIsUp, RedisError, MemoryError, OSError):
        assert not issubclass(ends, BUGS)
    monkeypatch.setattr(harness.runtime.provider, "prepare", lambda *_: (_ for _ in ()).throw(TimeIsUp))
    enqueue(person(1))
    with pytest.raises(TimeIsUp):
        harness.runtime.aggregator.aggregate("sendgrid")
    assert harness.books()["waiting"] == 1


def test_a_thousand_large_records_are_refused_a_part_at_a_time(harness, monkeypatch):
    monkeypatch.setattr("contact_ingest.packing.packer.MAX_REFUSED_BYTES", 100_000)
    sent = []
    ours = Store._once
    monkeypatch.setattr(
        Store,
        "_once",
        lambda self, name, base, args: (
            sent.append((name, sum(map(len, map(str, args))))),
            ours(self, name, base, args),
        )[1],
    )
    enqueue({"email": f"p{i}@example.com", "first_name": "x" * 20_000} for i in range(60))
    harness.run_until_settled()

    assert harness.books()["failed"] == 60
    assert max(size for name, size in sent if name == "aggregate_commit") < 400_000
    harness.assert_books_balance()


def test_a_body_closes_when_much_more_was_enqueued_than_is_sent(make_harness, sandbox, monkeypatch):
    monkeypatch.setattr("contact_ingest.packing.packer.MAX_KEPT_BYTES", 100_000)
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": "drop"}})
    enqueue({"email": f"p{i}@example.com", "custom_fields": {"unknown": "x" * 20_000}} for i in range(30))
    harness.run_until_settled()

    assert harness.books()["delivered"] == 30
    assert len([entry for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"]) >= 5
    harness.assert_books_balance()


def test_a_heavy_lane_is_read_a_few_records_at_a_time(harness, monkeypatch):
    monkeypatch.setattr(aggregation, "CHUNK_BYTES", 100_000)
    enqueue({"email": f"p{i}@example.com", "first_name": "x" * 30_000} for i in range(12))
    reads = harness.runtime.aggregator._store

    assert len(reads.read_waiting("sendgrid", 0, 12)) == 12
    assert len(reads.read_waiting("sendgrid", 0, 12, heavy=True)) == 3
    assert len(reads.read_waiting("sendgrid", 11, 12, heavy=True)) == 1
    assert reads.read_waiting("sendgrid", 12, 12, heavy=True) == []
    monkeypatch.setattr(aggregation, "CHUNK_BYTES", 10)
    assert len(reads.read_waiting("sendgrid", 0, CHUNK, heavy=True)) == 1
    assert MAX_KEPT_BYTES + aggregation.HEAVY_BYTES < 60_000_000
