"""Hot contacts: does one lane keep its speed while a few of its contacts are updated again and again, many imports of
it are pending, and these finish in random order? And does everybody end with their newest values?

    python -m benchmarks hot_contacts [--contacts N] [--rounds R] [--json]

Yardstick: the same run without the updates, with the same real worker (prefork, two children), in turn. What is timed
is the base contacts: from the first enqueue until the platform has them all. 1 % of them are hot: they get an update
each, several times a second, until then. Exits with 1 if any contact of any run ends stale.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from support.processes import WorkerProcess
from support.tables import Table, show
from support.waiting import wait_while_it_progresses

from benchmarks.measure import parser_of
from benchmarks.records import plain
from benchmarks.stage import BenchmarkStage, stage
from contact_ingest import enqueue

HOT_EVERY = 100
#: Between two updates of every hot contact.
PAUSE_S = 0.25
#: Imports that are pending together, how long each takes, and how many such fillings of the pipe a run has.
PENDING, FILLINGS = 20, 10
JOB_SECONDS = [0.2, 1.5]
SMALLEST_BODY = 65_536
CONCURRENCY = 2


@dataclass(slots=True)
class Result:
    """One run over the base contacts."""

    hot: bool
    seconds: float
    updates: int
    most_pending: int
    stale: int


class Updates(threading.Thread):
    """Updates every hot contact again and again. The city tells the version; names are set in turn, so that a merge
    which loses a field shows."""

    def __init__(self, hot: range) -> None:
        super().__init__(name="updates")
        self._hot = hot
        self._ended = threading.Event()
        self.sent: list[dict[str, str]] = []

    def run(self) -> None:
        while not self._ended.wait(PAUSE_S):
            version = f"v{len(self.sent) + 1}"
            update = {"city": version, ("first_name", "last_name")[len(self.sent) % 2]: version}
            enqueue({"email": plain(number)["email"], **update} for number in self._hot)
            self.sent.append(update)

    def end(self) -> None:
        self._ended.set()
        self.join()


def run(where: BenchmarkStage, worker: WorkerProcess, contacts: int, *, hot: bool) -> Result:
    """From an empty platform to a settled lane."""
    where.sandbox.reset()
    updates = Updates(range(0, contacts, HOT_EVERY))
    pending = 0

    def look() -> Mapping[str, Any]:
        nonlocal pending
        totals = where.sandbox.totals()
        pending = max(pending, totals["jobs_pending"])
        return totals

    began = time.perf_counter()
    if hot:
        updates.start()
    try:
        enqueue(plain(number) for number in range(contacts))
        wait_while_it_progresses(lambda: look()["contacts"] >= contacts, look, lambda: worker.log)
        took = time.perf_counter() - began
    finally:
        if hot:
            updates.end()
    wait_while_it_progresses(where.is_settled, where.books, lambda: worker.log)
    return Result(hot, took, len(updates.sent), pending, stale(where, contacts, updates.sent))


def stale(where: BenchmarkStage, contacts: int, updates: list[dict[str, str]]) -> int:
    """Contacts that are not as their records, merged in the order of enqueueing, say."""
    newest = {name: value for update in updates for name, value in update.items()}
    expected = {}
    for number in range(contacts):
        record = plain(number)
        expected[record["email"]] = {**record, **(newest if number % HOT_EVERY == 0 else {})}
    for stored in where.sandbox.contacts():
        wanted = expected.get(stored["email"])
        if wanted is not None and all(stored.get(name) == value for name, value in wanted.items()):
            del expected[stored["email"]]
    return len(expected)


def runs(contacts: int, rounds: int) -> list[tuple[Result, Result]]:
    """Pairs of one run without and one with updates, now this one first and now that one."""
    size = max(SMALLEST_BODY, contacts * len(str(plain(0))) // (PENDING * FILLINGS))
    settings = {
        "MAX_BODY_BYTES": min(size, 6_000_000),
        "MAX_OPEN_BATCHES": PENDING,
        "MAX_WAIT_S": 0.5,
        "POLL_FIRST_S": 0.1,
    }
    found = []
    with (
        stage({"job_seconds": JOB_SECONDS}, **settings) as where,
        where.worker(pool="prefork", concurrency=CONCURRENCY) as worker,
    ):
        run(where, worker, max(1, contacts // 20), hot=True)  # warms up everything
        for number in range(rounds):
            order = (False, True) if number % 2 else (True, False)
            both = {hot: run(where, worker, contacts, hot=hot) for hot in order}
            found.append((both[False], both[True]))
    return found


def main(arguments: Sequence[str]) -> int:
    given = parser_of(__doc__, contacts=60_000, rounds=4).parse_args(arguments)
    pairs = runs(given.contacts, given.rounds)
    table = Table(
        f"{given.contacts:,} contacts of about 300 bytes, 1 % of them hot, {given.rounds} rounds",
        ("step", "µs/record", "ratio", "contacts/s", "updates", "pending", "stale"),
    )
    ratio = median(hot.seconds / calm.seconds for calm, hot in pairs)
    for name, results, to_calm in (
        ("without updates", [calm for calm, _ in pairs], 1.0),
        ("hot contacts updated", [hot for _, hot in pairs], ratio),
    ):
        seconds = median(r.seconds for r in results) / given.contacts
        updates = sum(r.updates for r in results) * len(range(0, given.contacts, HOT_EVERY))
        most, bad = max(r.most_pending for r in results), sum(r.stale for r in results)
        table.rows.append((name, seconds * 1e6, to_calm, f"{1 / seconds:,.0f}", f"{updates:,}", most, bad))
    bad = sum(r.stale for pair in pairs for r in pair)
    each = ", ".join(f"{hot.seconds / calm.seconds:.2f}" for calm, hot in pairs)
    table.notes = (
        "yardstick: the run without updates, in the same rounds; timed until the platform has every base contact.",
        f"throughput beside the yardstick: {100 / ratio:.0f} % (ratios of the rounds: {each}); meant: at least 90 %.",
        f"{bad} contacts ended stale",
    )
    show([table], as_json=given.json, stale=bad)
    return 1 if bad else 0
