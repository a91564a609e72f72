"""From schema 2 to schema 3, on keyspaces that release 0.1 (commit aff6245) has written.

`data/schema_2.json.gz` is a keyspace at rest: SendGrid and Loops, three lanes, 30 failures of all stages, held and
retried records, contacts in quarantine, a paused lane, an open breaker, a keyed call. `data/schema_2.expected.json.gz`
is what that release said of it. `data/schema_2_in_flight.json.gz` has one batch whose import is asked about. A dump is
{"schema", "prefix", "recorded_ms", "keys": [{"key", "type", "ttl_ms", "value"}]}; all values are base64.
`data/enqueue_schema_2.lua` is the script by which a producer of that release appends.
"""

import base64
import gzip
import json
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError
from support.in_process import Harness
from support.keyspace import assert_keyspace_is_listed
from support.peer import advance, with_http_client

from contact_ingest import enqueue
from contact_ingest.cli import run
from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.errors import SettingError
from contact_ingest.model.identity import DIGEST_BYTES
from contact_ingest.model.record import QueuedRecord
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.store import books
from contact_ingest.store.inspect import newest_batches
from contact_ingest.store.keys import Keys
from contact_ingest.store.migrations import MIGRATING, check_schema, claim_schema, read_schema
from contact_ingest.store.migrations.schema_3 import Migration, MigrationRefused, new_name
from contact_ingest.transport.auth import AuthenticatedClient
from contact_ingest.transport.client import HttpClient

DATA = Path(__file__).parent / "data"
PREFIX = "recorded"
EXPECTED: dict[str, Any] = json.loads(gzip.decompress((DATA / "schema_2.expected.json.gz").read_bytes()))
DESTINATIONS = {
    "newsletter": {"platform": "sendgrid"},
    "product": {"platform": "loops", "unknown_fields": "drop"},
}
#: Keys that last for two seconds: they may be gone, and are not moved.
SHORT = set(EXPECTED["short_lived"])


def widened(key: str, digests: bytes) -> bytes:
    """Identity digests of schema 2 have 8 bytes. Should this release have others, give them that length."""
    if not key.endswith((":busy", ":failed:by", ":failed:keys", ":keys")):
        return digests
    parts = (digests[at : at + 8] for at in range(0, len(digests), 8))
    return b"".join(part.ljust(DIGEST_BYTES, b"-")[:DIGEST_BYTES] for part in parts)


