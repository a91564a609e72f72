"""Many lanes: what does Redis pay for a batch or a tick, and how long do books, status and the sweep take?

    python -m benchmarks lanes [--contacts N] [--rounds R] [--json]

Once with one lane, with a tenth of N and with N lanes, one contact each, on one server. Every lane holds a record of
the same contact, which is in flight: the worst case. Nothing is sent: a batch ends as if the platform had taken it.

Yardstick: one lane. The figures of scripts are the server's own (`INFO commandstats`): the median of R runs. Exits with
1 if the end of a batch takes Redis 1 ms or more, or the recount of the books 10 s or more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any
from uuid import UUID

from support.tables import Table, show

from benchmarks.measure import parser_of
from benchmarks.records import plain
from benchmarks.stage import BenchmarkStage, stage_without_sandbox
from contact_ingest import enqueue
from contact_ingest.model.batch import Batch, BatchState, Settlement
from contact_ingest.operations.status import lanes as explain
from contact_ingest.store import books
from contact_ingest.store.batches import Claim
from contact_ingest.store.inspect import newest_batches, read_destination
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.scripts import Store, _source

MOST_MS, MOST_RECOUNT_S = 1.0, 10.0
#: The contact of which every lane holds a record.
HOT = {"email": "hot@example.com"}
#: Batches, settled long ago, that the sweep takes.
OLD = 20_000
LISTED = 50
SCRIPTS = {
    "aggregate_commit": "commit of a round, ms of Redis",
    "batch_claim": "claim of a batch, ms of Redis",
    "batch_settle": "end of a batch, ms of Redis",
    "schedule_tick": "tick after it, ms of Redis",
}
RECOUNT = "recount of the books, s"


class ServerClock:
    """The server's own time for each run of a script by `client`, in ms, by the name of the script, while `counts`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._evalsha, client.evalsha = client.evalsha, self.evalsha
        # Loaded before, so that no run is one that only finds the script missing.
        self._names = {client.script_load(_source(name)[0]): name for name in SCRIPTS}
        self.ms: dict[str, list[float]] = {name: [] for name in SCRIPTS}
        self.counts = False

    def evalsha(self, digest: str, *args: Any) -> Any:
        name = self._names.get(digest)
        if name is None or not self.counts:
            return self._evalsha(digest, *args)
        before = self._spent_us()
        answer = self._evalsha(digest, *args)
        self.ms[name].append((self._spent_us() - before) / 1000)
        return answer

    def _spent_us(self) -> int:
        return int(self._client.info("commandstats")["cmdstat_evalsha"]["usec"])


def fill(where: BenchmarkStage, count: int) -> list[str]:
    """So many lanes, each with a contact of its own and one that is in flight; returns their names."""
    where.client.flushall()
    enqueue(HOT)
    where.runtime.aggregator.aggregate("sendgrid")
    claimed(where)
    for number in range(count):
        enqueue([plain(number), HOT], list_ids=[str(UUID(int=number + 1))])
    return [lane for lane in lane_names(where.runtime.store) if lane != "sendgrid"]


def claimed(where: BenchmarkStage) -> Batch:
    claim = where.runtime.batch_store.claim("dispatch")
    assert isinstance(claim, Claim), "no batch was cut"
    return claim.batch


def cut_and_end(where: BenchmarkStage, lane: str) -> None:
    """A round over a lane, and the end of the batch that it makes, after a tick as a worker's."""
    runtime = where.runtime
    runtime.aggregator.aggregate(lane)
    batch = claimed(where)
    runtime.batch_store.settle(batch, Settlement(replace(batch, state=BatchState.DONE), delivered=batch.rows))
    runtime.schedule.tick(2)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def sweep(where: BenchmarkStage) -> float:
    """Batches forgotten a second, of OLD that were settled long ago."""
    k, pipe = where.runtime.store.keys, where.client.pipeline(transaction=False)
    for number in range(10**9, 10**9 + OLD):
        pipe.hset(k(f"batch:{number}"), mapping={"state": "done", "root": number, "lane": "sendgrid", "parts": 0})
        pipe.zadd(k("batches"), {str(number): 1})
    pipe.execute()
    began, left = time.perf_counter(), OLD
    while left > 0:
        left -= where.runtime.schedule.sweep(86_400_000, 86_400_000)[0]
    return OLD / (time.perf_counter() - began)


def figures(where: BenchmarkStage, clock: ServerClock, count: int, rounds: int) -> dict[str, float]:
    runtime = where.runtime
    lanes = fill(where, count)
    measured = lanes[-rounds:]
    for lane in lanes[: -len(measured)]:
        cut_and_end(where, lane)
    clock.ms.update({name: [] for name in SCRIPTS})
    clock.counts = True
    for number in range(rounds):
        if number >= len(measured):  # fewer lanes than rounds: one of them again, with another contact
            enqueue([plain(10**6 + number)], list_ids=[str(UUID(int=1))])
        cut_and_end(where, measured[number] if number < len(measured) else _lane_of_list(1))
    clock.counts = False
    found = {label: median(clock.ms[script]) for script, label in SCRIPTS.items()}
    return found | {
        "books, s": seconds(lambda: books.read(runtime.store)),
        RECOUNT: seconds(lambda: _recount(runtime.store)),
        "status, s": seconds(lambda: explain(read_destination(runtime.store, runtime.breaker.state()), attended=True)),
        f"{LISTED} batches, s": seconds(lambda: list(islice(newest_batches(runtime.store), LISTED))),
        "batches swept a second": sweep(where),
    }


def _lane_of_list(number: int) -> str:
    return enqueue([], list_ids=[str(UUID(int=number))]).lane


def _recount(store: Store) -> None:
    if wrong := [says for found in books.all_disagreements(store).values() for says in found]:
        raise AssertionError(f"the books are wrong: {wrong[:3]}")


def run(counts: Sequence[int], rounds: int) -> tuple[Table, list[str]]:
    with stage_without_sandbox(MAX_WAIT_S=0, LEASE_S=3_600) as where:
        clock = ServerClock(where.engine.client)
        by_count = {count: figures(where, clock, count, rounds) for count in counts}
    last = by_count[counts[-1]]
    wrong = []
    if (ends := last[SCRIPTS["batch_settle"]]) >= MOST_MS:
        wrong.append(f"the end of a batch takes Redis {ends:.2f} ms")
    if last[RECOUNT] >= MOST_RECOUNT_S:
        wrong.append(f"the recount takes {last[RECOUNT]:.1f} s")
    table = Table(
        f"lanes that all hold a record of a contact in flight, {rounds} rounds",
        ("step", *(f"{count:,} lane{'s' if count > 1 else ''}" for count in counts)),
        [(step, *(found[step] for found in by_count.values())) for step in last],
        notes=(
            "yardstick: one lane. Promised: the end of a batch under 1 ms, a recount under 10 s.",
            *(f"WRONG: {what}" for what in wrong),
        ),
    )
    return table, wrong


def main(arguments: Sequence[str]) -> int:
    given = parser_of(__doc__, contacts=10_000, rounds=50).parse_args(arguments)
    counts = sorted({1, max(1, given.contacts // 10), given.contacts})
    table, wrong = run(counts, given.rounds)
    show([table], as_json=given.json, wrong=wrong)
    return 1 if wrong else 0
