"""What the benchmarks share: steps timed in turn, round after round, and one small table or JSON of what was found.

Machines are noisy and drift, so every step runs once in each round beside its yardstick; a ratio is the median of the
ratios of single rounds. Nothing here says whether a figure is good.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

#: The kernel's books of this process; absent on systems other than Linux.
STATUS = "/proc/{pid}/status"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be timed. `prepare` makes what `run` needs, fresh for every round and outside the clock; `records`
    is how many records one run works through. A `run` that returns seconds has held the watch itself."""

    name: str
    records: int
    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True, slots=True)
class Timing:
    """A step's seconds a record, one figure a round."""

    name: str
    seconds: Sequence[float]

    @property
    def micros(self) -> float:
        return median(self.seconds) * 1e6

    def ratio(self, yardstick: "Timing") -> float:
        return median(mine / other for mine, other in zip(self.seconds, yardstick.seconds, strict=True))


@dataclass(slots=True)
class Table:
    """The result: a title, columns, rows, and notes that say what the yardstick is."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}

    def __str__(self) -> str:
        cells = [list(self.columns), *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(self.columns))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(widths[at]) for at, cell in enumerate(row[1:], 1))])
            for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, "", *(line.rstrip() for line in lines), "", *self.notes])


def arguments(doc: str | None, *, contacts: int, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=_at_least_one, default=contacts, help=f"how many (default {contacts:,})")
    parser.add_argument("--rounds", type=_at_least_one, default=rounds, help=f"how often (default {rounds})")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    return parser


def interleave(steps: Iterable[Step], rounds: int) -> dict[str, Timing]:
    """Run all steps in turn, `rounds` times, after one round that only warms up."""
    steps = list(steps)
    found: Mapping[str, list[float]] = {step.name: [] for step in steps}
    for number in range(rounds + 1):
        for step in steps:
            seconds = clock(step)
            if number:
                found[step.name].append(seconds / step.records)
    return {name: Timing(name, seconds) for name, seconds in found.items()}


def clock(step: Step) -> float:
    """Seconds of one run. The collector of cycles runs as in real life, but begins with nothing to do."""
    given = step.prepare()
    gc.collect()
    began = time.perf_counter()
    returned = step.run(given)
    took = time.perf_counter() - began
    return returned if isinstance(returned, float) else took


def show(tables: Sequence[Table], *, as_json: bool, **more: object) -> None:
    """Print tables, or one JSON object that also holds `more`."""
    if as_json:
        print(json.dumps({"tables": [table.as_dict() for table in tables], **more}))
    else:
        print("\n\n".join(map(str, tables)))


def peak_bytes(pid: int | str = "self") -> int | None:
    """The most memory a process has had resident; None where the kernel does not tell."""
    return _status(pid, "VmHWM")


def resident_bytes(pid: int | str = "self") -> int | None:
    return _status(pid, "VmRSS")


def forget_peak() -> None:
    """Let this process's peak begin anew at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(pid: int | str, name: str) -> int | None:
    try:
        lines = Path(STATUS.format(pid=pid)).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:,.2f}" if isinstance(cell, float) else str(cell)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