def load(client: Any, name: str) -> dict[str, Any]:
    """Put a dump into a server. The clocks of its destinations and accounts go on from the moment of the recording."""
    content: dict[str, Any] = json.loads(gzip.decompress((DATA / name).read_bytes()))
    decode = base64.b64decode
    pipe = client.pipeline(transaction=False)
    for entry in content["keys"]:
        key, value = entry["key"], entry["value"]
        match entry["type"]:
            case "string":
                pipe.set(key, widened(key, decode(value)))
            case "hash":
                found = {decode(name): decode(held) for name, held in value}
                if key.endswith(":failed:keys"):
                    found = {name: widened(key, held) for name, held in found.items()}
                elif key.endswith((":busy", ":failed:by")):
                    found = {widened(key, name): held for name, held in found.items()}
                pipe.hset(key, mapping=found)
            case "list":
                pipe.rpush(key, *map(decode, value))
            case "zset":
                pipe.zadd(key, {decode(member): score for member, score in value})
        if entry["ttl_ms"] is not None and key not in SHORT:
            pipe.pexpire(key, max(60_000, entry["ttl_ms"]))
    seconds, micros = client.time()
    for base in {key["key"].partition("}:")[0] + "}:" for key in content["keys"] if "{" in key["key"]}:
        pipe.incrby(f"{base}clock", content["recorded_ms"] - seconds * 1000 - micros // 1000)
    pipe.execute()
    return content


def content_of(client: Any) -> dict[bytes, tuple[str, object, bool]]:
    """Every key: its type, its value, and whether it expires."""
    read = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    kinds = {key: client.type(key).decode() for key in client.scan_iter(count=1000)}
    return {key: (kind, read[kind](key), client.pttl(key) >= 0) for key, kind in kinds.items()}


@pytest.fixture
def at_rest(client):
    load(client, "schema_2.json.gz")
    return client


@pytest.fixture
def engine(at_rest, redis_server):
    """This release on the recorded keyspace."""
    made = Settings(
        REDIS_URL=redis_server.url, key_prefix=PREFIX, max_wait_s=0, poll_first_s=0.05, orphan_wait_s=600, breaker_s=0.5
    )
    accounts = EXPECTED["destinations"]
    destinations = {
        name: Destination(api_key=accounts[name]["api_key"], base_url=accounts[name]["base_url"], **given)
        for name, given in DESTINATIONS.items()
    }
    engine = Engine(made.model_copy(update={"destinations": destinations}))
    set_engine(engine)
    yield engine
    engine.close()


def texts(found):
    return {name.decode(): value.decode() for name, value in found.items()}


# --- What is there afterwards -----------------------------------------------------------------------------------------


def test_every_record_that_waits_or_is_held_is_where_it_was_under_its_id(engine, at_rest):
    Migration(at_rest, PREFIX).run()

    for name, expected in EXPECTED["lanes"].items():
        keys = engine.runtime(expected["destination"]).store.keys
        head = int(at_rest.hget(keys(f"lane:{name}"), "head") or 0)
        waiting = {
            f"{name}:{head + at}": json.loads(raw) if raw else None
            for at, raw in enumerate(at_rest.lrange(keys(f"waiting:{name}"), 0, -1))
        }
        held = {}
        for line in at_rest.lrange(keys(f"held:{name}"), 0, -1):
            record = QueuedRecord.from_bytes(line)
            held[f"{name}:{record.seq}"] = {
                "record": json.loads(record.raw),
                "merged": list(record.merged),
                "attempts": record.attempts,
                "first_ms": record.first_ms,
                "departed": record.packed_version,
                "origins": [list(version) for version in record.field_versions],
            }
        assert waiting == expected["waiting"]
        assert held == expected["held"]
        retried = [f"{name}:{int(seq)}" for seq in at_rest.zrange(keys(f"retry:{name}"), 0, -1)]
        assert retried == expected["retried"]
        assert [mark.decode() for mark in at_rest.lrange(keys(f"arrivals:{name}"), 0, -1)] == expected["marks"]
        state = {("retry_cursor" if field == "again_at" else field): v for field, v in expected["state"].items()}
        assert texts(at_rest.hgetall(keys(f"lane:{name}"))) == state
        assert at_rest.zscore(keys("due:aggregate"), name) == expected["aggregate_due_ms"]


def test_the_books_say_the_same_and_a_recount_agrees(engine, at_rest):
    Migration(at_rest, PREFIX).run()

    for runtime in engine.runtimes():
        for lane in books.read(runtime.store):
            assert lane.counts == EXPECTED["lanes"][lane.lane]["books"]
            assert books.disagreements(runtime.store, lane.lane) == []


def test_every_failure_keeps_its_code_stage_reason_and_record(engine, at_rest):
    Migration(at_rest, PREFIX).run()

    found = {}
    for runtime in engine.runtimes():
        keys = runtime.store.keys
        by_time = at_rest.zrange(keys("failures:by_time"), 0, -1, withscores=True)
        listed = {member.decode(): score for member, score in by_time}
        for name, blob in at_rest.hgetall(keys("failures")).items():
            about, raw, mapped = blob.split(b"\n", 2)
            found[name.decode()] = {
                **json.loads(about),
                "record": json.loads(raw),
                "mapped": json.loads(mapped) if mapped else None,
                "listed_ms": listed.get(name.decode()),
                "retried": name.decode() not in listed,
            }

    names, stages = {"departed": "packed_version", "origins": "field_versions"}, {"import": "poll"}
    expected = {
        record: {names.get(name, name): value for name, value in one.items()}
        | {"stage": stages.get(one["stage"], one["stage"])}
        for record, one in EXPECTED["failures"].items()
    }
    assert found == expected
    assert {one["stage"] for one in found.values()} == {"aggregate", "dispatch", "poll"}


def test_the_failures_can_be_listed_and_found_by_whom_they_are_about(engine, at_rest):
    Migration(at_rest, PREFIX).run()

    for runtime in engine.runtimes():
        ids = {failed.id for failed in runtime.failures}
        expected = {n for n, f in EXPECTED["failures"].items() if not f["retried"] and n.startswith(runtime.name)}
        assert ids == expected
        keys = runtime.store.keys
        by_digest = at_rest.hgetall(keys("failures:by_digest"))
        found = {id_ for text in by_digest.values() for id_ in text.split()}
        assert found == set(at_rest.hkeys(keys("failures")))


def test_settled_batches_quarantine_and_state_are_there_under_their_new_names(engine, at_rest):
    Migration(at_rest, PREFIX).run()

    for runtime in engine.runtimes():
        expected, keys = EXPECTED["destinations"][runtime.name], runtime.store.keys
        shown = {batch.number: batch for batch in newest_batches(runtime.store)}
        assert set(shown) == set(map(int, expected["batches"]))
        for number, batch in expected["batches"].items():
            fields = texts(at_rest.hgetall(keys(f"batch:{number}")))
            assert fields["claims_count"] == batch["fields"]["deliveries"]
            assert fields["sending"] == batch["fields"]["send"]
            assert not fields.keys() & {"send", "rest", "aside", "deliveries", "departed", "looks", "behind", "told"}
        assert {int(n): ms for n, ms in at_rest.zrange(keys("quarantine"), 0, -1, withscores=True)} == {
            int(n): ms for n, ms in expected["quarantine"].items()
        }
        assert texts(at_rest.hgetall(keys("state"))) == expected["state"]
        assert int(at_rest.get(keys("batch_seq"))) == expected["batch_seq"]


def test_nothing_old_is_left_and_every_key_is_listed(at_rest):
    before = content_of(at_rest)
    Migration(at_rest, PREFIX).run()

    assert read_schema(at_rest, PREFIX) == "3"
    assert_keyspace_is_listed(at_rest, PREFIX)
    after = content_of(at_rest)
    for key, (kind, value, expires) in before.items():
        tag, _, name = key.decode().removeprefix(f"{PREFIX}:{{").partition("}:")
        new = new_name(tag, name) if name else None
        if new == "" or name.startswith(("b:", "lane:")) or new == "failures" or key.endswith(b"schema"):
            continue  # gone, or their fields have other names, which other tests look at
        moved = Keys(PREFIX, tag)(new).encode() if new else key
        assert after[moved] == (kind, value, expires), key


def test_an_idempotency_key_still_counts_its_call_once(engine, at_rest):
    Migration(at_rest, PREFIX).run()
    call = EXPECTED["call"]

    again = enqueue(call["records"], call["destination"], key=call["key"])

    assert again.repeated == 1
    assert [list(places) for places in again.ranges] == call["ranges"]


# --- Going on ---------------------------------------------------------------------------------------------------------


class Rerouted:
    """A transport that sends what is for a platform to the sandbox."""

    def __init__(self, inner: Any, sandbox: str) -> None:
        self._inner, self._sandbox = inner, sandbox

    def exchange(self, request, *, deadline_s):
        for origin in ("https://api.sendgrid.com", "https://app.loops.so"):
            if request.url.startswith(origin):
                request = replace(request, url=self._sandbox + request.url.removeprefix(origin))
        if request.allowed_origin:
            request = replace(request, allowed_origin=self._sandbox)
        return self._inner.exchange(request, deadline_s=deadline_s)

    def close(self) -> None:
        self._inner.close()


def create_field(sandbox, key, name, kind):
    body = json.dumps({"name": name, "field_type": kind}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"{sandbox.url}/v3/marketing/field_definitions"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, body, headers, method="POST"), timeout=10) as reply:
        reply.read()


