"""Import jobs: from an accepted upsert to stored contacts.

A job takes a random time, so jobs overtake each other. The contacts of a job are applied when the job finishes. The
status is as recorded of the live platform, checked 2026-11-22: pending, completed, errored or failed. Counts that are
zero or not yet known are absent; so is `errors_url` if no row failed.
"""

import heapq
import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from contact_ingest.sandbox.messages import Reply, json_reply
from contact_ingest.sandbox.random_source import RandomSource
from contact_ingest.sandbox.sendgrid.accounts import Account
from contact_ingest.sandbox.sendgrid.contacts import IDENTIFIERS, RowFailed
from contact_ingest.sandbox.sendgrid.dials import JobFate, SendGridDials
from contact_ingest.sandbox.sendgrid.error_file import ErrorFiles, FailedRow
from contact_ingest.sandbox.sendgrid.replies import refusal
from contact_ingest.sandbox.sendgrid.rules import UpsertRequest


@dataclass(slots=True, repr=False)
class Job:
    """An import job. `due`, `visible_from` and `final_from` are seconds of the monotonic clock.

    `fails`: nothing is applied. `miscount` says how the reported number of failed rows is wrong.
    """

    id: str
    account: Account
    upsert: UpsertRequest
    requested: int
    due: float
    visible_from: float
    started_at: str
    fails: bool = False
    miscount: JobFate = "ok"
    final_from: float = math.inf
    finished_at: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    error_path: str = ""


class Jobs:
    """All import jobs. `finished` is how many have been applied."""

    def __init__(self, random_source: RandomSource, files: ErrorFiles) -> None:
        self._random_source = random_source
        self._files = files
        self._jobs: dict[str, Job] = {}
        self._waiting: list[tuple[float, int, Job]] = []
        self.finished = 0

    @property
    def pending(self) -> int:
        return len(self._jobs) - self.finished

    def add(
        self, account: Account, upsert: UpsertRequest, dials: SendGridDials, fate: JobFate | float | None = None
    ) -> Job:
        """Accept an upsert as a job. A `fate` that is given replaces the shares of the dials."""
        now, random_source = time.monotonic(), self._random_source
        due = now + random_source.between(dials.job_seconds)
        job = Job(str(uuid4()), account, upsert, len(upsert.contacts), due, now + dials.early_404_s, _now())
        job.fails = fate == "failed" or (fate is None and random_source.happens(dials.job_failed))
        if fate == "pending" or (fate is None and random_source.happens(dials.job_pending_forever)):
            job.due = math.inf
        if fate == "lost" or (fate is None and random_source.happens(dials.job_status_lost)):
            job.visible_from = math.inf
        if isinstance(fate, float):
            job.due = now + fate
        elif fate is not None:
            job.miscount = fate
        self._jobs[job.id] = job
        heapq.heappush(self._waiting, (job.due, len(self._jobs), job))
        return job

    def advance(self, dials: SendGridDials) -> None:
        """Finish every job that is due, the one that became due first before the others."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            job = heapq.heappop(self._waiting)[2]
            if not job.fails:
                self._apply(job, dials)
            job.upsert = UpsertRequest([], [])
            job.final_from = job.due + dials.status_lag_s
            job.finished_at = _now()
            self.finished += 1

    def status(self, job_id: str, account: Account, origin: str, dials: SendGridDials) -> Reply:
        job, now = self._jobs.get(job_id), time.monotonic()
        if job is None or job.account is not account or now < job.visible_from:
            return refusal(404)
        final = now >= job.final_from
        content: dict[str, Any] = {"id": job.id, "status": "pending", "job_type": dials.job_type}
        content["results"] = {"requested_count": job.requested}
        content["started_at"] = job.started_at
        if not dials.omit_counts:
            content["results"] |= {name: count for name, count in _reported_counts(job).items() if count}
        if final:
            content["status"] = _final_status(job)
            content["finished_at"] = job.finished_at
            if job.error_path:
                content["results"]["errors_url"] = origin + job.error_path
        return json_reply(200, content)

    def _apply(self, job: Job, dials: SendGridDials) -> None:
        counts = {"created": 0, "updated": 0, "same": 0}
        upsert, failed = job.upsert, []
        seen: set[tuple[str, str]] = set()
        for row, contact in enumerate(upsert.contacts):
            reason = upsert.failing.get(row, "")
            if (
                row in upsert.unnamed
                or row in upsert.dropped
                or (dials.duplicates == "first" and _repeats(contact, seen))
            ):
                continue
            if not reason:
                try:
                    counts[
                        job.account.contacts.upsert(
                            contact, upsert.list_ids, all_identifiers=dials.missing_identifiers == "row"
                        )
                    ] += 1
                except RowFailed as failure:
                    reason = str(failure)
            if reason:
                failed.append(FailedRow(contact, reason))
        errored = len(failed) + len(upsert.unnamed)
        job.counts = {
            "created_count": counts["created"],
            "updated_count": counts["updated"],
            "errored_count": errored,
        }
        if errored:
            job.error_path = self._files.add(failed, dials)

    def clear(self) -> None:
        self._jobs.clear()
        self._waiting.clear()
        self.finished = 0


def _repeats(contact: dict[str, Any], seen: set[tuple[str, str]]) -> bool:
    """Whether a row has an identifier of an earlier row of its job. `seen` collects the identifiers."""
    keys = {(name, contact[name].lower()) for name in IDENTIFIERS if name in contact}
    repeated = bool(keys & seen)
    seen |= keys
    return repeated


def _reported_counts(job: Job) -> dict[str, int]:
    """The counts that the job reports: `miscount` makes the number of failed rows wrong."""
    true = job.counts.get("errored_count", 0)
    wrong_counts = {
        "one_more": min(true + 1, job.requested),
        "one_fewer": max(true - 1, 0),
        "all_failed": job.requested,
    }
    return {**job.counts, "errored_count": wrong_counts.get(job.miscount, true)} if job.counts else job.counts


def _final_status(job: Job) -> str:
    """The status of a finished job. A wrong count shows in the status too, unless it hides failed rows."""
    errored = max(_reported_counts(job).get("errored_count", 0), job.counts.get("errored_count", 0))
    if job.fails or errored == job.requested:
        return "failed"
    return "errored" if errored else "completed"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
