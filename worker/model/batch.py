"""A batch: the exact bytes of one request body, and where it stands on its way to the platform.

A batch that the aggregator cuts is a *root*: it owns the body. A refused root may be split into *children*; a child is
rows of the root's body. Redis keeps a batch as a hash (`batch:<n>`), of which this is an example:

    lane newsletter  root 12  state ready  rows 3  bytes 412  sending [[0,3]]  suspects []  parked []  fence 0
    attempts 0  claims_count 0  parts 1  created_ms 1763982000000  packed_version 41

Times are milliseconds of the server's clock. What is empty or 0 may be missing from the hash. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

import orjson

from contact_ingest.model.failure import FailureReason
from contact_ingest.model.row_ranges import Ranges, size, union
from contact_ingest.model.verdicts import Stop


class BatchState(StrEnum):
    """Where a batch stands. A value is the text that Redis keeps."""

    #: The rows in `sending` wait for their turn to be sent.
    READY = "ready"
    #: A worker has claimed the batch to send it. A claim that lapses makes it due again.
    SENDING = "sending"
    #: The platform has accepted the rows as an import job. The job is polled.
    POLLING = "polling"
    #: The job has ended with failed rows. The file that names them is fetched.
    FETCHING_ERRORS = "fetching_errors"
    #: Every row has a verdict, or has gone to a child.
    DONE = "done"


@dataclass(frozen=True, slots=True)
class BisectState:
    """Which rows go out next, and what is known of the others.

    `sending` goes out next. `suspects` is the other half of rows that hold a bad one. `parked` is not suspected at the
    moment. `good_in_a_row` rows went through since the last bad one; `group_size` rows go out at once, 0 until a bad
    row was found. `accused` rows were refused alone before anything of the lane was accepted: they go out again once
    something was. `accepted` says that something of this search went through. A batch that was never refused has only
    `sending`."""

    sending: Ranges
    suspects: Ranges = ()
    parked: Ranges = ()
    group_size: int = 0
    good_in_a_row: int = 0
    accused: Ranges = ()
    accepted: bool = False

    @property
    def all(self) -> Ranges:
        return union(self.sending, self.suspects, self.parked, self.accused)

    @property
    def is_plain(self) -> bool:
        """Whether no row is suspected, parked or accused."""
        return not self.suspects and not self.parked and not self.accused


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. The comment beside a field says what it holds where the name does not."""

    number: int
    lane: str
    root: int
    bisect: BisectState
    state: BatchState = BatchState.READY
    parent: int | None = None  # the batch that was split into this one and others
    bytes: int = 0  # of the body; roots alone
    parts: int = 0  # the root itself and its descendants that are not done; roots alone
    requests: int = 0  # sent for the root and all its descendants; roots alone
    packed_version: int = 0  # the version of the commit that made the body; roots alone
    orphan_until: int = 0  # ms: a request of unknown fate may act until then; roots alone
    # Claims: each is a lease with a fence, so that a claim that has lapsed can write nothing.
    fence: int = 0
    token: str = ""  # of the claim that holds the batch, or held it last
    claims_count: int = 0
    attempts: int = 0  # claims that ended with an answer
    # How it goes on.
    low_priority: bool = False  # behind fresh traffic: one of many parts of a body
    failures_in_a_row: int = 0  # answers that ask to try later, since the last one of another kind
    hints_followed: int = 0  # row numbers without proof that were tried alone
    accused_ms: int = 0  # when a row of it was first refused alone, or the batch was a trial; 0: never
    put_behind: bool = False  # whether what was refused alone has gone behind others of the lane
    code: str = ""  # why it was last tried again later
    retry_after_given: bool = False  # whether the platform named the time of the next try
    request_id: str = ""  # the platform's name for the last request
    sent_bytes: int = 0  # of the request that was accepted
    # Its import job, where the platform has such.
    job: str = ""
    job_status: str = ""  # as last seen
    polls: int = 0  # answers that said: not ended yet
    errors_url: str = ""  # where the failed rows are listed
    platform_failed_count: int | None = None  # failed rows as the platform counts them; None: it does not say
    unvouched: int = 0  # rows that the platform does not count among those of the job
    all_failed: bool = False  # whether nothing was applied
    reason: str = ""  # the platform's words for that
    # Times, ms; 0: not yet.
    created_ms: int = 0
    first_ms: int = 0  # the first answer
    sent_ms: int = 0  # accepted by the platform
    ended_at_platform_ms: int = 0  # the job was seen to have ended
    ended_ms: int = 0
    # What became of its rows.
    delivered: int = 0
    failed: int = 0
    unattributed: int = 0

    @property
    def rows(self) -> int:
        """Rows that are still this batch's to send or to follow."""
        return size(self.bisect.all)

    @property
    def due_set(self) -> str:
        """The sorted set in which the batch waits for its turn: `due:dispatch`, `due:poll`, or their low ones."""
        match self.state:
            case BatchState.READY | BatchState.SENDING | BatchState.DONE:
                name = "due:dispatch"
            case BatchState.POLLING | BatchState.FETCHING_ERRORS:
                name = "due:poll"
            case _:
                assert_never(self.state)
        return f"{name}:low" if self.low_priority else name

    def to_fields(self) -> dict[str, str]:
        """What a settlement may change, as fields of the hash. Counters that scripts move are not among them."""
        return {
            "state": self.state.value,
            "rows": str(self.rows),
            "sending": orjson.dumps(self.bisect.sending).decode(),
            "suspects": orjson.dumps(self.bisect.suspects).decode(),
            "parked": orjson.dumps(self.bisect.parked).decode(),
            "group_size": str(self.bisect.group_size),
            "good_in_a_row": str(self.bisect.good_in_a_row),
            "accused": orjson.dumps(self.bisect.accused).decode(),
            "accepted": str(int(self.bisect.accepted)),
            "accused_ms": str(self.accused_ms),
            "put_behind": str(int(self.put_behind)),
            "claims_count": str(self.claims_count),
            "attempts": str(self.attempts),
            "low_priority": str(int(self.low_priority)),
            "failures_in_a_row": str(self.failures_in_a_row),
            "hints_followed": str(self.hints_followed),
            "code": self.code,
            "retry_after_given": str(int(self.retry_after_given)),
            "request_id": self.request_id,
            "sent_bytes": str(self.sent_bytes),
            "job": self.job,
            "job_status": self.job_status,
            "polls": str(self.polls),
            "errors_url": self.errors_url,
            "platform_failed_count": str(-1 if self.platform_failed_count is None else self.platform_failed_count),
            "unvouched": str(self.unvouched),
            "all_failed": str(int(self.all_failed)),
            "reason": self.reason,
            "first_ms": str(self.first_ms),
            "sent_ms": str(self.sent_ms),
            "ended_at_platform_ms": str(self.ended_at_platform_ms),
        }

    def changed_fields(self, before: "Batch") -> dict[str, str]:
        """The fields that differ from those of `before`."""
        old = before.to_fields()
        return {name: value for name, value in self.to_fields().items() if value != old[name]}

    @classmethod
    def from_fields(cls, number: int, fields: Mapping[str, str], root: Mapping[str, str] | None = None) -> "Batch":
        """The batch of a hash. `root` is the hash of its root: `requests` and `packed_version` come from there."""
        given = {**_MISSING, **fields}
        of_root = given if root is None else {**_MISSING, **root}
        platform_failed_count = int(given["platform_failed_count"])
        return cls(
            number,
            lane=fields["lane"],
            root=int(fields["root"]),
            bisect=BisectState(
                _ranges(given["sending"]),
                _ranges(given["suspects"]),
                _ranges(given["parked"]),
                int(given["group_size"]),
                int(given["good_in_a_row"]),
                _ranges(given["accused"]),
                given["accepted"] == "1",
            ),
            state=BatchState(fields["state"]),
            parent=int(fields["parent"]) if "parent" in fields else None,
            bytes=int(given["bytes"]),
            parts=int(given["parts"]),
            requests=int(of_root["requests"]),
            packed_version=int(of_root["packed_version"]),
            orphan_until=int(given["orphan_until"]),
            fence=int(given["fence"]),
            token=given["token"],
            claims_count=int(given["claims_count"]),
            attempts=int(given["attempts"]),
            low_priority=given["low_priority"] == "1",
            failures_in_a_row=int(given["failures_in_a_row"]),
            hints_followed=int(given["hints_followed"]),
            accused_ms=int(given["accused_ms"]),
            put_behind=given["put_behind"] == "1",
            code=given["code"],
            retry_after_given=given["retry_after_given"] == "1",
            request_id=given["request_id"],
            sent_bytes=int(given["sent_bytes"]),
            job=given["job"],
            job_status=given["job_status"],
            polls=int(given["polls"]),
            errors_url=given["errors_url"],
            platform_failed_count=None if platform_failed_count < 0 else platform_failed_count,
            unvouched=int(given["unvouched"]),
            all_failed=given["all_failed"] == "1",
            reason=given["reason"],
            created_ms=int(given["created_ms"]),
            first_ms=int(given["first_ms"]),
            sent_ms=int(given["sent_ms"]),
            ended_at_platform_ms=int(given["ended_at_platform_ms"]),
            ended_ms=int(given["ended_ms"]),
            delivered=int(given["delivered"]),
            failed=int(given["failed"]),
            unattributed=int(given["unattributed"]),
        )

    def sends(self, bisect: BisectState) -> "Batch":
        """The batch with these rows to send, as a batch that waits for its turn."""
        return replace(self, bisect=bisect, state=BatchState.READY)

    def part(self, ranges: Ranges) -> "Batch":
        """Rows that go on as a batch of their own. Each new claim has an answer before it, like the older ones."""
        return Batch(
            0,
            self.lane,
            self.root,
            BisectState(ranges),
            low_priority=self.low_priority,
            attempts=self.attempts,
            claims_count=self.attempts,
            first_ms=self.first_ms,
        )


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A child: rows of a batch that go on by themselves. `batch` has no number yet. It is due after `delay_ms`."""

    batch: Batch
    delay_ms: int = 0

    def to_fields(self) -> dict[str, str]:
        """The fields of the new hash. A script adds lane, root, parent and time."""
        blank = Batch(0, self.batch.lane, self.batch.root, BisectState(())).to_fields()
        needed = ("state", "rows", "sending")
        return {n: value for n, value in self.batch.to_fields().items() if n in needed or value != blank[n]}


class StopKind(StrEnum):
    """Why the platform stopped a lane. A value is the text that Redis keeps."""

    #: An option of the lane is wrong, and the platform says so.
    OPTION = "option"
    #: Rows that have nothing in common but the lane were refused alike.
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class LaneStop:
    """A lane is to stop. `why` says what to look at, in words of our own. One batch is tried after `first_ms`, then at
    gaps that double up to `last_ms`."""

    code: str
    why: str
    kind: StopKind
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a claimed batch, written down in one step.

    `batch` is the batch as it is to be. If its state is DONE, the batch has ended. Otherwise it is due again after
    `delay_ms`, behind fresh traffic if `low_priority` says so for this once. `delivered` rows and the rows of
    `reasons_by_row` leave the batch; `unattributed` rows are among the delivered ones. `refund` says that the claim
    does not count as one. For `orphan_ms` the contacts stay in flight, as a request of unknown fate may still act.

    The lane is told too. `accepted`: the platform took something in, so the lane and the account work. `doubt` is the
    likeness of the refusal of a row alone, `account_doubt` that of a refusal that may concern the account.
    `stop_lane` says why the lane must stop.

    The destination is told as well: `stop` says why it must stop; `max_body_bytes` is what a refused size taught;
    `custom_fields_stale` says that the cached custom fields are wrong."""

    batch: Batch
    delay_ms: int = 0
    low_priority: bool = False
    delivered: int = 0
    unattributed: int = 0
    reasons_by_row: Mapping[int, FailureReason] = field(default_factory=dict)
    children: tuple[NewBatch, ...] = ()
    orphan_ms: int = 0
    refund: bool = False
    stop: Stop | None = None
    stop_lane: LaneStop | None = None
    accepted: bool = False
    doubt: str = ""
    account_doubt: str = ""
    max_body_bytes: int | None = None
    custom_fields_stale: bool = False

    @property
    def ended(self) -> bool:
        return self.batch.state is BatchState.DONE

    @property
    def due_set(self) -> str:
        low = self.low_priority and not self.batch.low_priority
        return f"{self.batch.due_set}:low" if low else self.batch.due_set


#: What a field is that the hash does not have.
_MISSING = {
    **dict.fromkeys(("sending", "suspects", "parked", "accused"), "[]"),
    **dict.fromkeys(("token", "code", "request_id", "job", "job_status", "errors_url", "reason"), ""),
    **dict.fromkeys(("group_size", "good_in_a_row", "bytes", "parts", "requests", "packed_version"), "0"),
    **dict.fromkeys(("orphan_until", "fence", "claims_count", "attempts", "low_priority", "failures_in_a_row"), "0"),
    **dict.fromkeys(("hints_followed", "retry_after_given", "sent_bytes", "polls", "all_failed"), "0"),
    **dict.fromkeys(("created_ms", "first_ms", "sent_ms", "ended_at_platform_ms", "ended_ms"), "0"),
    **dict.fromkeys(("delivered", "failed", "unattributed", "unvouched"), "0"),
    **dict.fromkeys(("accepted", "accused_ms", "put_behind"), "0"),
    "platform_failed_count": "-1",
}


def _ranges(text: str) -> Ranges:
    return tuple((int(start), int(stop)) for start, stop in orjson.loads(text))
