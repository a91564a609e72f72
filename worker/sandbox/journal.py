"""The journal: one entry for each request, in the order of arrival, with sizes and counts and never any content.

It lets a test compare what was sent with what arrived, refused and dropped requests included.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Entry:
    """`at` is the arrival of the headers in Unix time. `status` stays 0 when no reply went out, and `fate` says why."""

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
        self.entries: list[Entry] = []

    def open(self, at: float, method: str, endpoint: str, account: str) -> Entry:
        entry = Entry(len(self.entries) + 1, at, method, endpoint, account)
        self.entries.append(entry)
        return entry

    def after(self, n: int) -> list[Entry]:
        return self.entries[max(n, 0) :]

    def totals(self) -> dict[str, Any]:
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
