"""Intake: what it costs a producer to enqueue, by how many records it passes at a time, on a real server.

    python benchmarks/intake.py [--contacts N] [--rounds R] [--json]

Yardstick: bare `RPUSH` of the same bytes, encoded before, 1,000 at a time: no check, no counters, no call id, nothing
that survives a lost reply. For comparison, one Celery message a record to the same server.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from celery import Celery
from measure import Step, Table, Timing, arguments, interleave, show
from records import plain
from stage import wired_to

from worker import enqueue
from worker.embedded import EmbeddedServer
from worker.wiring import Wiring

PUSHED_AT_A_TIME = 1_000
#: A round trip a record takes long; so many are enough to know it.
ONE_BY_ONE = 2_000
CALLS = (1, 10, 100, 500)
YARDSTICK = "bare RPUSH, 1,000 at a time"


def pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def steps(parts: Wiring, app: Celery, contacts: int) -> list[Step]:
    records = [plain(number) for number in range(contacts)]
    raws = [orjson.dumps(record) for record in records]
    client = parts.client

    def empty() -> None:
        client.flushall()

    def push(_: object) -> None:
        for piece in pieces(raws, PUSHED_AT_A_TIME):
            client.rpush("bare", *piece)

    def encode_and_push(_: object) -> None:
        for piece in pieces(records, PUSHED_AT_A_TIME):
            client.rpush("bare", *map(orjson.dumps, piece))

    def calls_of(size: int, count: int) -> Callable[[object], None]:
        def run(_: object) -> None:
            for piece in pieces(records[:count], size):
                enqueue(piece[0] if size == 1 else piece)

        return run

    def send(count: int) -> Callable[[object], None]:
        def run(_: object) -> None:
            for record in records[:count]:
                app.send_task("contacts.enqueue", args=[record], ignore_result=True)

        return run

    few = min(contacts, ONE_BY_ONE)
    made = [
        Step(YARDSTICK, contacts, push, empty),
        Step("orjson.dumps each + RPUSH, 1,000", contacts, encode_and_push, empty),
        Step("enqueue(an iterable of all)", contacts, lambda _: enqueue(iter(records)) and None, empty),
    ]
    for size in reversed(CALLS):
        count = contacts if size > 1 else few
        name = f"enqueue, {size} a call" if size > 1 else "enqueue(record)"
        made.append(Step(name, count, calls_of(size, count), empty))
    made.append(Step("Celery send_task, one a record", few, send(few), empty))
    return made


def main() -> None:
    given = arguments(__doc__, contacts=20_000, rounds=5).parse_args()
    with EmbeddedServer() as server, wired_to(server.url, "http://127.0.0.1:9") as parts:
        with Celery("bare", broker=server.url, set_as_current=False) as app:
            found = interleave(steps(parts, app, given.contacts), given.rounds)
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


def per_second(timing: Timing) -> str:
    return f"{1e6 / timing.micros:,.0f}"


if __name__ == "__main__":
    main()
