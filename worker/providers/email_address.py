"""E-mail addresses as platforms keep them: checked for form, then put into lower case. No server is asked.

The check reads the address as it was given. Three steps follow, and no others:

    letters get lower case           Ann@Example.COM      ann@example.com
    the domain becomes its A-label   ann@bücher.example   ann@xn--bcher-kva.example
    accents are composed (NFC)       e + U+0301           é, in a local part outside ASCII

A character that one of these steps would replace by another letter is refused: U+212A KELVIN SIGN would become k, and a
fullwidth letter or an ideographic full stop in the domain would become ASCII.

A refusal names the field, the rule, and a length or a code point, never the address.
"""

import re
from unicodedata import category, is_normalized, name, normalize

import idna
from email_validator import EmailNotValidError, validate_email

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.identity import BLANKS
from contact_ingest.model.letter_case import folded
from contact_ingest.providers.refusal_text import counted

#: Longest address that mail can be sent to, and longest part before its @, in characters.
#: Source: RFC 5321, 4.5.3.1 (a path has 256 octets, two of them brackets), checked 2026-11-22.
MAX_EMAIL = 254
MAX_LOCAL = 64

_ATEXT = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]++"
#: A plain address in lower case. Any other goes through email-validator, which is much slower.
_PLAIN = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*+@(?:[a-z0-9]++(?:-++[a-z0-9]++)*+\.)++[a-z]{{2,63}}").fullmatch
#: ASCII that an address may have somewhere.
_ORDINARY = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]").match
#: First letters of the Unicode categories of letters, marks and numbers.
_TEXT_CATEGORIES = "LMN"


def address(text: str, field: str) -> str:
    """The address in lower case, its domain in ASCII: `Ann@Example.COM` becomes `ann@example.com`. Raises `Refused`."""
    if len(text) > MAX_EMAIL:
        raise Refused(field, f"has {len(text)} characters, over the {MAX_EMAIL} allowed", FailureCode.TOO_LONG)
    if text.isascii():
        lower = text.lower()
        if _PLAIN(lower) and lower.index("@") <= MAX_LOCAL:
            return lower
    try:
        return _unusual(text)
    except (EmailNotValidError, UnicodeError):
        rule = f"is not an e-mail address ({counted(len(text), 'character')}){_blame(text)}"
        raise Refused(field, rule, FailureCode.BAD_EMAIL) from None


def comparable(text: str) -> str:
    """A text that a platform quotes, as it is compared with addresses that were sent. Never raises."""
    trimmed = text.strip(BLANKS)
    if trimmed.isascii():
        return trimmed.lower()
    try:
        return address(trimmed, "email")
    except Refused:
        return folded(trimmed)


def _unusual(text: str) -> str:
    """An address that is not plain ASCII, as `address` returns it. Raises `EmailNotValidError` or `UnicodeError`."""
    local, _, domain = text.rpartition("@")
    if not text.isascii():
        if not is_canonical(local) or any(map(_is_remapped, domain)):
            raise UnicodeError
        local = normalize("NFC", folded(normalize("NFC", local)))
        domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    plain = f"{local}@{domain}".lower() if local.isascii() else f"{local}@{domain.lower()}"
    if _PLAIN(plain) and len(local) <= MAX_LOCAL and len(plain) <= MAX_EMAIL:
        return plain
    read = validate_email(plain, check_deliverability=False, strict=True)
    return f"{read.local_part}@{read.ascii_domain}"


def is_canonical(text: str) -> bool:
    """Whether normalisation (NFC) replaces no single character by another one, as it does with U+212A and K."""
    return all(is_normalized("NFC", character) for character in text)


def _is_remapped(character: str) -> bool:
    """Whether a character of a domain becomes another one than its lower case, or cannot stand in a domain."""
    if character.isascii():
        return False
    try:
        return idna.uts46_remap(character, std3_rules=False, transitional=False) != folded(character)
    except idna.IDNAError:
        return True


def _blame(text: str) -> str:
    """What is wrong with an address, as far as one character shows it: `: has U+200B ZERO WIDTH SPACE at position 4`.

    Positions are counted in characters from 1. Empty if no single character is wrong.
    """
    if text and text.strip(BLANKS) != text:
        return f": has a blank at its {'beginning' if text[0] in BLANKS else 'end'}"
    at = text.rfind("@")
    for place, character in enumerate(text):
        if _is_wrong(character, in_domain=place > at >= 0):
            called = name(character, "CONTROL CHARACTER" if category(character) == "Cc" else "UNNAMED CHARACTER")
            return f": has U+{ord(character):04X} {called} at position {place + 1}"
    return ""


def _is_wrong(character: str, *, in_domain: bool) -> bool:
    if character.isascii():
        return not _ORDINARY(character)
    if category(character)[0] in "CZ" or not is_canonical(character):
        return True
    return in_domain and (category(character)[0] not in _TEXT_CATEGORIES or _is_remapped(character))
