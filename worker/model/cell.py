"""Cells of tables: text that takes the type of the field it is for.

A table has text only: `12` may be for a field that takes numbers, or for one that takes text. Only the account says
which, and only aggregation knows the account for sure. So a custom field's cell that could be more than text waits in
its record as a marked cell, and aggregation gives it the type of its field:

    {"custom_fields": {"plan": "pro", "visits": {"cell": "12"}, "since": {"cell": "31/12/2025", "dates": "dmy"}}}

`cell` is the text as the table has it. `dates` is the order of day and month that the user named, if any. A value of
another form is no marked cell, and a value that is not marked is never converted.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal, assert_never

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode

#: What a field takes: any text; a JSON number; a number written as digits; true or false; a day; a day or milliseconds
#: since 1970; the number of one choice, or of several; an opt-in, 1 or 2.
CellKind = Literal["text", "number", "digits", "boolean", "date", "moment", "choice", "choices", "opt_in"]
#: The order of day and month in a date such as 03/04/2026: `dmy` is 3 April, `mdy` is 4 March.
DateOrder = Literal["dmy", "mdy"]
DATE_ORDERS: tuple[DateOrder, ...] = ("dmy", "mdy")

#: The closed list of words for yes and no, in any letter case.
WORDS: Mapping[str, bool] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: A record's JSON holds these bytes if it holds a marked cell.
MARK = b'{"cell":"'
#: Digits that a JSON number with a decimal point keeps, whatever they are (IEEE 754, 64 bits).
EXACT_DIGITS = 15

_INTEGERS = range(-(2**63), 2**64)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?").fullmatch
_ROUNDED = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?[eE][+-][0-9]{2,3}").fullmatch
_SEPARATED = re.compile(r"[+-]?[0-9]+(?:[.,'\u2019\s][0-9]+)+").fullmatch
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?").fullmatch
_LOCAL = re.compile(r"([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?))?").fullmatch
_MILLISECONDS = re.compile(r"-?[0-9]{11,15}").fullmatch
_CHOICE = re.compile(r"[0-9]{1,10}").fullmatch
_CHOICES = re.compile(r"\s*[;|]\s*")
#: Text that some kind of field may convert: words, and digits with the signs of numbers, dates and lists of choices.
_CONVERTIBLE = re.compile(r"(?i:true|false|yes|no)|[+-]?[0-9][0-9\s.,:;|/'\u2019eEtTzZ+-]*").fullmatch


def is_rounded(text: str) -> bool:
    """Whether a spreadsheet has shortened a number to this: `7.01235E+12`. The other digits are gone.

    One digit before the point, a sign and two digits behind the E: a code such as `12E4` is none.
    """
    return ("E" in text or "e" in text) and _ROUNDED(text) is not None


def marked(text: str, dates: DateOrder | None) -> str | dict[str, str]:
    """A cell of a custom field, ready for a record: marked if its type matters."""
    if _CONVERTIBLE(text) is None:
        return text
    return {"cell": text} if dates is None or _LOCAL(text) is None else {"cell": text, "dates": dates}


def unmarked(value: Any) -> Any:
    """The text of a marked cell. Every other value stays as it is."""
    return value["cell"] if _is_marked(value) else value


def typed(field: str, value: Any, kind: CellKind | None) -> Any:
    """The value that a marked cell gives in a field of this kind. Every other value stays as it is.

    Without a kind the text stays text. Raises `Refused` with `field`.
    """
    if not _is_marked(value):
        return value
    return convert(field, value["cell"], kind or "text", value.get("dates"))


def convert(field: str, text: str, kind: CellKind, dates: DateOrder | None) -> Any:  # noqa: PLR0911 - one per kind
    """The value of a cell's text in a field of this kind. Raises `Refused`: nothing is guessed."""
    match kind:
        case "text":
            return text
        case "number":
            return _number(field, text)
        case "digits":
            _check_number(field, text)
            return text
        case "boolean":
            return _yes_or_no(field, text)
        case "date":
            return _date(field, text, dates)
        case "moment":
            return text if _MILLISECONDS(text) else _date(field, text, dates)
        case "choice":
            return _choice(field, text)
        case "choices":
            return [_choice(field, item) for item in _CHOICES.split(text)]
        case "opt_in":
            return _opt_in(field, text)
        case _:
            assert_never(kind)


