"""HTTP statuses that say nothing of the contacts in the request: limits, outages, wrong credentials or addresses.

| status | the platform's own body | any other body, or none |
|---|---|---|
| 429 | Limited | Limited |
| 500 and above, and those that pass by themselves | Retry | Retry |
| 401 | Stop | Stop |
| 404, 405, and all below 400 | Stop | Stop |
| any other 4xx | Stop | Retry |

A gateway or a firewall between this program and the platform answers with a page, a text or JSON of its own. Such a
reply is no word of the platform: neither a contact nor a setting is at fault because of it, so the request goes out
again. Otherwise one record that a firewall dislikes would stop a destination. Two kinds of status are believed from
anybody. A 401 asks for credentials, and no firewall answers 401 to a body that it dislikes. A 404, a 405 and a redirect
say that the address is wrong, and a wrong base_url leads to servers that are not the platform.
"""

from collections.abc import Mapping

from contact_ingest.model.failure_codes import http_code
from contact_ingest.model.http_message import Response, rate_headers
from contact_ingest.model.verdicts import Limited, Retry, Stop

#: A gateway answered in the platform's place: the platform behind it may have acted.
GATEWAY = frozenset({502, 504})
#: Statuses from 400 to 499 that are believed whoever says them: the credentials, and the address.
_FROM_ANYBODY = frozenset({401, 404, 405})


def read_other_status(
    response: Response, now_s: float, try_again: frozenset[int], stops: Mapping[int, tuple[str, str]], *, is_own: bool
) -> Limited | Retry | Stop:
    """The verdict for a status. `try_again` are the statuses below 500 that may pass by themselves. `stops` maps the
    others to a code and to what the operator has to mend, in words of our own. `is_own` says that the body has the
    platform's own shape."""
    status = response.status
    rate = rate_headers(response.headers, now_s)
    if status == 429:
        reset_s = rate.reset_s if rate.remaining in (0, None) else None
        return Limited(rate.retry_after_s if rate.retry_after_s is not None else reset_s)
    if status >= 500 or status in try_again:
        return Retry(http_code(status), rate.retry_after_s, unknown=status in GATEWAY)
    if not is_own and is_from_between(status):
        return Retry(http_code(status), rate.retry_after_s, between=True)
    return Stop(*stops.get(status, (http_code(status), f"the platform answered {status}: check base_url")))


def is_from_between(status: int) -> bool:
    """Whether a reply with this status, and without the platform's own body, is taken for that of a gateway or firewall
    in between."""
    return 400 <= status < 500 and status not in _FROM_ANYBODY
