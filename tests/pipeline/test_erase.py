"""Erasing a contact: nothing of it is left anywhere in Redis, nobody else loses anything, and what is out of reach is
said."""

import io
from pathlib import Path

import orjson
import pytest
from celery import Celery
from pydantic import SecretStr
from redis.exceptions import OutOfMemoryError
from support.command_line import command_line
from support.in_process import Harness, pumping
from support.peer import Peer, advance, reply, speak_to
from support.people import person
from support.redis_acl import CHANNELS, COMMANDS
from support.stage import KEY
from support.waiting import wait_until

from contact_ingest import enqueue
from contact_ingest.engine import Engine, set_engine
from contact_ingest.errors import FateUnknown, SettingError
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.operations.erase import DataSubject, Eraser, RecordMatcher
from contact_ingest.store import scan
from contact_ingest.store.scan import RecordScan

ADA = "ada.planted@example.com"
NAME = "Planted-Lovelace"
LONG = "x" * 51
LIST = "00000000-0000-4000-8000-000000000001"
NEVER = ({"job_seconds": [600, 600]}, {"job_seconds": [0.05, 0.1]})


@pytest.fixture
def cli(capsys):
    """The command line; whatever it says, it names no contact."""

    def call(*args):
        said = command_line(capsys)(*args)
        assert "planted" not in (said.out + said.err).lower()
        return said

    return call


def ada(**more):
    return {"email": "Ada.Planted@Example.com", "first_name": NAME, **more}


def everything(client) -> bytes:
    """Every name and every value in the whole server."""
    found = []
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        read = {
            "string": client.get,
            "list": lambda k: b"\n".join(client.lrange(k, 0, -1)),
            "hash": lambda k: b"\n".join(part for pair in client.hgetall(k).items() for part in pair),
            "zset": lambda k: b"\n".join(client.zrange(k, 0, -1)),
            "set": lambda k: b"\n".join(client.smembers(k)),
            "none": lambda _: b"",  # it has expired meanwhile
        }[kind]
        found += [key, read(key) or b""]
    return b"\n".join(found)


def traces_left(client) -> bool:
    return b"planted" in everything(client).lower()


def counts(said):
    return {name: said.json[name] for name in ("waiting", "held", "failed") if said.json[name]}


def erase(cli, *args):
    return cli("erase", *(args or (ADA,)), "--yes", "--json")


# Every place


def waits(harness, sandbox):
    harness.runtime.state.pause("sendgrid", "for a test")
    enqueue([person(1), ada(), person(2)])


def waits_on_another_lane(harness, sandbox):
    enqueue(person(3))
    enqueue([person(1), ada()], list_ids=[LIST])


def waits_among_alternate_addresses(harness, sandbox):
    enqueue([person(1), {"external_id": "7", "alternate_emails": ["x@example.com", ADA], "city": "Planted"}])


def is_held(harness, sandbox):
    """Ada was in flight, so what came behind her was held; then her job ended."""
    sandbox.dials(**NEVER[0])
    enqueue([ada(), person(1)])
    harness.run_until(lambda: harness.books()["batched"] == 2)
    enqueue([ada(city="Planted"), person(1, city="here")])
    harness.run_until(lambda: harness.books()["held"] == 2)
    harness.runtime.state.pause("sendgrid", "for a test")
    deadline = round(harness.engine.settings.poll_deadline_s) + 1
    advance(harness.runtime, deadline)
    harness.run_until(lambda: harness.books()["batched"] == 0)
    harness.runtime.failures.discard([failure.id for failure in harness.runtime.failures])
    advance(harness.runtime, harness.engine.settings.orphan_wait_s + 1)
    harness.run_until(lambda: not harness.runtime.store.client.exists(harness.runtime.store.keys("inflight")))


def has_failed(harness, sandbox):
    enqueue([person(1, last_name=LONG), ada(last_name=LONG)])
    harness.run_until_settled()


def is_to_be_tried_again(harness, sandbox):
    has_failed(harness, sandbox)
    harness.runtime.state.pause(None, "for a test")
    harness.runtime.failures.retry(list(harness.runtime.failures))


