"""What goes wrong, and when: a schedule from a seed. Each kind of fault is spread over a run by itself, so that they
meet each other in ever new ways."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: So long before the end of a run nothing begins any more that takes its time.
TAIL_S = 4.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One fault's own chance, and which of its kind it is, so that all choices have their turn."""

    ordinal: int
    draw: random.Random

    def of(self, choices: Sequence[Any]) -> Any:
        return choices[self.ordinal % len(choices)]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `inflict` does it, sees whether it has struck, and returns the kind that it was seen to be, or
    None. `weight` is how often beside others; `mode` the runs it belongs to: all, those with a replica, or without."""

    name: str
    title: str
    inflict: Callable[[Any, Turn], str | None]
    weight: float = 1.0
    mode: str = ""
    #: The platforms that can have it; empty for all.
    platforms: tuple[str, ...] = ()

    def belongs_to(self, platform: str) -> bool:
        return not self.platforms or platform in self.platforms


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come, and the seed of everything that it draws."""

    at_s: float
    kind: Kind
    ordinal: int
    seed: str

    def turn(self) -> Turn:
        return Turn(self.ordinal, random.Random(self.seed))


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run: how long faults go on, with a replica or without, and all of them in order."""

    number: int
    seed: int
    seconds: float
    replicated: bool
    platform: str
    faults: Sequence[Planned]

    def as_dict(self) -> dict[str, Any]:
        faults = [{"at_s": round(fault.at_s, 3), "kind": fault.kind.name, "seed": fault.seed} for fault in self.faults]
        return {"run": self.number, "platform": self.platform, "replicated": self.replicated, "faults": faults}


def plan_run(kinds: Sequence[Kind], *, seed: int, number: int, platform: str, seconds: float, faults: float) -> RunPlan:
    """So many faults, spread over the kinds that the platform can have; every third run has a replica."""
    draw = random.Random(f"{seed} plan {number}")
    kinds = [kind for kind in kinds if kind.belongs_to(platform)]
    per_kind = faults / sum(kind.weight for kind in kinds)
    replicated = number % 3 == 2
    mode = "replicated" if replicated else "alone"
    span_s = max(seconds - TAIL_S, seconds / 2)
    planned = []
    for kind in kinds:
        if kind.mode not in ("", mode):
            continue
        share = {"": 1.0, "alone": 1.5, "replicated": 3.0}[kind.mode]
        many = per_kind * kind.weight * share
        count = int(many + draw.random())
        for place in range(count):
            at_s = span_s * (place + draw.random()) / count
            ordinal = number * (int(many) + 1) + place
            planned.append(Planned(at_s, kind, ordinal, f"{seed} {number} {kind.name} {place}"))
    return RunPlan(number, seed, seconds, replicated, platform, sorted(planned, key=lambda fault: fault.at_s))
