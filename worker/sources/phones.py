"""Turns telephone numbers as people write them, such as `(504) 621-8927`, into E.164: `+15046218927`.

A number without a country code needs a region; no region is assumed. Only the length and the form of a number are
checked. The library alone would read more than that, and give different texts the same number: it drops what stands in
front of a number, turns letters into the digits of a keypad (`1-800-FLOWERS`), and knows digits of every script. So the
characters are checked first. Only + and the digits 0 to 9 count, as at the platforms; blanks, dashes, dots, slashes and
round brackets may stand between them.
"""

import re
from unicodedata import category, name

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.sources.rows import SourceError

#: Neutral fields whose text is a telephone number.
PHONE_FIELDS = ("phone", "phone_number", "phone_number_id")

_NEEDS_REGION = "a national number needs a region: give --region US (or the like), or write it as +…"
_UNREADABLE = "not a telephone number: write it in international form, as +…"
_IMPOSSIBLE = "its length is impossible for its country: check the digits, or write it in international form, as +…"
_EXTENSION = "an extension cannot be kept: leave it out"
_FOREIGN = "not a telephone number"

#: A text of nothing else needs no closer look.
_PLAIN = re.compile(r"[0-9+ ().\-/]*")
#: An extension behind a number: `x12`, `ext. 12`, `#12`, `;ext=12`.
_EXTENSION_AT_END = re.compile(r"[0-9][ ,;]*(?:x|ext|extn|extension|#)[ .:=]*[0-9]+[ #]*", re.IGNORECASE)
#: Categories of characters outside ASCII that may stand between digits: blanks such as U+00A0 NO-BREAK SPACE, dashes
#: such as U+2011 NON-BREAKING HYPHEN, and invisible marks. Beside them: forms of the minus sign, brackets, dot, slash.
_SEPARATORS = frozenset({"Zs", "Pd", "Cf"})
_OTHER_SEPARATORS = frozenset("\N{MINUS SIGN}\uff08\uff09\uff0e\uff0f")


class PhoneParser:
    """Reads telephone numbers. `region` is the country of national numbers: two letters, such as US."""

    def __init__(self, region: str | None) -> None:
        self._region = region.upper() if region is not None else None
        if self._region is not None:
            import phonenumbers  # noqa: PLC0415 - heavy: only files with telephone numbers pay for it

            if self._region not in phonenumbers.SUPPORTED_REGIONS:
                raise SourceError(f"--region {region}", "is not a country: give two letters, such as US, GB or DE")

    def to_e164(self, field: str, text: str) -> str:
        """The number in E.164. Raises `Refused` with the field and what to do; its message never has the number."""
        import phonenumbers  # noqa: PLC0415 - heavy: only files with telephone numbers pay for it

        if not _PLAIN.fullmatch(text):
            _check_characters(field, text)
        if self._region is None and not text.startswith("+"):
            raise Refused(field, _NEEDS_REGION, FailureCode.INVALID)
        try:
            number = phonenumbers.parse(text, self._region)
        except phonenumbers.NumberParseException:
            raise Refused(field, _UNREADABLE, FailureCode.INVALID) from None
        # "Possible" and not "valid": validity follows the allocation tables of the library's release, and refuses
        # numbers that are allocated later. `is_possible_number` would also accept numbers without their area code,
        # which cannot be dialled from elsewhere.
        if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
            raise Refused(field, _IMPOSSIBLE, FailureCode.INVALID)
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _check_characters(field: str, text: str) -> None:
    """Raises `Refused` for the first character that is no part of a telephone number, such as U+0041 LATIN CAPITAL
    LETTER A or U+0665 ARABIC-INDIC DIGIT FIVE."""
    for place, character in enumerate(text, 1):
        if _PLAIN.fullmatch(character) or character in _OTHER_SEPARATORS:
            continue
        if not character.isascii() and category(character) in _SEPARATORS:
            continue
        if _EXTENSION_AT_END.fullmatch(text, _last_plain_digit(text, place)):
            raise Refused(field, _EXTENSION, FailureCode.INVALID)
        found = f"U+{ord(character):04X} {name(character, '')}".rstrip()
        rule = f"{_FOREIGN}: has {found} at position {place}: write it with + and 0 to 9"
        raise Refused(field, rule, FailureCode.INVALID)


def _last_plain_digit(text: str, place: int) -> int:
    """The index of the last digit before the character at `place`, which counts from 1; 0 where there is none."""
    return max(text.rfind(digit, 0, place) for digit in "0123456789") if place > 1 else 0