PLACES = {
    waits: {"waiting": 1},
    waits_on_another_lane: {"waiting": 1},
    waits_among_alternate_addresses: {"waiting": 1},
    is_held: {"held": 1},
    has_failed: {"failed": 1},
    is_to_be_tried_again: {"held": 1},
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_contact_is_erased_wherever_it_is_and_the_others_stay(cli, harness, client, sandbox, place):
    place(harness, sandbox)
    before = harness.books()
    assert traces_left(client)

    counted = cli("erase", ADA, "--dry-run", "--json")
    assert counted.code == 0
    assert counts(counted) == PLACES[place]
    assert harness.books() == before

    said = erase(cli)

    assert said.code == 0, said
    assert counts(said) == PLACES[place]
    assert said.json["complete"] is True
    assert not traces_left(client)
    (where,) = PLACES[place]
    assert harness.books() == before | {where: before[where] - 1, "discarded": before["discarded"] + 1}
    harness.assert_books_balance()
    again = erase(cli)
    assert (again.code, again.json["erased"]) == (0, 0)


def test_a_contact_is_erased_from_every_destination(cli, make_harness, client):
    harness = make_harness(destinations={"letters": {}, "news": {}}, max_wait_s=3600)
    enqueue([ada(), person(1)], to=["letters", "news"])

    said = cli("erase", ADA, "--yes")

    assert said.code == 0
    assert said.out.startswith("2 records erased: 2 waiting, 0 held, 0 failed.\nBeyond reach: the platform itself;")
    assert not traces_left(client)
    assert harness.books("letters")["waiting"] == harness.books("news")["waiting"] == 1


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("--external-id", "external_id", "Planted-4711"),
        ("--phone-number-id", "phone_number_id", "+4915112345678"),
        ("--anonymous-id", "anonymous_id", "planted-1"),
    ],
)
def test_a_contact_is_also_found_by_its_other_identifiers(cli, make_harness, client, option, field, value):
    harness = make_harness(max_wait_s=3600)
    enqueue([{field: value, "first_name": NAME}, {field: f"{value}0"}, person(1, first_name=value)])
    enqueue([person(2, **{field: value}, last_name=LONG), person(3, last_name=LONG)], to="sendgrid")
    harness.runtime.schedule.flush("sendgrid")
    harness.runtime.state.pause(None, "for a test")

    said = erase(cli, option, value)

    assert counts(said) == {"waiting": 2}
    assert harness.books()["waiting"] == 3
    assert NAME.encode() not in everything(client)


def test_an_identifier_that_a_destination_renames_is_found_under_either_name(cli, make_harness, client):
    rules = {"rename": {"email": "custom_fields.old", "custom_fields.mail": "email"}}
    harness = make_harness(destinations={"sendgrid": {"fields": rules}}, max_wait_s=3600)
    enqueue([{"external_id": "7", "custom_fields": {"mail": ADA}}, {"email": ADA, "external_id": "8"}, person(3)])

    assert counts(erase(cli)) == {"waiting": 2}
    assert not traces_left(client)
    assert harness.books()["waiting"] == 1


def test_a_failure_is_also_found_by_what_it_was_filed_under_when_the_destination_renamed_otherwise(
    cli, make_harness, client
):
    harness = make_harness(destinations={"sendgrid": {"fields": {"rename": {"custom_fields.mail": "email"}}}})
    enqueue([{"external_id": "7", "custom_fields": {"mail": ADA}, "last_name": LONG}, person(1, last_name=LONG)])
    harness.run_until_settled()
    make_harness()

    assert counts(erase(cli)) == {"failed": 1}
    assert not traces_left(client)


@pytest.mark.parametrize(
    "other",
    [
        {"email": f"x{ADA}"},
        {"email": f"{ADA}.uk"},
        {"email": "b@example.com", "custom_fields": {"brought_by": ADA}},
        {"external_id": ADA},
    ],
    ids=["longer", "another domain", "only mentioned", "another identifier"],
)
def test_somebody_who_only_looks_alike_stays(cli, make_harness, other):
    harness = make_harness(max_wait_s=3600)
    enqueue([other])

    assert counts(erase(cli)) == {}
    assert harness.books()["waiting"] == 1


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("ADA@example.com ", " ada@Example.COM"),
        ("ada@xn--bcher-kva.example", "ada@b\u00fccher.example"),
        ("ada@b\u00fccher.example", "Ada@xn--bcher-kva.example"),
        ("jos\u00e9@example.com", "JOSE\u0301@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ('"a\\d"@example.com', '"A\\d"@example.com'),
        ("\u03bf\u03b4\u03bf\u03c2@example.com", "\u039f\u0394\u039f\u03a3@example.com"),
    ],
)
def test_an_address_is_known_in_whatever_way_it_was_written(asked, written):
    matcher = RecordMatcher(DataSubject(asked), FieldMapping())

    assert matcher.is_about(orjson.dumps({"email": written}))
    assert not matcher.is_about(orjson.dumps({"email": f"z{written.strip()}"}))


def test_an_identifier_given_as_a_number_is_found_and_nothing_is_ever_shown():
    subject = DataSubject(external_id="4711")

    assert RecordMatcher(subject, FieldMapping()).is_about(b'{"external_id":4711}')
    assert "4711" not in repr(subject)
    with pytest.raises(SettingError, match="name the contact"):
        DataSubject(" ")


# What is on its way


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


# While workers move the records


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


# What stays after a delivery


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


# How it asks and what it needs


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
    user = [f"+{command}" for command in COMMANDS]
    channels = [rule.replace("&acl", "&contact-ingest") for rule in CHANNELS]
    rules = ["reset", "on", ">pa55word", "~contact-ingest:*", *channels, *user]
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
