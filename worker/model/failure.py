"""Why a record failed."""

from dataclasses import dataclass
from enum import StrEnum

from contact_ingest.model.failure_codes import FailureCode


class FailureStage(StrEnum):
    """The stage of the pipeline at which a record failed."""

    AGGREGATE = "aggregate"
    DISPATCH = "dispatch"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class FailureReason:
    """What happened to a record, in the words of the one who says so. `batch` and `request_id` are empty where no
    request was involved."""

    code: FailureCode | str
    reason: str
    stage: str
    batch: int | None = None
    request_id: str = ""
