"""What the benchmarks share: steps that are timed in turn, round after round.

Machines are noisy and drift, so every step runs once in each round beside its yardstick. A ratio is the median of the
ratios of single rounds. Nothing here says whether a figure is good.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be timed. `prepare` makes what `run` needs, for every round anew and outside the clock. `records` is
    how many records one run works through. Where `run` returns a float, that is its time in seconds."""

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


def parser_of(doc: str | None, *, contacts: int, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has, with its own defaults."""
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
    """Seconds of one run. Garbage is collected before it, and as usual during it."""
    given = step.prepare()
    gc.collect()
    began = time.perf_counter()
    returned = step.run(given)
    took = time.perf_counter() - began
    return returned if isinstance(returned, float) else took


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
