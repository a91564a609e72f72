"""Workers and batches whose keys are gone: loud, no loop, no wrong list, and every row in the books."""

import logging

import orjson
import pytest
from support.dispatching import facing
from support.people import person

from contact_ingest import enqueue
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.pipeline.settle import OPTIONS_LOST

LIST = "00000000-0000-0000-0000-000000000001"


def packed(harness, number=3, **options):
    """A batch that is to be sent; its lane."""
    receipt = enqueue([person(at) for at in range(number)], **options)
    harness.runtime.custom_fields.ready_for({})
    harness.runtime.aggregator.aggregate(receipt.lane)
    return receipt.lane


def lose(harness, *parts, batch=1):
    k = harness.runtime.store.keys
    assert harness.runtime.store.client.delete(*(k(f"batch:{batch}:{part}") for part in parts)) == len(parts)


@pytest.mark.parametrize("parts", [["body"], ["offsets"], ["body", "offsets"], ["body", "offsets", "digests"]])
def test_rows_whose_bytes_are_gone_fail_and_can_be_retried(harness, sandbox, caplog, parts):
    packed(harness)
    lose(harness, *parts)

    harness.runtime.dispatcher.dispatch("sendgrid")

    assert (harness.books()["failed"], harness.books()["batched"]) == (3, 0)
    assert {failure.code for failure in harness.runtime.failures} == {"keys_lost"}
    assert [record.levelname for record in caplog.records if record.msg == "keys of a batch are gone"] == ["CRITICAL"]
    harness.assert_books_balance()
    harness.runtime.retrier.retry(FailureFilter())
    if "digests" in parts:  # their contacts count as in flight until somebody repairs that
        return
    harness.run_until_settled()
    assert harness.books()["delivered"] == 3


def test_rows_whose_records_are_gone_too_end_as_unattributed(harness, caplog):
    caplog.set_level(logging.CRITICAL)
    packed(harness)
    lose(harness, "body", "offsets", "records")

    harness.runtime.dispatcher.dispatch("sendgrid")

    assert (harness.books()["delivered"], harness.books()["unattributed"]) == (3, 3)
    assert len(caplog.records) == 1
    harness.assert_books_balance()


def test_others_go_on_behind_a_batch_that_is_lost(harness, sandbox):
    packed(harness)
    lose(harness, "body")
    enqueue([person(at) for at in range(10, 15)])

    harness.run_until_settled()

    assert (harness.books()["delivered"], harness.books()["failed"]) == (5, 3)


def test_an_import_whose_records_are_gone_ends_as_it_ended(harness, sandbox):
    packed(harness)
    harness.runtime.dispatcher.dispatch("sendgrid")
    lose(harness, "body", "offsets", "records")

    harness.run_until_settled()

    assert harness.books()["delivered"] == 3


def test_an_import_with_bad_rows_whose_records_are_gone_ends_as_unattributed(harness, sandbox):
    enqueue([person(1, last_name="[[fail-import]]"), person(2)])
    harness.runtime.custom_fields.ready_for({})
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")
    lose(harness, "body", "offsets", "records")

    harness.run_until_settled()

    assert (harness.books()["delivered"], harness.books()["unattributed"]) == (2, 2)
    harness.assert_books_balance()


def test_a_body_that_ended_at_another_worker_is_not_taken_for_a_lost_one(harness, sandbox, caplog):
    packed(harness)
    claim = harness.runtime.batch_store.claim("dispatch")
    client, k = harness.runtime.store.client, harness.runtime.store.keys
    client.hset(k("batch:1"), "token", "another worker's")
    lose(harness, "body")

    with pytest.raises(Exception, match="has ended"):
        harness.runtime.batch_store.body(claim.batch)


@pytest.mark.parametrize("lost", ["field", "hash"])
def test_a_batch_of_a_lane_without_its_options_reaches_no_list_and_pauses_the_lane(harness, sandbox, lost, caplog):
    lane = packed(harness, list_ids=[LIST])
    client, k = harness.runtime.store.client, harness.runtime.store.keys
    options = client.hget(k("lanes"), lane)
    assert client.hdel(k("lanes"), lane) if lost == "field" else client.delete(k("lanes"))

    platform = facing(harness)

    for _ in range(3):
        harness.runtime.dispatcher.dispatch("sendgrid")

    assert platform.sent == []
    assert client.hget(k(f"lane:{lane}"), "paused").decode() == OPTIONS_LOST
    client.hset(k("lanes"), lane, options)
    harness.runtime.state.resume(lane)
    client.zadd(k("due:dispatch"), {"1": 0})
    harness.runtime.dispatcher.dispatch("sendgrid")
    assert [orjson.loads(body)["list_ids"] for body in platform.sent] == [[LIST]]
