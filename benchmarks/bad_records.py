"""Bad records that no reply names, at random places of a backlog. Do all of them fail, and nobody else? How many
requests does each cost? And does fresh traffic of the same lane wait for them?

    python -m benchmarks bad_records [--contacts N] [--bad B] [--rounds R] [--json]

A real worker (prefork, two children) meets a sandbox that refuses a body with a bad record as a whole, and has no limit
of requests. Once the backlog is cut, one fresh record comes to its lane every second. Yardsticks: log2(N / B) + 3
requests a bad record, and 10 s from a fresh record's enqueue until the platform has applied it. The worker looks at
imports after 0.25 s and waits for no fuller bodies; imports take up to half a second. Exits with 1 if a bad one is
delivered, a good one fails, or a fresh one waits longer.
"""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from support.tables import Table, show
from support.waiting import wait_while_it_progresses

from benchmarks.measure import parser_of
from benchmarks.records import plain
from benchmarks.stage import BenchmarkStage, stage
from contact_ingest import enqueue

BAD = "[[reject-silent]]"
FRESH_EVERY_S, MAX_FRESH_S = 1.0, 10.0
CONCURRENCY = 2
DIALS = {"job_seconds": [0.1, 0.5]}


@dataclass(slots=True)
class Fresh:
    """A record that comes every second, and how long each takes."""

    where: BenchmarkStage
    came_s: dict[str, float] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)
    next_s: float = 0.0
    count: int = 0

    def turn(self, *, more: bool) -> None:
        """See which have arrived; send the next one when it is time."""
        if self.came_s:
            stored = {contact["email"] for contact in self.where.sandbox.contacts()}
            now_s = time.monotonic()
            for email in self.came_s.keys() & stored:
                self.took_s.append(now_s - self.came_s.pop(email))
        if more and time.monotonic() >= self.next_s:
            self.count += 1
            email = f"fresh{self.count}@example.com"
            self.came_s[email] = time.monotonic()
            self.next_s = self.came_s[email] + FRESH_EVERY_S
            enqueue({"email": email})


def search(where: BenchmarkStage, contacts: int, bad: set[int]) -> tuple[float, Fresh]:
    """Let a worker go through the backlog; returns how long that took, and the fresh ones."""
    enqueue({**plain(n), "city": BAD} if n in bad else plain(n) for n in range(contacts))
    fresh, began_s = Fresh(where), time.monotonic()
    with where.worker(pool="prefork", concurrency=CONCURRENCY, ready=False) as worker:
        wait_while_it_progresses(lambda: not where.books()["waiting"], where.books, lambda: worker.log)

        def ended() -> bool:
            found = where.books()
            backlog = found["delivered"] + found["failed"] - len(fresh.took_s) < contacts
            fresh.turn(more=backlog)
            return not backlog and not fresh.came_s and where.is_settled()

        wait_while_it_progresses(ended, where.books, lambda: worker.log, pause_s=0.1)
    return time.monotonic() - began_s, fresh


def problems(where: BenchmarkStage, contacts: int, bad: set[int], fresh: Fresh) -> list[str]:
    failed = {orjson.loads(failure.raw)["email"] for failure in where.runtime.failures}
    meant = {plain(number)["email"] for number in bad}
    found = []
    if missing := meant - failed:
        found.append(f"{len(missing)} bad ones have not failed")
    if innocent := failed - meant:
        found.append(f"{len(innocent)} good ones have failed")
    if (arrived := where.sandbox.totals()["contacts"]) != contacts - len(bad) + fresh.count:
        found.append(f"{arrived:,} contacts have arrived")
    if late := [took for took in fresh.took_s if took > MAX_FRESH_S]:
        found.append(f"{len(late)} fresh ones have waited for more than {MAX_FRESH_S:g} s")
    return found


def run(number: int, contacts: int, count: int) -> tuple[Table, list[str]]:
    bad = set(random.Random(number).sample(range(contacts), count))
    with stage(DIALS, POLL_FIRST_S=0.25, MAX_WAIT_S=0) as where:
        took_s, fresh = search(where, contacts, bad)
        sent = [entry for entry in where.sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"]
        wrong = problems(where, contacts, bad, fresh)
    each = (len(sent) - fresh.count) / count
    yardstick = math.log2(contacts / count) + 3
    sent_bytes = sum(entry["bytes"] for entry in sent)
    rows: list[tuple[str, float, str]] = [
        ("all over after, s", took_s, f"{len(sent):,} requests, {len(sent) / took_s:,.0f} a second"),
        ("requests a bad record", each, f"{each / yardstick:.2f} of log2(N / B) + 3 = {yardstick:.1f}"),
        ("bytes sent / bytes of the backlog", sent_bytes / (contacts * len(str(plain(0)))), f"{sent_bytes:,} bytes"),
        (
            "slowest fresh record, s",
            max(fresh.took_s, default=0.0),
            f"of {fresh.count}; under {MAX_FRESH_S:g} is meant",
        ),
    ]
    table = Table(f"{count:,} bad ones among {contacts:,} contacts, run {number}", ("step", "value", ""), list(rows))
    table.notes = ("yardsticks: log2(N / B) + 3 requests; 10 s.", *(f"WRONG: {what}" for what in wrong))
    return table, wrong


def main(arguments: Sequence[str]) -> int:
    parser = parser_of(__doc__, contacts=30_000, rounds=1)
    parser.add_argument("--bad", type=int, help="how many are bad (default: one in thirty)")
    given = parser.parse_args(arguments)
    count = given.bad or max(1, given.contacts // 30)
    runs = [run(number, given.contacts, count) for number in range(1, given.rounds + 1)]
    wrong = [what for _, found in runs for what in found]
    show([table for table, _ in runs], as_json=given.json, wrong=wrong)
    return 1 if wrong else 0
