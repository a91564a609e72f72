"""Receipts and the epoch of their numbers: what is cancelled is what was enqueued, whatever became of the server."""

import shutil
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from contact_ingest import ForeignReceipt, cancel, enqueue
from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.pipeline.enqueue import Receipt
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.integrity.epochs import check_receipt

CONFIG = {"crm": Destination(platform="sendgrid", api_key="SG.test-key", base_url="http://127.0.0.1:9")}


def people(number, name="person"):
    return [{"email": f"{name}{at}@example.com"} for at in range(number)]


def emails(client, lane="crm"):
    return client.lrange(f"contact-ingest:{{crm}}:waiting:{lane}", 0, -1)


@pytest.fixture
def engine_on():
    made = []

    def make(url):
        engine = Engine(Settings(REDIS_URL=url, max_wait_s=3600).model_copy(update={"destinations": CONFIG}))
        set_engine(engine)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(client, redis_server, engine_on):
    return engine_on(redis_server.url)


def test_a_receipt_from_before_flushall_cancels_nothing_of_what_came_after(engine, client):
    old = enqueue(people(100, "old"))
    client.flushall()
    new = enqueue(people(100, "new"))
    assert new.ranges == old.ranges

    with pytest.raises(ForeignReceipt, match=r"cancel crm FIRST-LAST"):
        cancel(old)

    assert [email for email in emails(client) if b"new" in email] == emails(client)
    assert cancel(new) == 100


def test_a_receipt_cancels_nothing_while_the_emptied_lane_is_still_empty(engine, client):
    old = enqueue(people(3))
    client.flushall()

    with pytest.raises(ForeignReceipt):
        cancel(old)


def test_a_receipt_from_after_the_backup_cancels_nothing_of_what_came_after_the_restore(tmp_path, engine_on):
    directory = tmp_path / "server"
    with EmbeddedServer(directory=directory) as server:
        engine_on(server.url)
        kept = enqueue(people(50, "kept"))
        server.stop()
        shutil.copytree(directory, tmp_path / "backup")
        server.start()
        lost = enqueue(people(30, "lost"))
        server.stop()
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "backup", directory)
        server.start()
        new = enqueue(people(30, "new"))
        assert new.ranges == lost.ranges

        with pytest.raises(ForeignReceipt):
            cancel(lost)
        assert (cancel(kept), cancel(new)) == (50, 30)


def test_a_receipt_of_what_a_lagging_replica_missed_cancels_nothing_of_what_came_after_the_failover(engine_on):
    with EmbeddedServer() as first, EmbeddedServer() as second, Redis.from_url(second.url) as replica:
        engine_on(first.url)
        kept = enqueue(people(20, "kept"))
        replica.replicaof("127.0.0.1", first.port)
        while replica.info("replication")["master_link_status"] != "up":
            replica.ping()
        replica.replicaof("NO", "ONE")
        lost = enqueue(people(10, "lost"))
        engine_on(second.url)
        new = enqueue(people(10, "new"))
        assert new.ranges == lost.ranges

        with pytest.raises(ForeignReceipt):
            cancel(lost)
        assert (cancel(kept), cancel(new)) == (20, 10)


def test_a_restart_that_loses_nothing_spoils_no_receipt(tmp_path, engine_on):
    with EmbeddedServer(directory=tmp_path) as server:
        engine_on(server.url)
        before = enqueue(people(5, "before"))
        server.restart()
        after = enqueue(people(5, "after"))
        assert before.epoch != after.epoch

        assert (cancel(before), cancel(after)) == (5, 5)


def test_a_receipt_of_an_enqueue_that_saw_a_restart_has_both_epochs(engine, client):
    def restarting():
        for number, person in enumerate(people(600)):
            if number == 550:  # the first 500 were a call
                client.hset("contact-ingest:{crm}:epoch", "run_id", "an earlier run")
                client.delete("contact-ingest:{crm}:intake_allowance")
            yield person

    receipt = enqueue(restarting())

    assert len(receipt.epoch.split()) == 2
    assert cancel(receipt) == 600


def test_a_repeated_call_has_the_epoch_of_its_first_time(engine, client):
    first = enqueue(people(3), key="nightly")
    client.hset("contact-ingest:{crm}:epoch", "run_id", "an earlier run")
    client.delete("contact-ingest:{crm}:intake_allowance")
    other = enqueue(people(1, "other"))

    again = enqueue(people(3), key="nightly")

    assert again.epoch == first.epoch != other.epoch
    assert cancel(again) == 3


def test_a_receipt_without_an_epoch_stands_for_numbers_of_a_release_without_epochs(engine, client):
    enqueue(people(10))
    client.delete("contact-ingest:{crm}:epoch", "contact-ingest:{crm}:epochs:crm")  # as that release leaves a lane
    enqueue(people(10, "new"))

    assert cancel(Receipt("crm", 10, [(0, 9)])) == 10
    for foreign in ([(10, 19)], [(9, 10)], [(19, 30)]):
        with pytest.raises(ForeignReceipt, match="no epoch"):
            cancel(Receipt("crm", 10, foreign))
    assert len([email for email in emails(client) if email]) == 10


def test_an_epoch_that_no_lane_knows_is_refused(engine):
    receipt = enqueue(people(2))

    for epoch in ("0123456789abcdef", receipt.epoch.upper() + "x", "a b c"):
        with pytest.raises(ForeignReceipt):
            check_receipt(engine.runtime("crm").store, "crm", receipt.ranges, epoch)


def test_only_the_last_epochs_are_kept(engine, client):
    for run in range(80):
        client.hset("contact-ingest:{crm}:epoch", "run_id", f"run {run}")
        client.delete("contact-ingest:{crm}:intake_allowance")
        receipt = enqueue(people(1))

    assert client.zcard("contact-ingest:{crm}:epochs:crm") == 64
    assert cancel(receipt) == 1


_steps = st.lists(st.sampled_from(["enqueue", "enqueue", "backup", "restore", "flush", "restart"]), max_size=25)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps, sizes=st.lists(st.integers(1, 4), min_size=25, max_size=25))
def test_whatever_becomes_of_the_server_a_receipt_discards_its_own_records_or_none(engine, client, steps, sizes):
    client.flushall()
    engine.producer._schema_checked = False
    names, receipts, backup = count(), [], {}
    for step, size in zip(steps, sizes, strict=False):
        if step == "enqueue":
            name = f"n{next(names)}x"
            receipts.append((name, enqueue(people(size, name))))
        elif step == "backup":
            backup = {key: client.dump(key) for key in client.scan_iter() if b"idempotency" not in key}
        elif step == "flush":
            client.flushall()
        else:
            restart(client, backup if step == "restore" else None)
    for name, receipt in receipts:
        assert_cancels_its_own(client, name, receipt)


def restart(client, backup=None):
    """What a restart of the server looks like to the script, with the keys of a backup if there is one."""
    if backup is not None:
        client.flushall()
        for key, value in backup.items():
            client.restore(key, 0, value)
    client.delete("contact-ingest:{crm}:intake_allowance")
    if client.exists("contact-ingest:{crm}:epoch"):
        client.hset("contact-ingest:{crm}:epoch", "run_id", "an earlier run")


def assert_cancels_its_own(client, name, receipt):
    before = [email for email in emails(client) if email]
    own = [email for email in before if name.encode() in email]
    try:
        gone = cancel(receipt)
    except ForeignReceipt:
        gone = 0
    else:
        assert gone == len(own)
    left = [email for email in emails(client) if email]
    assert [email for email in before if email not in left] == (own if gone else [])
