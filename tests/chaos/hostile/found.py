"""What an attack has seen, by name, and what is wrong with it."""

from collections import Counter
from dataclasses import dataclass, field

from support.fuzz_records import CANARY
from support.tables import Table

MAX_PEAK_BYTES = 300_000_000


@dataclass(slots=True)
class Found:
    """Counts of what was given and of what it met, the books in the end, memory, and what is wrong in words."""

    given: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    accepted: int = 0
    met: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def table(self, seconds: float) -> Table:
        """All figures, after so many seconds."""
        rows: list[tuple[object, ...]] = []
        for title, counts in (("given", self.given), ("met", self.met)):
            rows += [(f"{title}: {kind}", number) for kind, number in sorted(counts.items())]
        rows += [("refused at the door", self.refused), ("accepted", self.accepted)]
        rows += [(f"books: {name}", number) for name, number in self.totals.items() if number]
        rows += [(f"peak, MB: {name}", round(peak / 1e6)) for name, peak in self.peaks.items()]
        rows += [("seconds", round(seconds)), ("wrong", len(self.wrong))]
        notes = ["yardsticks: no exception at a task's top, 300 MB a process, every record in the books."]
        return Table("hostile input", ("step", "value"), rows, [*notes, *(f"WRONG: {what}" for what in self.wrong)])

    def judge(self) -> None:
        """Add what is wrong with the figures as a whole."""
        for name, peak in self.peaks.items():
            if peak >= MAX_PEAK_BYTES:
                self.wrong.append(f"{name} has needed {peak / 1e6:.0f} MB")
        messages = self.totals["accepted"] - self.accepted
        if not 0 <= messages <= self.given["message: enqueue"]:
            self.wrong.append(f"{self.accepted} records were accepted, the books say {self.totals['accepted']}")
        if left := sum(self.totals[name] for name in ("waiting", "held", "batched")):
            self.wrong.append(f"{left} records have come to no end")

    def read_log(self, text: str) -> None:
        """Look for errors and planted words in a worker's log."""
        for word in ("Traceback", " ERROR ", " CRITICAL ", CANARY):
            if word in text:
                at = text.index(word)
                self.wrong.append(
                    f"{text.count(word)} times {word.strip()} in the worker's log: {text[at - 150 : at + 300]}"
                )
