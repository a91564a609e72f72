"""What is on its way while a contact is erased is counted, waited for, and erased when it comes back."""

import orjson
import pytest
from celery import Celery
from support.erasing import ADA, LONG, NEVER, ada, counts, erase, has_failed, traces_left
from support.in_process import pumping
from support.peer import Peer, advance, reply, speak_to
from support.people import person

from contact_ingest import enqueue
from contact_ingest.errors import FateUnknown
from contact_ingest.operations.erase import DataSubject, Eraser
from contact_ingest.store import scan
from contact_ingest.store.scan import RecordScan


def test_what_is_in_flight_is_counted_and_erased_when_it_comes_back_as_a_failure(cli, harness, client, sandbox):
    sandbox.dials(**NEVER[0])
    enqueue([ada(last_name="[[fail-import]]"), person(1)])
    harness.run_until(lambda: harness.books()["batched"] == 2)
    enqueue(ada(city="Planted"))
    harness.run_until(lambda: harness.books()["held"] == 1)

    said = erase(cli)

    assert said.code == 3
    assert counts(said) == {"held": 1}
    assert (said.json["in_flight"], said.json["bodies"], said.json["complete"]) == (1, 1, False)
    assert "1 record in 1 body being sent or followed; run it again, or with --wait" in cli("erase", ADA, "--yes").err
    harness.runtime.state.pause(None, "for a test")
    timed_out = cli("erase", ADA, "--yes", "--wait", "--timeout", 0.2)
    assert timed_out.code == 3
    assert "warning: no worker is running\nwarning: sendgrid is paused\n" in timed_out.err
    harness.runtime.state.resume(None)
    assert harness.books()["batched"] == 2

    # The deadline ends the import without a verdict: both records come back.
    advance(harness.runtime, round(harness.engine.settings.poll_deadline_s) + 1)
    with pumping(harness):
        said = cli("erase", ADA, "--yes", "--json", "--wait", "--timeout", 30)

    assert said.code == 0, said
    assert counts(said) == {"failed": 1}
    assert "still in flight: " in said.err
    assert not traces_left(client)
    assert harness.books() | {"failed": 1, "discarded": 2} == harness.books()
    harness.assert_books_balance()


