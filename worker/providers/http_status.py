"""HTTP statuses that say nothing of the contacts in the request: limits, outages, wrong credentials or addresses."""

from collections.abc import Mapping

from contact_ingest.model.failure_codes import http_code
from contact_ingest.model.http_message import Response, rate_headers
from contact_ingest.model.verdicts import Limited, Retry, Stop

#: A gateway answered in the platform's place: the platform behind it may have acted.
GATEWAY = frozenset({502, 504})


def read_other_status(
    response: Response, now_s: float, try_again: frozenset[int], stops: Mapping[int, tuple[str, str]]
) -> Limited | Retry | Stop:
    """The verdict for a status. `try_again` are the statuses below 500 that may pass by themselves. `stops` maps the
    others to a code and to what the operator has to mend, in words of our own."""
    status = response.status
    rate = rate_headers(response.headers, now_s)
    if status == 429:
        reset_s = rate.reset_s if rate.remaining in (0, None) else None
        return Limited(rate.retry_after_s if rate.retry_after_s is not None else reset_s)
    if status >= 500 or status in try_again:
        return Retry(http_code(status), rate.retry_after_s, unknown=status in GATEWAY)
    return Stop(*stops.get(status, (http_code(status), f"the platform answered {status}: check base_url")))
