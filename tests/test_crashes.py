"""Death at every named step, and replies lost on the wire: nothing is lost, nothing counts twice, the books balance.

The workers are real and die by SIGKILL where the step says. All steps are gone through once, a few side by side; each
then has a test of its own for what came of it.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from support import ROOT, FaultProxy, Stage, person, wait_until
from traps import Traps

from worker.embedded import EmbeddedServer
from worker.replay import Which
from worker.sandbox.process import SandboxProcess
from worker.steps import JOURNEY
from worker.steps import SCRIPTS as WRITERS
from worker.store import books
from worker.store.memory import Memory
from worker.store.scripts import _source
from worker.store.waiting import cancel

RECORDS = 300
#: Bad records by what is wrong with each: refused when cut, refused when sent, failed by the import.
BAD = {5: "x" * 51, 100: "[[reject-named]]", 200: "[[fail-import]]"}
LEASE_S = 3.0
SIDE_BY_SIDE = 3


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came of a death at a step."""

    exit_code: int
    first_progress_s: float
    books: dict[str, int]
    disagreements: list[str]
    arrived: set[str]
    failed: dict[str, str]


def records(domain: str) -> list[dict[str, object]]:
    return [person(i, domain, last_name=BAD.get(i, "Doe")) for i in range(RECORDS)]


def recover(step: str, redis_url: str, sandbox: SandboxProcess, directory: Path) -> Recovery:
    """Let a worker die at a step, and another go on."""
    domain = f"{step.replace('.', '-')}.example"
    with Stage(redis_url, sandbox.url, directory, prefix=step, LEASE_S=str(LEASE_S)) as stage:
        traps = Traps(directory / "traps")
        traps.set(step)
        with stage.worker(ready=False, TRAPS=str(traps.directory)) as doomed:
            stage.enqueue(records(domain))
            exit_code = doomed.wait(30)
            assert [(strike.step, strike.pid) for strike in traps.strikes()] == [(step, doomed.pid)]
        died_at_s = time.monotonic()
        left = (stage.books(), stage.batches())
        with stage.worker(ready=False) as successor:
            stage.wait_for_heartbeat(successor)
            ready_at_s = time.monotonic()
            wait_until(lambda: (stage.books(), stage.batches()) != left, 30, stage.books)
            first_progress_s = time.monotonic() - max(died_at_s, ready_at_s)
            totals = stage.wait_until_settled(RECORDS, 60)
        return Recovery(
            exit_code,
            first_progress_s,
            totals,
            books.disagreements(stage.site.store, "sendgrid"),
            {c["email"] for c in sandbox.contacts() if c["email"].endswith(f"@{domain}")},
            {re.findall(rb'"email":"([^"@]+)', f.raw)[0].decode(): f.about["reason"] for f in stage.site.failures},
        )


@pytest.fixture(scope="module")
def recoveries(
    redis_server: EmbeddedServer, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Recovery]]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    sandbox_process.reset()
    sandbox_process.dials(job_seconds=[0, 0.1])
    directory = tmp_path_factory.mktemp("crashes")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        done = threads.map(lambda step: recover(step, redis_server.url, sandbox_process, directory / step), JOURNEY)
        yield dict(zip(JOURNEY, done, strict=True))


@pytest.mark.parametrize("step", JOURNEY)
def test_a_worker_that_dies_at_a_step_is_made_good_by_another(recoveries, step):
    found = recoveries[step]

    assert found.exit_code == -9, "it did not die at the step"
    bad = {f"p{number}" for number in BAD}
    # The platform gives its error file away once: who it named died with the process that had just fetched it.
    unnamed = {"p200"} if step == "poll.fetched" else set()
    assert found.arrived == {f"p{i}@{step.replace('.', '-')}.example" for i in range(RECORDS) if f"p{i}" not in bad}
    assert set(found.failed) == bad - unnamed
    assert all(found.failed.values()), "a failure without a reason"
    assert found.disagreements == []
    assert {name: count for name, count in found.books.items() if count} == {
        "accepted": RECORDS,
        "delivered": RECORDS - len(bad - unnamed),
        "failed": len(bad - unnamed),
        **({"unattributed": 1} if unnamed else {}),
    }