def test_this_release_drains_a_migrated_keyspace_and_the_books_balance(engine, at_rest):
    Migration(at_rest, PREFIX).run()
    keys = [account["api_key"] for account in EXPECTED["destinations"].values()]
    with SandboxProcess(key=keys) as sandbox:
        sandbox.dials(job_seconds=[0, 0.02])
        for runtime in list(engine.runtimes()):
            http_client = Rerouted(HttpClient(deadline_s=5), sandbox.url)
            rerouted = AuthenticatedClient(http_client, runtime.provider, runtime.store)
            engine._runtimes[runtime.name] = with_http_client(runtime, rerouted)
        # In the order in which the recorded account created them: the cached table has their ids.
        create_field(sandbox, keys[0], "plan", "Text")
        create_field(sandbox, keys[0], "score", "Number")
        engine.check_schema()
        engine.runtime("product").state.resume(None)
        for runtime in engine.runtimes():
            advance(runtime, 700)  # the quarantine is over
        harness = Harness(engine)

        def done():  # the list of the third lane is another account's: that lane stays paused
            lanes = [lane for runtime in engine.runtimes() for lane in books.read(runtime.store)]
            left = [lane.counts[name] for lane in lanes for name in ("waiting", "held", "batched")
                    if lane.lane != EXPECTED["lists_lane"]]  # fmt: skip
            return not any(left)

        harness.run_until(done, 60)
        harness.assert_books_balance()
        stored = {contact["email"]: contact for contact in sandbox.contacts()}
        assert (stored["p120@example.com"]["city"], stored["p120@example.com"]["country"]) == ("Wien", "AT")
        assert "p405@example.com" not in stored, "a record that was cancelled was sent"
        for runtime in engine.runtimes():
            assert not at_rest.hlen(runtime.store.keys("inflight")), "contacts stayed in flight"
        assert_keyspace_is_listed(at_rest, PREFIX)


