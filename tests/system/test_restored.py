"""A server that comes back from an older state: a replica that had not copied everything, a power loss. It counts
batches anew, so a number that somebody still has in hand is another batch now."""

from dataclasses import replace

import pytest
from support.peer import Peer, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.errors import StaleFence
from contact_ingest.model.batch import BatchState, Settlement
from contact_ingest.model.lane import Lane
from contact_ingest.packing.payload import Payload
from contact_ingest.store.aggregation import AggregationCommit, AggregationStore, StagedBody


def cut(harness, *emails):
    enqueue([{"email": email} for email in emails])
    harness.runtime.aggregator.aggregate("sendgrid")


def restored(harness):
    """Everything written so far is lost."""
    harness.runtime.store.client.flushall()


def test_a_verdict_on_a_batch_of_the_lost_state_is_not_written_on_another_of_its_number(harness):
    cut(harness, "old@example.com")
    old = harness.runtime.batch_store.claim("dispatch").batch
    restored(harness)
    cut(harness, "new@example.com")
    new = harness.runtime.batch_store.claim("dispatch").batch
    assert (new.number, new.fence) == (old.number, old.fence)

    with pytest.raises(StaleFence):
        harness.runtime.batch_store.settle(old, Settlement(replace(old, state=BatchState.DONE), delivered=1))

    assert harness.books()["batched"] == 1
    harness.runtime.batch_store.settle(new, Settlement(replace(new, state=BatchState.DONE), delivered=1))
    assert harness.books()["delivered"] == 1


def test_a_worker_that_was_sending_when_the_state_was_lost_delivers_nothing_of_the_new_one(harness):
    def lost_meanwhile(request):
        if request.method != "PUT":
            return reply(200, {"custom_fields": []})
        restored(harness)
        cut(harness, "new@example.com")
        harness.runtime.batch_store.claim("dispatch")
        return reply(202, {"job_id": "job-1"})

    speak_to(Peer(lost_meanwhile), harness)
    cut(harness, "old@example.com")

    assert harness.runtime.dispatcher.dispatch("sendgrid") == ()

    store = harness.runtime.store
    assert store.client.hget(store.keys("batch:1"), "state") == b"sending"
    harness.assert_books_balance()


def test_a_body_that_two_have_staged_under_one_number_is_not_committed(harness):
    """Another was interrupted between two pieces of it, and goes on."""
    enqueue({"email": "someone@example.com"})
    runtime, lane = harness.runtime, "sendgrid"
    aggregation_store = AggregationStore(runtime.store)
    body = Payload(runtime.provider.limits(Lane(lane, lane)))
    body.add(b'{"email":"someone@example.com"}')
    packed = body.close()
    number = aggregation_store.stage(packed, b'0\t{"email":"someone@example.com"}', b"12345678")
    version = aggregation_store.read_snapshot(lane).version
    bodies = [StagedBody(number, 1, len(packed.body))]
    commit = AggregationCommit(lane, version, consumed=1, bodies=bodies)

    runtime.store.client.append(runtime.store.keys(f"batch:{number}:body"), b"a piece of another's")
    assert not aggregation_store.commit(commit)

    runtime.store.client.set(runtime.store.keys(f"batch:{number}:body"), packed.body)
    assert aggregation_store.commit(commit)
    assert harness.books() | {"waiting": 0, "batched": 1} == harness.books()
