"""The doctor on records: failures near their end, staged bodies, full lanes, books that do not balance."""

from support.diagnosis import LANE, run, wrong

from contact_ingest import enqueue


def test_failures_near_the_end_of_their_time_are_found(wire, client):
    parts = wire(keep_failures_s=1000)
    parts.workers.heartbeat("host:1", 4)
    enqueue({"email": "a@example.com", "last_name": "x" * 51})
    runtime = parts.runtime(LANE)
    runtime.aggregator.aggregate(LANE)
    client.set(runtime.store.keys("clock_offset"), 890_000)
    assert run("doctor").exit_code == 0
    client.set(runtime.store.keys("clock_offset"), 910_000)

    says, remedy = wrong()["sendgrid: failures"]

    assert says.startswith("1 of 1 are about to be discarded, the first in ")
    assert "CONTACT_INGEST_KEEP_FAILURES_S" in remedy


def test_staged_bodies_without_an_expiry_are_found(parts, client):
    k = parts.runtime(LANE).store.keys
    client.set(k("batch_seq"), 3)
    client.set(k("batch:2:body"), b"{}", px=60_000)
    assert run("doctor").exit_code == 0

    client.persist(k("batch:2:body"))

    assert wrong()["sendgrid: staged bodies"][0].startswith("1 belong to no batch")


def test_a_lane_that_is_nearly_full_is_found(wire):
    wire(max_lane_bytes=1_000_000).workers.heartbeat("host:1", 4)
    enqueue({"email": f"p{i}@example.com", "first_name": "x" * 1000} for i in range(800))

    says, remedy = wrong()["lane sendgrid"]

    assert "full" in says
    assert "CONTACT_INGEST_MAX_LANE_BYTES" in remedy


def test_books_that_do_not_balance_are_found(parts, client):
    enqueue({"email": "a@example.com"})
    client.hincrby(parts.runtime(LANE).store.keys(f"books:{LANE}"), "delivered", 1)

    assert "accepted 1 is not the sum" in wrong()["books of sendgrid"][0]


def test_books_that_keys_contradict_are_found_by_a_recount(parts, client):
    enqueue({"email": "a@example.com"})
    client.rpush(parts.runtime(LANE).store.keys(f"waiting:{LANE}"), b"{}")
    assert run("doctor").exit_code == 0

    assert "the books say 1 waiting, the keys 2" in wrong("--books")["books of sendgrid"][0]
