"""Following import jobs to their end: each look is scheduled work, and every batch ends.

A job is asked about after a few seconds, then with growing gaps, until it has ended or the deadline has passed. When
it reports failed rows, the error file is fetched at once and kept before it is read: it may be had only once. Rows it
names fail with its reason; rows that are counted but not named end as delivered and are counted as unattributed,
unless the arithmetic leaves only them.
"""

from contextlib import suppress

from contact_ingest.errors import BUGS, StaleFence, TransportError
from contact_ingest.failpoints import failpoint
from contact_ingest.model import verdicts
from contact_ingest.model.http_message import Response
from contact_ingest.packing.bisect import BisectState, bisect_fields, rows, size
from contact_ingest.pipeline.probing import wait_or_ask
from contact_ingest.pipeline.settle import Desk, run_for_slice
from contact_ingest.store.batches import Batch, NoClaim, Settlement
from contact_ingest.store.failures import FailureReason
from contact_ingest.store.rate_limiter import Permit
from contact_ingest.store.schedule import WakeUp

#: Gaps between looks grow by this factor up to the last one.
GAP_GROWTH = 1.4
GAP_LAST_MS = 60_000
#: How long an error file that cannot be had at the moment is tried for.
FILE_WINDOW_MS = 3_600_000
FILE_KEPT_MS = 86_400_000


