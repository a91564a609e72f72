"""What a platform must be able to say. Providers are pure: contacts in, request bytes out; reply in, verdict out.

They hold no connection and no clock. The engine decides when, how often and what next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable, JobReport, Limited, Retry, RowError, Stop, Verdict
from contact_ingest.packing.payload import Limits


@dataclass(slots=True, repr=False)
class Prepared:
    """One contact, ready to pack: the exact bytes of its place in the body, and its identities as `kind:value`."""

    encoded: bytes
    identities: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A token that the platform gave, and for how many seconds it is good."""

    value: str
    lasts_s: float


@dataclass(frozen=True, slots=True, repr=False)
class SigningContext:
    """What a request may be signed with: the token in force (empty if the platform has none), Unix time, and 32
    lower-case hexadecimal characters that are used once."""

    token: str
    now_s: float
    nonce: str


class Provider(Protocol):
    """A platform's account, as the engine sees it."""

    #: Neutral identifier fields that count at this platform, strongest first.
    identifiers: tuple[str, ...]
    #: Names one account, so that destinations which share it share its limits. Not a secret.
    account: str
    #: Endpoint name to (requests, seconds) as configured or documented; absent where unknown.
    rates: Mapping[str, tuple[int, float]]

    @staticmethod
    def lane_options(**options: Any) -> dict[str, Any]:
        """What a lane of this platform may say, checked and in one canonical form. Raises `SettingError`."""

    def limits(self, lane: Lane, max_bytes: int | None = None) -> Limits:
        """`max_bytes` is what a 413 has taught; it only ever lowers the cap."""

    def prepare(self, raw: bytes, fields: FieldTable) -> Prepared:
        """Raises `Refused` for what can never be sent, `FieldsNeeded` where `fields` has to be fetched, or the custom
        fields created, first."""

    def upsert(self, lane: Lane, rows: Sequence[bytes]) -> Request:
        """`rows` are slices of a packed body: encoded contacts with the commas between them."""

    def read_upsert(self, response: Response, now_s: float) -> Verdict: ...

    def find_rows(self, rows: Sequence[bytes], failed: Sequence[RowError]) -> list[list[int]]:
        """For each error the positions in `rows` (encoded contacts) that it proves. A hint alone proves nothing."""

    def job(self, job: str) -> Request: ...
    def read_job(self, response: Response, now_s: float) -> JobReport: ...

    def error_file(self, url: str) -> Request:
        """Never carries credentials: the address comes from a reply."""

    def read_error_file(self, content: bytes, rows: Sequence[bytes]) -> list[RowError]:
        """Whom the file names among the contacts in `rows`. Never raises: of garbage, what can be read."""

    def token_request(self) -> Request | None:
        """Asks for a token, where the platform has such; None where keys suffice."""

    def read_token(self, response: Response) -> Token | Limited | Retry | Stop: ...

    def sign(self, request: Request, signing: SigningContext) -> Request:
        """The request with its credentials. Requests are built without them and signed just before they go out."""

    def probe(self) -> Request:
        """A cheap request that succeeds once the account does. `read_definitions` reads its reply."""

    def definitions(self) -> Request: ...

    def read_definitions(self, response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
        """The custom fields, or why they are not to be had at the moment."""

    def create_field(self, name: str, value: object) -> Request:
        """A custom field of the type that suits `value`; fetch the definitions again afterwards, whatever the reply
        was. Raises `Refused`."""
