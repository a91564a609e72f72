"""Reads Loops' replies: what the status of an update means, and which custom properties there are.

The status decides. Loops' texts change and carry no codes: a text is quoted as the reason and never decides whether the
request goes out again. Nothing counts as success unless the reply says so. No reply raises.

Sources: the official OpenAPI file 1.21.6, the page "API introduction", the changelog (errors have one shape since
2025-09-11), and answers recorded by Segment's connector; checked 2026-11-22.
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

#: Statuses that refuse the contact for good.
_REFUSALS = frozenset({400, 409, 413, 422})
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
    # A 404 without `success: false` is about the path and says nothing of the contact.
    if status in _REFUSALS or (status == 404 and said.get("success") is False):
        return _refused(status, said)
    return read_other_status(response, now_s, _TRY_AGAIN, _STOPS)


def read_probe(response: Response, now_s: float) -> Healthy | Limited | Retry | Stop:
    """The reply to `GET /v1/api-key`: `{"success": true, "teamName": "..."}`."""
    if not 200 <= response.status < 300:
        return read_other_status(response, now_s, _TRY_AGAIN, _STOPS)
    payload = _payload(response)
    works = isinstance(payload, dict) and payload.get("success") is True
    return Healthy() if works else Retry(FailureCode.UNREADABLE_REPLY)


def read_definitions(response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
    """The custom properties of the team, or why they cannot be had now."""
    if not 200 <= response.status < 300:
        return read_other_status(response, now_ms / 1000, _TRY_AGAIN, _STOPS)
    return table_of(_payload(response), now_ms) or Retry(FailureCode.UNREADABLE_REPLY)


def _refused(status: int, said: dict[str, Any]) -> Rejected:
    texts = (said.get("message"), said.get("error"))
    text = next((text for text in texts if isinstance(text, str) and text.strip()), "")[: 2 * MAX_REASON]
    code = FailureCode.TOO_LARGE if status == 413 else http_code(status)
    if status in (400, 404) and _UNKNOWN_USER.search(text):
        code = FailureCode.UNKNOWN_USER_ID
    return Rejected(code, without_addresses(text)[:MAX_REASON] or f"Loops answered {status} and gave no reason")


def _payload(response: Response) -> Any:
    """The JSON of a reply; None if it is not JSON or was cut off."""
    return None if response.truncated else decode(response.body)
