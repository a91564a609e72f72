"""All exceptions that this package raises on purpose.

    IngestError
    ├── SettingError            a setting is wrong; the message begins with the setting's name
    ├── Refused                 a record breaks a rule; the message names the field and the rule, not the content
    ├── IntakeError             an enqueue stopped midway; it carries the receipt so far
    │   ├── LaneFull            the lane, or Redis, has no room
    │   ├── StoreUnavailable    Redis did not answer
    │   └── IdempotencyKeyReused    other records than those that the key was first used for
    ├── ForeignReceipt          a receipt's numbers belong to other records now
    ├── StoreFull               Redis has no memory left; nothing was written
    ├── KeysLost                keys of a batch are gone from Redis
    ├── StaleFence              another worker has taken the batch over; drop the result
    ├── FieldsNeeded            a record names a custom field that the cache does not know
    └── TransportError          an HTTP exchange ended without a readable reply
        ├── NotSent             the platform cannot have acted on the request
        │   └── NoToken         there was no token to sign the request with
        └── FateUnknown         bytes went out; the platform may have acted on them

Messages end in logs. No message holds an e-mail address, a name, a body, a header or a key.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

log = logging.getLogger(__name__)

#: Exceptions that a mistake in this package raises most often. Where nothing is called but our own code and a
#: provider's, any other exception is a defect as well: `is_defect` tells.
BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
#: Packages whose exceptions are no defects of ours: a server that does not answer, and a signal that ends a task, such
#: as Celery's `SoftTimeLimitExceeded`. They are known by name, because few modules may load these packages.
_NOT_OURS = frozenset({"redis", "billiard", "celery", "kombu"})


class IngestError(Exception):
    """Base class: the caller can catch it to catch everything below."""


class SettingError(IngestError):
    """A setting is wrong. `name` is the variable or the key of the configuration file to correct:
    `CONTACT_INGEST_LEASE_S` or `destinations.newsletter.list_ids`."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class Refused(IngestError):  # noqa: N818 - a verdict on a record, not an accident
    """A record breaks a rule. `field` is the field as producers name it. `rule` says what was expected and what was
    found; of the value it gives only length or type. `code` is a `FailureCode`, such as `unknown_field`, or a text of
    an outside platform's own."""

    def __init__(self, field: str, rule: str, code: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule
        self.code = code


class IntakeError(IngestError):
    """An enqueue stopped midway. `receipt` says what was accepted. `position` is the index, from 0, of the first record
    that was not accepted."""

    def __init__(self, message: str, receipt: object, position: int) -> None:
        super().__init__(message)
        self.receipt = receipt
        self.position = position


class LaneFull(IntakeError):  # noqa: N818 - the word the caller will look for
    """The lane, or Redis as a whole, has no room. Nothing was dropped. Try again later."""


class StoreUnavailable(IntakeError):  # noqa: N818 - the word the caller will look for
    """Redis did not answer. The records from `position` on were not accepted, as far as the producer can know: a reply
    may have been lost."""


class IdempotencyKeyReused(IntakeError):  # noqa: N818 - the word the caller will look for
    """The idempotency key was used less than a day ago, and for other records. The records from `position` on were not
    accepted: choose a new key for them, or repeat the same records. `setting` is how the caller gave the key."""

    def __init__(self, setting: str, receipt: object, position: int) -> None:
        super().__init__(
            f"{setting}: was used for other records within a day; choose a new one, or repeat the same records",
            receipt,
            position,
        )


class ForeignReceipt(IngestError):  # noqa: N818 - says what is known
    """The numbers of a receipt belong to other records now, so nothing was cancelled: the server was emptied, restored
    from an older state, or replaced by a replica that lagged. `old` says that the receipt has no epoch."""

    def __init__(self, lane: str, *, old: bool = False) -> None:
        why = "it has no epoch, and the lane's records have" if old else "they were given out in another epoch"
        super().__init__(
            f"receipt: its numbers in lane {lane} are not known to be its records': {why}; nothing was discarded. Look "
            f"at what waits, then name the numbers: contact-ingest cancel {lane} FIRST-LAST"
        )
        self.lane = lane


class StoreFull(IngestError):  # noqa: N818 - says what is known
    """Redis has no memory left. Nothing was written."""


class KeysLost(IngestError):  # noqa: N818 - says what is known
    """Keys of a batch are gone: somebody deleted them, or Redis evicted them. `part` is body (also its offsets or
    records) or options (those of its lane)."""

    def __init__(self, part: Literal["body", "options"]) -> None:
        super().__init__(f"{part} gone from Redis")
        self.part = part


class StaleFence(IngestError):  # noqa: N818 - an everyday event, not an error
    """Another worker has taken this batch over. Its result counts, this one is dropped."""


class FieldsNeeded(IngestError):  # noqa: N818 - a request, not an error
    """Records name custom fields that the cache does not know. Fetch the platform's definitions, then aggregate again.
    `samples` maps each name to one of its values, which tells the type of a field to be created. The values are never
    part of the message."""

    def __init__(self, samples: Mapping[str, object]) -> None:
        super().__init__(f"{len(samples)} custom field names are not known yet")
        self.samples = samples


class TransportError(IngestError):
    """An HTTP exchange ended without a readable reply. `reason` is a short code such as `connect` or `deadline`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSent(TransportError):  # noqa: N818 - says what is known
    """The platform cannot have acted on the request. It is safe to send it again."""


class NoToken(NotSent):
    """There was no token, so the request was not sent. `refused` is true if the platform rejected the credentials."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class FateUnknown(TransportError):  # noqa: N818 - says what is known
    """Bytes went out and no readable reply came back. The platform may have acted on the request."""


def is_defect(problem: Exception) -> bool:
    """Whether an exception is a defect of this package or of a provider, such as an ImportError or an OSError where no
    socket is used. The batch, the record or the reply that caused it is set aside, and the rest goes on. Errors of
    Redis, of a Redis without memory, and signals that end a task are no defects: who catches one raises it again."""
    if isinstance(problem, StoreFull):
        return False
    return all(kind.__module__.partition(".")[0] not in _NOT_OURS for kind in type(problem).__mro__)


def describe_bug(problem: BaseException) -> str:
    """The type of an exception and the innermost line of this package: `KeyError at packer.py:120`. The exception's
    text is left out: it may quote a contact."""
    place, trace = "", problem.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("contact_ingest."):
            place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(problem).__name__}{place}"


def log_defect(what: str, problem: BaseException) -> None:
    """One line about a defect, with its type and place, and nothing that its text may quote."""
    log.error(what, extra={"problem": describe_bug(problem)})
