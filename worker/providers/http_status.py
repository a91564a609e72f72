"""HTTP statuses that say nothing of the contacts in the request: limits, outages, wrong credentials or addresses."""

from collections.abc import Mapping

from contact_ingest.model.failure_codes import http_code
from contact_ingest.model.http_message import Response, rate_headers
from contact_ingest.model.verdicts import Limited, Retry, Stop

#: A gateway answered in the platform's place: the platform behind it may have acted.
GATEWAY = frozenset({502, 504})


def beside_the_contacts(
    response: Response, now_s: float, try_again: frozenset[int], stops: Mapping[int, tuple[str, str]]
) -> Limited | Retry | Stop:
    """`try_again` are statuses below 500 that may pass; `stops` are a platform's own words for the others."""
    status = response.status
    rate = rate_headers(response.headers, now_s)
    if status == 429:
        reset_s = rate.reset_s if rate.remaining in (0, None) else None
        return Limited(rate.retry_after_s if rate.retry_after_s is not None else reset_s)
    if status >= 500 or status in try_again:
        return Retry(http_code(status), rate.retry_after_s, unknown=status in GATEWAY)
    return Stop(*stops.get(status, (http_code(status), f"the platform answered {status}: check base_url")))
