"""A record that failed: why, where, and what it said.

Redis keeps a failure as three lines, with the record's id beside them (`newsletter:17`):

    {"code":"too_long","reason":"last_name: has 51 characters, over the 50 allowed","stage":"aggregate","batch":null,
     "request_id":"","attempts":1,"first_ms":1790000000000,"last_ms":1790000000000,"merged":[12,15],
     "packed_version":9,"field_versions":[["city",15,9]]}
    {"email":"ann@example.com","last_name":"Aaaaa..."}
    {"email":"ann@example.com","last_name":"Aaaaa..."}

The first line (one line in Redis) says what happened. The second is the record, with older records merged into it. The
third is the record as the platform got it; it is empty where the record was never sent. Pure.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import orjson

from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.http_message import utc
from contact_ingest.model.lane import LaneName, RecordId, format_record_id
from contact_ingest.model.record import QueuedRecord

#: Longest texts that are kept of what a platform says, in characters.
CODE_CHARS = 100
REASON_CHARS = 1_000
REQUEST_ID_CHARS = 200


class FailureStage(StrEnum):
    """The stage of the pipeline at which a record failed."""

    AGGREGATE = "aggregate"
    DISPATCH = "dispatch"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Why a record failed, in the words of the one who says so. `batch` and `request_id` are empty where no request was
    involved."""

    code: FailureCode | str
    reason: str
    stage: FailureStage
    batch: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Failure:
    """One failed record. Times are milliseconds."""

    id: str
    code: str
    reason: str
    stage: FailureStage
    raw: bytes  # the record as JSON, as merged
    mapped: bytes = b""  # as the platform got it; empty if it was never sent
    batch: int | None = None
    request_id: str = ""  # the platform's name for the request
    attempts: int = 1
    first_ms: int = 0
    last_ms: int = 0
    merged: tuple[int, ...] = ()  # numbers of the records merged into it
    packed_version: int = 0  # of the commit by which it left its lane
    field_versions: tuple[tuple[str, int, int], ...] = field(default=())  # see QueuedRecord

    @classmethod
    def of(cls, lane: str, record: QueuedRecord, why: FailureReason, now_ms: int, mapped: bytes = b"") -> Self:
        """The failure of a record that has left its lane."""
        return cls(
            format_record_id(lane, record.seq),
            why.code[:CODE_CHARS],
            why.reason[:REASON_CHARS],
            why.stage,
            record.raw,
            mapped,
            why.batch,
            why.request_id[:REQUEST_ID_CHARS],
            record.attempts + 1,
            record.first_ms or now_ms,
            now_ms,
            record.merged,
            record.packed_version,
            record.field_versions,
        )

    @property
    def lane(self) -> LaneName:
        return RecordId.parse(self.id).lane

    @property
    def seq(self) -> int:
        return RecordId.parse(self.id).seq

    @property
    def queued(self) -> QueuedRecord:
        """The record as it goes its way again, under its old id."""
        return QueuedRecord(
            self.seq, self.raw, self.merged, self.attempts, self.first_ms, self.packed_version, self.field_versions
        )

    def to_bytes(self) -> bytes:
        """The three lines."""
        about = {
            "code": self.code,
            "reason": self.reason,
            "stage": self.stage.value,
            "batch": self.batch,
            "request_id": self.request_id,
            "attempts": self.attempts,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "merged": self.merged,
            "packed_version": self.packed_version,
            "field_versions": self.field_versions,
        }
        return b"\n".join((orjson.dumps(about), self.raw, self.mapped))

    @classmethod
    def from_bytes(cls, record_id: str, lines: bytes) -> Self:
        first, raw, mapped = lines.split(b"\n", 2)
        about = orjson.loads(first)
        return cls(
            record_id,
            about["code"],
            about["reason"],
            FailureStage(about["stage"]),
            raw,
            mapped,
            about["batch"],
            about["request_id"],
            about["attempts"],
            about["first_ms"],
            about["last_ms"],
            tuple(about["merged"]),
            about["packed_version"],
            tuple((path, seq, version) for path, seq, version in about["field_versions"]),
        )

    def public(self, *, contents: bool) -> dict[str, Any]:
        """The failure as the command line and exports show it. With `contents`, the record too."""
        lane = self.lane
        shown: dict[str, Any] = {
            "record": self.id,
            "lane": lane,
            "destination": lane.destination,
            "reason": self.reason,
            "code": self.code,
            "stage": self.stage.value,
            "batch": self.batch,
            "request_id": self.request_id,
            "attempts": self.attempts,
            "first_at": utc(self.first_ms),
            "last_at": utc(self.last_ms),
            "merged": [format_record_id(lane, seq) for seq in self.merged],
        }
        if contents:
            # Unparsed: a record that is nested as deeply as orjson allows would not go into another object.
            shown["contact"] = orjson.Fragment(self.raw)
            shown["mapped"] = orjson.Fragment(self.mapped) if self.mapped else None
        return shown
