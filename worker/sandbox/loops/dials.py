"""The dials of the Loops stand-in: what the team has set up, and what is unknown of the live platform."""

from typing import Literal

import msgspec


class LoopsDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    #: Mailing lists by id. They are made in the web interface alone.
    loops_lists: dict[str, str] = {}
    #: The e-mail address and the userId of an update belong to two contacts: refused with either status, or the
    #: contact with the address takes over the userId.
    loops_cross_match: Literal["400", "409", "email"] = "400"
    #: A new userId without an address: refused as its users report, or a contact as the general text says.
    loops_user_id_alone: Literal["400", "create"] = "400"
    #: Whether addresses that differ in case alone are the same.
    loops_email_case: Literal["folded", "exact"] = "folded"
    #: A value that does not suit the type of its property.
    loops_wrong_type: Literal["400", "drop", "store"] = "400"
    #: A date of ten digits, which is a moment in 1970 if read as documented.
    loops_seconds_as_date: Literal["400", "store"] = "400"
    #: A property that does not exist. A 400 was the rule for a month in 2024.
    loops_unknown_property: Literal["drop", "400", "store"] = "drop"
    loops_unknown_list: Literal["400", "ignore"] = "400"
    #: What the 500 characters of a key or value are counted over: its JSON text, or its plain characters with quotes.
    loops_length_of: Literal["json", "characters"] = "json"
    loops_429_body: Literal["text", "json", "empty"] = "text"
