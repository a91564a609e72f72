"""A backlog that waits before a worker starts: are all bodies full, none too large, and how much memory is needed?

    python benchmarks/backlog.py [--contacts N] [--rounds R] [--json]

A real Celery worker (prefork, two children) drains it into the sandbox. Yardsticks: the platform's 6,000,000 bytes a
request, and 150 MB for each process. Exits with 1 if a body is over, if one beside the lane's last is filled to less
than 99 %, if a process has needed 150 MB or more, or if a contact is missing. Memory is the kernel's own peak (VmHWM),
on Linux alone.
"""

import sys
import tempfile
import time
from pathlib import Path

from measure import Table, arguments, peak_bytes, show
from records import plain
from stage import Stage, follow, stage

from contact_ingest import enqueue
from contact_ingest.cli.demo.processes import WorkerProcess

MAX_BYTES = 6_000_000
MIN_FILL = 0.99
MAX_PEAK_BYTES = 150_000_000
MEGABYTE = 1_000_000
CONCURRENCY = 2
DIALS = {"job_seconds": [0.2, 1.0]}


class Peaks:
    """The most memory that each process of a worker has had, its pool's children included, the ended ones too."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.by_pid: dict[int, int] = {}

    def look(self) -> None:
        for pid in (self._pid, *children(self._pid)):
            found = peak_bytes(pid)
            if found is not None:
                self.by_pid[pid] = max(found, self.by_pid.get(pid, 0))

    @property
    def main(self) -> int | None:
        return self.by_pid.get(self._pid)

    @property
    def pool(self) -> list[int]:
        """Of the pool's children, the greediest first."""
        return sorted((peak for pid, peak in self.by_pid.items() if pid != self._pid), reverse=True)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def drain(where: Stage, contacts: int, log: Path) -> tuple[float, float, Peaks]:
    """Enqueue, start a worker, wait until nothing is left; returns both times and the peaks."""
    began = time.perf_counter()
    enqueue(plain(number) for number in range(contacts))
    enqueued = time.perf_counter()
    settings = where.environment(POLL_FIRST_S=0.25, MAX_WAIT_S=where.engine.settings.max_wait_s)
    with WorkerProcess(settings, log, concurrency=CONCURRENCY) as worker:
        peaks = Peaks(worker.pid)

        def progress() -> dict[str, int]:
            peaks.look()
            return where.books()

        follow(where.is_settled, progress, log, pause_s=0.1)
        took = time.perf_counter() - enqueued
        peaks.look()
    return enqueued - began, took, peaks


def upserts(where: Stage) -> list[int]:
    """Bytes of each request that was taken in, smallest first."""
    return sorted(e["bytes"] for e in where.sandbox.journal() if e["endpoint"] == "sendgrid.upsert")


def problems(where: Stage, sizes: list[int], peaks: Peaks, contacts: int) -> list[str]:
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
    with stage(DIALS) as where, tempfile.TemporaryDirectory(prefix="contact-ingest-") as folder:
        enqueue_s, drain_s, peaks = drain(where, contacts, Path(folder, "contact_ingest.log"))
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


def main() -> None:
    given = arguments(__doc__, contacts=200_000, rounds=1).parse_args()
    runs = [run(number, given.contacts) for number in range(1, given.rounds + 1)]
    wrong = [what for _, found in runs for what in found]
    show([table for table, _ in runs], as_json=given.json, wrong=wrong)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
