"""Hostile input: whatever comes, through a door, past it, or as a reply, costs itself alone, and is accounted for.

The mass of it is in tests/chaos/hostile, of which a small size runs here; what it has found has a test of its own.
"""

import json
import os
import subprocess
import sys

import orjson
import pytest
from pydantic import SecretStr
from support.fuzz_records import CANARY, Records
from support.fuzz_replies import Replies
from support.product import ROOT

from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.http_message import LONGEST_WAIT_S, rate_headers
from contact_ingest.model.record import QueuedRecord, validate_record
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.encode import NO_MAPPING, RecordEncoder
from contact_ingest.providers.emarsys.auth import read_token
from contact_ingest.providers.registry import build
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
