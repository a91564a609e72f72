"""The dials of the SendGrid stand-in: what is not known of the live platform, and what goes wrong in import jobs."""

from typing import Literal

import msgspec

from contact_ingest.sandbox.dials import Count, Seconds, Share, ordered


class AccountField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A custom field that every account has from the start, with a chosen id: `w1` of the documentation's sample."""

    id: str
    name: str
    kind: Literal["Text", "Number", "Date"] = "Text"


ErrorFileShape = Literal[
    "csv",
    "csv_semicolon",
    "json_array",
    "json_lines",
    "nested_json",
    "gzip",
    "bom",
    "upper",
    "html",
    "truncated",
]
#: How an import job goes: by the shares below (ok); it never ends (pending); it is never found (lost); it fails; or it
#: reports a wrong number of failed rows: one more, one fewer, or all of them.
JobFate = Literal["ok", "pending", "lost", "failed", "one_more", "one_fewer", "all_failed"]


class Markers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts that make a record bad if one of its text values, also of a custom field, contains them."""

    reject_silent: str = "[[reject-silent]]"
    reject_named: str = "[[reject-named]]"
    reject_index: str = "[[reject-index]]"
    fail_import: str = "[[fail-import]]"
    fail_unnamed: str = "[[fail-unnamed]]"

    def __post_init__(self) -> None:
        # A body without [[ is not searched for markers.
        if any("[[" not in getattr(self, name) for name in self.__struct_fields__):
            raise ValueError("markers: each must contain [[")


class SendGridDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Dials of the SendGrid stand-in alone."""

    #: Custom fields that every account has: [{"id": "w1", "name": "drink", "kind": "Text"}].
    custom_fields: tuple[AccountField, ...] = ()
    #: The unit of the length limits; the documentation does not state it.
    length_unit: Literal["characters", "utf16", "bytes"] = "characters"
    #: Whether addresses with letters beyond ASCII are valid; not documented.
    unicode_addresses: bool = False
    #: Whether dates may be ISO 8601, beside MM/DD/YYYY.
    iso_dates: bool = True
    #: A custom value of the wrong type refuses the request, fails its row in the import job, or drops its row from the
    #: import without an error. Users reported all three.
    wrong_value: Literal["request", "row", "drop"] = "request"
    #: A key that the schema does not have, beside `contacts` or in a contact (`listIds`, `id`): refused, as the schema
    #: suggests, or accepted and ignored, as users report.
    unknown_keys: Literal["refuse", "ignore"] = "refuse"
    #: The reply to a path that does not exist: the 404 of the documentation, or the 400 "Not Found" that users report.
    unknown_path: Literal["404", "400"] = "404"
    #: Contacts of one request with the same identifier: refused without a name, all applied, or only the first applied.
    duplicates: Literal["refuse", "last", "first"] = "refuse"
    #: A row without an identifier that its contact has fails, or is accepted. The documentation says "all of its
    #: existing identifiers must be present".
    missing_identifiers: Literal["row", "accept"] = "row"
    #: The text of the refusal for a list id that does not exist; not documented.
    list_error: Literal["invalid_json", "named"] = "invalid_json"
    #: Ids of lists that are refused as if they had been deleted.
    lists_gone: tuple[str, ...] = ()
    #: The items of search/identifiers: texts in the official specification since 2024-10-07, objects for some months
    #: before.
    search_items: Literal["strings", "objects"] = "strings"

    #: A 400 lists all bad rows, or only the first.
    all_bad_rows_listed: bool = False
    #: A 400 about a row does not name the row.
    anonymous_400: bool = False
    #: Added to the index in `contacts[<i>]`, whose base is not documented.
    index_shift: int = 0
    #: Texts that make a record bad: {"fail_import": "[[fail-import]]"}.
    markers: Markers = Markers()

    #: The shortest and the longest time from accepting a job to applying it.
    job_seconds: tuple[Seconds, Seconds] = (1, 5)
    #: So long after it was applied, a job still reports `pending`, with its counts.
    status_lag_s: Seconds = 0.0
    #: So long after it was accepted, a job is not found.
    early_404_s: Seconds = 0.0
    #: What happens to the next jobs, one each, instead of the shares. "ok" is a job without a fault; a number is a job
    #: without a fault that takes so many seconds.
    job_script: tuple[JobFate | Seconds, ...] = ()
    #: Share of jobs that are never found, although they are applied.
    job_status_lost: Share = 0.0
    #: Share of jobs that never end and are never applied.
    job_pending_forever: Share = 0.0
    #: Share of jobs that end as `failed`: nothing is applied, and there is no error file.
    job_failed: Share = 0.0
    #: The `job_type` of a job: the one seen live, or the one of the documentation.
    job_type: Literal["upsert_contacts", "upsert"] = "upsert_contacts"
    #: Job results have `requested_count` and no other count.
    omit_counts: bool = False
    #: The form of the error file; not documented.
    error_file_shape: ErrorFileShape = "csv"
    #: Whether the request for the error file may carry an API key, or must; not documented.
    error_file_key: Literal["refused", "needed"] = "refused"
    #: The error file can be fetched only once.
    error_file_once: bool = True
    #: So long after its creation, a custom field is unknown to the upsert.
    field_usable_after_s: Seconds = 0.0
    #: The largest number of custom fields.
    most_fields: Count = 500

    def __post_init__(self) -> None:
        ordered("job_seconds", self.job_seconds)
