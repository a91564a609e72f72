"""One run: everything is started, faults strike while traffic goes on, then all is calm; what the platform gave no
verdict on is retried, everything comes to rest, and the checker has its say.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import sabotage
from account import EMARSYS_LIST
from duties import Duties
from plan import Planned, RunPlan
from platforms import PLATFORMS
from producers import produce
from redis.exceptions import RedisError
from support.checker import NO_VERDICT, Found, Verdict, judge
from support.proxy import unchanged
from terms import OVERDUE_S
from traffic import IMMORTAL
from world import World

from contact_ingest.store import books

#: Faults under way at once; most of them wait for something to strike at.
SIDE_BY_SIDE = 40
START_S, REST_S = 60.0, 60.0
#: How often what got no verdict is tried again at the end, if it was bad on purpose: some of it never gets one.
LAST_RETRIES = 3
CALM = {
    "script": [],
    "job_script": [],
    "auth_down": False,
    "hidden_byte_cap": None,
    "error_file_shape": "csv",
    "lists_gone": [],
    "emarsys_lists": [EMARSYS_LIST],
    "emarsys_ids_left_out": 0,
    "emarsys_reply_codes": [],
}

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What came of a run."""

    plan: RunPlan
    planned: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    samples: int = 0
    recounts: int = 0
    longest_s: float = 0.0
    requests: int = 0
    workers: int = 0
    seconds: float = 0.0


def run(plan: RunPlan, directory: Path, say: Say, *, broken: bool = False) -> Result:
    """With `broken`, promises are broken on purpose."""
    began_s = time.monotonic()
    result = Result(plan)
    seed, platform = world_seed(plan), PLATFORMS[plan.platform]
    # In every other run questions about jobs meet what is scripted as well.
    dials = {} if plan.number % 2 else {"faults_on": [platform.upsert_endpoint]}
    acks = int(plan.replicated)
    with World(directory, platform, seed=seed, replicas=acks, replicated=plan.replicated, dials=dials) as world:
        say("starting")
        world.crew.start()
        stop = threading.Event()
        with ThreadPoolExecutor(SIDE_BY_SIDE + 1) as threads:
            calls = iter(world.traffic(IMMORTAL))
            immortal = threads.submit(produce, calls, platform, world.list_id, world.accepted, stop)
            world.mortal.start()
            try:
                for worker in world.crew.living():
                    worker.wait_until_consuming(START_S)
                with Duties(world, f"{seed} duties"):
                    inflict(plan, world, threads, result, say)
                    if broken:
                        sabotage.during(world)
                calm_down(world)
            finally:
                world.calm.set()
                stop.set()
                world.mortal.stop()
            immortal.result()
        come_to_rest(world, say)
        if broken:
            sabotage.after(world)
        finish(world, result)
    result.seconds = time.monotonic() - began_s
    return result


def world_seed(plan: RunPlan) -> int:
    """A seed of this run's own."""
    return plan.seed * 1_000 + plan.number


def inflict(plan: RunPlan, world: World, threads: ThreadPoolExecutor, result: Result, say: Say) -> None:
    """All faults, each at its time, and wait for the last of them."""
    began_s = time.monotonic()
    under_way: list[tuple[Planned, Future[str | None]]] = []
    for fault in plan.faults:
        time.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
        say(f"{len(under_way)}/{len(plan.faults)} {fault.kind.title}")
        under_way.append((fault, threads.submit(_inflict, fault, world)))
    time.sleep(max(0.0, began_s + plan.seconds - time.monotonic()))
    say("calming down")
    world.calm.set()
    for fault, future in under_way:
        result.planned[fault.kind.name] += 1
        if struck := future.result():
            result.struck[struck] += 1


def _inflict(fault: Planned, world: World) -> str | None:
    try:
        return fault.kind.inflict(world, fault.turn())
    except RedisError:
        return None  # Redis was away by another fault just then: this one has not struck


def calm_down(world: World) -> None:
    """No fault is left."""
    world.redis.calm()
    world.http.calm()
    world.http.rewrite = unchanged
    world.dial(**CALM)
    world.crew.wake()
    world.operator.order("resume", lane=None)
    for lane in {sent.lane for sent in world.history.sent}:
        world.operator.order("resume", lane=lane)


def come_to_rest(world: World, say: Say) -> None:
    """Until nothing waits, is held or is in flight, and no innocent has failed. Where nothing moves for `REST_S` the
    checker will say what is left."""
    moved_s, before = time.monotonic(), float("inf")
    bad = {sent.id for sent in world.history.sent if sent.may_fail_as}
    retries: Counter[str] = Counter()
    while time.monotonic() - moved_s < REST_S:
        totals = books.totals(books.read(world.store))
        left_over = [totals[name] for name in ("waiting", "held", "batched")]
        if sum(left_over) < before:
            moved_s, before = time.monotonic(), float(sum(left_over))
        say(f"coming to rest: {totals['waiting']} waiting, {totals['held']} held, {totals['batched']} in flight")
        left = [failed for failed in world.sampler.look_at_failures() if failed.code in NO_VERDICT]
        again = [f for f in left if f.id not in bad or retries[f.id] < LAST_RETRIES]
        if again:
            retries.update(failed.id for failed in again)
            world.retry(NO_VERDICT)
        elif not any(left_over):
            break
        time.sleep(0.3)
    # Jobs that nobody follows any more end too, and some of them never.
    for_ever = sum(entry["note"] == "job pending" for entry in world.journal.entries())
    gives_up_s = time.monotonic() + OVERDUE_S[1] + 1
    while world.sandbox.totals()["jobs_pending"] > for_ever and time.monotonic() < gives_up_s:
        time.sleep(0.2)


def finish(world: World, result: Result) -> None:
    """Ask everybody, and judge."""
    sampler = world.sampler
    sampler.recount()
    journal = world.journal.entries()
    # For whoever keeps the directory and looks into it.
    (world.directory / "journal.json").write_text(json.dumps(journal))
    sent = [[each.id, each.contact, dict(each.fields), sorted(each.may_fail_as)] for each in world.history.sent]
    (world.directory / "history.json").write_text(json.dumps(sent, ensure_ascii=False))
    found = Found(
        contacts=world.account.contacts({sent.contact for sent in world.history.sent}),
        before=world.account.before,
        defaults=world.account.defaults,
        books={lane.lane: lane.counts for lane in books.read(world.store)},
        journal=journal,
        failures=sampler.look_at_failures(),
        ever_failed=sampler.ever_failed,
        wrong_books=sampler.wrong,
        max_bytes=world.platform.max_bytes,
        max_contacts=world.platform.max_contacts,
    )
    result.verdict = judge(world.history.sent, found)
    result.steps.update(strike.step for strike in world.traps.strikes())
    result.samples, result.recounts, result.longest_s = sampler.samples, sampler.recounts, sampler.longest_s
    result.requests = len(journal)
    result.workers = world.crew.started
