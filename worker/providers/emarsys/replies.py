"""Reads Emarsys's replies: a reply has an HTTP status, a reply code in its body, and failed rows beside that.

    {"replyCode": 0, "replyText": "OK", "data": {"ids": ["7"], "errors": {"ann@example.com": {"2005": "..."}}}}

HTTP 200 alone is no success. One reply code means different things under different statuses, so both are read together;
a text never decides. A failed row is named by the value of its key, never by its position. No reply raises.

Sources: the vendor's registry of reply codes, PUT /v2/contact of the official Swagger file, the developer documentation
on updating multiple contacts, recorded replies in a public connector's tests; checked 2026-11-22.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contact_ingest.model.failure_codes import FailureCode, http_code, reply_code
from contact_ingest.model.http_message import Response, rate_headers
from contact_ingest.model.verdicts import (
    AllFailed,
    Done,
    FieldTable,
    Healthy,
    Limited,
    Named,
    Rejected,
    Retry,
    RowError,
    Stop,
    TooLarge,
    Verdict,
)
from contact_ingest.providers.emarsys.auth import CLOCK_TOLERANCE_S, server_s
from contact_ingest.providers.emarsys.fields import table_of
from contact_ingest.providers.error_file.columns import MAX_REASON, without_addresses
from contact_ingest.providers.json_guard import decode

#: Stands where a failed row's key stands, if Emarsys does not take the key field of the whole request.
NO_KEY = "<NO_KEY_ID>"
#: Another request created the contact at the same moment. The same upsert succeeds the next time.
RACE = 2009
#: (status, reply code) that refuses something that all rows share: the key field, a source, a contact list.
_CONCERNS_ALL = frozenset({(200, 2004), (400, 2004), (400, 2013)} | {(s, 2020) for s in (200, 400, 404)}) | frozenset(
    (status, code) for status in (400, 404) for code in (3004, 3006)
)
#: (status, reply code) that passes by itself: fields could not be loaded; RACE for the request instead of a row.
_PASSING = frozenset({(400, 2001), (200, RACE), (400, RACE)})
_TOO_MANY = (400, 1000)
_WRONG_METHOD = (400, 1009)
#: Reply codes with status 404 that are about contacts. Any other says that the path is wrong.
_NOT_FOUND = frozenset({2008, 2020, 3004, 3006})
_TRY_AGAIN = frozenset({408, 409, 423, 425})
#: A gateway answered in the platform's place: the platform behind it may have acted.
_GATEWAY = frozenset({502, 504})
_STOPS = {
    401: (FailureCode.UNAUTHORIZED, "Emarsys does not accept the credentials"),
    402: (FailureCode.PAYMENT, "Emarsys wants the account's payment settled"),
    403: (FailureCode.FORBIDDEN, "the API user lacks a permission: it needs those for contact, field and settings"),
    404: (FailureCode.NOT_FOUND, "Emarsys does not know the path: check base_url"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """The outer object that almost every reply of Emarsys has: `replyCode`, `replyText` and `data`."""

    code: int
    text: str
    data: Any

    @property
    def errors(self) -> Any:
        return self.data.get("errors") if isinstance(self.data, Mapping) else None


def read_upsert(response: Response, now_s: float, *, wsse: bool) -> Verdict:
    status, envelope = response.status, _envelope(response)
    if 200 <= status < 300:
        if envelope is None:
            return Retry(FailureCode.UNREADABLE_REPLY, unknown=True)
        return _applied(envelope) if envelope.code == 0 else _failed_whole(200, envelope)
    if status == 413:
        return TooLarge()
    if envelope is not None and (status == 400 or (status == 404 and envelope.code in _NOT_FOUND)):
        return _failed_whole(status, envelope)
    if status in (400, 422):
        return Rejected(http_code(status), f"Emarsys answered {status} and gave no reason")
    return _other_status(response, now_s, wsse=wsse)


def read_probe(response: Response, now_s: float, *, wsse: bool) -> Healthy | Limited | Retry | Stop:
    """The reply to `GET settings`: the account's settings as an object."""
    if not 200 <= response.status < 300:
        return _other_status(response, now_s, wsse=wsse)
    envelope = _envelope(response)
    if envelope is not None and envelope.code:
        return Retry(reply_code(envelope.code))
    if envelope is None or not isinstance(envelope.data, Mapping):
        return Retry(FailureCode.UNREADABLE_REPLY)
    return Healthy()


def read_definitions(response: Response, now_ms: int, *, wsse: bool) -> FieldTable | Limited | Retry | Stop:
    """The fields of the account, or why they cannot be had now."""
    envelope = _envelope(response)
    if envelope is not None and (response.status, envelope.code) in _PASSING:
        return Retry(reply_code(envelope.code))
    if not 200 <= response.status < 300:
        return _other_status(response, now_ms / 1000, wsse=wsse)
    if envelope is None:
        return Retry(FailureCode.UNREADABLE_REPLY)
    if envelope.code:
        return Retry(reply_code(envelope.code))
    return table_of(envelope.data, now_ms) or Retry(FailureCode.UNREADABLE_REPLY)


