"""What it costs a producer to enqueue, by how many records it passes at a time, on a real server.

    python -m benchmarks enqueue [--contacts N] [--rounds R] [--json]

Yardstick: bare `RPUSH` of the same bytes, encoded before, 1,000 at a time: no check, no counters, no call id, nothing
that survives a lost reply. For comparison, one Celery message a record to the same server.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from celery import Celery
from support.tables import Table, show

from benchmarks.measure import Step, Timing, interleave, parser_of
from benchmarks.records import plain
from benchmarks.stage import stage_without_sandbox
from contact_ingest import enqueue
from contact_ingest.engine import Engine

PUSHED_AT_A_TIME = 1_000
#: A round trip a record takes long; so many are enough to know it.
ONE_BY_ONE = 2_000
CALLS = (500, 100, 10)
YARDSTICK = "bare RPUSH, 1,000 at a time"


def pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


class Producer:
    """The ways to put the same records into the server. What Celery is sent lies in its queue; nobody works there."""

    def __init__(self, engine: Engine, app: Celery, contacts: int) -> None:
        self._client = engine.client
        self._app = app
        self._records = [plain(number) for number in range(contacts)]
        self._raws = [orjson.dumps(record) for record in self._records]

    def steps(self) -> list[Step]:
        count = len(self._records)
        few = min(count, ONE_BY_ONE)
        return [
            Step(YARDSTICK, count, self._push, self._empty),
            Step("orjson.dumps each + RPUSH, 1,000", count, self._encode_and_push, self._empty),
            Step("enqueue(an iterable of all)", count, lambda _: enqueue(iter(self._records)), self._empty),
            *(Step(f"enqueue, {size} a call", count, self._calls_of(size), self._empty) for size in CALLS),
            Step("enqueue(record)", few, self._enqueue_each, self._empty),
            Step("Celery send_task, one a record", few, self._send_each, self._empty),
        ]

    def _empty(self) -> None:
        self._client.flushall()

    def _push(self, _: object) -> None:
        for piece in pieces(self._raws, PUSHED_AT_A_TIME):
            self._client.rpush("bare", *piece)

    def _encode_and_push(self, _: object) -> None:
        for piece in pieces(self._records, PUSHED_AT_A_TIME):
            self._client.rpush("bare", *map(orjson.dumps, piece))

    def _calls_of(self, size: int) -> Callable[[object], None]:
        def run(_: object) -> None:
            for piece in pieces(self._records, size):
                enqueue(piece)

        return run

    def _enqueue_each(self, _: object) -> None:
        for record in self._records[:ONE_BY_ONE]:
            enqueue(record)

    def _send_each(self, _: object) -> None:
        for record in self._records[:ONE_BY_ONE]:
            self._app.send_task("contacts.enqueue", args=[record], ignore_result=True)


def main(arguments: Sequence[str]) -> int:
    given = parser_of(__doc__, contacts=20_000, rounds=5).parse_args(arguments)
    with stage_without_sandbox() as where, Celery("bare", broker=where.redis_url, set_as_current=False) as app:
        found = interleave(Producer(where.engine, app, given.contacts).steps(), given.rounds)
    yardstick = found[YARDSTICK]
    table = Table(
        f"enqueueing {given.contacts:,} records of about 300 bytes, {given.rounds} rounds",
        ("step", "µs/record", "ratio", "records/s"),
        [(t.name, t.micros, t.ratio(yardstick), per_second(t)) for t in found.values()],
        (
            f"yardstick: {YARDSTICK}, of bytes encoded before, in the same rounds.",
            "The server keeps an append-only file, written to disk every second, for all of them.",
        ),
    )
    show([table], as_json=given.json)
    return 0


def per_second(timing: Timing) -> str:
    return f"{1e6 / timing.micros:,.0f}"
