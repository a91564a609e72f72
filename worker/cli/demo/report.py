"""What the demonstration found, as one JSON object or as lines for a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from contact_ingest.cli.demo.check import Findings, kinds_planted
from contact_ingest.cli.demo.data import People
from contact_ingest.store import books
from contact_ingest.store.keys import BOOKS

#: What of a failure's reason fits beside the rest on 80 columns.
REASON_WIDTH = 28


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of each destination by its name. `requests` are the sandbox's totals, of all destinations."""

    people: People
    found: Mapping[str, Findings]
    took_s: float
    requests: Mapping[str, Any]

    @property
    def wrong(self) -> list[str]:
        if len(self.found) == 1:
            return next(iter(self.found.values())).wrong
        return [f"{name}: {problem}" for name, found in self.found.items() for problem in found.wrong]

    def summary(self) -> dict[str, Any]:
        """With several destinations, what concerns one is below its name."""
        parts = {name: _part(found) for name, found in self.found.items()}
        if len(parts) == 1:
            (told,) = parts.values()
        else:
            told = {"destinations": parts, "balanced": all(part["balanced"] for part in parts.values())}
        return {
            "contacts": self.people.contacts,
            "records": self.people.records,
            **told,
            "seconds": round(self.took_s, 2),
            "wrong": self.wrong,
        }

    def print(self, console: Console) -> None:
        for name, found in self.found.items():
            if len(self.found) > 1:
                console.print(f"\n{name}", style="bold", highlight=False)
            console.print(self._table(name, found), highlight=False)
            _print_lines(console, self._claims(name, found))
        if len(self.found) > 1:
            console.print()
        _print_lines(console, self._end())

    def _table(self, name: str, found: Findings) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading, width in (("bad on purpose", 30), ("planted", 7), ("failed", 6)):
            table.add_column(heading, min_width=width, no_wrap=True)
        table.add_column("as")
        for kind, count in kinds_planted(self.people, name).items():
            reason = found.reasons.get(kind.name, "-") if kind.codes else "sent again, and arrived"
            table.add_row(kind.name, str(count), str(found.failed[kind.name]), _short(reason))
        return table

    def _claims(self, name: str, found: Findings) -> list[str]:
        totals = found.totals
        ended = [book for book in BOOKS if totals[book] and book not in ("accepted", "unattributed")]
        parts = " + ".join(f"{totals[book]:,} {book}" for book in ended)
        bad = len(self.people.failing(name))
        good = self.people.contacts - bad
        return [
            f"books     {totals['accepted']:,} accepted = {parts}",
            f"store     {found.delivered:,} of {good:,} good contacts arrived, every field as enqueued",
            f"failures  {sum(found.failed.values())} of {bad} bad ones failed alone, each for its reason",
        ]

    def _end(self) -> list[str]:
        everywhere = f" into {len(self.found)} destinations at once" if len(self.found) > 1 else ""
        requests, largest = self.requests["requests"], self.requests["max_body_bytes"]
        return [
            f"requests  {requests:,} in all, the largest body {largest:,} bytes",
            f"time      {self.took_s:.1f} s for {self.people.records:,} records{everywhere}, from enqueue to verdict",
            *(f"WRONG     {problem}" for problem in self.wrong[:20]),
            "NOT AS IT SHOULD BE" if self.wrong else "balanced: books and recount agree, every record is accounted for",
        ]


def _part(found: Findings) -> dict[str, Any]:
    return {
        "delivered": found.delivered,
        "failed": dict(found.failed),
        "books": found.totals,
        "balanced": books.balanced(found.totals),
    }


def _short(text: str) -> str:
    return text if len(text) <= REASON_WIDTH else f"{text[: REASON_WIDTH - 1]}…"


def _print_lines(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
