"""From schema 2 to schema 3: what a migrated keyspace holds, and that this release goes on with it."""

import json
import urllib.request
from dataclasses import replace
from typing import Any

import pytest
from support.in_process import Harness
from support.keyspace import assert_keyspace_is_listed
from support.peer import advance, with_http_client
from support.schema_2 import EXPECTED, PREFIX, content_of, engine_on, load

from contact_ingest import enqueue
from contact_ingest.engine import set_engine
from contact_ingest.model.record import QueuedRecord
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.store import books
from contact_ingest.store.inspect import newest_batches
from contact_ingest.store.keys import Keys
from contact_ingest.store.migrations import read_schema
from contact_ingest.store.migrations.schema_3 import Migration
from contact_ingest.store.migrations.schema_3_names import new_name
from contact_ingest.transport.auth import AuthenticatedClient
from contact_ingest.transport.client import HttpClient


@pytest.fixture
def at_rest(client):
    load(client, "schema_2.json.gz")
    return client


@pytest.fixture
def engine(at_rest, redis_server):
    engine = engine_on(redis_server.url)
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
