"""Death and freeze at every named step, and replies lost on the wire: nothing is lost, nothing counts twice, the books
balance.

The workers are real and are struck by SIGKILL, or by SIGSTOP for longer than the lease, where the step says. In the
suite each step of the journey is a death and some of the rest are drawn; `EVERY_STEP=1` goes through all there are.
Steps that no worker has to cross are those of a producer or an operator, who is a small process of its own.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from support.people import person
from support.processes import WorkerProcess
from support.product import ROOT
from support.proxy import Proxy
from support.stage import KEY, Stage
from support.traps import Traps
from support.waiting import wait_until

from contact_ingest.failpoints import FAILPOINTS, JOURNEY
from contact_ingest.failpoints import SCRIPTS as WRITERS
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books
from contact_ingest.store.aggregation import AggregationStore
from contact_ingest.store.lanes import cancel, mend_held_lanes
from contact_ingest.store.redis_server import Memory
from contact_ingest.store.scripts import _source

RECORDS = 300
#: Bad records by what is wrong with each: refused when cut, refused when sent, failed by the import.
BAD = {5: "x" * 51, 100: "[[reject-named]]", 200: "[[fail-import]]"}
LEASE_S = 3.0
SIDE_BY_SIDE = 3
#: What a producer or an operator does, by the script that does it. Each may be done again with the same outcome.
OPERATORS = {
    "lane_append": "enqueue({'email': 'late@example.com'}, key='once')",
    "lane_cancel": "cancel(runtime.store, 'sendgrid', [(15, 16)])",
    "failure_retry": "runtime.retrier.retry(FailureFilter())",
    "failure_discard": "runtime.store.run('failure_discard', *(failed.id for failed in runtime.failures))",
    "claim_without_batch": "runtime.batch_store.claim_without_batch()",
    "write": "runtime.schedule.arm('sendgrid', 0)",
    "retention_sweep": "runtime.schedule.sweep(0, 10**12)",
    "held_lanes_mend": "mend_held_lanes(runtime.store)",
    "repair": "runtime.store.run('repair', 'lane', 'sendgrid', '')",
    "breaker_reset": "runtime.breaker.reset()",
    "batch_make_due": "runtime.schedule.make_due_now()",
    # A worker does this only while memory is full.
    "aggregate_stage": "runtime.store.run('aggregate_stage', 1_000, b'{}', b'', b'', b'')",
}
OPERATOR_STEPS = [f"{script}.{when}" for script in OPERATORS for when in ("before", "after")]
WORKER_STEPS = [step for step in FAILPOINTS if step not in OPERATOR_STEPS]


def cases() -> list[tuple[str, str]]:
    """Step and signal of each strike at a worker."""
    every = [(step, what) for what in ("KILL", "STOP") for step in WORKER_STEPS]
    if os.environ.get("EVERY_STEP"):
        return every
    deaths = [(step, "KILL") for step in JOURNEY]
    chance = random.Random(7)
    return deaths + chance.sample([case for case in every if case not in deaths and case[1] == "KILL"], 2) + FREEZES


#: Where a freeze is worst: with a body staged, a batch claimed, a request made, an error file fetched.
FREEZES = [(step, "STOP") for step in ("aggregate.staged", "dispatch.claimed", "dispatch.sent", "batch_settle.before")]
CASES = cases()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came of a strike at a step."""

    exit_code: int
    first_progress_s: float
    books: dict[str, int]
    disagreements: list[str]
    arrived: list[str]
    failed: dict[str, str]
    sent_after_waking: int
    log: str


def records(domain: str) -> list[dict[str, object]]:
    return [person(i, domain, last_name=BAD.get(i, "Doe")) for i in range(RECORDS)]


def upserts(sandbox: SandboxProcess) -> int:
    return sum(entry["endpoint"] == "sendgrid.upsert" for entry in sandbox.journal())


