"""Every code that says why a record failed, why a request goes out again, or why a destination stopped.

A code is short and never changes: people filter by it (`contact-ingest failures --code bad_email`). Each has one
sentence that says what happened, and what to do where that is known. `contact-ingest failures codes` prints them.

Four families hold a number or another code at their end: see `FAMILIES`. An outside platform may bring codes of its
own, as plain text: those have no sentence here.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class FailureCode(StrEnum):
    """A code and its sentence: `FailureCode.BAD_EMAIL == "bad_email"`, `FailureCode.BAD_EMAIL.sentence`."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    def __repr__(self) -> str:
        """As the plain text that it is: receipts and verdicts are printed."""
        return repr(self.value)

    # A record that breaks a rule, refused before anything is sent.
    NOT_AN_OBJECT = "not_an_object", "The record is not a JSON object."
    NOT_JSON = "not_json", "A value cannot be written as JSON: convert it to text, a number, a list or an object."
    NOT_FINITE = "not_finite", "A number is NaN or infinite, which JSON cannot express: leave the field out."
    BAD_NAME = "bad_name", "A field name of the record is not text."
    NO_IDENTIFIER = "no_identifier", "The record has none of the identifiers that this platform needs: add one."
    TOO_LARGE = "too_large", "The record, or the one contact of a request, has more bytes than allowed: shorten it."
    UNKNOWN_FIELD = (
        "unknown_field",
        "The account or the platform has no such field: create it there, set unknown_fields, or rename the field.",
    )
    RESERVED = "reserved", "A custom field has a name that the platform keeps for itself: rename it."
    RESERVED_FIELD = "reserved_field", "A custom field is one that every record has: give it by its own name."
    AMBIGUOUS_FIELD = "ambiguous_field", "Several fields of the account have this name: give the field's number."
    READ_ONLY = "read_only", "The platform keeps this field itself and lets nobody write it: leave it out."
    GIVEN_TWICE = "given_twice", "The record gives one field twice, with two values: give one."
    TWICE = "twice", "The record gives one custom field twice, by its name and its id or in two letter cases: give one."
    NULL = "null", "The value is null, which this platform does not take here: leave the field out."
    EMPTY = "empty", "The value is empty where the platform needs one: leave the field out."
    WRONG_TYPE = "wrong_type", "The value is of another type than the field takes."
    TOO_LONG = "too_long", "The text has more characters than the field takes."
    TOO_MANY = "too_many", "The list has more items than the field takes."
    BAD_EMAIL = "bad_email", "The text is not an e-mail address."
    BAD_PHONE = "bad_phone", "The text is not a telephone number in international form: write + and 7 to 15 digits."
    BAD_NUMBER = "bad_number", "The field takes a number, and the text is none."
    BAD_DATE = "bad_date", "The field takes a date, and the value is none that it reads: write YYYY-MM-DD."
    BAD_CHOICE = "bad_choice", "The field takes the number of a choice, and the value is none."
    BAD_OPT_IN = "bad_opt_in", "The opt-in is neither 1 (yes) nor 2 (no)."
    INVALID = "invalid", "The record breaks a rule that has no code of its own: the reason says which."
    UNREADABLE = "unreadable", "The line or entry of the file cannot be read as a record."

    # A record that the platform refused.
    BAD_CONTACT = "bad_contact", "The platform refused this contact, and its answer names it: the reason quotes it."
    BAD_IDENTIFIER = "bad_identifier", "The platform refused an identifier of this contact: the reason quotes it."
    UNKNOWN_FIELD_ID = (
        "unknown_field_id",
        "The platform does not know a custom field that it listed before: it is new or was deleted; retry the record.",
    )
    UNKNOWN_USER_ID = (
        "unknown_user_id",
        "No contact has this external_id: add the email, so that one is created.",
    )
    REPLY_UNKNOWN = "reply_unknown", "The platform refused this contact and gave no code that can be read."
    INVALID_JSON = "invalid_json", "The platform could not read the request as JSON; the contact was alone in it."
    IMPORT_ERROR = "import_error", "The error file of the import names this contact: the reason quotes it."
    IMPORT_FAILED = "import_failed", "The import failed as a whole, and nothing of it was applied: retry the record."

    # A record whose fate did not become known in time, or that our own code could not handle.
    GAVE_UP = (
        "gave_up",
        "The platform did not take the request before the retry window ended: retry when it works.",
    )
    NO_VERDICT = "no_verdict", "The import had not ended by the deadline, so its outcome is unknown: retry the record."
    POISON = "poison", "Workers died several times while they sent this record alone: look at it before you retry."
    KEYS_LOST = (
        "keys_lost",
        "The bytes to be sent are gone from Redis, deleted or evicted: see what did that, then retry the record.",
    )
    INTERNAL = "internal", "A defect of this program or of a platform package stopped the record: please report it."

    # A destination that stopped: nothing fails, everything waits until somebody mends the setting.
    UNAUTHORIZED = "unauthorized", "The platform does not accept the credentials: mend them, then resume."
    PAYMENT = "payment", "The platform wants the account's payment settled: settle it, then resume."
    FORBIDDEN = "forbidden", "The credentials lack a permission: grant it at the platform, then resume."
    NOT_FOUND = "not_found", "The platform does not know the path: check base_url, then resume."
    NOT_ALLOWED = (
        "not_allowed",
        "The platform takes no such request at the path: check base_url, then resume.",
    )
    WRONG_METHOD = "wrong_method", "The platform does not take an update at this path: check base_url, then resume."
    TWO_ACCOUNTS = (
        "two_accounts",
        "Workers that live at the same time have different accounts or keys: give all the same, or accept both.",
    )
    BAD_LIST = "bad_list", "The platform refuses the lists of a lane: check that they exist, then resume."
    BAD_KEY_FIELD = (
        "bad_key_field",
        "The platform does not take the key field: check key_field and external_id_field, then resume.",
    )
    BAD_SOURCE = "bad_source", "The platform does not know the source of the contacts: check source_id, then resume."
    STOPPED = "stopped", "The destination was stopped, and no reason was kept."

    # A reply or an exchange that decides nothing: the same request goes out again later.
    UNREADABLE_REPLY = "unreadable_reply", "The platform's answer could not be read, so the request goes out again."
    UNREADABLE_TOKEN = "unreadable_token", "The platform's answer held no access token that can be used."
    NO_TOKEN = "token", "There was no access token to sign the request with."
    CONNECT = "connect", "The platform refused the connection."
    CONNECT_TIMEOUT = "connect_timeout", "The platform did not take the connection in time."
    DNS = "dns", "The platform's host name was not found: check base_url."
    TLS = "tls", "The encrypted connection failed: check base_url, and this machine's clock and certificates."
    PROXY = (
        "proxy",
        "The proxy did not open a way to the platform: check CONTACT_INGEST_HTTP_PROXY, and what it allows.",
    )
    POOL = "pool", "All connections of this process to the platform were in use."
    FORBIDDEN_URL = (
        "forbidden_url",
        "A reply named an address that is no public https address, so it was not called.",
    )
    INVALID_REQUEST = "invalid_request", "The request could not be built: check base_url."
    DEADLINE = "deadline", "The exchange did not end in its time."
    READ_TIMEOUT = "read_timeout", "The request went out and no answer came in time."
    WRITE = "write", "The connection broke while the request went out."
    RESET = "reset", "The platform ended the connection while its answer was read."
    CLOSED = "closed", "The connection was closed before an answer came."
    PROTOCOL = "protocol", "The platform's answer was not HTTP."


