"""Reads Emarsys's replies: a reply has an HTTP status, a reply code in its body, and failed rows beside that.

    {"replyCode": 0, "replyText": "OK", "data": {"ids": ["7"], "errors": {"ann@example.com": {"2005": "..."}}}}

| status | reply code | verdict on an upsert |
|---|---|---|
| 2xx | 0 | Done: `ids` vouch for rows, those in `errors` fail, those with 2009 go again |
| 2xx | none, or 0 without any contact | Retry, of unknown fate |
| 2xx, 400, 404 | 2004, or the row `<NO_KEY_ID>` | Stop(bad_key_field): key_field and external_id_field |
| 2xx, 400, 404 | 2013 | Stop(bad_source): source_id |
| 2xx; 4xx but 401, 413, 429, passing | 2020, 3004, 3006; 1008 with a text about a list | StopLane(bad_list) |
| 2xx, 400 | 2009 | Retry: a race |
| 400 | 2001 | Retry |
| 400 | 2002, 2003 | Retry(internal): a defect of the request that no contact can cause |
| 400 | 1000 | TooLarge: more contacts than Emarsys takes |
| 400 | 1009 | Stop(wrong_method): base_url |
| 2xx, 400; 404 with 2008 | any other, rows in `errors` | Named |
| 2xx, 400; 404 with 2008 | any other | Rejected: a search tells a row's fault from a shared one |
| 400, 422 | none | Retry |
| 403 | none, the body is empty | Stop(forbidden): Emarsys refuses a missing permission so |
| 413 | any | TooLarge |
| 408, 409, 423, 425, 5xx | any | Retry |
| 429 | any | Limited |
| 401, 404, 405, 3xx | any other | Stop |
| other 4xx | any | Stop |
| other 4xx | none | Retry |

What a row says that all rows share (2004, 2013, 2020, 3004, 3006) counts for the whole request where no row was
applied. Emarsys's own body is an object with a number in `replyCode`. HTTP 200 alone is no success. One reply code
means different things under different statuses, so both are read together. A text decides one thing only: whether
1008, an invalid value, is about a contact list. A failed row is named by the value of its key, never by its position.
No reply raises.

Sources: the vendor's registry of reply codes, PUT /v2/contact of the official Swagger file, the developer documentation
on updating multiple contacts, recorded replies in a public connector's tests; checked 2026-11-22 and 2026-11-25.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contact_ingest.model.failure_codes import FailureCode, http_code, reply_code
from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import (
    Done,
    FieldTable,
    Healthy,
    Limited,
    Named,
    Rejected,
    Retry,
    RowError,
    Stop,
    StopLane,
    TooLarge,
    Verdict,
)
from contact_ingest.providers.emarsys.auth import CLOCK_TOLERANCE_S, server_s
from contact_ingest.providers.emarsys.fields import table_of
from contact_ingest.providers.error_file.columns import MAX_REASON, without_addresses
from contact_ingest.providers.http_status import read_other_status
from contact_ingest.providers.json_guard import decode

#: Stands where a failed row's key stands, if Emarsys does not take the key field of the whole request.
NO_KEY = "<NO_KEY_ID>"
#: Another request created the contact at the same moment. The same upsert succeeds the next time.
RACE = 2009
#: Reply codes about what all rows of a request share: the key field and the source of the destination, the contact list
#: of the lane.
_KEY_FIELD, _SOURCE = 2004, 2013
_LISTS = frozenset({2020, 3004, 3006})
_SHARED = frozenset({_KEY_FIELD, _SOURCE}) | _LISTS
#: An invalid value, of a field or of `contact_list_id`: the text tells which.
_BAD_VALUE = 1008
_ABOUT_A_LIST = re.compile(
    r"\bcontact[_ ]?lists?\b|\bcontact_list_id\b|\blists? (?:id|does not exist)\b", re.IGNORECASE
)
#: (status, reply code) that passes by itself: fields could not be loaded; RACE for the request instead of a row.
_PASSING = frozenset({(400, 2001), (200, RACE), (400, RACE)})
#: (status, reply code) of a request that is built wrong, whatever its contacts: a list of ids above 1,000, no array.
_DEFECTS = frozenset({(400, 2002), (400, 2003)})
_TOO_MANY = (400, 1000)
_WRONG_METHOD = (400, 1009)
#: Reply codes with status 404 that are about contacts, keys or lists. Any other says that the path is wrong.
_NOT_FOUND = frozenset({2008}) | _SHARED
_TRY_AGAIN = frozenset({408, 409, 423, 425})
#: Statuses from 400 to 499 that keep their meaning whatever the reply code: the credentials, the size, the limit, and
#: those that may pass.
_NOT_ABOUT_LISTS = frozenset({401, 413, 429}) | _TRY_AGAIN
_STOPS = {
    401: (FailureCode.UNAUTHORIZED, "Emarsys does not accept the credentials"),
    402: (FailureCode.PAYMENT, "Emarsys wants the account's payment settled"),
    403: (FailureCode.FORBIDDEN, "the API user lacks a permission: it needs those for contact, field and settings"),
    404: (FailureCode.NOT_FOUND, "Emarsys does not know the path: check base_url"),
    405: (FailureCode.NOT_ALLOWED, "Emarsys does not take this kind of request there: check base_url"),
}
_BAD_KEY_FIELD = Stop(
    FailureCode.BAD_KEY_FIELD, "Emarsys does not take the key of the contacts: check key_field and external_id_field"
)
_BAD_SOURCE = Stop(FailureCode.BAD_SOURCE, "Emarsys does not know the source of the contacts: check source_id")
_BAD_LIST = StopLane(
    FailureCode.BAD_LIST, "Emarsys refuses this lane's contact_list_id: check that the list exists in this account"
)


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """The outer object that almost every reply of Emarsys has: `replyCode`, `replyText` and `data`."""

    code: int
    text: str
    data: Any

    @property
    def errors(self) -> Any:
        return self.data.get("errors") if isinstance(self.data, Mapping) else None

    @property
    def applied(self) -> int:
        """The number of contacts in `ids`. Texts and numbers are mixed, and may stand in lists of their own."""
        ids = self.data.get("ids") if isinstance(self.data, Mapping) else None
        count, waiting = 0, [ids]
        while waiting:
            item = waiting.pop()
            if isinstance(item, list):
                waiting.extend(item)
            elif isinstance(item, Mapping):
                waiting.extend(item.values())
            else:
                count += type(item) is int or (isinstance(item, str) and bool(item.strip()))
        return count


def read_upsert(response: Response, now_s: float, *, wsse: bool) -> Verdict:
    status, envelope = response.status, _envelope(response)
    if 200 <= status < 300:
        if envelope is None:
            return Retry(FailureCode.UNREADABLE_REPLY, unknown=True)
        return _applied(envelope) if envelope.code == 0 else _failed_whole(200, envelope)
    if status == 413:
        return TooLarge()
    if envelope is not None and _is_about_contents(status, envelope):
        return _failed_whole(status, envelope)
    if envelope is None and status in (400, 422):
        return Retry(http_code(status), between=True)
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


def has_list(list_id: str, response: Response) -> bool | None:
    """Whether the account has the contact list, by the reply to `GET contactlist`; None where it does not tell."""
    envelope = _envelope(response)
    if response.status != 200 or envelope is None or envelope.code or not isinstance(envelope.data, list):
        return None
    return list_id in {str(entry.get("id")) for entry in envelope.data if isinstance(entry, Mapping)}


def _applied(envelope: Envelope) -> Verdict:
    """The request succeeded as a whole; some rows may have failed. A reply without any contact is unreadable."""
    rows, applied = _rows(envelope.errors), envelope.applied
    if rows is None or not (rows or applied):
        return Retry(FailureCode.UNREADABLE_REPLY, unknown=True)
    return _shared_of_rows(rows, applied) or Done(*_split_failed(rows), applied=applied)


def _failed_whole(status: int, envelope: Envelope) -> Verdict:  # noqa: PLR0911 - one return a kind of reply code
    """The request failed as a whole."""
    at, code = (status, envelope.code), reply_code(envelope.code)
    rows = _rows(envelope.errors) or ()
    if shared := _shared_of_rows(rows, 0) or _shared(envelope.code, envelope.text):
        return shared
    failed, again = _split_failed(rows)
    if failed:
        return Named(failed)
    if again or at in _PASSING:
        return Retry(reply_code(RACE) if again else code)
    if at in _DEFECTS:
        return Retry(FailureCode.INTERNAL)
    if at == _TOO_MANY:
        return TooLarge()
    if at == _WRONG_METHOD:
        return Stop(FailureCode.WRONG_METHOD, "Emarsys does not take an update at this path: check base_url")
    return Rejected(code, _short(envelope.text) or f"Emarsys answered with reply code {envelope.code} and no reason")


def _is_about_contents(status: int, envelope: Envelope) -> bool:
    """Whether a status from 400 is about what the request holds, and not about the path or the account. A request may
    also fail as a whole because of its contact list, by its own reply code or by that of its rows."""
    if status == 400 or (status == 404 and envelope.code in _NOT_FOUND):
        return True
    if status >= 500 or status in _NOT_ABOUT_LISTS:
        return False
    shared = _shared_of_rows(_rows(envelope.errors) or (), 0) or _shared(envelope.code, envelope.text)
    return status > 400 and shared is _BAD_LIST


def _shared(code: int | None, text: str) -> Stop | StopLane | None:
    """The verdict for a reply code about what all rows of a request share."""
    if code == _KEY_FIELD:
        return _BAD_KEY_FIELD
    if code == _SOURCE:
        return _BAD_SOURCE
    is_list = code in _LISTS or (code == _BAD_VALUE and _ABOUT_A_LIST.search(text))
    return _BAD_LIST if is_list else None


def _shared_of_rows(rows: tuple["_Row", ...], applied: int) -> Stop | StopLane | None:
    """The verdict for rows whose code is about what all rows share; None where `applied` rows show that it is not."""
    if any(row.key == NO_KEY for row in rows):
        return _BAD_KEY_FIELD
    if applied or not all(row.code in _SHARED for row in rows):
        return None
    return next((_shared(row.code, row.text) for row in rows), None)


def _other_status(response: Response, now_s: float, *, wsse: bool) -> Limited | Retry | Stop:
    """What a status means that says nothing of the contacts in the request."""
    stops = _STOPS
    if response.status == 401:
        code, why = _STOPS[401]
        stops = {401: (code, f"{why}: {_credentials(response, now_s, wsse=wsse)}")}
    is_own = _envelope(response) is not None or (response.status == 403 and not response.body.strip())
    return read_other_status(response, now_s, _TRY_AGAIN, stops, is_own=is_own)


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
