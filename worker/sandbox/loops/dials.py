"""The dials of the Loops stand-in: what the team has set up, and what is not known of the live platform."""

from typing import Literal

import msgspec


class LoopsDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Dials of the Loops stand-in alone."""

    #: Names of the mailing lists by id. Lists can be created in the web interface only.
    loops_lists: dict[str, str] = {}
    #: An update whose e-mail address and userId belong to two contacts: refused with 400 or 409, or the contact with
    #: the address takes over the userId.
    loops_cross_match: Literal["400", "409", "email"] = "400"
    #: A new userId without an address: refused, as users report, or a new contact, as the documentation says.
    loops_user_id_alone: Literal["400", "create"] = "400"
    #: Whether addresses that differ only in case are the same.
    loops_email_case: Literal["folded", "exact"] = "folded"
    #: A value of the wrong type for its property.
    loops_wrong_type: Literal["400", "drop", "store"] = "400"
    #: A date of ten digits: probably seconds, but a moment in 1970 as the documentation reads it.
    loops_seconds_as_date: Literal["400", "store"] = "400"
    #: A property that does not exist. It gave a 400 for a month in 2024.
    loops_unknown_property: Literal["drop", "400", "store"] = "drop"
    #: A mailing list that does not exist.
    loops_unknown_list: Literal["400", "ignore"] = "400"
    #: What the limit of 500 characters counts: the JSON text of a key or value, or its characters and two quotes.
    loops_length_of: Literal["json", "characters"] = "json"
    #: The form of the body of a 429.
    loops_429_body: Literal["text", "json", "empty"] = "text"
