"""The result of the demonstration, as one JSON object or as lines for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from contact_ingest.cli.demo.check import CheckResult, kinds_used
from contact_ingest.cli.demo.data import MadeUpPeople
from contact_ingest.store import books
from contact_ingest.store.keys import BOOKS

#: Characters of a failure's reason that are shown, so that the table fits 80 columns.
REASON_WIDTH = 28


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The check results by destination. `requests` are the sandbox's totals over all destinations."""

    people: MadeUpPeople
    results: Mapping[str, CheckResult]
    took_s: float
    requests: Mapping[str, Any]

    @property
    def wrong(self) -> list[str]:
        if len(self.results) == 1:
            return next(iter(self.results.values())).wrong
        return [f"{name}: {problem}" for name, result in self.results.items() for problem in result.wrong]

    def summary(self) -> dict[str, Any]:
        """The result as one object. With several destinations, the figures of each are below its name."""
        by_destination = {name: _figures(result) for name, result in self.results.items()}
        if len(by_destination) == 1:
            (figures,) = by_destination.values()
        else:
            balanced = all(each["balanced"] for each in by_destination.values())
            figures = {"destinations": by_destination, "balanced": balanced}
        return {
            "contacts": self.people.contacts,
            "records": self.people.records,
            **figures,
            "seconds": round(self.took_s, 2),
            "wrong": self.wrong,
        }

    def print(self, console: Console) -> None:
        for name, result in self.results.items():
            if len(self.results) > 1:
                console.print(f"\n{name}", style="bold", highlight=False)
            console.print(self._table(name, result), highlight=False)
            _print_lines(console, self._claims(name, result))
        if len(self.results) > 1:
            console.print()
        _print_lines(console, self._end())

    def _table(self, name: str, result: CheckResult) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading, width in (("bad on purpose", 30), ("planted", 7), ("failed", 6)):
            table.add_column(heading, min_width=width, no_wrap=True)
        table.add_column("as")
        for kind, count in kinds_used(self.people, name).items():
            reason = result.reasons.get(kind.name, "-") if kind.codes else "sent again, and arrived"
            table.add_row(kind.name, str(count), str(result.failed[kind.name]), _short(reason))
        return table

    def _claims(self, name: str, result: CheckResult) -> list[str]:
        totals = result.totals
        ended = [book for book in BOOKS if totals[book] and book not in ("accepted", "unattributed")]
        ended_counts = " + ".join(f"{totals[book]:,} {book}" for book in ended)
        bad = len(self.people.failing(name))
        good = self.people.contacts - bad
        return [
            f"books     {totals['accepted']:,} accepted = {ended_counts}",
            f"store     {result.delivered:,} of {good:,} good contacts arrived, every field as enqueued",
            f"failures  {sum(result.failed.values())} of {bad} bad ones failed alone, each for its reason",
        ]

    def _end(self) -> list[str]:
        everywhere = f" into {len(self.results)} destinations at once" if len(self.results) > 1 else ""
        requests, largest = self.requests["requests"], self.requests["max_body_bytes"]
        return [
            f"requests  {requests:,} in all, the largest body {largest:,} bytes",
            f"time      {self.took_s:.1f} s for {self.people.records:,} records{everywhere}, from enqueue to verdict",
            *(f"WRONG     {problem}" for problem in self.wrong[:20]),
            "NOT AS IT SHOULD BE" if self.wrong else "balanced: books and recount agree, every record is accounted for",
        ]


def _figures(result: CheckResult) -> dict[str, Any]:
    return {
        "delivered": result.delivered,
        "failed": dict(result.failed),
        "books": result.totals,
        "balanced": books.balanced(result.totals),
    }


def _short(text: str) -> str:
    return text if len(text) <= REASON_WIDTH else f"{text[: REASON_WIDTH - 1]}…"


def _print_lines(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
