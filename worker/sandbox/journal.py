"""The journal: one entry for each request, in the order of arrival, with sizes and counts and without any content.

A test compares what was sent with what arrived, including refused and dropped requests.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class JournalEntry:
    """One request. The entry is updated until the request has ended.

    `n` counts from 1. `at` is when the headers arrived, in Unix seconds. `status` is 0 as long as no reply went out.
    `fate` says what happened: open, answered, unreadable, caller_left, or the name of the fault. `bytes` is the size of
    the body, `contacts` how many contacts it had, `job_id` the import job it started, `note` the platform's remark.
    """

    n: int
    at: float
    method: str
    endpoint: str
    account: str
    status: int = 0
    bytes: int = 0
    contacts: int = 0
    job_id: str = ""
    fate: str = "open"
    note: str = ""


class Journal:
    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []

    def open(self, at: float, method: str, endpoint: str, account: str) -> JournalEntry:
        entry = JournalEntry(len(self.entries) + 1, at, method, endpoint, account)
        self.entries.append(entry)
        return entry

    def after(self, n: int) -> list[JournalEntry]:
        """The entries with a number above `n`."""
        return self.entries[max(n, 0) :]

    def totals(self) -> dict[str, Any]:
        """Sums over all entries, for /sandbox/totals."""
        entries = self.entries
        return {
            "requests": len(entries),
            "by_status": {str(status): count for status, count in Counter(e.status for e in entries).items()},
            "by_endpoint": Counter(e.endpoint for e in entries),
            "by_fate": Counter(e.fate for e in entries),
            "by_note": Counter(e.note for e in entries if e.note),
            "max_body_bytes": max((e.bytes for e in entries), default=0),
            "received_contacts": sum(e.contacts for e in entries),
        }

    def reset(self) -> None:
        self.entries = []