def recover(case: tuple[str, str], redis_url: str, directory: Path) -> Recovery:
    """Let a worker be struck at a step, and another go on; then wake the first, if it is frozen."""
    step, what = case
    # Who wakes finds the body still there, as imports go on: nothing but the lease keeps it from being sent.
    job_s = [4, 4] if what == "STOP" and not step.startswith("poll.") else [0, 0.1]
    with (
        SandboxProcess(key=KEY, dials={"job_seconds": job_s}) as sandbox,
        Stage(redis_url, sandbox.url, directory, prefix=f"{step}.{what}", LEASE_S=str(LEASE_S)) as stage,
    ):
        traps = Traps(directory / "traps")
        traps.set(step, what)
        with stage.worker(ready=False, TRAPS=str(traps.directory)) as struck:
            stage.enqueue(records("example.com"))
            (strike,) = wait_until(traps.strikes, 30, lambda: struck.log)
            assert (strike.step, strike.pid) == (step, struck.pid)
            exit_code = struck.wait(30) if what == "KILL" else 0
            at_s = time.monotonic()
            left = (stage.books(), stage.batches())
            with stage.worker(ready=False) as successor:
                stage.wait_for_heartbeat(successor)
                ready_at_s = time.monotonic()
                wait_until(lambda: (stage.books(), stage.batches()) != left, 30, stage.books)
                first_progress_s = time.monotonic() - max(at_s, ready_at_s)
                wait_until(lambda: time.monotonic() > at_s + LEASE_S and nothing_is_to_be_sent(stage), 60, stage.books)
                before = upserts(sandbox)
                if what == "STOP":
                    exit_code = wake_and_stop(struck)
                stage.wait_until_settled(RECORDS, 60)
            return Recovery(
                exit_code,
                first_progress_s,
                stage.books(),
                books.disagreements(stage.runtime.store, "sendgrid"),
                [c["email"] for c in sandbox.contacts()],
                {re.findall(rb'"email":"([^"@]+)', f.raw)[0].decode(): f.reason for f in stage.runtime.failures},
                upserts(sandbox) - before,
                struck.log,
            )


def nothing_is_to_be_sent(stage: Stage) -> bool:
    states = {batch["state"] for batch in stage.batches().values()}
    return not stage.books()["waiting"] and not states & {"ready", "sending"}


def wake_and_stop(frozen: WorkerProcess) -> int:
    """Asked to end at once, it finishes what it had in hand: when it is gone, all it would do has been done."""
    os.kill(frozen.pid, signal.SIGCONT)
    return frozen.stop()


@pytest.fixture(scope="module")
def recoveries(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Recovery]]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    directory = tmp_path_factory.mktemp("crashes")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        done = threads.map(lambda case: recover(case, redis_server.url, directory / "-".join(case)), CASES)
        yield dict(zip(CASES, done, strict=True))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("step", "what"), CASES)
def test_a_worker_that_is_struck_at_a_step_is_made_good_by_another(recoveries, step, what):
    found = recoveries[step, what]

    assert found.exit_code == (-9 if what == "KILL" else 0), found.log
    bad = {f"p{number}" for number in BAD}
    # The platform gives its error file away once: who it named is known to the process alone that had just fetched it.
    unnamed = {"p200"} if step == "poll.fetched" else set()
    assert sorted(found.arrived) == sorted(f"p{i}@example.com" for i in range(RECORDS) if f"p{i}" not in bad)
    assert set(found.failed) == bad - unnamed
    assert all(found.failed.values()), "a failure without a reason"
    assert found.disagreements == []
    assert {name: count for name, count in found.books.items() if count} == {
        "accepted": RECORDS,
        "delivered": RECORDS - len(bad - unnamed),
        "failed": len(bad - unnamed),
        **({"unattributed": 1} if unnamed else {}),
    }


@pytest.mark.parametrize(("step", "what"), CASES)
def test_another_worker_goes_on_within_the_lease_and_two_seconds(recoveries, step, what):
    assert recoveries[step, what].first_progress_s < LEASE_S + 2


