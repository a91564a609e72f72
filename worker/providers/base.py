"""What a platform offers: a small core that every platform has, and capabilities that only some have.

    Provider          the core: encode contacts, build upserts, read replies, find the rows that a reply names, probe,
                      sign
    ImportJobs        the upsert only queues; a job reports later, and an error file lists the failed rows
    CustomFields      an account has fields of its own: their definitions can be fetched, and new ones can be created
    TableCells        the types of the account's fields, for the cells of tables, and what empties a field
    SameFields        two names of a record's field may be one field at the platform
    TokenAuth         requests carry a token that is fetched with the credentials and shared by all workers
    AccountLists      the options of a lane name lists of the account, and the account can be asked for them
    FieldsInSettings  settings name fields of the account

A provider is pure: it holds no connection and no clock. It turns contacts into request bytes and replies into verdicts.
The engine decides when a request goes out, how often, and what follows. A capability is
the core and a few methods more. The engine asks once, when it joins the parts of a destination, which capabilities a
provider has (`isinstance(provider, ImportJobs)`), and hands them to the parts that use them. A provider without a
capability has none of its methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from contact_ingest.model.cell import CellKind
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import (
    FieldTable,
    Healthy,
    JobReport,
    Limited,
    Retry,
    RowError,
    Stop,
    Verdict,
)
from contact_ingest.packing.payload import Limits

#: What becomes of a custom field that the account lacks: the record is refused, the field is left out, or the field is
#: created.
UnknownFields = Literal["refuse", "drop", "create"]


@dataclass(slots=True, repr=False)
class Prepared:
    """One contact, ready to pack.

    `encoded` is the exact bytes of the contact in the body, such as `{"email":"a@example.com"}`. `identities` says who
    the contact is, as `kind:value` (`email:a@example.com`). `dropped` names the fields that were left out.
    """

    encoded: bytes
    identities: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token, and for how many seconds to use it."""

    value: str
    lasts_s: float


@dataclass(frozen=True, slots=True, repr=False)
class SigningContext:
    """What changes from one signature to the next.

    `token` is the access token in force, empty for a platform without `TokenAuth`. `now_s` is Unix time in seconds by
    the clock of Redis. `nonce` is 32 lower-case hexadecimal characters that are used once.
    """

    token: str
    now_s: float
    nonce: str


class LaneRules(Protocol):
    """What a producer needs to know of a platform: the options of a lane, and the size of a body."""

    def lane_options(self, **options: Any) -> dict[str, Any]:
        """Check the options of a lane and return them in one canonical form; `{}` where there are none.

        SendGrid: `lane_options(list_ids=["AAAA..."])` returns `{"list_ids": ("aaaa...",)}`. Two calls that mean the
        same return the same, because the lane's name is a digest of the result. Raises `SettingError`.
        """
        ...

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        """How many contacts and bytes one request for this lane takes, and what stands before and after the contacts.

        `max_bytes` is the cap that replies with status 413 have taught: it only ever lowers the platform's cap.
        """
        ...


