"""What a status means where it says nothing of the contacts sent, and what a platform without imports leaves out."""

from collections.abc import Mapping, Sequence

from contact_ingest.model.http_message import Request, Response, rate_headers
from contact_ingest.model.verdicts import JobReport, Limited, Retry, RowError, Stop

#: A gateway answered in the platform's place: what lies behind it may have acted.
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
        return Retry(f"http_{status}", rate.retry_after_s, unknown=status in GATEWAY)
    return Stop(*stops.get(status, (f"http_{status}", f"the platform answered {status}: check base_url")))


class AnswersAtOnce:
    """The part of a provider that is about import jobs, for a platform that has none: the engine never asks."""

    def job(self, job: str) -> Request:
        del job
        raise AssertionError(f"{type(self).__name__} answers at once: it has no import jobs")

    def read_job(self, response: Response, now_s: float) -> JobReport:
        del response, now_s
        raise AssertionError(f"{type(self).__name__} answers at once: it has no import jobs")

    def error_file(self, url: str) -> Request:
        del url
        raise AssertionError(f"{type(self).__name__} answers at once: it has no import jobs")

    def read_error_file(self, content: bytes, rows: Sequence[bytes]) -> list[RowError]:
        del content, rows
        raise AssertionError(f"{type(self).__name__} answers at once: it has no import jobs")
