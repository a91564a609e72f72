"""Following import jobs to their end: permit, claim, question, decision, settlement, in one line.

A job is polled after a few seconds, then with growing gaps, until it has ended or the deadline has passed. When it
reports failed rows, the file that names them is fetched in a step of its own and stored before it is read: it may be
had only once. What the answers mean is in decide.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from contact_ingest.errors import BUGS, KeysLost, StaleFence, TransportError, is_defect
from contact_ingest.failpoints import failpoint
from contact_ingest.model import verdicts
from contact_ingest.model.batch import Batch, BatchState
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.http_message import Response
from contact_ingest.model.row_ranges import rows
from contact_ingest.pipeline.backoff import TimeLimits
from contact_ingest.pipeline.decide_poll import ErrorFileRead, ErrorFileUnavailable, PollReport, decide_poll
from contact_ingest.pipeline.exchange import Exchanger, Prober
from contact_ingest.pipeline.settle import Settler, locate_rows, run_for_slice
from contact_ingest.providers.base import ImportJobs
from contact_ingest.store.batches import BatchStore, Claim, NoClaim
from contact_ingest.store.rate_limiter import BreakerState, Permit
from contact_ingest.store.schedule import WakeUp

STAGE = "poll"
#: How long a fetched error file is kept, ms: longer than any batch takes to be judged by it.
ERROR_FILE_KEPT_MS = 86_400_000
#: Statuses of a reply that may be the file. 202 and 204 say that there is none yet.
_HAS_CONTENT = frozenset({200, 203, 206})
#: Blanks and byte order marks: a file of nothing else is empty.
_BLANK = b" \t\r\n\x00\xef\xbb\xbf\xfe\xff"


@dataclass(frozen=True, slots=True)
class Poller:
    """Follows the import jobs of one destination."""

    batch_store: BatchStore
    provider: ImportJobs
    exchanger: Exchanger
    prober: Prober
    settler: Settler
    limits: TimeLimits

    def run_for_slice(self, destination: str) -> tuple[WakeUp, ...]:
        """Poll due jobs while the limiter permits, for about a second; returns the wake-ups to send."""
        return run_for_slice(self.poll, destination)

    def poll(self, destination: str, *, consume_wakeup: bool = True) -> tuple[WakeUp, ...]:
        """Poll one due job, or fetch its error file; returns the wake-ups to send."""
        limiter = self.exchanger.rate_limiter
        permit = limiter.acquire("job")
        if not permit.granted:
            return self.prober.wait_or_ask(STAGE, permit, destination)
        claim = self.batch_store.claim(STAGE, consume_wakeup=consume_wakeup)
        if isinstance(claim, NoClaim):
            limiter.release(permit)
            return ()
        failpoint("poll.claimed")
        try:
            if claim.batch.state is BatchState.FETCHING_ERRORS:
                limiter.release(permit)
                report: PollReport = self._fetch_error_file(claim.batch)
            else:
                report = self._ask(claim.batch, permit)
            self._settle(claim, report)
        except StaleFence:
            return ()  # the lease lapsed, and the worker that took the batch over goes on with it
        except KeysLost as lost:
            limiter.release(permit)  # no harm where it was reported
            self._settle_lost(claim, lost)
        except Exception as problem:
            if not is_defect(problem):
                raise
            limiter.release(permit)  # no harm where it was reported
            self._survive_bug(claim, problem)
        failpoint("poll.settled")
        return (WakeUp(STAGE, destination),)

    def _ask(self, batch: Batch, permit: Permit) -> verdicts.JobReport:
        reply = self.exchanger.send(self.provider.job(batch.job), permit)
        failpoint("poll.asked")
        report = self._read(reply)
        if isinstance(report, verdicts.Limited) and isinstance(reply, Response):
            self.exchanger.limited(STAGE, permit, reply, report.after_s)
        return report

    def _read(self, reply: Response | TransportError) -> verdicts.JobReport:
        if isinstance(reply, Response):
            return self.provider.read_job(reply, self.exchanger.clock.wall_ms() / 1000)
        return verdicts.Retry(reply.reason)

    def _fetch_error_file(self, batch: Batch) -> ErrorFileRead | ErrorFileUnavailable:
        """Fetch the file of the failed rows, unless an earlier attempt has stored it, and find its rows."""
        content = self.batch_store.kept(batch, "error_file")
        if content is None:
            reply = self.exchanger.send(self.provider.error_file(batch.errors_url), None)
            failpoint("poll.fetched")
            if not (isinstance(reply, Response) and reply.status in _HAS_CONTENT):
                return _unavailable(reply)
            content = reply.body
            if not content.strip(_BLANK):
                return ErrorFileUnavailable(may_come=True, refused=True)
            self.batch_store.keep(batch, "error_file", content, ERROR_FILE_KEPT_MS)
            failpoint("poll.kept")
        errors = self._read_error_file(batch, content)
        if errors is None:
            return ErrorFileUnavailable(may_come=True)
        return ErrorFileRead(locate_rows(self.batch_store, self.provider, batch, errors)[0])

    def _read_error_file(self, batch: Batch, content: bytes) -> Sequence[verdicts.RowError] | None:
        """The failed rows. A file that the provider stumbles over is worth no more than garbage. None after a defect
        that may pass, such as a MemoryError: the stored file is read again later."""
        body, offsets = self.batch_store.body(batch)
        encoded = [body[offsets[row] : offsets[row + 1] - 1] for row in rows(batch.bisect.sending)]
        del body
        try:
            return self.provider.read_error_file(content, encoded)
        except BUGS as problem:
            self.settler.log_bug(batch, problem)
            return ()
        except Exception as problem:
            if not is_defect(problem):
                raise
            self.settler.log_bug(batch, problem)
            return None

    def _settle(self, claim: Claim, report: PollReport) -> None:
        # How long the platform was away counts only once a window seems to be over.
        age_ms = claim.now_ms - claim.batch.sent_ms
        is_old = age_ms >= min(self.limits.poll_deadline_ms, self.limits.refused_file_ms)
        breaker = self.exchanger.breaker.state() if is_old else BreakerState()
        settlement = decide_poll(claim.batch, report, breaker, claim.now_ms, self.limits)
        self.settler.settle(claim.batch, settlement, claim.now_ms)

    def _settle_lost(self, claim: Claim, lost: KeysLost) -> None:
        try:
            self.settler.settle_lost(claim.batch, lost, claim.now_ms)
        except StaleFence:
            return  # the worker that took the batch over goes on with it

    def _survive_bug(self, claim: Claim, problem: Exception) -> None:
        """Our own code, or the provider's, failed over a reply: the job is polled again later."""
        self.settler.log_bug(claim.batch, problem)
        try:
            self._settle(claim, verdicts.Retry(FailureCode.INTERNAL))
        except StaleFence:
            return  # the worker that took the batch over goes on with it


def _unavailable(reply: Response | TransportError) -> ErrorFileUnavailable:
    """Whether a later try may have the file. A store of files may refuse (403, 404), redirect (302) or put off (202) as
    long as the file is being written. The file is gone for good where the store says so, with 410."""
    if isinstance(reply, Response):
        passes = reply.status >= 500 or reply.status in (408, 429)
        return ErrorFileUnavailable(may_come=reply.status != 410, refused=not passes)
    return ErrorFileUnavailable(may_come=reply.reason != FailureCode.FORBIDDEN_URL)