#: Codes with a number, or another code, at their end.
FAMILIES: Mapping[str, str] = {
    "http_<status>": "The platform answered with this HTTP status and gave no code of its own: the reason quotes it.",
    "reply_<number>": "The platform answered with this reply code of its own: its documentation says more.",
    "token_<what>": "The request for an access token ended so: an HTTP status, a code of an exchange, or refused.",
    "unexpected_<kind>": "The exchange ended in an error that the program does not know: please report it.",
}


#: Exchanges that ended so for a reason of our own. They say nothing of the platform.
_OWN_REASONS = frozenset(
    {FailureCode.POOL, FailureCode.FORBIDDEN_URL, FailureCode.INVALID_REQUEST, FailureCode.INTERNAL}
)


def is_own_reason(reason: str) -> bool:
    """Whether an exchange, or the request for its token, ended for a reason of our own: a defect, an address that is
    not called, a lack of connections or of files. Nobody may take that for the platform's silence."""
    cause = reason.removeprefix("token_")
    return cause in _OWN_REASONS or cause.startswith("unexpected_")


def http_code(status: int) -> str:
    """`http_503`: a status that a platform's own codes do not cover."""
    return f"http_{status}"


def reply_code(number: int) -> str:
    """`reply_2004`: a reply code that a platform puts into its answers."""
    return f"reply_{number}"


def token_code(what: int | str) -> str:
    """`token_503` or `token_deadline`: how a request for an access token ended."""
    return f"token_{what}"


def unexpected_code(problem: Exception) -> str:
    """`unexpected_KeyError`: an exchange ended in an error that nobody thought of."""
    return f"unexpected_{type(problem).__name__}"