@runtime_checkable
class Provider(LaneRules, Protocol):
    """One account at a platform: the core that every platform has."""

    #: Neutral identifier fields that tell contacts apart at this platform, strongest first: `("email", "external_id")`.
    identifiers: tuple[str, ...]
    #: A digest that names the account. Destinations with the same account share its rate limits. It is no secret.
    account: str
    #: Endpoint name to (requests, seconds), as configured or documented; an endpoint of unknown rate is left out.
    rates: Mapping[str, tuple[int, float]]

    def prepare(self, raw: bytes, fields: FieldTable) -> Prepared:
        """Check and encode one record. `raw` is the record's JSON; `fields` are the account's custom fields as cached.

        Raises `Refused` for a record that can never be sent. A provider with `CustomFields` raises `FieldsNeeded` where
        the table has to be fetched first, or fields have to be created first.
        """
        ...

    def upsert(self, lane: Lane, rows: Sequence[bytes]) -> Request:
        """The request that sends `rows`: slices of a packed body, which are encoded contacts and the commas between."""
        ...

    def read_upsert(self, response: Response, now_s: float) -> Verdict:
        """What a reply to `upsert` means. `now_s` is Unix time in seconds. Never raises, whatever the reply holds.

        `Pending` is for providers with `ImportJobs` only.
        """
        ...

    def find_rows(self, rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
        """For each error the positions in `rows` (encoded contacts) that it proves. A row number proves nothing."""
        ...

    def probe(self) -> Request:
        """A cheap request that succeeds as soon as the account works."""
        ...

    def read_probe(self, response: Response, now_s: float) -> Healthy | Limited | Retry | Stop:
        """Whether the account works, as the reply to `probe` tells. Never raises."""
        ...

    def sign(self, request: Request, signing: SigningContext) -> Request:
        """The request with its credentials. Every request is built without them and signed just before it goes out."""
        ...


@runtime_checkable
class ImportJobs(Provider, Protocol):
    """The platform answers an upsert with the id of a job, which reports later how the import went."""

    def job(self, job: str) -> Request:
        """The request that asks how the job is."""
        ...

    def read_job(self, response: Response, now_s: float) -> JobReport:
        """What the job reports. Never raises."""
        ...

    def error_file(self, url: str) -> Request:
        """The request for the list of failed rows. It carries no credentials: the address comes from a reply."""
        ...

    def read_error_file(self, content: bytes, rows: Sequence[bytes]) -> list[RowError]:
        """The contacts among `rows` that the file names. Never raises: from garbage it reads what can be read."""
        ...


@runtime_checkable
class CustomFields(Provider, Protocol):
    """The account defines fields of its own, and contacts carry them by the platform's ids or names."""

    def definitions(self) -> Request:
        """The request for the fields of the account."""
        ...

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        """The fields, or why they cannot be had now. `now_ms` is Unix time in milliseconds. Never raises."""
        ...

    def create_field(self, name: str, value: object) -> Request:
        """The request that creates a field of the type that suits `value`, a sample. The engine fetches the definitions
        again afterwards, whatever the reply was. Raises `Refused` for a name or a value that no field can have."""
        ...


@runtime_checkable
class TableCells(Protocol):
    """What the cell of a table becomes at this platform. Without this capability every custom field takes text."""

    #: What a field takes, by the type that the field table gives, in lower case: `{"number": "number"}`. Fields of
    #: other types take text.
    cell_kinds: Mapping[str, CellKind]
    #: The value that empties a field, as the only item; no item where the platform documents none.
    emptied: tuple[object, ...]


@runtime_checkable
class SameFields(Protocol):
    """Two names of a record's field are one field at this platform. Of two records the newer one's value stands under
    either name."""

    #: A name to the name of the same field that stands for both: `{"phone": "phone_number"}`.
    same_fields: Mapping[str, str]


@runtime_checkable
class TokenAuth(Provider, Protocol):
    """The platform gives an access token for the credentials. The engine fetches it, shares it and renews it."""

    def token_request(self) -> Request:
        """The request for a token; it carries the credentials itself."""
        ...

    def read_token(self, response: Response) -> Token | Limited | Retry | Stop:
        """The token, or why there is none. Never raises."""
        ...


@runtime_checkable
class AccountLists(Provider, Protocol):
    """The options of a lane name lists of the account. The doctor asks whether the account has them."""

    def lists_of(self, options: Mapping[str, Any]) -> Mapping[str, Request]:
        """The lists that the options of a lane name, each with a request that tells whether the account has it."""
        ...

    def has_list(self, list_id: str, response: Response) -> bool | None:
        """Whether the account has the list, by the reply to its request. None: the reply does not tell."""
        ...


@runtime_checkable
class FieldsInSettings(Provider, Protocol):
    """Settings of the destination name fields of the account."""

    def missing_fields(self, fields: FieldTable) -> Mapping[str, str]:
        """The settings that name a field which the account lacks, each with what it names."""
        ...