class Poller:
    """Follows the jobs of one destination."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._name = "poll"

    def run_for_slice(self, destination: str) -> tuple[WakeUp, ...]:
        """Ask about due jobs while the limiter permits and each answer is quick; returns the bells to ring."""
        return run_for_slice(self.poll, destination)

    def poll(self, destination: str, *, consume_wakeup: bool = True) -> tuple[WakeUp, ...]:
        """Ask about one due job, or fetch its error file; returns the bells to ring."""
        desk = self._desk
        permit = desk.rate_limiter.acquire("job")
        if not permit.granted:
            return wait_or_ask(desk, self._name, permit, destination)
        batch = desk.batch_store.claim(self._name, consume_wakeup=consume_wakeup)
        if isinstance(batch, NoClaim):
            desk.rate_limiter.release(permit)
            return ()
        failpoint("poll.claimed")
        try:
            if batch.fields["state"] == "fetching_errors":
                desk.rate_limiter.release(permit)
                self._check(batch)
            else:
                self._ask(batch, permit)
        except StaleFence:
            return ()  # the lease lapsed, and whoever took the batch over goes on with it
        except BUGS as problem:
            desk.log_bug(batch, problem)
            with suppress(StaleFence):
                self._later(batch, "internal")
        failpoint("poll.settled")
        return (WakeUp(self._name, destination),)

    def _ask(self, batch: Batch, permit: Permit) -> None:
        reply = self._desk.exchange(self._desk.provider.job(batch.fields["job"]), permit)
        failpoint("poll.asked")
        report = self._report(reply)
        match report:
            case verdicts.JobEnded():
                self._ended(batch, report)
            case verdicts.Limited(after_s):
                if isinstance(reply, Response):
                    self._desk.limited(self._name, permit, reply, after_s)
                self._desk.batch_store.settle(batch, Settlement(zset=batch.queue("poll")))
            case verdicts.Stop(code, why):
                self._desk.schedule.stop(code, why)
                self._desk.batch_store.settle(batch, Settlement(zset=batch.queue("poll")))
            case verdicts.JobRunning(status):
                self._later(batch, status)
            case verdicts.JobMissing():
                self._later(batch, "missing")
            case verdicts.Retry(code, after_s):
                self._later(batch, code, round((after_s or 0) * 1000))

    def _report(self, reply: Response | TransportError) -> verdicts.JobReport:
        if isinstance(reply, Response):
            return self._desk.provider.read_job(reply, self._desk.schedule.wall_ms() / 1000)
        return verdicts.Retry(reply.reason)

    def _later(self, batch: Batch, status: str, floor_ms: int = 0) -> None:
        """Not yet: look again after a longer gap, or end it when the deadline has passed."""
        policy = self._desk.policy
        if self._desk.is_over(batch.count("sent_ms"), batch.now_ms, policy.poll_deadline_ms):
            why = FailureReason("no_verdict", f"the import had not ended by the deadline; last seen: {status}", "poll")
            # The import may end yet: its contacts wait as those of an orphan do.
            reasons_by_row = dict.fromkeys(rows(batch.search.send), why)
            self._end(batch, reasons_by_row, 0, orphan_ms=self._desk.batch_store.terms.orphan_ms)
            return
        looks = batch.count("polls") + 1
        gap_ms = max(floor_ms, min(GAP_LAST_MS, round(policy.poll_first_ms * GAP_GROWTH ** min(looks, 20))))
        fields = {"polls": looks, "job_status": status}
        self._desk.batch_store.settle(batch, Settlement(set=fields, zset=batch.queue("poll"), delay_ms=gap_ms))

    def _ended(self, batch: Batch, report: verdicts.JobEnded) -> None:
        """The job is over. If rows failed, its file comes next, as a step of its own."""
        fine = report.status == "completed" and not report.errored
        if fine:
            self._end(batch, {}, 0, report.status)
        elif report.errors_url:
            found = {
                "state": "fetching_errors",
                "job_status": report.status,
                "errors_url": report.errors_url,
                "platform_failed_count": -1 if report.errored is None else report.errored,
                "all_failed": int(report.all_failed),
                "reason": report.reason,
                "ended_at_platform_ms": batch.now_ms,
            }
            self._desk.batch_store.settle(batch, Settlement(set=found, zset=batch.queue("poll")))
        else:
            self._judge(batch, [], report.errored, report.reason, all_failed=report.all_failed)

    def _check(self, batch: Batch) -> None:
        """Fetch the error file, unless an earlier attempt has kept it, and judge by it."""
        content = self._desk.batch_store.kept(batch, "error_file")
        if content is None:
            reply = self._desk.exchange(self._desk.provider.error_file(batch.fields["errors_url"]), None)
            failpoint("poll.fetched")
            if isinstance(reply, Response) and 200 <= reply.status < 300:
                content = reply.body
                self._desk.batch_store.keep(batch, "error_file", content, FILE_KEPT_MS)
                failpoint("poll.kept")
            elif self._may_come(reply) and self._has_time(batch):
                self._later(batch, "error file not to be had yet")
                return
        body, offsets = self._desk.batch_store.body(batch)
        encoded = [body[offsets[row] : offsets[row + 1] - 1] for row in rows(batch.search.send)]
        del body
        errors = self._desk.named_in(batch, content, encoded) if content else []
        errored = batch.count("platform_failed_count") if batch.count("platform_failed_count") >= 0 else None
        all_failed = batch.fields["all_failed"] == "1"
        self._judge(batch, errors, errored, batch.fields.get("reason", ""), all_failed=all_failed)

    def _has_time(self, batch: Batch) -> bool:
        """Whether the file may be waited for: at the deadline it is the job's own numbers that count."""
        windows = (("ended_at_platform_ms", FILE_WINDOW_MS), ("sent_ms", self._desk.policy.poll_deadline_ms))
        return not any(self._desk.is_over(batch.count(name), batch.now_ms, ms) for name, ms in windows)

    def _may_come(self, reply: Response | TransportError) -> bool:
        if isinstance(reply, Response):
            return reply.status >= 500 or reply.status in (408, 429)
        return reply.reason != "forbidden_url"

    def _judge(
        self, batch: Batch, errors: list[verdicts.RowError], errored: int | None, reason: str, *, all_failed: bool
    ) -> None:
        """Who failed: those named, and all of them where the numbers leave nobody else."""
        reasons_by_row = self._desk.locate(batch, errors, "poll", batch.fields.get("request_id", "")) if errors else {}
        total = size(batch.search.send)
        if all_failed or (errored is not None and errored >= total):
            said = reason or "the import failed as a whole"
            rest = FailureReason("import_failed", said, "poll", batch.number, batch.fields.get("request_id", ""))
            reasons_by_row = {row: reasons_by_row.get(row, rest) for row in rows(batch.search.send)}
        # A platform may count more than it was sent; no more can be unattributed than there are.
        unnamed = max(0, min(errored, total) - len(reasons_by_row)) if errored is not None else int(not reasons_by_row)
        self._end(batch, reasons_by_row, unnamed)

    def _end(
        self,
        batch: Batch,
        reasons_by_row: dict[int, FailureReason],
        unattributed: int,
        status: str = "",
        *,
        orphan_ms: int = 0,
    ) -> None:
        delivered = size(batch.search.send) - len(reasons_by_row)
        plan = Settlement(
            set={**bisect_fields(BisectState(batch.search.send)), **({"job_status": status} if status else {})},
            ended=True,
            delivered=delivered,
            unattributed=unattributed,
            orphan_ms=orphan_ms,
        )
        self._desk.fail(batch, reasons_by_row, plan)
        self._desk.report(batch, plan, len(reasons_by_row), batch.count("sent_ms"))
