"""Two accounts at once for one destination: it stops before a record goes astray, and says what to do."""

import orjson
import pytest
from support.diagnosis import run, wrong
from support.people import person

from contact_ingest import enqueue
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.operations.doctor.accounts import AccountGuard
from contact_ingest.store.clock import server_s

DIFFERENT = {
    "another key": {"api_key": "SG.other"},
    "another address": {"base_url": "http://127.0.0.1:9"},
    "on behalf of another": {"on_behalf_of": "subuser"},
}


def worker(harness, number):
    """A worker on the harness: it has a heartbeat, and looks once a second."""
    name = f"host:{number}"
    harness.engine.workers.heartbeat(name, 4)
    return AccountGuard(harness.engine, name)


def gone(client, number):
    client.hset("contact-ingest:workers", f"host:{number}", orjson.dumps([server_s(client) - 20, 4]))


def state(harness):
    return harness.runtime.state.read()


@pytest.mark.parametrize("settings", DIFFERENT.values(), ids=DIFFERENT)
def test_a_second_account_stops_the_destination_before_its_worker_takes_a_task(make_harness, sandbox, caplog, settings):
    first = make_harness()
    worker(first, 1).look()
    enqueue([person(at) for at in range(5)])
    second = make_harness(destinations={"sendgrid": settings})

    AccountGuard(second.engine, "host:2").look()  # at its start, before its first heartbeat

    assert (state(first)["state"], state(first)["code"]) == ("stopped", "two_accounts")
    assert "host:1" in state(first)["why"]
    assert "host:2" in state(first)["why"]
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "SG." not in caplog.text + str(state(first))
    for _ in range(3):
        first.pump()
    assert sandbox.journal() == []


def test_the_stop_lasts_as_long_as_both_live_and_no_probe_ends_it(make_harness, sandbox, client):
    first, second = make_harness(), make_harness(destinations={"sendgrid": {"api_key": "SG.other"}})
    one, two = worker(first, 1), worker(second, 2)
    for _ in range(5):
        one.look()
        two.look()
        client.incrby(first.runtime.store.keys("clock_offset"), 50_000)
        first.pump()
    assert (state(first)["code"], sandbox.journal()) == ("two_accounts", [])

    gone(client, 1)
    two.look()

    assert "state" not in state(second)
    assert state(second)["account"] == second.runtime.provider.account


def test_a_worker_that_ends_in_order_lets_the_other_go_on_at_once(make_harness, sandbox):
    first, second = make_harness(), make_harness(destinations={"sendgrid": {"api_key": "SG.other"}})
    one, two = worker(first, 1), worker(second, 2)
    one.look()
    two.look()

    one.end()
    two.look()

    assert "state" not in state(second)


def test_a_key_that_is_replaced_on_all_workers_one_after_the_other_is_taken_and_logged(make_harness, client, caplog):
    first = make_harness()
    worker(first, 1).look()
    first.runtime.store.client.set(first.runtime.store.keys("access_token"), '"of the old one"', px=60_000)
    first.runtime.store.client.set(first.runtime.store.keys("custom_fields"), "{}", px=60_000)
    gone(client, 1)
    second = make_harness(destinations={"sendgrid": {"api_key": "SG.new"}})

    worker(second, 2).look()
    worker(second, 3).look()

    assert "state" not in state(second)
    assert [record.getMessage() for record in caplog.records] == ["the account or its key is another one now"]
    # What was fetched from the one account is not used at the other.
    assert client.exists(first.runtime.store.keys("access_token"), first.runtime.store.keys("custom_fields")) == 0


def test_workers_with_the_same_account_never_disturb_each_other(make_harness, caplog):
    first = make_harness()
    guards = [worker(first, number) for number in (1, 2, 3)]
    for _ in range(3):
        for guard in guards:
            guard.look()

    assert "state" not in state(first)
    assert caplog.records == []


def test_different_keys_are_accepted_by_one_command_and_a_third_is_not(make_harness, cli):
    first, second = make_harness(), make_harness(destinations={"sendgrid": {"api_key": "SG.other"}})
    one, two = worker(first, 1), worker(second, 2)
    one.look()
    two.look()
    refused = cli("resume", "--to", "sendgrid")
    assert refused.code == 2
    assert "--accept-accounts" in refused.err
    assert state(first)["code"] == FailureCode.TWO_ACCOUNTS

    assert cli("resume", "--to", "sendgrid", "--accept-accounts").code == 0
    one.look()
    two.look()
    assert "state" not in state(first)

    worker(make_harness(destinations={"sendgrid": {"api_key": "SG.third"}}), 3).look()
    assert state(first)["code"] == FailureCode.TWO_ACCOUNTS


def test_a_person_s_pause_stays_a_pause(make_harness):
    first, second = make_harness(), make_harness(destinations={"sendgrid": {"api_key": "SG.other"}})
    first.runtime.state.pause(None, "moving house")
    worker(first, 1).look()
    worker(second, 2).look()

    assert (state(first)["state"], state(first)["why"]) == ("paused", "moving house")


def test_one_destination_with_two_accounts_leaves_the_others_alone(make_harness):
    first = make_harness(destinations={"letters": {}, "news": {}})
    second = make_harness(destinations={"letters": {"api_key": "SG.other"}, "news": {}})
    worker(first, 1).look()
    worker(second, 2).look()

    assert first.engine.runtime("letters").state.read()["state"] == "stopped"
    assert "state" not in first.engine.runtime("news").state.read()


def test_the_doctor_finds_two_accounts_and_a_configuration_that_is_not_the_workers_(make_harness):
    first, second = make_harness(), make_harness(destinations={"sendgrid": {"api_key": "SG.other"}})
    worker(first, 1).look()
    assert "another account or key than this configuration" in wrong()["sendgrid: workers"][0]

    worker(second, 2).look()

    says, remedy = wrong()["sendgrid: workers"]
    assert "different accounts" in says
    assert "resume --to sendgrid --accept-accounts" in remedy
    assert "SG." not in run("doctor", "--json").stdout


def test_a_destination_that_other_workers_serve_is_no_stranger(make_harness, cli):
    first = make_harness(destinations={"letters": {}}, max_wait_s=3600)
    enqueue(person(1), to="letters")
    worker(first, 1).look()
    make_harness(destinations={"news": {}})

    assert cli("status", "--json").json["unconfigured"] == []
