"""Hostile input: whatever comes, through a door, past it, or as a reply, costs itself alone, and is accounted for.

The mass of it is in tests/chaos/hostile, of which a small size runs here; what it has found has a test of its own.
"""

import csv
import io
import json
import logging
import os
import subprocess
import sys

import orjson
import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError
from support.fuzz_records import CANARY, Records
from support.fuzz_replies import Replies
from support.peer import Peer, advance, reply, speak_to
from support.people import person
from support.product import ROOT
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest import enqueue
from contact_ingest.cli import run
from contact_ingest.cli.csv_export import harmless
from contact_ingest.config.logging import JsonFormatter, PlainFormatter
from contact_ingest.errors import BUGS, FieldsNeeded, Refused, describe_bug
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.http_message import LONGEST_WAIT_S, rate_headers
from contact_ingest.model.record import QueuedRecord, validate_record
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.packer import MAX_KEPT_BYTES
from contact_ingest.pipeline.encode import NO_MAPPING, RecordEncoder
from contact_ingest.pipeline.enqueue import EnqueueBuffer
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.providers.emarsys.auth import read_token
from contact_ingest.providers.error_file import reader
from contact_ingest.providers.json_guard import decode
from contact_ingest.providers.registry import build
from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow
from contact_ingest.store import aggregation
from contact_ingest.store.aggregation import CHUNK
from contact_ingest.store.lanes import append
from contact_ingest.store.scripts import Store
from contact_ingest.transport.sockets import is_public

FIELDS = FieldTable({"plan": ("e1_T", "Text"), "n": ("e2_N", "Number"), "d": ("e3_D", "Date")}, 1)