# --- Killed, repeated, refused ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of the process in the middle of a migration."""


def steps_of(client):
    done = []
    Migration(client, PREFIX, lambda what, _count: done.append(what)).run()
    return done


def test_a_migration_that_is_killed_between_any_two_steps_goes_on_when_it_is_run_again(client, monkeypatch):
    monkeypatch.setattr("contact_ingest.store.migrations.schema_3.PAGE", 20)
    monkeypatch.setattr("contact_ingest.store.migrations.schema_3.FAILURES_AT_ONCE", 5)
    load(client, "schema_2.json.gz")
    count = len(steps_of(client))
    whole = content_of(client)
    clocks = {key for key in whole if key.endswith(b"clock_offset")}
    assert count > 20

    for killed_at in range(1, count):
        client.flushall()
        load(client, "schema_2.json.gz")
        steps = []

        def progress(what, _count, steps=steps, killed_at=killed_at):
            steps.append(what)
            if len(steps) == killed_at:
                raise Killed

        with pytest.raises(Killed):
            Migration(client, PREFIX, progress).run()
        assert read_schema(client, PREFIX) == str(MIGRATING), "neither release may work on half a migration"
        Migration(client, PREFIX).run()

        found = content_of(client)
        assert found.keys() == whole.keys(), killed_at
        assert {k: v for k, v in found.items() if k not in clocks} == {
            k: v for k, v in whole.items() if k not in clocks
        }, killed_at


def test_a_second_run_changes_nothing(at_rest):
    Migration(at_rest, PREFIX).run()
    before = content_of(at_rest)

    assert not Migration(at_rest, PREFIX).run().is_needed

    assert content_of(at_rest) == before


def test_a_dry_run_counts_and_changes_nothing(engine, at_rest, capfd):
    before = content_of(at_rest)

    assert run(["migrate", "--dry-run", "--json"]) == 0

    said = json.loads(capfd.readouterr().out)
    lanes = [lane for lane in EXPECTED["lanes"].values() if lane["destination"] == "newsletter"]
    assert said["migrated"] is False
    assert said["destinations"]["newsletter"]["waiting"] == sum(len(lane["waiting"]) for lane in lanes)
    assert said["destinations"]["newsletter"]["batches"] == len(EXPECTED["destinations"]["newsletter"]["batches"])
    assert said["keys"] > 100
    after = content_of(at_rest)
    assert {k: v for k, v in after.items() if k.decode() not in SHORT} == {
        k: v for k, v in before.items() if k.decode() not in SHORT
    }


def test_the_command_says_what_it_has_done(engine, at_rest, capfd):
    assert run(["migrate"]) == 0

    said = capfd.readouterr().out
    assert "newsletter: " in said
    assert "are of schema 3 now" in said
    assert run(["migrate"]) == 0
    assert "Nothing to do" in capfd.readouterr().out


def test_a_batch_in_flight_is_refused_with_what_to_do_and_nothing_changes(client, engine, capfd):
    client.flushall()
    load(client, "schema_2_in_flight.json.gz")
    client.delete(f"{PREFIX}:workers")
    before = content_of(client)

    assert run(["migrate"]) == 1

    said = capfd.readouterr().err
    for words in ("1 batches in flight", "stop the producers", "contact-ingest flush --wait", "stop the workers"):
        assert words in said
    assert content_of(client) == before