def test_a_request_of_unknown_fate_is_on_its_way_until_its_contacts_are_free(cli, make_harness, client):
    harness = make_harness(orphan_wait_s=600)
    answers = [FateUnknown("reset")]

    def answer(request):
        if request.method == "PUT":
            return answers.pop() if answers else reply(202, {"job_id": "job-1"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    speak_to(Peer(answer), harness)
    enqueue(ada())
    harness.run_until(lambda: not answers)
    advance(harness.runtime, 5)
    harness.run_until(lambda: harness.books()["delivered"] == 1)

    said = erase(cli)

    assert (said.code, said.json["unknown"], said.json["in_flight"]) == (3, 1, 0)
    advance(harness.runtime, 601)
    harness.pump()
    assert erase(cli).code == 0
    assert not traces_left(client)


def test_a_body_that_is_staged_and_never_committed_counts_as_on_its_way(cli, make_harness, client, monkeypatch):
    harness = make_harness(max_wait_s=3600)
    enqueue(ada())
    harness.runtime.schedule.flush("sendgrid")

    class Crash(BaseException):
        pass

    def die(*_):
        raise Crash

    monkeypatch.setattr("contact_ingest.store.aggregation.AggregationStore.commit", die)
    with pytest.raises(Crash):
        harness.runtime.aggregator.aggregate("sendgrid")

    said = erase(cli)

    assert (said.code, counts(said), said.json["in_flight"]) == (3, {"waiting": 1}, 1)
    for key in client.scan_iter("*:batch:*"):
        assert client.pttl(key) > 0
        client.delete(key)
    assert erase(cli).code == 0
    assert not traces_left(client)


@pytest.fixture
def producer(redis_server):
    with Celery("elsewhere", broker=redis_server.url, set_as_current=False) as made:
        options = {"global_keyprefix": "contact-ingest:broker:", "priority_steps": [0]}
        made.conf.update(broker_transport_options=options, task_default_queue="contacts")
        yield made


def test_records_in_messages_of_the_broker_are_on_their_way(cli, make_harness, client, producer):
    harness = make_harness(max_wait_s=3600)
    queue = "contact-ingest:broker:contacts"
    producer.send_task("contacts.enqueue", [[person(1), ada()], "sendgrid"])
    producer.send_task("contacts.enqueue", kwargs={"records": ada(), "to": "sendgrid"})
    producer.send_task("contacts.aggregate", ["planted"])
    client.lpush(queue, "no message at all")
    client.hset("contact-ingest:broker:unacked", "tag", orjson.dumps([orjson.loads(client.lindex(queue, -1)), "", ""]))

    said = erase(cli)

    assert (said.code, said.json["queued"]) == (3, 3)
    assert client.llen(queue) == 4, "a message that is taken away is one that nobody acts upon"
    client.delete(queue, "contact-ingest:broker:unacked")
    enqueue([person(1), ada()])
    assert counts(erase(cli)) == {"waiting": 1}
    assert harness.books()["waiting"] == 1


def test_a_contact_is_erased_while_workers_run(cli, harness, client):
    """Records of the contact are among thousands that are cut, sent, held, refused and retried meanwhile."""
    with pumping(harness):
        for start in range(0, 3000, 500):
            bad = {"last_name": LONG} if start % 1000 else {}
            enqueue(ada(city=str(n), **bad) if n % 50 == 7 else person(n) for n in range(start, start + 500))
            erase(cli)
        said = cli("erase", ADA, "--yes", "--json", "--wait", "--timeout", 60)
        assert said.code == 0, said

    assert not traces_left(client)
    harness.run_until_settled()
    books = harness.books()
    assert books["delivered"] + books["merged"] + books["discarded"] == books["accepted"] == 3000
    assert books["delivered"] >= 2940
    harness.assert_books_balance()


def test_a_lane_that_is_cut_while_it_is_read_is_read_in_full(harness, monkeypatch):
    monkeypatch.setattr(scan, "CHUNK", 100)
    harness.runtime.state.pause("sendgrid", "for a test")
    enqueue(person(n) for n in range(1000))
    seen = {}

    for first, raws in RecordScan(harness.runtime.store).waiting("sendgrid"):
        seen.update({first + at: orjson.loads(raw)["email"] for at, raw in enumerate(raws)})
        if first == 200:
            harness.runtime.state.resume("sendgrid")
            store = harness.runtime.store
            store.client.ltrim(store.keys("waiting:sendgrid"), 450, -1)
            store.client.hincrby(store.keys("lane:sendgrid"), "head", 450)

    expected = [*range(300), *range(450, 1000)]
    assert seen == {n: f"p{n}@example.com" for n in expected}


def test_long_records_are_read_a_few_at_a_time(harness, monkeypatch):
    monkeypatch.setattr(scan, "CHUNK_BYTES", 50_000)
    harness.runtime.state.pause("sendgrid", "for a test")
    enqueue(person(n, first_name="x" * 10_000) for n in range(20))

    assert max(len(raws) for _, raws in RecordScan(harness.runtime.store).waiting("sendgrid")) == 4


def test_a_pass_in_which_something_moved_is_not_the_last(harness, monkeypatch):
    """A failure that is retried right behind the look at the lane would be missed by a single pass."""
    has_failed(harness, None)
    harness.runtime.state.pause(None, "for a test")
    erasure, runtime = harness.runtime.eraser, harness.runtime
    passes = []

    def told(*_):
        if not passes:
            runtime.failures.retry(list(runtime.failures))
        passes.append(1)

    enqueue(person(9))
    real = RecordScan.held

    def held(self, lane):
        entries = list(real(self, lane))
        told()
        return iter(entries)

    monkeypatch.setattr(RecordScan, "held", held)

    found = Eraser([erasure], None).erase(DataSubject(ADA), lambda *_: None)

    assert (found.held, found.failed, found.is_clear) == (1, 0, True)
    assert len(passes) > 1
