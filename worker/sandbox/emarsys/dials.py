"""The dials of the Emarsys stand-in: what the account has set up, and what is not known of the live platform."""

from typing import Annotated, Literal

import msgspec

from contact_ingest.sandbox.dials import Count


class CustomField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A custom field of the account. `choices` are labels by id. Only an indexed field can be a key."""

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
    """Dials of the Emarsys stand-in alone."""

    #: The secret of each API user, for WSSE.
    emarsys_users: dict[str, str] = msgspec.field(default_factory=lambda: {"sandbox001": "sandbox-secret"})
    #: The secret of each client id, for tokens.
    emarsys_clients: dict[str, str] = msgspec.field(default_factory=lambda: {"sandbox-client": "sandbox-secret"})
    #: The lifetime of a token, in seconds; not published.
    emarsys_token_lasts_s: Annotated[float, msgspec.Meta(gt=0)] = 3600
    #: A change of this number revokes all tokens issued so far.
    emarsys_tokens_revoked: Count = 0
    #: Whether a nonce may be used again within five minutes.
    emarsys_nonce_reuse: Literal["refused", "accepted"] = "refused"
    #: Endpoints that the API user has no permission for.
    emarsys_forbidden: tuple[str, ...] = ()

    #: Custom fields of the account, beside those that requests create.
    emarsys_fields: tuple[CustomField, ...] = ()
    #: The ids of the account's contact lists.
    emarsys_lists: tuple[int, ...] = ()
    #: The ids of the account's contact sources.
    emarsys_sources: tuple[int, ...] = ()

    #: Reply codes of the next upserts, one each; such an upsert has no effect. 0 is an upsert without a fault.
    emarsys_reply_codes: tuple[Count, ...] = ()
    #: The HTTP status of these replies.
    emarsys_reply_status: Literal[200, 400, 404, 500, 503] = 200
    #: An upsert without `key_id`: the e-mail address is the key, as the page "Update contacts" says, or it is refused,
    #: as the Swagger file says.
    emarsys_missing_key: Literal["email", "refuse"] = "email"
    #: Whether the account has the key `eid`, which is experimental and set up by the platform.
    emarsys_eid: bool = False
    #: So many ids are left out of the reply to an upsert with several contacts.
    emarsys_ids_left_out: Count = 0
    #: The HTTP status for a body above 8,000,000 bytes.
    emarsys_oversize: Literal[413, 400] = 413
    #: A key that is not an indexed field: a success with the error `<NO_KEY_ID>`, or a failed request.
    emarsys_bad_key: Literal[200, 400] = 200
    #: A field id that does not exist fails the request, or its row.
    emarsys_unknown_field: Literal["request", "row"] = "request"
    #: The reply code of a row with an invalid value.
    emarsys_bad_value_code: Literal[2007, 2006] = 2007
    #: Rows of one request with the same key: the later ones fail, or all are applied in turn.
    emarsys_duplicate_rows: Literal["2010", "apply"] = "2010"
    #: The HTTP status of a request whose rows all fail. With 400 the reply names no row.
    emarsys_all_failed: Literal[200, 400] = 200
    #: The form of `errors` without any errors; "cycle" is each of the other forms in turn.
    emarsys_empty_errors: Literal["cycle", "map", "list", "missing"] = "cycle"
    #: Whether dates may have a time of day, as in the documentation of 2016; today's has days only.
    emarsys_times_of_day: bool = False
    #: The type of the ids in the list of fields.
    emarsys_field_ids: Literal["strings", "integers"] = "strings"