def _is_marked(value: object) -> bool:
    if type(value) is not dict or not isinstance(value.get("cell"), str):
        return False
    return len(value) == 1 or (len(value) == 2 and value.get("dates") in DATE_ORDERS)


def _check_number(field: str, text: str) -> None:
    if _NUMBER(text):
        return
    if is_rounded(text):
        rule = "takes a number, and a spreadsheet has rounded this one: format the column as number or text, and export"
    elif _SEPARATED(text):
        rule = "takes a number with a decimal point and without other separators, such as 1234.5"
    else:
        rule = f"takes a number, such as 12 or 12.5, not these {len(text)} characters"
    raise Refused(field, rule, FailureCode.BAD_NUMBER)


def _number(field: str, text: str) -> int | float:
    _check_number(field, text)
    if "." not in text:
        if len(text) > 20 or int(text) not in _INTEGERS:
            raise Refused(field, "takes a number, and an integer has at most 64 bits", FailureCode.BAD_NUMBER)
        return int(text)
    digits = sum(map(str.isdigit, text.lstrip("+-0.")))
    if digits > EXACT_DIGITS:
        rule = f"takes a number, and with a decimal point it keeps {EXACT_DIGITS} digits, not {digits}"
        raise Refused(field, rule, FailureCode.BAD_NUMBER)
    return float(text)


def _yes_or_no(field: str, text: str) -> bool:
    found = WORDS.get(text.lower())
    if found is None:
        raise Refused(field, f"takes {_listed(WORDS)}, and no other word", FailureCode.WRONG_TYPE)
    return found


def _opt_in(field: str, text: str) -> int:
    """1 is yes and 2 is no, as the field has it; 0 is no as well."""
    found = {**WORDS, "2": False}.get(text.lower())
    if found is None:
        raise Refused(field, f"takes {_listed(WORDS)} or 2 (no), and no other word", FailureCode.BAD_OPT_IN)
    return 1 if found else 2


def _listed(words: Mapping[str, bool]) -> str:
    return ", ".join(words)


def _choice(field: str, text: str) -> str:
    if not _CHOICE(text):
        raise Refused(field, "takes the number of a choice, not its text", FailureCode.BAD_CHOICE)
    return text


def _date(field: str, text: str, dates: DateOrder | None) -> str:
    """A day or a moment in ISO 8601. 03/04/2026 needs the order of day and month; 31/12/2025 shows it."""
    if _ISO(text):
        return _real_date(field, text, text)
    found = _LOCAL(text)
    if found is None:
        rule = f"takes a date such as 2026-01-31, not these {len(text)} characters"
        raise Refused(field, rule, FailureCode.BAD_DATE)
    first, second, year = int(found[1]), int(found[3]), int(found[4])
    if dates is None and first != second and first <= 12 and second <= 12:
        rule = "may be day and month or month and day: say which with --dates dmy or --dates mdy, or write 2026-01-31"
        raise Refused(field, rule, FailureCode.BAD_DATE)
    days_first = first > 12 if dates is None else dates == "dmy"
    day, month = (first, second) if days_first else (second, first)
    iso = f"{year:04}-{month:02}-{day:02}"
    return _real_date(field, f"{iso}T{found[5]}" if found[5] else iso, text)


def _real_date(field: str, iso: str, text: str) -> str:
    try:
        date.fromisoformat(iso[:10])
        if len(iso) > 10:
            datetime.fromisoformat(iso)
    except ValueError:
        order = "" if iso is text else " in this order of day and month"
        raise Refused(field, f"is no day of the calendar{order}", FailureCode.BAD_DATE) from None
    return iso
