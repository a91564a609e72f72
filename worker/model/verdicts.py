"""What a reply means: a closed list of verdicts on a request, and of reports on an import job.

Whether to try again is a type here, never guessed from a text later on.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, repr=False)
class RowError:
    """One record that the platform names. `value` is the identifier it quotes; `hint` a row number that it gives
    without proof; `fields` are ids of custom fields that it refuses, whoever carries them."""

    code: str
    reason: str
    value: str = ""
    hint: int | None = None
    fields: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"RowError({self.code})"


@dataclass(frozen=True, slots=True)
class Pending:
    """Taken in; the platform's job tells later how it went."""

    job: str


@dataclass(frozen=True, slots=True)
class Done:
    """Applied at once; `failed` rows were not. Those of `again` were not either, by no fault of theirs: they are to be
    sent once more, later."""

    failed: tuple[RowError, ...] = ()
    again: tuple[RowError, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """Refused as a whole, and some records are named as the cause."""

    failed: tuple[RowError, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Rejected:
    """Refused as a whole, and nobody is named. `reason` may quote the platform: never log it."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class AllFailed:
    """Refused for what all rows share (a key field, a list, a source): each of them fails, proved without being sent
    alone. `reason` may quote the platform: never log it."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The body is over a cap; smaller ones may pass."""


@dataclass(frozen=True, slots=True)
class Limited:
    """Over the rate limit: wait, nothing was attempted. `after_s` is None where the reply does not say."""

    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the same bytes again. `unknown` tells that the platform may have acted already."""

    code: str
    after_s: float | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The destination itself is wrong (a key, a right, a list): nothing is to be sent until somebody mends it."""

    code: str
    why: str


Verdict = Pending | Done | Named | Rejected | AllFailed | TooLarge | Limited | Retry | Stop


@dataclass(frozen=True, slots=True)
class Healthy:
    """The reply to a probe: the platform answers and accepts the credentials."""


@dataclass(frozen=True, slots=True)
class JobRunning:
    """Not finished, or in a state this product does not know."""

    status: str


@dataclass(frozen=True, slots=True, repr=False)
class JobEnded:
    """Finished. `errored` is the number of failed rows, None where the platform does not say; `errors_url` is where
    they are listed; `all_failed` tells that nothing was applied."""

    status: str
    errored: int | None = None
    errors_url: str = ""
    all_failed: bool = False
    reason: str = ""

    def __repr__(self) -> str:
        return f"JobEnded({self.status}, errored={self.errored})"


@dataclass(frozen=True, slots=True)
class JobMissing:
    """The platform does not know the job (yet)."""


JobReport = JobRunning | JobEnded | JobMissing | Limited | Retry | Stop


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The custom fields of an account: lower-case name to (id, type). `fetched_ms` is 0 for a table never fetched."""

    by_name: dict[str, tuple[str, str]] = field(default_factory=dict)
    fetched_ms: int = 0
