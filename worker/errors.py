"""Everything this product raises on purpose.

    IngestError
    ├── SettingError            a setting is wrong; the message begins with its name
    ├── Refused                 one record breaks a rule: field, rule, and nothing of its content
    ├── IntakeError             an enqueue stopped midway; carries the receipt so far
    │   ├── LaneFull
    │   └── StoreUnavailable
    ├── StoreFull               the memory of Redis is full; nothing of what was to be written is
    ├── StaleFence              someone else has taken this batch over: drop what is in hand
    ├── FieldsNeeded            aggregation met a custom field name that the cache does not know
    └── TransportError
        ├── NotSent             no byte of the request can have been acted upon
        │   └── NoToken         no token was to be had to sign it with
        └── FateUnknown         bytes went out and no readable answer came back

No message holds an address, a name, a body, a header or a key: messages end in logs.
"""

from collections.abc import Mapping
from pathlib import Path

#: What a mistake in our own code, or in a provider's, raises where nobody thought of the input. One record, or one
#: reply, is given up for it. Not among them: what Redis or the system says, and what ends a task from outside.
BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class IngestError(Exception):
    """Something this product knows how to explain went wrong."""


class SettingError(IngestError):
    """A setting is wrong. `name` is the variable or the configuration key to mend."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class Refused(IngestError):  # noqa: N818 - a verdict on a record, not an accident
    """A record breaks a rule. `field` is the neutral name; `rule` says what was expected and what was found,
    by length or type only."""

    def __init__(self, field: str, rule: str, code: str = "invalid") -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule
        self.code = code


class IntakeError(IngestError):
    """An enqueue stopped midway. `receipt` holds what was accepted; `position` is the first record that was not."""

    def __init__(self, message: str, receipt: object, position: int) -> None:
        super().__init__(message)
        self.receipt = receipt
        self.position = position


class LaneFull(IntakeError):  # noqa: N818 - the word the caller will look for
    """The lane, or Redis as a whole, has no room; nothing was dropped. Try again later."""


class StoreUnavailable(IntakeError):  # noqa: N818 - the word the caller will look for
    """Redis did not answer. The records from `position` on were not accepted, as far as can be known."""


class StoreFull(IngestError):  # noqa: N818 - says what is known
    """The memory of Redis has no room for what was to be written, and nothing of it was."""


class StaleFence(IngestError):  # noqa: N818 - an everyday event, not an error
    """Someone else has taken this batch over."""


class FieldsNeeded(IngestError):  # noqa: N818 - a request, not an error
    """Custom field names are not in the cache: fetch the platform's definitions, then walk again. `samples` maps each
    name to a value, from which the type of a field to be created can be told; it is never part of the message."""

    def __init__(self, samples: Mapping[str, object]) -> None:
        super().__init__(f"{len(samples)} custom field names are not known yet")
        self.samples = samples


class TransportError(IngestError):
    """An HTTP exchange did not come to an answer. `reason` is a short code such as `connect` or `deadline`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSent(TransportError):  # noqa: N818 - says what is known
    """No byte of the request can have been acted upon: send again freely."""


class NoToken(NotSent):
    """No token was to be had, so the request was not sent. `refused` tells that the credentials are wrong."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class FateUnknown(TransportError):  # noqa: N818 - says what is known
    """Bytes went out and no readable answer came back: the platform may have acted."""


def describe_bug(problem: BaseException) -> str:
    """A mistake by its type and the innermost line of ours; never its text, which may quote a contact."""
    place, trace = "", problem.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("contact_ingest."):
            place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(problem).__name__}{place}"
