"""The dials of the SendGrid stand-in: what is unknown of the live platform, and what goes wrong in import jobs."""

from typing import Literal

import msgspec

from contact_ingest.sandbox.dials import Count, Seconds, Share, ordered

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
#: How an import job goes: as the shares below have it; never an end; never found; as failed; or with counts of failed
#: rows that are wrong: one more than there are, one fewer, or all of them.
JobFate = Literal["ok", "pending", "lost", "failed", "one_more", "one_fewer", "all_failed"]


class Markers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts that make a record bad wherever one of its own text values, custom ones too, contains them."""

    reject_silent: str = "[[reject-silent]]"
    reject_named: str = "[[reject-named]]"
    reject_index: str = "[[reject-index]]"
    fail_import: str = "[[fail-import]]"
    fail_unnamed: str = "[[fail-unnamed]]"

    def __post_init__(self) -> None:
        # A body without two brackets is not searched at all.
        if any("[[" not in getattr(self, name) for name in self.__struct_fields__):
            raise ValueError("markers: each must contain [[")


class SendGridDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    #: The unit of the documented length limits is not stated.
    length_unit: Literal["characters", "utf16", "bytes"] = "characters"
    #: Whether addresses with letters beyond ASCII are valid is not documented.
    unicode_addresses: bool = False
    #: Dates as ISO 8601 beside MM/DD/YYYY.
    iso_dates: bool = True
    #: A custom value of the wrong type refuses the request, or fails its row in the import job: both were reported.
    wrong_value: Literal["request", "row"] = "request"
    #: Contacts of one request with the same identifier: refused namelessly, all applied, or the first alone.
    duplicates: Literal["refuse", "last", "first"] = "refuse"
    #: A contact that lacks an identifier its stored self has: "all of its existing identifiers must be present".
    missing_identifiers: Literal["row", "accept"] = "row"
    #: A list id that does not exist: the text for it is not documented.
    list_error: Literal["invalid_json", "named"] = "invalid_json"
    #: Items of search/identifiers: objects by the official spec.
    search_items: Literal["objects", "strings"] = "objects"

    #: A 400 lists all bad rows, or only the first.
    all_bad_rows_listed: bool = False
    #: A 400 about a row names nobody.
    anonymous_400: bool = False
    #: Added to the index in `contacts[<i>]`: its base is not documented.
    index_shift: int = 0
    markers: Markers = Markers()

    #: From being accepted to being applied, from and to.
    job_seconds: tuple[Seconds, Seconds] = (1, 5)
    #: For so long after being applied a job still says `pending`, with its counts.
    status_lag_s: Seconds = 0.0
    #: For so long after being accepted a job is not found.
    early_404_s: Seconds = 0.0
    #: Fates that the next jobs meet, one each, whatever the shares say; "ok" spares one job, and a number is how many
    #: seconds it takes.
    job_script: tuple[JobFate | Seconds, ...] = ()
    #: Share of jobs that are never found, though they do their work.
    job_status_lost: Share = 0.0
    #: Share of jobs that never end and never do anything.
    job_pending_forever: Share = 0.0
    #: Share of jobs that end as `failed` with nothing applied and no error file.
    job_failed: Share = 0.0
    #: Job results carry `requested_count` alone.
    omit_counts: bool = False
    error_file_shape: ErrorFileShape = "csv"
    #: The error file can be fetched once.
    error_file_once: bool = True
    #: A custom field is unknown to the upsert for so long after its creation.
    field_usable_after_s: Seconds = 0.0
    #: Above this number of custom fields, no more are made.
    most_fields: Count = 500

    def __post_init__(self) -> None:
        ordered("job_seconds", self.job_seconds)
