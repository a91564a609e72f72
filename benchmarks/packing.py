"""Packing: what it costs to make a body of many contacts, to the byte, against encoding the whole list at once.

    python -m benchmarks packing [--contacts N] [--rounds R] [--json]

Yardstick: `orjson.dumps` of the whole list, which cannot say where a body is full. The peak of memory of each way is
taken in a process of its own (Linux).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from support.memory import forget_peak, peak_bytes, resident_bytes
from support.product import ROOT
from support.tables import Table, show

from benchmarks.measure import Step, interleave, parser_of
from benchmarks.records import plain
from contact_ingest.packing.payload import Limits, Payload

LIMITS = Limits(30_000, 6_000_000, b'{"contacts":[', b"]}")
#: Re-serialising everything for each record takes time with the square of the number: so many, then calculated.
SQUARE_CONTACTS = 1_000
MEGABYTE = 1_000_000


def dump_all(records: Sequence[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps({"contacts": records})]


def pack(encoded: Sequence[bytes]) -> list[bytes]:
    bodies, body = [], Payload(LIMITS)
    for contact in encoded:
        if not body.fits(contact):
            bodies.append(body.close().body)
            body = Payload(LIMITS)
        body.add(contact)
    return [*bodies, body.close().body]


def encode_and_pack(records: Sequence[dict[str, Any]]) -> list[bytes]:
    bodies, body = [], Payload(LIMITS)
    for record in records:
        contact = orjson.dumps(record)
        if not body.fits(contact):
            bodies.append(body.close().body)
            body = Payload(LIMITS)
        body.add(contact)
    return [*bodies, body.close().body]


def join(encoded: Sequence[bytes]) -> list[bytes]:
    """A list of bytes, its size added up, joined when full."""
    bodies: list[bytes] = []
    kept: list[bytes] = []
    size = room = LIMITS.max_contact_bytes
    for contact in encoded:
        size += len(contact) + 1
        if size > room or len(kept) == LIMITS.max_contacts:
            if kept:
                bodies.append(LIMITS.prefix + b",".join(kept) + LIMITS.suffix)
            kept, size = [], len(contact)
        kept.append(contact)
    return [*bodies, LIMITS.prefix + b",".join(kept) + LIMITS.suffix]


def encode_and_join(records: Sequence[dict[str, Any]]) -> list[bytes]:
    return join([orjson.dumps(record) for record in records])


def measure_and_dump(records: Sequence[dict[str, Any]]) -> list[bytes]:
    """The size by one encoder, the body by the same once more."""
    bodies: list[bytes] = []
    kept: list[dict[str, Any]] = []
    size = 0
    for record in records:
        length = len(json.dumps(record))
        if kept and (size + length > LIMITS.max_contact_bytes or len(kept) == LIMITS.max_contacts):
            bodies.append(json.dumps({"contacts": kept}).encode())
            kept, size = [], 0
        kept.append(record)
        size += length + 2
    return [*bodies, json.dumps({"contacts": kept}).encode()]


def dump_again_for_each(records: Sequence[dict[str, Any]]) -> list[bytes]:
    body = b""
    for number in range(1, len(records) + 1):
        body = orjson.dumps({"contacts": records[:number]})
        if len(body) > LIMITS.max_bytes:
            raise AssertionError("more than one body: fewer contacts are meant here")
    return [body]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make bodies, of records or of contacts that are encoded already."""

    name: str
    run: Callable[[Any], list[bytes]]
    encoded: bool = False


YARDSTICK = Way("orjson.dumps, whole list", dump_all)
SQUARE = Way("orjson.dumps of all so far, for each", dump_again_for_each)
WAYS = (
    YARDSTICK,
    Way("ours: Body, contacts encoded before", pack, encoded=True),
    Way("list of bytes + join, encoded before", join, encoded=True),
    Way("ours: orjson for each, Body", encode_and_pack),
    Way("orjson for each, list of bytes + join", encode_and_join),
    Way("json.dumps for the size, and again to send", measure_and_dump),
)


def contacts_for(way: Way, count: int) -> Sequence[Any]:
    records = [plain(number) for number in range(count)]
    # Copies: what orjson returns keeps 4 KB alive, however short it is.
    return [b"%b" % orjson.dumps(record) for record in records] if way.encoded else records


def timed(contacts: int, rounds: int) -> Table:
    inputs = {encoded: contacts_for(Way("", dump_all, encoded), contacts) for encoded in (False, True)}
    few = inputs[False][:SQUARE_CONTACTS]
    steps = [Step(way.name, contacts, way.run, partial(inputs.__getitem__, way.encoded)) for way in WAYS]
    # One record costs (n+1)/2 encodings among n: from the few to all, times the quotient.
    steps.append(Step(SQUARE.name, len(few), SQUARE.run, lambda: few))
    found = interleave(steps, rounds)
    yardstick, grown = found[YARDSTICK.name], (contacts + 1) / (len(few) + 1)
    title = f"packing {contacts:,} contacts of {_mean_bytes(inputs[True])} bytes, {rounds} rounds"
    table = Table(title, ("step", "µs/record", "ratio", "peak MB"))
    for way in WAYS:
        timing = found[way.name]
        table.rows.append((way.name, timing.micros, timing.ratio(yardstick), _peak_mb(way, contacts)))
    square = found[SQUARE.name]
    table.rows.append((f"{SQUARE.name} *", square.micros * grown, square.ratio(yardstick) * grown, None))
    table.notes = (
        f"yardstick: {YARDSTICK.name}, in the same rounds. Peak: memory on top of the input.",
        f"* measured with {len(few):,} contacts, then calculated: each record costs in proportion to their number.",
    )
    return table


def _mean_bytes(encoded: Sequence[bytes]) -> int:
    return round(sum(map(len, encoded)) / len(encoded))


def _peak_mb(way: Way, contacts: int) -> float | None:
    """What a fresh process needed at most on top of its input."""
    asked = [
        sys.executable,
        "-m",
        "benchmarks",
        "packing",
        "--contacts",
        str(contacts),
        "--peak-of",
        str(WAYS.index(way)),
    ]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return float(said) / MEGABYTE if said else None


def print_peak(way: Way, contacts: int) -> None:
    given = contacts_for(way, contacts)
    before = resident_bytes()
    if before is None:
        return
    forget_peak()
    bodies = way.run(given)
    peak = peak_bytes()
    if peak is not None and bodies:
        print(max(0, peak - before))


def main(arguments: Sequence[str]) -> int:
    parser = parser_of(__doc__, contacts=20_000, rounds=7)
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.peak_of is not None:
        print_peak(WAYS[given.peak_of], given.contacts)
    else:
        show([timed(given.contacts, given.rounds)], as_json=given.json)
    return 0
