"""Replies that no platform should give: they are repeated, asked about again or counted, and never believed."""

import pytest
from support.fuzz_records import CANARY
from support.peer import Peer, advance, reply, speak_to
from support.people import person

from contact_ingest import enqueue
from contact_ingest.providers.error_file import reader
from contact_ingest.providers.json_guard import decode


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
