"""keys.py against a live keyspace: all platforms, every kind of failure, outages, orphans, pauses."""

import ast
import re
import time
from typing import ClassVar

import pytest
from support.in_process import Harness
from support.keyspace import assert_keyspace_is_listed, differences
from support.product import ROOT

from contact_ingest import cancel, enqueue
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.store.keys import ACCOUNT_KEYS, DESTINATION_KEYS, INSTALL_KEYS

PREFIX = "contacts"
#: Listed, and not written below: what no platform says any more, what only a migration or a ticker writes, an error
#: file that is kept while it is read, the place among thousands of retried records; and what the sandbox does not say
#: of a request, nor of a job that failed as a whole and has an error file besides.
NOT_SEEN = {"books:<lane>.unchanged", "batch:<n>:error_file", "lane:<lane>.retry_cursor"}
NOT_SEEN |= {"links:old", "links:old.<digest>"}  # of a quarter of a million contacts
NOT_SEEN |= {"wait:<lane>", "room", "room.moved", "accounts", "accounts.<worker>"}
NOT_SEEN |= {f"state.{name}" for name in ("went_back_at", "account", "accepted_accounts")}
NOT_SEEN |= {f"batch:<n>.{name}" for name in ("all_failed", "phase", "reason", "request_id", "retry_after_given")}
NOT_SEEN |= {"batch:<n>.unvouched"}


def person(number, **more):
    return {"email": f"p{number}@example.com", "first_name": f"Name {number}", **more}


class Watched(Harness):
    """Looks at the keyspace after every step, and remembers which kinds of keys and which fields it has seen."""

    seen: ClassVar[set[str]] = set()

    def follow(self, wakeup):
        try:
            return super().follow(wakeup)
        finally:
            self.look()

    def look(self):
        self.seen |= assert_keyspace_is_listed(self.engine.client, PREFIX)


@pytest.fixture
def three(make_harness, sandbox):
    sandbox.dials(job_seconds=[0, 0.02], limits={"sendgrid.fields": {"limit": 600, "window_s": 0.5}})
    made = make_harness(
        destinations={
            "sendgrid": {},
            "loops": {
                "platform": "loops",
                "api_key": "SG.test-key",
                "base_url": f"{sandbox.url}/api",
                "unknown_fields": "drop",
            },
            "emarsys": {
                "platform": "emarsys",
                "client_id": "sandbox-client",
                "client_secret": "sandbox-secret",
                "base_url": f"{sandbox.url}/api",
                "token_url": f"{sandbox.url}/oauth2/token",
            },
        },
        lease_s=45,
        orphan_wait_s=600,
        breaker_s=0.3,
        key_prefix=PREFIX,
    )
    return Watched(made.engine)


def settle(harness, name):
    """Until nothing of the destination waits or is in flight; held records may stay."""
    harness.run_until(lambda: not any(harness.books(name)[n] for n in ("waiting", "batched")))


def platform_failures(harness, sandbox):
    """Records that fail in every stage, and searches for bad ones."""

    def faults(*script, on="sendgrid.upsert"):
        sandbox.dials(script=list(script), faults_on=[on])

    def send(records, name="sendgrid", **more):
        receipt = enqueue(records, name, **more)
        settle(harness, name)
        return receipt

    sandbox.dials(job_seconds=[0.3, 0.3])
    send([person(4)], key="once")
    assert enqueue([person(4)], "sendgrid", key="once").repeated
    sandbox.dials(job_seconds=[0, 0.02])
    silent = [person(n, last_name="[[reject-silent]]") for n in (10, 11)]
    send([person(1), person(2, last_name="x" * 51), person(3, custom_fields={"colour": "red"})])
    send([*map(person, range(12, 28)), *silent, *map(person, range(28, 44))])
    send([person(n, **({"last_name": "[[reject-silent]]"} if n % 8 == 0 else {})) for n in range(200, 264)])
    send([person(44), person(45, last_name="[[reject-index]]"), person(46)])
    send([person(50), person(51, last_name="[[fail-import]]"), person(52, last_name="[[fail-unnamed]]")])
    sandbox.dials(job_script=["failed"])
    send([person(53), person(54)])
    sandbox.dials(job_script=[], hidden_byte_cap=300)
    send(map(person, range(60, 66)))
    sandbox.dials(hidden_byte_cap=None)
    faults("429")
    send([person(70)])
    faults("429", on="sendgrid.imports")
    send([person(71)])
    faults("503")
    send([person(72)])
    faults("504_after")
    send(map(person, range(80, 84)))
    faults()
    send([person(80, city="Linz"), person(80, country="AT"), person(81, city="Graz")])
    assert harness.books("sendgrid")["held"]
    assert cancel(send([person(81, external_id="e-81")])) == 1
    send([person(90), person(91, custom_fields={"shoe": 43})], "loops")
    send([person(92), person(93, last_name="[[emarsys-2004]]")], "emarsys")


def stopped_lanes(harness, sandbox):
    """A refusal that may concern the account, and a lane whose records are all refused alike until one is accepted."""
    state = harness.engine.runtime("sendgrid").state
    sandbox.dials(script=["403"], faults_on=["sendgrid.upsert"])
    enqueue([person(109)], "sendgrid")
    harness.run_until(lambda: "doubt" in state.read())
    harness.look()
    settle(harness, "sendgrid")
    for number in (110, 111, 112):
        enqueue([person(number, last_name="[[reject-silent]]")], "sendgrid")
        harness.pump()
    harness.run_until(state.stopped_lanes)
    harness.look()
    enqueue([person(113)], "sendgrid")
    settle(harness, "sendgrid")


