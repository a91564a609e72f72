"""Cells of made-up tables and values of made-up JSON, each with what is right: what goes out, or how it is refused.

Nothing here calls the code under test: text and value are written side by side.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: No field goes out.
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Bad:
    """A cell that is refused: at the `door`, or at `aggregation`. `rule` is a part of the message."""

    where: Literal["door", "aggregation"]
    rule: str


#: Text of a cell, and the value that goes out. Cells without a remark are right at both platforms.
Cell = tuple[str, Any]

NAMES: list[Cell] = [
    ("Ann", "Ann"),
    ("O'Neil", "O'Neil"),
    ("'t Hart", "'t Hart"),
    ("'90s Radio", "'90s Radio"),
    ("Müller", "Müller"),
    ("李 小龙", "李 小龙"),
    ("  padded  ", "padded"),
    ('say "hi"', 'say "hi"'),
    ("a,b;c|d", "a,b;c|d"),
    ("tab\tin", "tab\tin"),
    ("no\u00a0break", "no\u00a0break"),
    ("1E5", "1E5"),
    ("=1+1", "=1+1"),
    ("'=1+1", "=1+1"),
    ("'@home", "@home"),
    ("''90s", "'90s"),
    ('="Smith"', "Smith"),
    ("", ABSENT),
    ("   ", ABSENT),
    ('=""', ABSENT),
]
CODES: list[Cell] = [
    ("A-17", "A-17"),
    ("00042", "00042"),
    ("'7012345678901", "7012345678901"),
    ('="00042"', "00042"),
    ("'01001", "01001"),
    ("42.0", "42.0"),
    ("7.01235E+12", Bad("door", "format the column as text")),
    ("7,01235E+12", Bad("door", "format the column as text")),
]
PHONES: list[Cell] = [
    ("+12015550123", "+12015550123"),
    ("'+12015550123", "+12015550123"),
    ("(504) 621-8927", "+15046218927"),
    ("'(504) 621-8927", "+15046218927"),
    ("", ABSENT),
    ("12", Bad("door", "its length is impossible")),
    ("1.50462E+10", Bad("door", "format the column as text")),
]
NUMBERS: list[Cell] = [
    ("12", 12),
    ("-7.5", -7.5),
    ("+3", 3),
    ("0", 0),
    ("'12", 12),
    ("", ABSENT),
    ("12,5", Bad("aggregation", "decimal point")),
    ("1 234", Bad("aggregation", "without other separators")),
    ("1,234.50", Bad("aggregation", "without other separators")),
    ("1.2E+09", Bad("aggregation", "rounded")),
    ("many", Bad("aggregation", "takes a number")),
]
TEXTS: list[Cell] = [
    ("00042", "00042"),
    ("'01001", "01001"),
    ("'90s", "'90s"),
    ("yes", "yes"),
    ("1E+05", "1E+05"),
    ("03/04/2026", "03/04/2026"),
    ("12,5", "12,5"),
    ('="0042"', "0042"),
    ("", ABSENT),
]
#: Year, month and day of dates: the cell, and what it is in ISO 8601.
DATES: list[Cell] = [
    ("2026-01-31", "2026-01-31"),
    ("31/12/2025", "2025-12-31"),
    ("5/5/2025", "2025-05-05"),
    ("31.12.2025", "2025-12-31"),
    ("'2026-01-31", "2026-01-31"),
    ("", ABSENT),
    ("2026-02-30", Bad("aggregation", "no day of the calendar")),
    ("31/12/25", Bad("aggregation", "such as 2026-01-31")),
    ("yesterday", Bad("aggregation", "date")),
    ("45000", Bad("aggregation", "date")),
]
#: Dates whose order of day and month only an option tells.
UNCLEAR_DATES: Mapping[str | None, list[Cell]] = {
    None: [("03/04/2026", Bad("aggregation", "--dates")), ("1.2.2026", Bad("aggregation", "--dates"))],
    "dmy": [("03/04/2026", "2026-04-03"), ("1.2.2026", "2026-02-01")],
    "mdy": [("03/04/2026", "2026-03-04"), ("12/31/2025", "2025-12-31")],
}
WORDS: list[Cell] = [
    ("true", True),
    ("YES", True),
    ("1", True),
    ("False", False),
    ("no", False),
    ("0", False),
    ("", ABSENT),
]
CONSENT: list[Cell] = [*WORDS, ("on", Bad("door", "no other word")), ("y", Bad("door", "no other word"))]
BOOLEANS: list[Cell] = [
    *WORDS,
    ("2", Bad("aggregation", "no other word")),
    ("maybe", Bad("aggregation", "true or false")),
]


def us(cells: list[Cell]) -> list[Cell]:
    """The same dates as SendGrid gets them: MM/DD/YYYY."""
    return [(text, f"{v[5:7]}/{v[8:]}/{v[:4]}" if isinstance(v, str) else v) for text, v in cells]


def email(n: int, chance: random.Random) -> Cell:
    """An address that no other row has."""
    wanted = f"p{n}@example.com"
    bad = Bad("aggregation", "is not an e-mail address")
    return chance.choice([(wanted, wanted)] * 8 + [(f" P{n}@Example.com ", wanted), (f"p{n} at example.com", bad)])


@dataclass(frozen=True, slots=True)
class OddColumn:
    """A column: its field in a record, its cells, and the name that its value has in the contact that goes out.

    `sent_as` is one name, or several for a value inside an object.
    """

    field: str
    cells: Callable[[int, random.Random], Cell]
    sent_as: tuple[str, ...]
    #: Whether --map has to name it.
    mapped: bool = False


def some(cells: list[Cell]) -> Callable[[int, random.Random], Cell]:
    return lambda _n, chance: chance.choice(cells)


def columns(platform: str, dates: Literal["dmy", "mdy"] | None) -> list[OddColumn]:
    """What tables for a platform are made of."""
    unclear = UNCLEAR_DATES[dates]
    days = DATES + unclear * 2
    if dates == "mdy":
        days = [cell for cell in days if not cell[0].startswith(("31/12/2025", "31.12.2025"))]
    first = [OddColumn("email", email, ("email",))]
    if platform == "sendgrid":
        return [
            *first,
            OddColumn("external_id", some(CODES), ("external_id",)),
            OddColumn("last_name", some([*NAMES, ("x" * 51, Bad("aggregation", "over the 50"))]), ("last_name",)),
            OddColumn("city", some(NAMES), ("city",)),
            OddColumn("postal_code", some(CODES), ("postal_code",)),
            OddColumn("phone", some(PHONES), ("phone_number",)),
            OddColumn("custom_fields.visits", some(NUMBERS), ("custom_fields", "e1_N")),
            OddColumn("custom_fields.since", some(us(days)), ("custom_fields", "e2_D")),
            OddColumn(
                "custom_fields.code",
                some([*TEXTS, ("x" * 1001, Bad("aggregation", "1000 allowed"))]),
                ("custom_fields", "e3_T"),
            ),
        ]
    clear: list[Cell] = [("NULL", None)]
    return [
        *first,
        OddColumn("first_name", some(NAMES + clear * 3), ("firstName",)),
        OddColumn("subscribed", some([*CONSENT, ("NULL", Bad("door", "cannot be emptied"))]), ("subscribed",), True),
        OddColumn("mailing_lists.l1", some(CONSENT), ("mailingLists", "l1"), True),
        OddColumn("mailing_lists.l2", some(WORDS), ("mailingLists", "l2"), True),
        OddColumn("custom_fields.seats", some(NUMBERS + clear), ("seats",)),
        OddColumn("custom_fields.isAdmin", some(BOOLEANS + clear), ("isAdmin",)),
        OddColumn("custom_fields.since", some(days + clear), ("since",)),
        OddColumn(
            "custom_fields.planName",
            some([*TEXTS, ("é" * 400, "é" * 400), ("x" * 600, Bad("aggregation", "over the 500"))]),
            ("planName",),
        ),
    ]


#: The path of a value in a JSON record, its path in the contact, and pairs of a value and what goes out.
JsonValues = tuple[tuple[str, ...], tuple[str, ...], list[tuple[Any, Any]]]

_TEXT_VALUES: list[tuple[Any, Any]] = [
    ("'t Hart", "'t Hart"),
    ("'00042", "'00042"),
    ('="00042"', '="00042"'),
    ("  padded ", "  padded "),
    ("", ""),
    (ABSENT, ABSENT),
    (7, Bad("aggregation", "text")),
]
_NUMBER_VALUES: list[tuple[Any, Any]] = [
    (12, 12),
    (-7.5, -7.5),
    ({"cell": "12"}, 12),
    (ABSENT, ABSENT),
    ("12", Bad("aggregation", "takes a number")),
    (True, Bad("aggregation", "takes a number")),
    ({"cell": "12,5"}, Bad("aggregation", "decimal point")),
    ({"cells": "12"}, Bad("aggregation", "takes a number")),
]


def json_values(platform: str) -> list[JsonValues]:
    """What JSON records for a platform are made of. JSON has types: no text becomes a number or a word."""
    if platform == "sendgrid":
        null: tuple[Any, Any] = (None, Bad("aggregation", "null cannot be sent"))
        return [
            (("last_name",), ("last_name",), [*_TEXT_VALUES, null, ("x" * 51, Bad("aggregation", "over the 50"))]),
            (("phone",), ("phone_number",), [(text, value) for text, value in PHONES if text and text[0] in "+("]),
            (("custom_fields", "visits"), ("custom_fields", "e1_N"), [*_NUMBER_VALUES, null]),
            (
                ("custom_fields", "since"),
                ("custom_fields", "e2_D"),
                [("2026-01-31", "01/31/2026"), ("01/31/2026", "01/31/2026"), ("x", Bad("aggregation", "date"))],
            ),
        ]
    yes_or_no = Bad("aggregation", "true or false")
    return [
        (("first_name",), ("firstName",), [*_TEXT_VALUES, (None, None)]),
        (("subscribed",), ("subscribed",), [(True, True), (False, False), ("yes", yes_or_no), (1, yes_or_no)]),
        (("custom_fields", "seats"), ("seats",), [*_NUMBER_VALUES, (None, None)]),
        (
            ("custom_fields", "isAdmin"),
            ("isAdmin",),
            [(True, True), ({"cell": "No"}, False), ("yes", yes_or_no), (ABSENT, ABSENT)],
        ),
    ]
