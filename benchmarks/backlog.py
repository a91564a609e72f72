"""A backlog that waits before a worker starts: are all bodies full, none too large, and how much memory is needed?

    python -m benchmarks backlog [--contacts N] [--rounds R] [--json]

A real Celery worker (prefork, two children) drains it into the sandbox. Yardsticks: the platform's 6,000,000 bytes a
request, and 150 MB for each process. Exits with 1 if a body is over, if one beside the lane's last is filled to less
than 99 %, if a process has needed 150 MB or more, or if a contact is missing. Memory is the kernel's own peak (VmHWM),
on Linux alone.
"""

import time
from collections.abc import Sequence

from support.memory import Peaks
from support.tables import Table, show
from support.waiting import wait_while_it_progresses

from benchmarks.measure import parser_of
from benchmarks.records import plain
from benchmarks.stage import BenchmarkStage, stage
from contact_ingest import enqueue

MAX_BYTES = 6_000_000
MIN_FILL = 0.99
MAX_PEAK_BYTES = 150_000_000
MEGABYTE = 1_000_000
CONCURRENCY = 2
DIALS = {"job_seconds": [0.2, 1.0]}


def drain(where: BenchmarkStage, contacts: int) -> tuple[float, float, Peaks]:
    """Enqueue, start a worker, wait until nothing is left; returns both times and the peaks."""
    began = time.perf_counter()
    enqueue(plain(number) for number in range(contacts))
    enqueued = time.perf_counter()
    with where.worker(pool="prefork", concurrency=CONCURRENCY, ready=False) as worker:
        peaks = Peaks(worker.pid)

        def progress() -> dict[str, int]:
            peaks.look()
            return where.books()

        wait_while_it_progresses(where.is_settled, progress, lambda: worker.log, pause_s=0.1)
        took = time.perf_counter() - enqueued
        peaks.look()
    return enqueued - began, took, peaks


def upserts(where: BenchmarkStage) -> list[int]:
    """Bytes of each request that was taken in, smallest first."""
    return sorted(e["bytes"] for e in where.sandbox.journal() if e["endpoint"] == "sendgrid.upsert")


def problems(where: BenchmarkStage, sizes: list[int], peaks: Peaks, contacts: int) -> list[str]:
    found = []
    # The lane's last body is as large as what was left: the smallest of all may be it.
    if over := [size for size in sizes if size > MAX_BYTES]:
        found.append(f"{len(over)} bodies are over {MAX_BYTES:,} bytes")
    if under := [size for size in sizes[1:] if size < MIN_FILL * MAX_BYTES]:
        found.append(f"{len(under)} bodies beside the last are less than {MIN_FILL:.0%} full")
    if greedy := [peak for peak in peaks.by_pid.values() if peak >= MAX_PEAK_BYTES]:
        found.append(f"{len(greedy)} processes have needed {MAX_PEAK_BYTES // MEGABYTE} MB or more")
    if (arrived := where.sandbox.totals()["contacts"]) != contacts:
        found.append(f"{arrived:,} of {contacts:,} contacts arrived")
    return found


def run(number: int, contacts: int) -> tuple[Table, list[str]]:
    with stage(DIALS, POLL_FIRST_S=0.25) as where:
        enqueue_s, drain_s, peaks = drain(where, contacts)
        sizes = upserts(where)
        wrong = problems(where, sizes, peaks, contacts)
    full = sizes[1:]
    rows: list[tuple[str, float | None, str]] = [
        ("enqueued in, s", enqueue_s, f"{contacts / enqueue_s:,.0f} records/s"),
        ("drained in, s", drain_s, f"{contacts / drain_s:,.0f} records/s, worker's start and imports included"),
        ("largest body, bytes / 6,000,000", sizes[-1] / MAX_BYTES, f"{sizes[-1]:,} bytes of {len(sizes)} bodies"),
        ("emptiest but the last / 6,000,000", full[0] / MAX_BYTES if full else None, "at least 0.99 is promised"),
        ("peak of the worker's main process, MB", _mb(peaks.main), f"under {MAX_PEAK_BYTES // MEGABYTE} is promised"),
    ]
    rows += [(f"peak of pool child {at}, MB", _mb(peak), "the same") for at, peak in enumerate(peaks.pool, 1)]
    table = Table(
        f"backlog of {contacts:,} contacts of about 300 bytes, run {number}", ("step", "value", ""), list(rows)
    )
    table.notes = ("yardsticks: 6,000,000 bytes a request; 150 MB a process.", *(f"WRONG: {what}" for what in wrong))
    return table, wrong


def _mb(peak: int | None) -> float | None:
    return None if peak is None else peak / MEGABYTE


def main(arguments: Sequence[str]) -> int:
    given = parser_of(__doc__, contacts=200_000, rounds=1).parse_args(arguments)
    runs = [run(number, given.contacts) for number in range(1, given.rounds + 1)]
    wrong = [what for _, found in runs for what in found]
    show([table for table, _ in runs], as_json=given.json, wrong=wrong)
    return 1 if wrong else 0
