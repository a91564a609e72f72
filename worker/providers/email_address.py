"""E-mail addresses as platforms keep them: checked for form and put into lower case. No server is asked.

A refusal names the field, the rule and a length, never the address.
"""

import re

from email_validator import EmailNotValidError, validate_email

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode

#: Longest address that mail can be sent to, and longest part before its @, in characters.
#: Source: RFC 5321, 4.5.3.1 (a path has 256 octets, two of them brackets), checked 2026-11-22.
MAX_EMAIL = 254
MAX_LOCAL = 64

_ATEXT = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]++"
#: A plain address in lower case. Any other goes through email-validator, which is much slower.
_PLAIN = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*+@(?:[a-z0-9]++(?:-++[a-z0-9]++)*+\.)++[a-z]{{2,63}}").fullmatch


def address(text: str, field: str) -> str:
    """The address in lower case: `Ann@Example.COM` becomes `ann@example.com`. Raises `Refused`."""
    if len(text) > MAX_EMAIL:
        raise Refused(field, f"has {len(text)} characters, over the {MAX_EMAIL} allowed", FailureCode.TOO_LONG)
    lower = text.lower()
    if _PLAIN(lower) and lower.index("@") <= MAX_LOCAL:
        return lower
    try:
        return validate_email(text, check_deliverability=False, strict=True).normalized.lower()
    except (EmailNotValidError, UnicodeError):
        raise Refused(field, f"is not an e-mail address ({len(text)} characters)", FailureCode.BAD_EMAIL) from None