@pytest.mark.parametrize("step", JOURNEY)
def test_another_worker_goes_on_within_the_lease_and_two_seconds(recoveries, step):
    assert recoveries[step].first_progress_s < LEASE_S + 2


@pytest.fixture
def proxy(redis_server: EmbeddedServer) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.url) as made:
        yield made


def test_every_script_that_writes_has_fail_points():
    reads_only = {"common", "read", "recount"}

    assert {path.stem for path in (ROOT / "worker/store/lua").glob("*.lua")} - reads_only == set(WRITERS)


SCRIPTS = sorted({path.stem for path in (ROOT / "worker/store/lua").glob("*.lua")} - {"common"})


@pytest.fixture
def lossy(client, redis_server, proxy, sandbox, tmp_path) -> Iterator[Stage]:
    """A stage whose engine speaks to Redis through the proxy. All scripts are known to the server, so that the first
    call of each is the one that acts."""
    sandbox.dials(job_seconds=[0, 0])
    for name in SCRIPTS:
        client.script_load(_source(name)[0])
    with Stage(proxy.url, sandbox.url, tmp_path, LEASE_S=str(LEASE_S)) as made:
        yield made


def pump(stage: Stage) -> bool:
    """Do what is due, as bells would have it; true once all is settled."""
    for bell in stage.site.schedule.tick(4).bells:
        stage.follow(bell.kind, bell.target)
    return stage.is_settled(of=RECORDS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_lost_reply_of_a_script_makes_nothing_count_twice(lossy, proxy, client, sandbox, script, monkeypatch):
    """Each script once on a journey that crosses all of them; the reply to its first call is lost."""
    site = lossy.site
    domain = "lost-reply.example"
    # A custom field asks for the account's definitions, which is what `slot` is for.
    site.definitions._desk.exchange(site.provider.create_field("favourite", "blue"), None)
    if script == "stage":  # what is done only while memory is full
        monkeypatch.setattr("worker.store.bench.look_at_memory", lambda _client: Memory(1_000_000, 1_000_000))
    proxy.lose_replies(_source(script)[1].encode())

    began_s = time.monotonic()
    receipt = lossy.enqueue({**record, "custom_fields": {"favourite": "blue"}} for record in records(domain))
    doomed = lossy.enqueue([person(RECORDS, domain)])
    cancelled = cancel(site.store, doomed.lane, doomed.ranges)
    wait_until(lambda: pump(lossy), 30, lossy.books)
    site.schedule.arm("sendgrid", 0)
    site.replay.retry(Which(code=next(iter(site.failures)).about["code"]))
    wait_until(lambda: pump(lossy), 30, lossy.books)
    site.store.run("discard", *(failed.id for failed in site.failures))
    site.schedule.sweep(0, 0)
    books.recount(site.store, "sendgrid")

    assert proxy.lost == 1, "the script did not run"
    assert time.monotonic() - began_s < LEASE_S, "a lost reply cost a whole lease"
    assert receipt.accepted == RECORDS
    assert cancelled == (0 if script == "cancel" else 1)
    lossy.assert_books_balance()
    assert {name: count for name, count in lossy.books().items() if count} == {
        "accepted": RECORDS + 1,
        "delivered": RECORDS - len(BAD),
        "discarded": 1 + len(BAD),
    }
    arrived = [c["email"] for c in sandbox.contacts()]
    assert len(arrived) == len(set(arrived)) == RECORDS - len(BAD)
    assert client.hlen(site.store.keys("busy")) == 0
    assert client.zcard(site.store.keys("active")) == 0


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
