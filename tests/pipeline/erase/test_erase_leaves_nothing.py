"""After an erasure nothing of the contact is left in Redis; the command does nothing unasked."""

import io
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.exceptions import OutOfMemoryError
from support.erasing import ADA, LONG, ada, counts, erase, everything, has_failed, traces_left
from support.in_process import Harness
from support.people import person
from support.redis_acl import CHANNELS, allowed
from support.stage import KEY
from support.waiting import wait_until

from contact_ingest import enqueue
from contact_ingest.engine import Engine, set_engine
from contact_ingest.operations.erase import DataSubject, Eraser


def test_nothing_of_a_delivered_contact_stays_in_redis(harness, client, sandbox):
    enqueue([ada(), person(1, last_name="[[fail-import]]"), person(2, last_name=LONG)])
    enqueue(ada(city="Planted"), key="nightly")
    harness.run_until_settled()
    harness.runtime.failures.discard([failure.id for failure in harness.runtime.failures])
    harness.run_until(lambda: not client.exists(harness.runtime.store.keys("inflight")))

    left = everything(client).lower()

    assert b"planted" not in left
    assert b"@example.com" not in left


@pytest.mark.parametrize(
    ("mark", "table"),
    [
        ("[[loops-400]]", {"platform": "loops", "api_key": KEY}),
        (
            "[[emarsys-2013]]",
            {"platform": "emarsys", "client_id": "sandbox-client", "client_secret": "sandbox-secret"},
        ),
    ],
    ids=["loops", "emarsys"],
)
def test_the_same_holds_for_platforms_that_refuse_at_once(cli, make_harness, client, sandbox, mark, table):
    urls = {"base_url": f"{sandbox.url}/api"}
    if table["platform"] == "emarsys":
        urls["token_url"] = f"{sandbox.url}/oauth2/token"
    harness = make_harness(destinations={"shop": {**table, **urls}})
    enqueue([ada(last_name=mark), person(1), {**ada(), "email": "other.planted@example.com"}, person(2)])
    harness.run_until_settled()
    assert harness.books() | {"delivered": 3, "failed": 1} == harness.books()

    assert counts(erase(cli)) == {"failed": 1}
    harness.run_until(lambda: not client.exists(harness.runtime.store.keys("inflight")))
    assert not traces_left(client)


def test_the_error_file_of_an_import_goes_with_its_batch(cli, harness, client):
    """The file names those that it refuses."""
    enqueue([ada(last_name="[[fail-import]]"), person(1)])
    harness.run_until_settled()
    assert harness.books()["failed"] == 1

    assert erase(cli).code == 0

    assert not traces_left(client)
    assert list(client.scan_iter("*:file")) == []


def test_a_contact_can_be_erased_from_a_server_without_any_memory_left(harness, client):
    has_failed(harness, None)
    harness.runtime.state.pause("sendgrid", "for a test")
    enqueue([person(1), ada()])
    client.config_set("maxmemory", 100_000)
    try:
        with pytest.raises(OutOfMemoryError):
            client.set("one", b"more")

        found = Eraser([harness.runtime.eraser], harness.engine.broker_queue).erase(DataSubject(ADA), lambda *_: None)
    finally:
        client.config_set("maxmemory", 0)

    assert (found.waiting, found.failed, found.is_clear) == (1, 1, True)
    assert not traces_left(client)
    harness.assert_books_balance()


def test_nothing_is_erased_unasked(cli, make_harness, monkeypatch):
    harness = make_harness(max_wait_s=3600)
    enqueue(ada())

    said = cli("erase", ADA)
    assert said.code == 2
    assert said.err == "error: --yes: is needed where nobody can be asked; --dry-run counts first\n"
    assert cli("erase").code == 2

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    said = cli("erase", ADA)
    assert said.code == 1
    assert "Erase all that is held of this contact for sendgrid?" in said.err
    assert harness.books()["waiting"] == 1

    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cli("erase", ADA).code == 0
    assert harness.books()["discarded"] == 1


def test_the_address_can_come_from_standard_input(cli, make_harness, monkeypatch):
    harness = make_harness(max_wait_s=3600)
    enqueue(ada())
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{ADA}\n"))

    assert cli("erase", "-", "--yes").code == 0
    assert harness.books()["discarded"] == 1


def test_the_append_only_file_is_rewritten_when_asked(cli, make_harness, client):
    make_harness(max_wait_s=3600)
    folder = Path(client.config_get("dir")["dir"]) / client.config_get("appenddirname")["appenddirname"]

    def on_disk():
        return any(b"planted" in path.read_bytes().lower() for path in folder.iterdir())

    enqueue(ada())
    wait_until(on_disk)

    said = cli("erase", ADA, "--yes", "--rewrite-aof", "--json")

    assert said.code == 0
    assert said.json["rewrite_aof"] == "its rewriting has begun"
    wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"] and not on_disk())


def test_the_listed_rights_are_enough_and_a_rewrite_that_is_forbidden_is_said(cli, make_harness, client, redis_server):
    channels = [rule.replace("&acl", "&contact-ingest") for rule in CHANNELS]
    rules = ["reset", "on", ">pa55word", "~contact-ingest:*", *channels, *allowed(client)]
    client.execute_command("ACL", "SETUSER", "app", *rules)
    try:
        url = SecretStr(f"redis://app:pa55word@127.0.0.1:{redis_server.port}/0")
        plain = make_harness(max_wait_s=3600)
        harness = Harness(Engine(plain.engine.settings.model_copy(update={"redis_url": url})))
        set_engine(harness.engine)
        enqueue([ada(), person(1)])
        said = cli("erase", ADA, "--yes", "--rewrite-aof")
        assert said.code == 1
        assert "The append-only file: the ACL forbids BGREWRITEAOF: allow +bgrewriteaof" in said.out
        assert harness.books()["discarded"] == 1
        harness.engine.close()
    finally:
        client.execute_command("ACL", "DELUSER", "app")
