"""Reads SendGrid's replies: what the status and body of an upsert mean, and what an import job reports.

| status | body | verdict on an upsert |
|---|---|---|
| 2xx | `job_id` | Pending |
| 2xx | any other, or none | Retry, of unknown fate |
| 400 | `code` 404 or 405 without `errors` | Stop(not_found): the path is wrong |
| 4xx but 401, 413, 429 and those that pass | own; points at `list_ids`, or speaks of list ids | StopLane(bad_list) |
| 400, 422 | own; a complaint names records or custom fields | Named |
| 400, 422 | own; names nobody, such as "invalid JSON" | Rejected |
| 400, 422 | not own | Retry |
| 413 | any | TooLarge |
| 408, 409, 423, 425, 5xx | any | Retry |
| 429 | any | Limited |
| 401, 404, 405, 3xx | any | Stop |
| other 4xx | own | Stop |
| other 4xx | not own | Retry |

SendGrid's own body (`errors.is_own`) holds a complaint with a message: under `errors`, in a bare list, or beside a
`field`. A lone `message` is the form of the gateway in front, and of firewalls.

Nothing counts as success unless the reply says so. An unknown status, an absent count and an unreadable body have a
meaning as well. No reply raises.

Sources: PUT /v3/marketing/contacts and GET /v3/marketing/contacts/imports/{id} of the official OpenAPI file, the rate
limits page, and recorded traffic of 2026, checked 2026-11-22; the reply to a wrong path and the reports on bad lists in
the issue tracker of the official client, checked 2026-11-25.
"""

import re
from typing import Any

from contact_ingest.model.failure_codes import FailureCode, http_code
from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import (
    FieldTable,
    JobEnded,
    JobMissing,
    JobReport,
    JobRunning,
    Limited,
    Named,
    Pending,
    Rejected,
    Retry,
    Stop,
    StopLane,
    TooLarge,
    Verdict,
)
from contact_ingest.providers.http_status import read_other_status
from contact_ingest.providers.json_guard import decode
from contact_ingest.providers.sendgrid import errors
from contact_ingest.providers.sendgrid.fields import table_of

#: Statuses that may pass by themselves. 429 is read apart; any other 4xx says that the request itself is wrong.
_TRY_AGAIN = frozenset({408, 409, 423, 425})
#: Statuses from 400 to 499 that keep their meaning whatever the body says: the key, the size, the limit, and those that
#: may pass. With any other, such as 404 or 403, a list that the account lacks stops its lane and not the destination.
_NOT_ABOUT_LISTS = frozenset({401, 413, 429}) | _TRY_AGAIN
_BAD_LIST = StopLane(
    FailureCode.BAD_LIST, "SendGrid refuses this lane's list_ids: check that the lists exist in this account"
)
#: Larger counts of rows are read as this one: the largest number that every JSON reader keeps exactly.
MOST_ROWS = 2**53
#: Bytes that are searched of a refusal that was cut off and is no JSON any more.
MAX_CUT_BYTES = 1_000_000
_STOPS = {
    401: (FailureCode.UNAUTHORIZED, "SendGrid does not accept the API key: check api_key and base_url"),
    402: (FailureCode.PAYMENT, "SendGrid wants the account's payment settled"),
    403: (
        FailureCode.FORBIDDEN,
        "the API key may not do this: it needs full access to Marketing; check on_behalf_of too",
    ),
    404: (FailureCode.NOT_FOUND, "SendGrid does not know the path: check base_url"),
    405: (FailureCode.NOT_ALLOWED, "SendGrid does not take this kind of request there: check base_url"),
}
#: What the router of SendGrid puts into `code` for a path that it does not know, under status 400.
_NO_PATH = frozenset({404, 405, "404", "405"})
_OWN_BEGINNING = re.compile(rb'\s*(?:\{\s*"errors?"|\[)')
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:=-]{0,199}")
_COUNT = re.compile(r"\d{1,16}(?:\.0+)?", re.ASCII)
_STATUS = re.compile(r"[a-z][a-z_ -]{0,39}")
_URL = re.compile(r"https?://[!-~]{1,8000}")


def read_upsert(response: Response, now_s: float) -> Verdict:
    status = response.status
    if 400 <= status < 500 and status not in _NOT_ABOUT_LISTS and errors.concerns_lists(_own_entries(response)):
        return _BAD_LIST
    if 200 <= status < 300:
        job = _job_id(response)
        return Pending(job) if job else Retry(FailureCode.UNREADABLE_REPLY, unknown=True)
    if status in (400, 422):
        return _refused(response)
    if status == 413:
        return TooLarge()
    return _other_status(response, now_s)


def read_job(response: Response, now_s: float) -> JobReport:
    status = response.status
    if 200 <= status < 300:
        payload = None if response.truncated else decode(response.body)
        return _report(payload) if isinstance(payload, dict) else Retry(FailureCode.UNREADABLE_REPLY)
    if status == 404:
        return JobMissing()
    if status in (400, 422):
        return Retry(http_code(status))
    return _other_status(response, now_s)