def test_a_small_part_of_the_hostile_benchmark_finds_nothing_wrong():
    command = [
        sys.executable,
        "tests/chaos/hostile",
        "--records",
        "400",
        "--replies",
        "200",
        "--seed",
        "7",
        "--json",
    ]
    foreign = {"REDIS_URL": "redis://127.0.0.1:9/0", "CELERY_BROKER_URL": "redis://127.0.0.1:9/0"}
    environment = {**os.environ, **foreign, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    rows = {row["step"]: row["value"] for row in found["tables"][0]["rows"]}
    assert found["wrong"] == []
    assert rows["accepted"] > 400
    assert rows["books: failed"] > 60
    assert rows["books: delivered"] > 60
    assert 0 < rows["peak, MB: worker, children"] < 300
    assert sum(number for kind, number in rows.items() if kind.startswith("met: upsert")) > 90


def accounts():
    key = SecretStr("k")
    for policy in ("refuse", "drop", "create"):
        yield build("sendgrid", api_key=key, unknown_fields=policy)
        yield build("loops", api_key=key, unknown_fields=policy)
        yield build("emarsys", username=key, secret=key, unknown_fields=policy)


def test_no_record_of_any_shape_gets_more_than_a_refusal_at_the_door():
    source = Records(11)
    for _ in range(2_000):
        kind, record = source.python()
        try:
            raw = validate_record(record, 1_000_000)
        except Refused as problem:
            said = str(problem)
        else:
            said = ""
            assert orjson.loads(raw)
            assert b"\n" not in raw
        assert CANARY not in said, kind


def test_whatever_lies_in_a_lane_is_prepared_or_refused_and_what_is_refused_can_be_read_again(caplog):
    source = Records(12)
    rules = FieldMapping({"custom_fields.plan": "city", "city": "custom_fields.n"}, ("country",), {"source": "crm"})
    encoders = [
        RecordEncoder(account, b"s" * 16, FIELDS, frozenset(), 1, given)
        for account in accounts()
        for given in (NO_MAPPING, rules)
    ]
    for seq in range(700):
        kind, raw = source.raw()
        for encoder in encoders:
            try:
                item = encoder.encode(QueuedRecord(seq, raw))
            except FieldsNeeded:
                continue
            assert b"\n" not in item.queued.raw
            assert orjson.loads(orjson.dumps({"contact": orjson.loads(item.queued.raw)}))
            assert item.refused is None or CANARY not in str(item.refused), kind
    assert caplog.records == [], "a defect"


def test_a_refusal_that_is_kept_holds_no_frame_and_so_no_piece_of_the_lane():
    (account, *_) = accounts()
    raw = b'{"email":"ada@example.com","first_name":7}'

    item = RecordEncoder(account, b"s" * 16, FIELDS, frozenset(), 1).encode(QueuedRecord(0, raw))

    assert (item.refused.__traceback__, item.refused.__context__) == (None, None)
    assert item.refused.code == "wrong_type"


def test_no_reply_of_any_kind_raises():
    replies, (sendgrid, loops, emarsys, *_) = Replies(13), accounts()
    rows = [b'{"email":"%b@hostile.example","3":"x"}' % CANARY.encode()]
    for _ in range(1_500):
        kind, answer = replies.reply()
        for account in (sendgrid, loops, emarsys):
            verdict = account.read_upsert(answer, 1e9)
            account.find_rows(rows, getattr(verdict, "failed", ()))
            account.read_definitions(answer, 10**12)
            account.read_probe(answer, 1e9)
            assert CANARY not in repr(verdict), kind
        sendgrid.read_job(answer, 1e9)
        read_token(answer)
        _, content = replies.error_file()
        for error in sendgrid.read_error_file(content, rows):
            assert len(error.reason) <= 1_000


@pytest.mark.parametrize(
    "text",
    [
        "31536000",
        "Mon, 01 Jan 99999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 99999999999999999999:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 -9999999999999999999999",
        "9" * 5_000,
        "inf",
    ],
)
def test_no_header_parks_a_worker_for_longer_than_a_quarter_of_an_hour(text):
    found = rate_headers(dict.fromkeys(("retry-after", "x-ratelimit-reset", "x-ratelimit-limit"), text), 1e9)

    assert (found.retry_after_s or 0) <= LONGEST_WAIT_S
    assert (found.reset_s or 0) <= LONGEST_WAIT_S


def test_a_site_local_address_is_not_public():
    assert not is_public("fec0::1")


# What lies in a lane.


def put_into_lane(harness, *raws):
    """Past the door, as a producer with a bug of its own would do it."""
    lane = harness.engine.producer.lane(None)
    filling = EnqueueBuffer(harness.engine.producer.enqueue_options(lane))
    filling._records = list(raws)
    append(harness.runtime.store, filling.next_call())


def failures(harness):
    return {failed.id: failed for failed in harness.runtime.failures}


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


# What a platform says.


def test_a_mistake_over_a_reply_sends_the_same_bytes_again_and_is_not_poison(harness, monkeypatch, caplog):
    speak_to(Peer(lambda _: reply(202, {"job_id": "a-job"})), harness)
    runtime = harness.runtime
    read = runtime.provider.read_upsert
    monkeypatch.setattr(runtime.provider, "read_upsert", lambda *_: {}[CANARY])
    enqueue(person(i) for i in range(3))
    harness.pump()
    for _ in range(5):
        advance(runtime, 1_000)
        harness.pump()

    (batch,) = runtime.store.client.zrange(runtime.store.keys("batches"), 0, -1)
    fields = runtime.store.client.hgetall(runtime.store.keys(f"batch:{int(batch)}"))
    assert (fields[b"code"], fields[b"state"]) == (b"internal", b"ready")
    assert int(fields[b"attempts"]) == int(fields[b"claims_count"]) == 6
    assert harness.books()["failed"] == 0
    assert CANARY not in caplog.text
    monkeypatch.setattr(runtime.provider, "read_upsert", read)
    advance(runtime, 1_000)
    harness.pump()
    assert runtime.store.client.hget(runtime.store.keys(f"batch:{int(batch)}"), "state") == b"polling"


def test_a_mistake_over_a_report_is_asked_about_again_until_the_deadline(make_harness, monkeypatch):
    harness = make_harness(poll_deadline_s=2_500)
    speak_to(Peer(lambda _: reply(202, {"job_id": "a-job"})), harness)
    runtime = harness.runtime
    monkeypatch.setattr(runtime.provider, "read_job", lambda *_: {}[CANARY])
    enqueue(person(i) for i in range(3))
    harness.pump()
    for _ in range(4):
        advance(runtime, 1_000)
        harness.pump()

    assert {failed.code for failed in runtime.failures} == {"no_verdict"}
    assert harness.books()["failed"] == 3


@pytest.mark.parametrize("count", [10**18, 2**63, 5])
def test_a_count_of_errors_beyond_what_was_sent_does_not_reach_the_books(harness, count):
    job = {"status": "errored", "results": {"errored_count": count}}
    speak_to(Peer(lambda asked: reply(202, {"job_id": "a"}) if asked.method == "PUT" else reply(200, job)), harness)
    enqueue(person(i) for i in range(3))
    harness.run_until_settled()

    assert (harness.books()["failed"], harness.books()["unattributed"]) == (3, 0)
    harness.assert_books_balance()


def test_an_error_file_that_our_own_code_stumbles_over_is_worth_as_much_as_garbage(harness, monkeypatch):
    job = {"status": "errored", "results": {"errored_count": 1, "errors_url": "https://files.example/x"}}
    answers = {"upsert": reply(202, {"job_id": "a"}), "job": reply(200, job), "error_file": reply(200, b"x")}
    speak_to(Peer(lambda asked: answers[asked.endpoint]), harness)
    monkeypatch.setattr(harness.runtime.provider, "read_error_file", lambda *_: {}[CANARY])
    enqueue(person(i) for i in range(3))
    harness.run_until_settled()

    assert (harness.books()["delivered"], harness.books()["unattributed"]) == (3, 1)


@pytest.mark.parametrize("trap", [b"[" + b"[]," * 500_000 + b"0]", b"[" + b"0," * 1_600_000 + b"0]"])
def test_json_that_costs_far_more_memory_than_bytes_is_not_read(trap):
    assert decode(trap) is None
    assert reader.read(trap, lambda _: True) == []


def test_no_more_cells_of_an_error_file_are_kept_than_memory_allows(monkeypatch):
    monkeypatch.setattr(reader, "MAX_KEPT_CELLS", 100)
    content = b"\n".join(b"p%d@example.com,too long" % n for n in range(200))

    assert len(reader.read(content, lambda text: text.endswith("@example.com"))) == 50


# Messages.


def test_messages_of_strangers_end_as_log_lines_that_quote_nothing(client, redis_server, sandbox, tmp_path):

    source = Records(14)
    with (
        Stage(redis_server.url, sandbox.url, tmp_path) as stage,
        stage.celery("elsewhere") as producer,
    ):
        for _ in range(60):
            task, args, kwargs = source.message()
            producer.send_task(f"contacts.{task}", args, kwargs)
        producer.send_task("contacts.aggregate", ["sendgrid+0123abcd"])
        producer.send_task("contacts.dispatch", ["nowhere"])
        producer.send_task("contacts.enqueue", [person(1)])
        with stage.worker() as worker:
            wait_until(lambda: stage.client.llen(stage.queue) == 0, 30, lambda: worker.log)
            wait_until(lambda: stage.is_settled(of=1), 30, stage.books)

            assert "Traceback" not in worker.log, worker.log
            assert " ERROR " not in worker.log
            assert CANARY not in worker.log
            assert "no such destination: nowhere" in worker.log
        assert stage.client.zscore(stage.runtime.store.keys("due:aggregate"), "sendgrid+0123abcd") is None
        assert max(map(len, worker.log.splitlines())) < 1_000


@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_the_text_of_an_exception_is_not_logged_only_its_kind_and_place(formatter):
    record = logging.makeLogRecord({"msg": "tick failed"})
    try:
        int({CANARY: CANARY}["x" + CANARY])
    except KeyError as first:
        wrong = ValueError(CANARY)
        wrong.__cause__ = first
    record.exc_info = (ValueError, wrong, wrong.__traceback__)
    text = formatter.format(record)

    assert CANARY not in text
    assert "builtins.KeyError: (its text is not logged)" in text
    assert "test_hostile.py" in text
    record.exc_info = (Refused, Refused("email", "has 9 characters", "too_long"), None)
    assert "has 9 characters" in formatter.format(record)


def test_a_defect_is_named_by_the_innermost_line_of_ours():
    with pytest.raises(AttributeError) as raised:
        rate_headers(None, 0)

    assert describe_bug(raised.value).startswith("AttributeError at http_message.py:")


# Files.


def test_a_record_of_too_many_levels_costs_its_line_alone_and_can_be_written_down(tmp_path):
    path = tmp_path / "people.jsonl"
    deep = b'{"email":"a@example.com","custom_fields":{"x":' + b"[" * 900 + b"]" * 900 + b"}}"
    path.write_bytes(deep + b'\n{"email":"b@example.com"}\n')

    with open_source(str(path)) as source:
        first, second = source

    assert isinstance(first, RejectedRow)
    assert (first.field, first.raw) == ("custom_fields", deep.decode() + "\n")
    assert second.record == {"email": "b@example.com"}


# A spreadsheet.

DANGEROUS = ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx", "\nx", " =1", '"=1', "'=1", "\u00a0=1", "\ufeff=1", "\x00=1"]
DANGEROUS += ["\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "\u200b@x", ' " =1']


@pytest.mark.parametrize("cell", DANGEROUS)
def test_a_cell_that_a_spreadsheet_could_execute_becomes_text(cell):
    assert harmless(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "Ada", "1", "a=b", "ada@example.com", "x\ty", "'", " Ada", "[1]", "ﬀ"])
def test_any_other_cell_stays_as_it_is(cell):
    assert harmless(cell) == cell


def test_failures_as_csv_have_a_column_for_each_field_and_can_be_read_back(harness, capsys, tmp_path):
    last_name = '=HYPERLINK("http://x","y")\n' + "x" * 60
    custom = {"=cmd": 1, "plan": "pro"}
    enqueue(
        {
            "email": "ada@example.com",
            "last_name": last_name,
            "custom_fields": custom,
            "alternate_emails": ["a@b.cd", "c@d.ef"],
        }
    )
    enqueue({"email": "bob@example.com", "phone": "+15046218927", "city": "x" * 70})
    harness.run_until_settled()
    assert harness.books()["failed"] == 2
    path = tmp_path / "failed.csv"

    assert run(["failures", "export", str(path)]) == 0

    said = capsys.readouterr().err
    rows = {row["email"]: row for row in csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""))}
    assert rows["ada@example.com"]["last_name"] == "'" + last_name
    assert rows["ada@example.com"]["custom_fields.plan"] == "pro"
    assert rows["ada@example.com"]["custom_fields.=cmd"] == "1"
    assert rows["ada@example.com"]["alternate_emails"] == "a@b.cd;c@d.ef"
    assert rows["bob@example.com"]["phone"] == "'+15046218927"
    assert rows["bob@example.com"]["code"] == "too_long"
    assert rows["bob@example.com"]["custom_fields.plan"] == ""
    assert "2 cells made text" in said
    assert path.stat().st_mode & 0o077 == 0
    raw = path.read_bytes()
    assert raw.startswith(b'\xef\xbb\xbf"record",')
    assert raw.count(b"\r\n") == 3


def test_the_form_of_an_export_follows_the_ending_unless_it_is_named(harness, tmp_path, capsys):
    enqueue({"email": "ada@example.com", "city": "x" * 70})
    harness.run_until_settled()

    assert run(["failures", "export", str(tmp_path / "a.csv"), "--format", "jsonl"]) == 0
    assert orjson.loads((tmp_path / "a.csv").read_bytes())["contact"]["email"] == "ada@example.com"
    assert run(["failures", "export", str(tmp_path / "a.txt"), "--format", "csv"]) == 0
    assert (tmp_path / "a.txt").read_text("utf-8-sig").startswith('"record"')
    assert run(["failures", "export", str(tmp_path / "a.txt"), "--format", "xml"]) == 2
    assert "--format" in capsys.readouterr().err
