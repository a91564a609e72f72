"""The dials of the Emarsys stand-in: what the account has set up, and what is unknown of the live platform."""

from typing import Annotated, Literal

import msgspec

from contact_ingest.sandbox.dials import Count


class CustomField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A field of this account. `choices` are labels by id; only an indexed field can be a key."""

    id: Annotated[int, msgspec.Meta(gt=48)]
    name: str
    kind: Literal[
        "shorttext",
        "longtext",
        "largetext",
        "numeric",
        "date",
        "url",
        "singlechoice",
        "multichoice",
        "voucher",
    ]
    choices: dict[str, str] = {}
    indexed: bool = False


class EmarsysDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    #: Secrets by the name of the API user, for WSSE.
    emarsys_users: dict[str, str] = msgspec.field(default_factory=lambda: {"sandbox001": "sandbox-secret"})
    #: Secrets by client id, for tokens.
    emarsys_clients: dict[str, str] = msgspec.field(default_factory=lambda: {"sandbox-client": "sandbox-secret"})
    #: The lifetime of a token is not published.
    emarsys_token_lasts_s: Annotated[float, msgspec.Meta(gt=0)] = 3600
    #: Whenever this number changes, all tokens given so far are worthless.
    emarsys_tokens_revoked: Count = 0
    #: Whether a nonce may come again within five minutes.
    emarsys_nonce_reuse: Literal["refused", "accepted"] = "refused"
    #: Endpoints that the API user has no permission for.
    emarsys_forbidden: tuple[str, ...] = ()

    emarsys_fields: tuple[CustomField, ...] = ()
    emarsys_lists: tuple[int, ...] = ()
    emarsys_sources: tuple[int, ...] = ()

    #: Reply codes that the next upserts meet, one each, acting on nothing; 0 spares one. Codes come with this status.
    emarsys_reply_codes: tuple[Count, ...] = ()
    emarsys_reply_status: Literal[200, 400, 404, 500, 503] = 200
    #: The answer to a body above 8,000,000 bytes.
    emarsys_oversize: Literal[413, 400] = 413
    #: A key that is no field, or no indexed one: inside a success as `<NO_KEY_ID>`, or as a failed request.
    emarsys_bad_key: Literal[200, 400] = 200
    #: A field id that does not exist fails the request, or its row.
    emarsys_unknown_field: Literal["request", "row"] = "request"
    emarsys_bad_value_code: Literal[2007, 2006] = 2007
    #: Rows of one request with the same key: the later ones fail, or are applied in turn.
    emarsys_duplicate_rows: Literal["2010", "apply"] = "2010"
    #: The status of a request of which all rows fail. With 400 nobody is named.
    emarsys_all_failed: Literal[200, 400] = 200
    #: How `errors` is written where there are none; "cycle" is each of the others in turn.
    emarsys_empty_errors: Literal["cycle", "map", "list", "missing"] = "cycle"
    #: The documentation of 2016 took dates with a time of day, today's names days alone.
    emarsys_times_of_day: bool = False
    #: Ids in the list of fields.
    emarsys_field_ids: Literal["strings", "integers"] = "strings"