@pytest.mark.parametrize(("step", "what"), [case for case in CASES if case[1] == "STOP"])
def test_a_worker_that_wakes_after_its_lease_sends_nothing(recoveries, step, what):
    assert recoveries[step, what].sent_after_waking == 0
    assert " ERROR " not in recoveries[step, what].log


def operate(stage: Stage, script: str, **set_: str) -> int:
    code = (
        "from contact_ingest import enqueue\nfrom contact_ingest.pipeline.retry import FailureFilter\n"
        "from contact_ingest.engine import current_engine\n"
        "from contact_ingest.store.lanes import cancel, mend_held_lanes\n"
        "runtime = current_engine().runtime('sendgrid')\n"
    )
    command = [sys.executable, "-c", code + OPERATORS[script]]
    return subprocess.run(command, env=stage.environment(**set_), cwd=stage.directory, check=False).returncode


@pytest.mark.parametrize("step", OPERATOR_STEPS)
def test_a_producer_or_operator_that_dies_at_a_step_may_do_it_again(client, redis_server, sandbox, tmp_path, step):
    sandbox.dials(job_seconds=[0, 0])
    script = step.partition(".")[0]
    with Stage(redis_server.url, sandbox.url, tmp_path, LEASE_S=str(LEASE_S)) as stage:
        stage.enqueue(person(i, last_name="x" * 51) for i in range(5))
        stage.follow("aggregate", "sendgrid")
        stage.enqueue(person(i) for i in range(10))
        if script == "lane_cancel":
            stage.enqueue(person(i) for i in range(10, 12))
        assert stage.books()["failed"] == 5
        traps = Traps(tmp_path / "traps")
        traps.set(step)

        assert operate(stage, script, TRAPS=str(traps.directory)) == -signal.SIGKILL
        stage.assert_books_balance()
        assert [strike.step for strike in traps.strikes()] == [step]
        assert operate(stage, script) == 0

        accepted = stage.books()["accepted"]
        wait_until(lambda: pump(stage, accepted), 20, stage.books)
        stage.assert_books_balance()
        assert {name: count for name, count in stage.books().items() if count} == AFTERWARDS.get(script, PLAIN)
        stage.runtime.schedule.tick(4)
        wait_until(
            lambda: stage.runtime.schedule.tick(4) and not stage.client.zcard(stage.runtime.store.keys("claims")), 5
        )


#: The books in the end: five that fail, and ten that arrive.
PLAIN = {"accepted": 15, "failed": 5, "delivered": 10}
AFTERWARDS = {
    "lane_append": {"accepted": 16, "failed": 5, "delivered": 11},
    "lane_cancel": {"accepted": 17, "failed": 5, "discarded": 2, "delivered": 10},
    "failure_discard": {"accepted": 15, "discarded": 5, "delivered": 10},
}


@pytest.fixture
def proxy(redis_server: EmbeddedServer) -> Iterator[Proxy]:
    with Proxy(redis_server.url) as made:
        yield made


#: Parts of scripts.
LIBRARIES = {"checks", "common", "breaker", "epoch", "lane_stop", "retries"}


def test_every_script_that_writes_has_fail_points():
    libraries_and_readers = LIBRARIES | {"read", "read_together", "recount", "recount_open"}

    assert {path.stem for path in (ROOT / "worker/store/lua").glob("*.lua")} - libraries_and_readers == set(WRITERS)


SCRIPTS = sorted({path.stem for path in (ROOT / "worker/store/lua").glob("*.lua")} - LIBRARIES)


@pytest.fixture
def lossy(client, redis_server, proxy, sandbox, tmp_path) -> Iterator[Stage]:
    """A stage whose engine speaks to Redis through the proxy. All scripts are known to the server, so that the first
    call of each is the one that acts."""
    sandbox.dials(job_seconds=[0, 0])
    for name in SCRIPTS:
        client.script_load(_source(name)[0])
    with Stage(proxy.url, sandbox.url, tmp_path, LEASE_S=str(LEASE_S)) as made:
        yield made


