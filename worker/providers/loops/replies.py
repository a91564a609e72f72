"""Reads Loops' replies: what the status of an update means, and which custom properties there are.

| status | body | verdict on an update |
|---|---|---|
| 2xx | `success` is true, with an `id` | Done |
| 2xx | any other, or none | Retry, of unknown fate |
| 400, 404, 409, 413, 422 | own | Rejected: the request has one contact |
| 400, 409, 413, 422 | not own | Retry |
| 404 | not own | Stop(not_found): the path is wrong |
| 408, 425, 5xx | any | Retry |
| 429 | any | Limited |
| 401, 405, 3xx | any | Stop |
| other 4xx | own | Stop |
| other 4xx | not own | Retry |

Loops' own error body has `success: false` and a text, in `message` or in the deprecated `error`. The lists that a
contact joins stand in the contact, so no reply stops a lane.

The status decides. Loops' texts change and carry no codes: a text is quoted as the reason and never decides whether the
request goes out again. Nothing counts as success unless the reply says so. No reply raises.

Sources: the official OpenAPI file 1.21.6, the page "API introduction", the changelog (errors have one shape since
2025-09-11), and answers recorded by Segment's connector; checked 2026-11-22. Version 1.22.6 of the file has the same
shapes; checked 2026-11-25.
"""

import re
from typing import Any

from contact_ingest.model.failure_codes import FailureCode, http_code
from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import Done, FieldTable, Healthy, Limited, Rejected, Retry, Stop, Verdict
from contact_ingest.providers.error_file.columns import MAX_REASON, without_addresses
from contact_ingest.providers.http_status import read_other_status
from contact_ingest.providers.json_guard import decode
from contact_ingest.providers.loops.fields import table_of

#: Statuses that refuse the contact for good, if the body is Loops' own.
_REFUSALS = frozenset({400, 404, 409, 413, 422})
#: Statuses below 500 that may pass by themselves. 429 is read apart.
_TRY_AGAIN = frozenset({408, 425})
_STOPS = {
    401: (FailureCode.UNAUTHORIZED, "Loops does not accept the API key: check api_key and base_url"),
    402: (FailureCode.PAYMENT, "Loops wants the team's payment settled"),
    403: (FailureCode.FORBIDDEN, "the API key may not do this: check api_key"),
    404: (FailureCode.NOT_FOUND, "nothing of Loops answers there: check base_url"),
    405: (FailureCode.NOT_ALLOWED, "Loops does not take this kind of request there: check base_url"),
}
#: The text for a userId that no contact has, sent without an address. It chooses the code, and decides nothing else.
_UNKNOWN_USER = re.compile(r"\buser_?id\b.{0,40}\bnot found\b", re.IGNORECASE)


def read_upsert(response: Response, now_s: float) -> Verdict:
    status, payload = response.status, _payload(response)
    said = payload if isinstance(payload, dict) else {}
    if 200 <= status < 300:
        done = said.get("success") is True and isinstance(said.get("id"), str) and said["id"]
        return Done() if done else Retry(FailureCode.UNREADABLE_REPLY, unknown=True)
    if status in _REFUSALS and _text(said):
        return _refused(status, said)
    return _other_status(response, now_s)


def read_probe(response: Response, now_s: float) -> Healthy | Limited | Retry | Stop:
    """The reply to `GET /v1/api-key`: `{"success": true, "teamName": "..."}`."""
    if not 200 <= response.status < 300:
        return _other_status(response, now_s)
    payload = _payload(response)
    works = isinstance(payload, dict) and payload.get("success") is True
    return Healthy() if works else Retry(FailureCode.UNREADABLE_REPLY)


def read_definitions(response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
    """The custom properties of the team, or why they cannot be had now."""
    if not 200 <= response.status < 300:
        return _other_status(response, now_ms / 1000)
    return table_of(_payload(response), now_ms) or Retry(FailureCode.UNREADABLE_REPLY)


def _other_status(response: Response, now_s: float) -> Limited | Retry | Stop:
    return read_other_status(response, now_s, _TRY_AGAIN, _STOPS, is_own=bool(_text(_payload(response))))


def _refused(status: int, said: dict[str, Any]) -> Rejected:
    text = _text(said)[: 2 * MAX_REASON]
    code = FailureCode.TOO_LARGE if status == 413 else http_code(status)
    if status in (400, 404) and _UNKNOWN_USER.search(text):
        code = FailureCode.UNKNOWN_USER_ID
    return Rejected(code, without_addresses(text)[:MAX_REASON])


def _text(said: Any) -> str:
    """The text of an error body of Loops' own; empty for any other body."""
    if not isinstance(said, dict) or said.get("success") is not False:
        return ""
    texts = (said.get("message"), said.get("error"))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def _payload(response: Response) -> Any:
    """The JSON of a reply; None if it is not JSON or was cut off."""
    return None if response.truncated else decode(response.body)