def outages(harness, sandbox):
    """A breaker that opened and closed, a key that is refused, pauses, and records that are tried again."""
    runtime = harness.engine.runtime("sendgrid")
    sandbox.dials(script=["503"] * 9, faults_on=["sendgrid.fields"])
    while not runtime.breaker.state().is_open:
        runtime.exchanger.ask(runtime.provider.definitions())
    permit = runtime.rate_limiter.acquire("definitions", asks=True)
    while not permit.granted:
        time.sleep(min(0.1, permit.wait_ms / 1000))
        permit = runtime.rate_limiter.acquire("definitions", asks=True)
    harness.look()
    runtime.rate_limiter.release(permit)
    sandbox.dials(script=[])
    while runtime.breaker.state().is_open:
        runtime.exchanger.ask(runtime.provider.definitions())
    sandbox.dials(limits={"sendgrid.fields": {"limit": 600, "window_s": 800}})
    while runtime.exchanger.ask(runtime.provider.definitions()) is None:
        time.sleep(0.05)
    harness.look()
    sandbox.dials(auth_down=True)
    enqueue([person(100, external_id="100")], "sendgrid")
    harness.run_until(lambda: runtime.state.read().get("state") == "stopped")
    harness.look()
    sandbox.dials(auth_down=False)
    runtime.state.resume(None)
    settle(harness, "sendgrid")
    stopped_lanes(harness, sandbox)
    runtime.state.pause("sendgrid", "for a test")
    runtime.state.pause(None, "for a test")
    runtime.retrier.retry(FailureFilter(code="unknown_field"))
    runtime.schedule.flush("sendgrid")
    enqueue([person(101)], "sendgrid")
    runtime.schedule.tick(4)
    harness.look()


def test_every_key_that_the_journey_writes_is_listed_and_every_listed_one_is_written(three, sandbox):
    for runtime in three.engine.runtimes():
        runtime.state.set_slots(3)
    store, batches = three.runtime.store, three.runtime.batch_store
    store.client.set(store.keys("clock_last"), three.runtime.clock.now_ms() + 5_000)  # the server's clock is set back
    token = batches.claim_without_batch()
    three.pump()
    three.look()
    batches.release_claim(token)
    three.engine.check_schema()
    three.engine.workers.heartbeat("host:1", 4)
    platform_failures(three, sandbox)
    outages(three, sandbox)
    listed = {
        name
        for spec in (*INSTALL_KEYS, *DESTINATION_KEYS, *ACCOUNT_KEYS)
        for name in (spec.pattern, *(f"{spec.pattern}.{field}" for field in spec.fields))
    }

    missed = sorted(listed - three.seen - NOT_SEEN)
    assert not missed, missed


@pytest.mark.parametrize(
    ("key", "write", "says"),
    [
        ("surprise", ("SET", "1"), "not listed"),
        ("waiting:sendgrid", ("SET", "1"), "listed as a list"),
        ("books:sendgrid", ("HSET", "lost", "1"), "field lost is not listed"),
        ("batch:7", ("HSET", "looks", "1"), "field looks is not listed"),
        ("idempotency:sendgrid:a:0", ("SET", "1:1"), "does not expire"),
        ("batch:7:body", ("SET", "[]"), "does not expire"),
        ("version", ("SET", "1", "PX", "60000"), "expires, and must not"),
    ],
)
def test_what_keys_py_does_not_say_of_a_key_is_told(client, key, write, says):
    command, *arguments = write
    client.execute_command(command, f"contacts:{{sendgrid}}:{key}", *arguments)

    assert any(says in line for line in differences(client, "contacts"))
    with pytest.raises(AssertionError, match=says):
        assert_keyspace_is_listed(client, "contacts")


#: What other rooms may ask of a Redis client: of the server, never of a key.
OF_THE_SERVER = {"ping", "info", "wait", "close", "aclose", "config_get", "time"}
#: What a variable with a Redis client is called, and one with a Store.
CLIENTS, STORES = {"client", "_client"}, {"store", "_store"}
OUTSIDE = [
    path
    for path in sorted([*ROOT.glob("worker/**/*.py"), *ROOT.glob("tasks/**/*.py")])
    if not {"store", "sandbox", ".venv"} & set(path.relative_to(ROOT).parts)
]


def names_of_keys(text):
    """Lines on which a file names a key: `keys("...")`, a command on a client, or a script of the store."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called, receiver = node.func, ""
        if isinstance(called, ast.Attribute):
            receiver = ast.unparse(called.value).rpartition(".")[2]
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        is_key = name in {"keys", "k"} and node.args
        is_command = receiver in CLIENTS and name not in OF_THE_SERVER
        is_script = receiver in STORES and name == "run"
        if is_key or is_command or is_script:
            yield f"{node.lineno}: {ast.unparse(node)[:80]}"


def test_no_file_outside_the_store_names_a_key():
    assert len(OUTSIDE) > 50
    found = {str(path.relative_to(ROOT)): list(names_of_keys(path.read_text())) for path in OUTSIDE}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line", ['place.store.keys("version")', 'engine.client.get(f"{prefix}:schema")', 'self._store.run("write", "none")']
)
def test_a_file_that_names_a_key_is_found(line):
    assert list(names_of_keys(line))


@pytest.mark.parametrize(
    ("pattern", "owners"),
    [
        (r'\("clock_offset"\)', {"clock.py"}),
        (r"(?:client|pipe)\.time\(\)", {"clock.py"}),
        (r'hkeys\(.*"lanes"', {"lanes.py", "schema_3.py"}),
        (r'"due:dispatch", "due:dispatch:low"', {"keys.py"}),
    ],
)
def test_what_has_one_owner_in_the_store_is_written_in_its_file_only(pattern, owners):
    files = sorted(ROOT.glob("worker/store/**/*.py"))

    assert {path.name for path in files if re.search(pattern, path.read_text())} == owners
