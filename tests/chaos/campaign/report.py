"""The table: what struck how often, and what it broke."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from plan import Kind
from run import Result
from support.checker import KINDS as PROMISES
from support.checker import WRONGLY_DELIVERED, Breach

from contact_ingest.failpoints import FAILPOINTS

#: Kinds that end a process; those of the first, each inside a step, as its trap has told.
AT_STEPS = ("child_killed_at_step", "worker_killed_at_step", "operator_killed")
KILLS = (*AT_STEPS, "producer_killed", "worker_killed")


@dataclass(slots=True)
class Report:
    seed: int
    kinds: Sequence[Kind]
    results: list[Result] = field(default_factory=list)
    #: What each failover without acknowledgement lost, of how many records.
    losses: list[tuple[int, int]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.results.append(result)

    @property
    def breaches(self) -> list[Breach]:
        return [breach for result in self.results for breach in result.verdict.breaches]

    @property
    def struck(self) -> Counter[str]:
        return sum((result.struck for result in self.results), Counter())

    @property
    def planned(self) -> Counter[str]:
        return sum((result.planned for result in self.results), Counter())

    @property
    def steps(self) -> Counter[str]:
        return sum((result.steps for result in self.results), Counter())

    @property
    def platforms(self) -> list[str]:
        """Those that had a run, in order."""
        return list(dict.fromkeys(result.plan.platform for result in self.results))

    def struck_at(self, platform: str) -> Counter[str]:
        return sum((result.struck for result in self.results if result.plan.platform == platform), Counter())

    def totals(self) -> dict[str, Any]:
        verdicts = [result.verdict for result in self.results]
        promises = sum((Counter(verdict.counts) for verdict in verdicts), Counter())
        return {
            "seed": self.seed,
            "runs": len(self.results),
            "seconds": round(sum(result.seconds for result in self.results)),
            "faults": sum(self.struck.values()),
            "kinds": len(+self.struck),
            "kills": sum(self.struck[name] for name in KILLS),
            "kills inside a step": sum(self.struck[name] for name in AT_STEPS),
            "steps struck": len(self.steps),
            "steps": len(FAILPOINTS),
            "records": sum(verdict.records for verdict in verdicts),
            "requests": sum(result.requests for result in self.results),
            **{name: promises[name] for name in PROMISES},
            "wrongly delivered": sum(promises[name] for name in WRONGLY_DELIVERED),
            "samples of the books": sum(result.samples for result in self.results),
            "recounts": sum(result.recounts for result in self.results),
            "repeated": sum(verdict.repeated for verdict in verdicts),
            "unattributed": sum(verdict.unattributed for verdict in verdicts),
            "longest recovery, s": round(max((result.longest_s for result in self.results), default=0.0), 1),
        }

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.totals(),
            "platforms": {name: sum(self.struck_at(name).values()) for name in self.platforms},
            "struck": {kind.name: self.struck[kind.name] for kind in self.kinds},
            "planned": {kind.name: self.planned[kind.name] for kind in self.kinds},
            "at steps": dict(sorted(self.steps.items())),
            "failovers without acknowledgement": [{"lost": lost, "of": of} for lost, of in self.losses],
            "breaches": [{"kind": b.kind, "what": b.what, "ids": list(b.ids[:20])} for b in self.breaches[:200]],
        }

    def __str__(self) -> str:
        struck, totals = self.struck, self.totals()
        width = max(len(kind.title) for kind in self.kinds)
        at = {name: self.struck_at(name) for name in self.platforms}
        lines = [f"{'fault':<{width}}    struck{''.join(f'{name:>10}' for name in at)}"]
        for kind in self.kinds:
            if struck[kind.name]:
                cells = [counts[kind.name] if kind.belongs_to(name) else "" for name, counts in at.items()]
                lines.append(f"{kind.title:<{width}}{struck[kind.name]:>10,}{''.join(f'{cell:>10}' for cell in cells)}")
        lines += [f"{'-' * width}  {'-' * 8}"]
        lines += [f"{name:<{width}}{value:>10,}" for name, value in totals.items()]
        for lost, of in self.losses:
            lines.append(f"{'lost by a failover that nobody was asked to acknowledge':<{width}}{lost:>10,} of {of:,}")
        return "\n".join(lines)
