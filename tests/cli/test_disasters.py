"""Disasters that used to be silent, at the command line."""

import socket

import orjson
import pytest
from support.people import person

from contact_ingest import enqueue
from contact_ingest.operations.doctor.watch import TOLD_MS, Watch
from contact_ingest.store.integrity.install import stranded


def test_cancel_refuses_a_receipt_of_another_epoch(cli, harness, client, tmp_path):
    file, receipt = tmp_path / "people.csv", tmp_path / "receipt.json"
    file.write_text("email\nann@example.com\nbob@example.com\n")
    harness.runtime.state.pause("sendgrid", "so that they wait")
    receipt.write_text(cli("enqueue", file, "--json").out)
    client.flushall()
    assert cli("enqueue", file).code == 0

    said = cli("cancel", "--receipt", receipt)

    assert said.code == 2
    assert "nothing was discarded" in said.err
    assert harness.books()["discarded"] == 0
    assert cli("cancel", "sendgrid", "0-1").code == 0  # numbers that a person names are taken as they are
    assert harness.books()["discarded"] == 2


def renamed(make_harness, *, old, new, number=100):
    """Records wait under one name, and the configuration has another."""
    make_harness(destinations={old: {}}, max_wait_s=3600)
    enqueue([person(at) for at in range(number)], to=old)
    return make_harness(destinations=new)


def test_status_and_doctor_tell_of_what_waits_under_the_old_name_of_a_destination(cli, make_harness):
    renamed(make_harness, old="newsletter", new={"letters": {}})

    said, shown, round_ = cli("status", "--json"), cli("status"), cli("doctor", "--json")

    assert (said.code, shown.code) == (1, 1)
    assert said.json["unconfigured"] == [
        {"destination": "newsletter", "waiting": 100, "held": 0, "batched": 0, "failed": 0}
    ]
    assert "Destination newsletter is not configured and has 100 waiting." in " ".join(shown.out.split())
    [finding] = [one for one in orjson.loads(round_.out)["findings"] if one["about"] == "destination newsletter"]
    assert finding["level"] == "wrong"
    assert "[destinations.newsletter]" in finding["remedy"]


@pytest.mark.parametrize("forget", [["contact-ingest:destinations"], ["contact-ingest:{old}:lanes"]])
def test_they_are_found_without_the_register_and_without_the_list_of_lanes(cli, make_harness, client, forget):
    renamed(make_harness, old="old", new={"new": {}, "other": {}}, number=3)
    client.delete(*forget)

    assert cli("status", "--json").json["unconfigured"][0]["waiting"] == 3


def test_they_are_found_by_the_register_where_the_server_may_not_be_scanned(make_harness, client):
    renamed(make_harness, old="old", new={"new": {}}, number=3)

    [found] = stranded(client, "contact-ingest", {"new"}, most_keys=0)

    assert (found.destination, found.left) == ("old", 3)


def test_a_removed_destination_with_nothing_but_failures_is_told_of_too(cli, make_harness):
    first = make_harness(destinations={"old": {}})
    enqueue([person(1, last_name="x" * 51)], to="old")
    first.run_until_settled()
    make_harness(destinations={"new": {}})

    said = cli("status", "--json")

    assert said.json["unconfigured"] == [{"destination": "old", "waiting": 0, "held": 0, "batched": 0, "failed": 1}]
    assert said.code == 0  # nothing waits


def test_a_destination_that_has_been_drained_before_it_was_renamed_is_not_told_of(cli, make_harness):
    first = make_harness(destinations={"old": {}})
    enqueue([person(1)], to="old")
    first.run_until_settled()
    make_harness(destinations={"new": {}})

    assert cli("status", "--json").json["unconfigured"] == []


def test_names_with_wildcards_of_a_scan_find_their_own_prefix_only(cli, make_harness, client):
    make_harness(destinations={"old": {}}, key_prefix="a-b", max_wait_s=3600)
    enqueue([person(1)], to="old")
    make_harness(destinations={"new": {}}, key_prefix="a-c")

    assert cli("status", "--json").json["unconfigured"] == []
    assert stranded(client, "a*", {"new"}) == []


def test_the_doctor_notes_records_under_another_prefix_that_no_worker_serves(cli, make_harness):
    first = make_harness(destinations={"news": {}}, key_prefix="before", max_wait_s=3600)
    enqueue([person(1), person(2)], to="news")
    make_harness(destinations={"news": {}}, key_prefix="after")

    def about():
        found = orjson.loads(cli("doctor", "--json").out)["findings"]
        return [one["says"] for one in found if one["about"] == "prefix before"]

    assert about() == ["destination news has 2 waiting under this prefix, and no worker of it is alive"]
    first.engine.workers.heartbeat("host:1", 4)
    assert about() == []


def test_a_worker_that_starts_logs_what_waits_under_an_old_name(make_harness, caplog):
    harness = renamed(make_harness, old="old", new={"new": {}}, number=7)

    Watch(harness.engine).start()

    [line] = [record for record in caplog.records if record.name == "contact_ingest.watch"]
    assert (line.destination, line.waiting) == ("old", 7)
    assert "[destinations.old]" in line.remedy


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_eviction_that_is_switched_on_at_run_time_is_heard(cli, harness, client, caplog, policy):
    harness.engine.workers.heartbeat(f"{socket.gethostname()}:1", 4)
    watch = Watch(harness.engine)
    watch.start()
    assert caplog.records == []
    assert cli("health").code == 0
    client.config_set("maxmemory-policy", policy)
    try:
        watch.look()
        said, health = cli("status", "--json"), cli("health")
    finally:
        client.config_set("maxmemory-policy", "noeviction")

    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert policy in caplog.records[0].says
    assert policy in said.json["warnings"][0]
    assert (health.code, policy in health.out) == (1, True)
    assert cli("status", "--json").json["warnings"] == []


def flushed(client, harness):
    client.flushall()


def flushed_and_used(client, harness):
    client.flushall()
    enqueue(person(9))


def older(client, harness):
    client.decr(harness.runtime.store.keys("batch_seq"))


@pytest.mark.parametrize("disaster", [flushed, flushed_and_used, older])
def test_a_worker_hears_that_keys_went_back(cli, harness, client, caplog, disaster):
    enqueue(person(1))
    harness.run_until_settled()
    watch = Watch(harness.engine)
    watch.start()
    watch.look()
    assert caplog.records == []

    disaster(client, harness)
    watch.look()
    watch.look()

    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "went back" in cli("status", "--json").json["warnings"][0]
    found = orjson.loads(cli("doctor", "--json").out)["findings"]
    assert "went back" in next(one["says"] for one in found if one["about"] == "sendgrid: keys")
    client.incrby(harness.runtime.store.keys("clock_offset"), TOLD_MS)
    watch.look()
    assert cli("status", "--json").json["warnings"] == []


def test_a_restart_of_the_server_is_not_heard_as_keys_that_went_back(harness, client, caplog):
    enqueue(person(1))
    watch = Watch(harness.engine)
    watch.start()
    client.hset(harness.runtime.store.keys("epoch"), mapping={"id": "0123456789abcdef", "run_id": "another run"})

    watch.look()

    assert caplog.records == []
