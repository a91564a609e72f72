"""What a platform's reply means, as closed lists of types: verdicts on an upsert, and reports on an import job.

A provider reads a reply and returns one of these; the engine decides by the type alone what follows. A text or a code
never decides whether a request goes out again. Every `match` over one of these lists ends in `assert_never`.

A `code` is a `FailureCode`, or a text that an outside platform made. A `reason` may quote the platform, and so a
contact: it is stored with the failure and never logged. Times are seconds, as platforms give them.
"""

from dataclasses import dataclass, field

from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.letter_case import folded


@dataclass(frozen=True, slots=True, repr=False)
class RowError:
    """One complaint of a reply or of an error file about a record.

    `value` is the identifier that the platform quotes, such as `ann@example.com`. `hint` is a row number that it gives;
    a row number alone proves nothing. `fields` are the ids of custom fields that it refuses, whichever record has them.
    """

    code: FailureCode | str
    reason: str
    value: str = ""
    hint: int | None = None
    fields: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"RowError({self.code})"


@dataclass(frozen=True, slots=True)
class Pending:
    """The platform took the request and queued it; its job `job` reports later how the import went."""

    job: str


@dataclass(frozen=True, slots=True)
class Done:
    """The platform applied the request at once, except these rows: `failed` rows fail, and `again` rows are sent once
    more, later, because they failed through no fault of theirs.

    `applied` is the number of rows that the platform vouches for, None where the reply vouches for all that it does not
    name. Rows that are neither vouched for nor named are counted as unattributed."""

    failed: tuple[RowError, ...] = ()
    again: tuple[RowError, ...] = ()
    applied: int | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """The platform refused the request as a whole, and names some records as the cause."""

    failed: tuple[RowError, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Rejected:
    """The platform refused the request as a whole, and names nobody."""

    code: FailureCode | str
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class AllFailed:
    """The platform refused something that all rows share and that no setting mends. Every row fails: none of them need
    be sent alone to prove it. A wrong list is `StopLane`, a wrong key field is `Stop`. No shipped platform says it."""

    code: FailureCode | str
    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The body is larger than the platform takes; smaller bodies may pass."""


@dataclass(frozen=True, slots=True)
class Limited:
    """Over the rate limit; the platform attempted nothing. `after_s` is how long to wait in seconds, None where the
    reply does not say."""

    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the same bytes again, at the earliest after `after_s` seconds. `unknown`: the platform may have acted on the
    request already. `between`: something between this program and the platform, such as a firewall, refused it."""

    code: FailureCode | str
    after_s: float | None = None
    unknown: bool = False
    between: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """A setting of the destination is wrong (a key, a permission, an address): nothing goes out until somebody mends
    it. `why` says what to mend, in words of our own."""

    code: FailureCode | str
    why: str


@dataclass(frozen=True, slots=True)
class StopLane:
    """An option of the lane is wrong (its list ids, its contact list): no batch of this lane goes out until somebody
    mends it; the other lanes of the destination go on. No row is at fault. `why` says which option to mend, in words of
    our own."""

    code: FailureCode | str
    why: str


Verdict = Pending | Done | Named | Rejected | AllFailed | TooLarge | Limited | Retry | Stop | StopLane


@dataclass(frozen=True, slots=True)
class Healthy:
    """The reply to a probe: the platform answers and accepts the credentials."""


@dataclass(frozen=True, slots=True)
class JobRunning:
    """The job has not ended, or is in a state that this program does not know. `status` is the platform's word."""

    status: str


@dataclass(frozen=True, slots=True, repr=False)
class JobEnded:
    """The job has ended.

    `errored` is the number of failed rows, None where the platform does not say. `errors_url` is where they are listed,
    empty where they are not. `all_failed`: nothing was applied. `requested` is the number of rows that the job took,
    None where the platform does not say: nobody vouches for rows beyond it.
    """

    status: str
    errored: int | None = None
    errors_url: str = ""
    all_failed: bool = False
    reason: str = ""
    requested: int | None = None

    def __repr__(self) -> str:
        return f"JobEnded({self.status}, errored={self.errored})"


@dataclass(frozen=True, slots=True)
class JobMissing:
    """The platform does not know the job (yet)."""


JobReport = JobRunning | JobEnded | JobMissing | Limited | Retry | Stop


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The custom fields of an account: lower-case name to (id, type), such as `{"plan": ("e1_T", "Text")}`.
    `fetched_ms` is Unix time in milliseconds, 0 for a table that was never fetched. `by_id` has the same fields by
    their ids, written exactly so."""

    by_name: dict[str, tuple[str, str]] = field(default_factory=dict)
    fetched_ms: int = 0
    by_id: dict[str, tuple[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {found[0]: found for found in self.by_name.values() if found[0]})

    def find(self, name: str) -> tuple[str, str] | None:
        """The id and the type of the field that a record names: by its name in any letter case, or else by its id."""
        return self.by_name.get(name) or self.by_name.get(folded(name)) or self.by_id.get(name)

    def spellings(self, name: str) -> list[str]:
        """All texts that name the same field as `name` does: its id, and its names as the table writes them. Empty if
        `name` names no field, or several."""
        found = self.find(name)
        if found is None or not found[0]:
            return []
        names = [each for each, named in self.by_name.items() if named == found]
        return [*names, found[0]] if self.find(found[0]) == found else names

    def takes(self, name: str) -> bool:
        """Whether no new field may have this name: a field has it, or an id differs from it by letter case at most."""
        return self.find(name) is not None or folded(name) in map(folded, self.by_id)