def _applied(envelope: Envelope) -> Verdict:
    """The request succeeded as a whole; some rows may have failed. A reply without any contact is unreadable."""
    rows = _rows(envelope.errors)
    if rows is None or not isinstance(envelope.data, Mapping) or not (rows or envelope.data.get("ids")):
        return Retry(FailureCode.UNREADABLE_REPLY, unknown=True)
    shared = _all_failed(rows)
    return shared or Done(*_split_failed(rows))


def _failed_whole(status: int, envelope: Envelope) -> Verdict:
    """The request failed as a whole."""
    rows = _rows(envelope.errors) or ()
    failed, again = _split_failed(rows)
    if shared := _all_failed(rows):
        return shared
    if failed:
        return Named(failed)
    at, code = (status, envelope.code), reply_code(envelope.code)
    reason = _short(envelope.text) or f"Emarsys answered with reply code {envelope.code} and gave no reason"
    if again or at in _PASSING:
        return Retry(reply_code(RACE) if again else code)
    if at == _TOO_MANY:
        return TooLarge()
    if at == _WRONG_METHOD:
        return Stop(FailureCode.WRONG_METHOD, "Emarsys does not take an update at this path: check base_url")
    return AllFailed(code, reason) if at in _CONCERNS_ALL else Rejected(code, reason)


def _other_status(response: Response, now_s: float, *, wsse: bool) -> Limited | Retry | Stop:
    """What a status means that says nothing of the contacts in the request."""
    status = response.status
    rate = rate_headers(response.headers, now_s)
    if status == 429:
        reset_s = rate.reset_s if rate.remaining in (0, None) else None
        return Limited(rate.retry_after_s if rate.retry_after_s is not None else reset_s)
    if status >= 500 or status in _TRY_AGAIN:
        return Retry(http_code(status), rate.retry_after_s, unknown=status in _GATEWAY)
    code, why = _STOPS.get(status, (http_code(status), f"Emarsys answered {status}: check base_url"))
    return Stop(code, f"{why}: {_credentials(response, now_s, wsse=wsse)}" if status == 401 else why)


def _credentials(response: Response, now_s: float, *, wsse: bool) -> str:
    """What the operator has to check first when Emarsys refuses the credentials: with WSSE, the clock."""
    if not wsse:
        return "check client_id, client_secret and base_url"
    platform_s = server_s(response.headers)
    if platform_s is None or abs(now_s - platform_s) <= CLOCK_TOLERANCE_S:
        return "check username, secret and base_url"
    minutes = round(abs(now_s - platform_s) / 60)
    side = "ahead of" if now_s > platform_s else "behind"
    return f"this machine's clock is {minutes} minutes {side} that of Emarsys, and WSSE allows 5: set the clock"


def _envelope(response: Response) -> Envelope | None:
    """The envelope of a reply; None if the reply was cut off, or is not Emarsys's own."""
    payload = None if response.truncated else decode(response.body)
    if not isinstance(payload, dict) or (code := _number(payload.get("replyCode"))) is None:
        return None
    text = payload.get("replyText")
    return Envelope(code, text if isinstance(text, str) else "", payload.get("data"))


@dataclass(frozen=True, slots=True, repr=False)
class _Row:
    """A failed row: the key, the reply code that decides, and its text."""

    key: str
    code: int | None
    text: str

    def error(self) -> RowError:
        code = FailureCode.REPLY_UNKNOWN if self.code is None else reply_code(self.code)
        return RowError(code, _short(self.text, self.key) or "Emarsys gives no reason", self.key)


def _rows(errors: Any) -> tuple[_Row, ...] | None:
    """The failed rows. Emarsys gives a map of key to {code: text}, an empty list or nothing where no row failed, or a
    list of objects as other calls of its interface do. None for anything else."""
    if errors is None or errors == "":
        return ()
    if isinstance(errors, Mapping):
        return tuple(_Row(key, *_decisive(said)) for key, said in errors.items())
    if not isinstance(errors, list) or not all(isinstance(entry, Mapping) and "key" in entry for entry in errors):
        return None
    return tuple(_Row(str(e["key"]), _number(e.get("errorCode")), str(e.get("errorMsg", ""))) for e in errors)


def _decisive(said: Any) -> tuple[int | None, str]:
    """Of several reply codes for one key, the first that does not pass by itself."""
    pairs = list(_pairs(said)) or [(None, "")]
    return next((pair for pair in pairs if pair[0] != RACE), pairs[0])


def _pairs(said: Any) -> Iterator[tuple[int | None, str]]:
    if isinstance(said, Mapping):
        for code, text in said.items():
            yield _number(code), text if isinstance(text, str) else ""
    elif isinstance(said, str):
        yield None, said


def _all_failed(rows: tuple[_Row, ...]) -> AllFailed | None:
    return next((AllFailed(e.code, e.reason) for e in (row.error() for row in rows if row.key == NO_KEY)), None)


def _split_failed(rows: tuple[_Row, ...]) -> tuple[tuple[RowError, ...], tuple[RowError, ...]]:
    """The rows that fail, and the rows that are to be sent again."""
    return (
        tuple(row.error() for row in rows if row.code != RACE),
        tuple(row.error() for row in rows if row.code == RACE),
    )


def _number(value: Any) -> int | None:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else None


def _short(text: str, key: str = "") -> str:
    """The platform's words without the contact's key value and without addresses."""
    plain = without_addresses(text[: 2 * MAX_REASON])
    return (plain.replace(key, "…") if key else plain)[:MAX_REASON]