def read_definitions(response: Response, now_ms: int) -> FieldTable | Limited | Retry | Stop:
    """The custom fields of the account, or why they cannot be had now."""
    if not 200 <= response.status < 300:
        return _other_status(response, now_ms / 1000)
    table = None if response.truncated else table_of(decode(response.body), now_ms)
    return table or Retry(FailureCode.UNREADABLE_REPLY)


def has_list(list_id: str, response: Response) -> bool | None:
    """Whether the account has the list, by the reply to `GET /v3/marketing/lists/{id}`; None where it does not tell."""
    payload = decode(response.body)
    if response.status == 404:
        # The documentation gives a bare list of errors or an empty object; a page is that of a server in between.
        return False if isinstance(payload, list | dict) else None
    if response.status != 200 or not isinstance(payload, dict) or not isinstance(payload.get("id"), str):
        return None
    return True if payload["id"].lower() == list_id else None


def _other_status(response: Response, now_s: float) -> Limited | Retry | Stop:
    is_own = errors.is_own(decode(response.body))
    return read_other_status(response, now_s, _TRY_AGAIN, _STOPS, is_own=is_own)


def _refused(response: Response) -> Verdict:
    """The request was refused as a whole."""
    payload = _payload(response)
    if _is_wrong_path(payload):
        return Stop(*_STOPS[404])
    if not errors.is_own(payload):
        return Retry(http_code(response.status), between=True)
    found = errors.entries(payload)
    rows = errors.named(found)
    if rows:
        return Named(rows)
    text = errors.reason(found, f"SendGrid answered {response.status} and gave no reason")
    return Rejected(FailureCode.INVALID_JSON if "invalid json" in text.lower() else http_code(response.status), text)


def _own_entries(response: Response) -> list[errors.ErrorEntry]:
    """The complaints of a body of SendGrid's own; none of any other body."""
    payload = _payload(response)
    return errors.entries(payload) if errors.is_own(payload) and not _is_wrong_path(payload) else []


def _payload(response: Response) -> Any:
    payload = decode(response.body)
    return _cut(response.body) if payload is None and response.truncated else payload


def _is_wrong_path(payload: Any) -> bool:
    return isinstance(payload, dict) and "errors" not in payload and _router_code(payload) in _NO_PATH


def _router_code(payload: dict[str, Any]) -> int | str:
    code = payload.get("code")
    return code if isinstance(code, int | str) else ""


def _cut(body: bytes) -> list[dict[str, str]] | None:
    """A refusal that was cut off as one complaint, if it began as SendGrid's own refusals do."""
    if not _OWN_BEGINNING.match(body):
        return None
    return [{"message": body[:MAX_CUT_BYTES].decode(errors="replace")}]


def _job_id(response: Response) -> str:
    payload = None if response.truncated else decode(response.body)
    job = payload.get("job_id") if isinstance(payload, dict) else None
    return job if isinstance(job, str) and _JOB.fullmatch(job) else ""


def _report(payload: dict[str, Any]) -> JobReport:
    """What a job reports. The status decides, not the counts: SendGrid leaves out counts that are zero or unknown, and
    counts no contacts that did not change. A job that ended as `completed` and counts or lists errors is an errored
    one. `requested` tells the engine how many rows the job took."""
    given = payload.get("status")
    status = given.strip().lower() if isinstance(given, str) else ""
    if status not in ("completed", "errored", "failed"):
        return JobRunning(status if _STATUS.fullmatch(status) else "unknown")
    results = payload.get("results")
    counts = results if isinstance(results, dict) else {}
    errored, requested = _count(counts, "errored_count"), _count(counts, "requested_count") or None
    errors_url = _url(counts.get("errors_url"))
    if status == "completed":
        if counts.get("errored_count") is None and not errors_url:
            errored = 0
        status = status if errored == 0 and not errors_url else "errored"
    elif not errored:
        errored = None
    all_failed = status == "failed" or (errored is not None and requested is not None and errored >= requested)
    if all_failed:
        errored = errored or requested
    return JobEnded(
        status=status,
        errored=errored,
        errors_url=errors_url,
        all_failed=all_failed,
        reason=errors.reason(errors.entries(payload) + errors.entries(counts), ""),
        requested=requested,
    )


def _count(counts: dict[str, Any], name: str) -> int | None:
    """A count of rows: `5`, `5.0`, `"5"` or `"5.0"`. None for an absent one, and for what is no count."""
    number = counts.get(name)
    if isinstance(number, str) and _COUNT.fullmatch(number.strip()):
        number = float(number)
    if isinstance(number, bool) or not isinstance(number, int | float) or number < 0 or number % 1:
        return None
    return int(min(number, MOST_ROWS))


def _url(value: object) -> str:
    return value if isinstance(value, str) and _URL.fullmatch(value) else ""