def pump(stage: Stage, of: int = RECORDS) -> bool:
    """Do what is due, as workers would; true once all is settled."""
    for wakeup in stage.runtime.schedule.tick(4).wakeups:
        stage.follow(wakeup.kind, wakeup.target)
    return stage.is_settled(of=of)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_lost_reply_of_a_script_makes_nothing_count_twice(lossy, proxy, client, sandbox, script, monkeypatch):
    """Each script once on a journey that crosses all of them; the reply to its first call is lost."""
    runtime = lossy.runtime
    domain = "lost-reply.example"
    # A custom field asks for the account's definitions, which is what `slot` is for.
    runtime.exchanger.send(runtime.provider.create_field("favourite", "blue"), None)
    if script == "aggregate_stage":  # what is done only while memory is full
        monkeypatch.setattr(
            "contact_ingest.store.redis_server.read_memory", lambda _client: Memory(1_000_000, 1_000_000)
        )
    proxy.lose_replies(_source(script)[1].encode())

    began_s = time.monotonic()
    # Two identifiers of one contact are what `links_save` remembers.
    receipt = lossy.enqueue(
        {**record, "custom_fields": {"favourite": "blue"}, "external_id": f"e-{number}"}
        for number, record in enumerate(records(domain))
    )
    doomed = lossy.enqueue([person(RECORDS, domain)])
    cancelled = cancel(runtime.store, doomed.lane, doomed.ranges)
    wait_until(lambda: pump(lossy), 30, lossy.books)
    runtime.schedule.arm("sendgrid", 0)
    runtime.state.resume("sendgrid")
    runtime.breaker.reset()
    runtime.schedule.make_due_now()
    runtime.schedule.may_notify("dispatch", 4)
    AggregationStore(runtime.store).read_held("sendgrid", 1)
    runtime.retrier.retry(FailureFilter(code=next(iter(runtime.failures)).code))
    wait_until(lambda: pump(lossy), 30, lossy.books)
    runtime.store.run("failure_discard", *(failed.id for failed in runtime.failures))
    runtime.store.run("repair", "lane", "sendgrid", "")
    runtime.schedule.sweep(0, 0)
    mend_held_lanes(runtime.store)
    books.recount(runtime.store, "sendgrid")

    assert proxy.lost == 1, "the script did not run"
    assert time.monotonic() - began_s < LEASE_S, "a lost reply cost a whole lease"
    assert receipt.accepted == RECORDS
    assert cancelled == (0 if script == "lane_cancel" else 1)
    lossy.assert_books_balance()
    assert {name: count for name, count in lossy.books().items() if count} == {
        "accepted": RECORDS + 1,
        "delivered": RECORDS - len(BAD),
        "discarded": 1 + len(BAD),
    }
    arrived = [c["email"] for c in sandbox.contacts()]
    assert len(arrived) == len(set(arrived)) == RECORDS - len(BAD)
    assert client.hlen(runtime.store.keys("inflight")) == 0
    assert client.zcard(runtime.store.keys("claims")) == 0


def test_the_books_balance_though_every_script_loses_its_first_reply(lossy, proxy, sandbox):
    domain = "all-lost.example"
    proxy.lose_replies(b"EVALSHA", 1_000_000, every=2)

    receipt = lossy.enqueue(records(domain))

    def step_on() -> bool:
        # Without the ticker: a lost tick costs two seconds each, which has a test of its own.
        for kind in ("aggregate", "dispatch", "poll"):
            lossy.follow(kind, "sendgrid")
        return lossy.is_settled(of=RECORDS)

    wait_until(step_on, 60, lossy.books)

    assert proxy.lost > 10
    assert receipt.accepted == RECORDS
    proxy.lose_replies(b"", 0)
    lossy.assert_books_balance()
    assert lossy.books()["delivered"] == RECORDS - len(BAD)
    assert lossy.books()["failed"] == len(BAD)
    assert len(list(sandbox.contacts())) == RECORDS - len(BAD)