def test_live_workers_are_refused_by_name_and_nothing_changes(at_rest):
    seconds, _ = at_rest.time()
    at_rest.hset(f"{PREFIX}:workers", "host:77", json.dumps([seconds - 10, 4]))

    with pytest.raises(MigrationRefused, match="workers are alive: host:77"):
        Migration(at_rest, PREFIX).run()

    assert read_schema(at_rest, PREFIX) == "2"


def test_a_key_that_has_both_names_is_refused(at_rest):
    at_rest.rpush(f"{PREFIX}:{{newsletter}}:waiting:newsletter", b'{"email":"new@example.com"}')

    with pytest.raises(MigrationRefused, match="programs of both releases have written"):
        Migration(at_rest, PREFIX).run()


def test_a_keyspace_that_is_new_or_unknown_is_left_alone(client):
    assert not Migration(client, PREFIX).run().is_needed
    assert client.dbsize() == 0
    client.set(f"{PREFIX}:schema", "7")
    with pytest.raises(MigrationRefused, match="schema 7"):
        Migration(client, PREFIX).run()


# --- The wrong order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [check_schema, claim_schema])
@pytest.mark.parametrize(
    ("schema", "says"), [("2", "contact-ingest migrate"), (str(MIGRATING), "migrate` again"), ("9", "one release only")]
)
def test_programs_of_this_release_refuse_another_schema_and_say_what_to_do(client, check, schema, says):
    client.set(f"{PREFIX}:schema", schema)

    with pytest.raises(SettingError, match=says):
        check(client, PREFIX)

    assert client.get(f"{PREFIX}:schema").decode() == schema


def test_a_worker_that_comes_before_the_migration_finds_keys_of_schema_2_without_a_number(engine, at_rest):
    at_rest.delete(f"{PREFIX}:schema")

    with pytest.raises(SettingError, match="contact-ingest migrate"):
        engine.check_schema()

    assert read_schema(at_rest, PREFIX) is None
    assert Migration(at_rest, PREFIX).run().is_needed
    engine.check_schema()


def append_as_schema_2(client, destination, lane):
    """A producer of the older release."""
    script = (DATA / "enqueue_schema_2.lua").read_text()
    given = ["call-1", 60_000, lane, "{}", 10**9, 0, 1000, 10**6, 30, 0.8, b'{"email":"late@example.com"}']
    return client.eval(script, 1, Keys(PREFIX, destination).base, *given)


@pytest.mark.parametrize("lane", ["newsletter", "newsletter+dd00ddec", "newsletter+00000001", "product"])
def test_a_producer_of_the_older_release_fails_and_leaves_nothing_where_nobody_reads(at_rest, lane):
    destination = lane.partition("+")[0]
    assert append_as_schema_2(at_rest, destination, lane)[0] == b"ok"
    at_rest.flushall()
    load(at_rest, "schema_2.json.gz")
    Migration(at_rest, PREFIX).run()
    before = content_of(at_rest)

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        append_as_schema_2(at_rest, destination, lane)

    assert content_of(at_rest) == before
    key = Keys(PREFIX, destination)(f"wait:{lane}")
    assert at_rest.get(key) is None or b"upgrade it" in at_rest.get(key)
    assert at_rest.pttl(key) < 0


def test_thousands_of_keys_take_a_page_of_memory_and_no_command_takes_long(client):
    pipe = client.pipeline(transaction=False)
    base = f"{PREFIX}:{{big}}:"
    for number in range(20_000):
        pipe.set(f"{base}call:big:{number}:0", f"{number}:1", px=600_000)
    pipe.set(f"{PREFIX}:schema", 2)
    pipe.execute()
    client.config_set("slowlog-log-slower-than", 50_000)
    client.slowlog_reset()
    began_s = time.monotonic()

    Migration(client, PREFIX).run()

    assert client.slowlog_len() == 0
    assert time.monotonic() - began_s < 30
    assert 0 < client.pttl(f"{base}idempotency:big:7:0") <= 600_000
    assert sum(1 for _ in client.scan_iter(match=f"{base}idempotency:*", count=1000)) == 20_000
