"""Checks of single values: addresses, telephone numbers, and the values of custom fields.

Limits are those of the schema ContactRequest (github.com/twilio/sendgrid-oai) and of the custom-field pages, checked
2026-11-22. Custom values: Text up to 1,000 characters, Number as a JSON number, Date as MM/DD/YYYY or ISO 8601.
"""

import re
from collections.abc import Callable
from datetime import date, datetime

from contact_ingest.sandbox.sendgrid.dials import SendGridDials

TEXT_VALUE_LIMIT = 1000

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TOP = r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])"
_ASCII_ADDRESS = rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_TOP}"
_BEYOND = "\\u00a1-\\U0010ffff"

ASCII_ADDRESS = re.compile(_ASCII_ADDRESS)
UNICODE_ADDRESS = re.compile(_ASCII_ADDRESS.replace("[A-Za-z", f"[{_BEYOND}A-Za-z"))
PHONE = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
US_DATE = re.compile(r"[0-9]{2}/[0-9]{2}/[0-9]{4}")
ISO_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
FRACTION = re.compile(r"\.[0-9]+")


def address_test(dials: SendGridDials) -> Callable[[str], object]:
    """A function whose result is true for a valid address."""
    return (UNICODE_ADDRESS if dials.unicode_addresses else ASCII_ADDRESS).fullmatch


def length_measure(dials: SendGridDials) -> Callable[[str], int]:
    """A function that measures a text, in the unit of the dial `length_unit`."""
    if dials.length_unit == "bytes":
        return lambda text: len(text.encode())
    if dials.length_unit == "utf16":
        return lambda text: len(text.encode("utf-16-le")) // 2
    return len


def wrong_custom_value(kind: str, value: object, dials: SendGridDials) -> str:
    """What is wrong with a custom value, or an empty text."""
    if kind == "Number":
        return "" if type(value) in (int, float) else "must be a number"
    if type(value) is not str:
        return "must be a string"
    if kind == "Text":
        return f"must be at most {TEXT_VALUE_LIMIT} long" if length_measure(dials)(value) > TEXT_VALUE_LIMIT else ""
    return "" if _is_date(value, dials.iso_dates) else "must be a date"


def _is_date(text: str, iso_too: bool) -> bool:
    try:
        if US_DATE.fullmatch(text):
            date(int(text[6:]), int(text[:2]), int(text[3:5]))
            return True
        if iso_too and ISO_DATE.fullmatch(text):
            datetime.fromisoformat(FRACTION.sub("", text))
            return True
    except ValueError:
        return False
    return False
