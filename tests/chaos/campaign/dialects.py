"""How records look at each platform: which fields they have, which of them are custom, and how one can be bad.

The names of fields and the codes of failures stand here a second time on purpose: what is checked must not come from
the code that is being checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The list of a mailing list that records of Loops name themselves.
LOOPS_LIST = "campaign-list"
#: Opted out before the campaign begins, and never mentioned with consent: so many of each producer.
OPTED_OUT = 6


@dataclass(frozen=True, slots=True)
class Bad:
    """A way to be bad: the field, its value, and what the failure is called. A text that begins with `[[` is a marker
    of the sandbox; a number is appended to it, so that the value is unique."""

    field: str
    value: Any
    code: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """The records of one platform.

    `refusals` are the codes of a refusal of everything alike, which a record that is bad may meet first. `texts`
    are five fields for text, the first of them a name. `custom` has the custom fields of the account with their
    types in the platform's words; `visits` is the one for numbers. `consent` is the field of consent, empty if
    there is none, and `yes` and `no` are its values. `lists_in_record`: records say themselves which list a contact
    joins, and lanes have no options. `external_id`: whether a contact has a second identifier. `links`: whether a
    record with the second identifier alone changes a contact that has both. `size` divides the number of records of
    a call, and `pause_s` is the pause between two calls. `empties`: an empty text is stored as a value.
    """

    texts: tuple[str, str, str, str, str]
    custom: Mapping[str, str]
    bad: tuple[Bad, ...]
    refusals: frozenset[str]
    consent: str = ""
    yes: Any = True
    no: Any = False
    lists_in_record: bool = False
    external_id: bool = True
    links: bool = False
    size: int = 1
    pause_s: float = 0.09
    empties: bool = True


_IMPORT = Bad("last_name", "[[fail-import]]", "import_error")
_UNKNOWN = Bad("nickname", "custom and unknown", "unknown_field")
SENDGRID = Dialect(
    texts=("first_name", "city", "address_line_1", "postal_code", "plan"),
    custom={"plan": "Text", "visits": "Number"},
    bad=(
        Bad("last_name", "x" * 51, "too_long"),
        Bad("phone", "201-555-0123", "bad_phone"),
        _IMPORT,
        Bad("city", None, "null"),
        Bad("last_name", "[[reject-named]]", "bad_identifier"),
        _IMPORT,
        Bad("last_name", "[[reject-silent]]", "http_400"),
        Bad("last_name", "[[reject-index]]", "bad_identifier"),
        _IMPORT,
        _UNKNOWN,
        Bad("last_name", "[[fail-unnamed]]", "import_error"),
    ),
    refusals=frozenset({"http_400"}),
)
LOOPS = Dialect(
    texts=("first_name", "city", "user_group", "street", "plan"),
    custom={"city": "string", "street": "string", "plan": "string", "visits": "number"},
    bad=(
        Bad("last_name", "x" * 499, "too_long"),
        Bad("last_name", "[[loops-400]]", "http_400"),
        Bad("visits", "twelve", "wrong_type"),
        _UNKNOWN,
        Bad("last_name", "[[loops-422]]", "http_422"),
        Bad("subscribed", "yes", "wrong_type"),
        Bad("last_name", "[[loops-409]]", "http_409"),
    ),
    refusals=frozenset({"http_400"}),
    consent="subscribed",
    lists_in_record=True,
    links=True,
    size=6,
    pause_s=0.25,
)
EMARSYS = Dialect(
    texts=SENDGRID.texts,
    custom={"plan": "shorttext", "visits": "numeric"},
    bad=(
        Bad("last_name", "x" * 61, "too_long"),
        Bad("last_name", "[[emarsys-2007]]", "reply_2007"),
        Bad("visits", "twelve", "bad_number"),
        _UNKNOWN,
        Bad("last_name", "[[emarsys-2010]]", "reply_2010"),
        Bad("opt_in", "perhaps", "bad_opt_in"),
        Bad("last_name", "[[emarsys-2008]]", "reply_2008"),
    ),
    refusals=frozenset({"reply_10001", "reply_1004"}),
    consent="opt_in",
    yes=1,
    no=2,
    external_id=False,
    empties=False,
)
