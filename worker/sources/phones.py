"""Turns telephone numbers as people write them, such as `(504) 621-8927`, into E.164: `+15046218927`.

A number without a country code needs a region; no region is assumed. Only the length and the form of a number are
checked. The library would read digits of every script; here only + and the digits 0 to 9 count, as at the platforms.
"""

from unicodedata import name

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.sources.rows import SourceError

#: Neutral fields whose text is a telephone number.
PHONE_FIELDS = ("phone", "phone_number", "phone_number_id")

_NEEDS_REGION = "a national number needs a region: give --region US (or the like), or write it as +…"
_UNREADABLE = "not a telephone number: write it in international form, as +…"
_IMPOSSIBLE = "its length is impossible for its country: check the digits, or write it in international form, as +…"
_EXTENSION = "an extension cannot be kept: leave it out"


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

        if not text.isascii():
            _check_digits(field, text)
        if self._region is None and not text.startswith("+"):
            raise Refused(field, _NEEDS_REGION, FailureCode.INVALID)
        try:
            number = phonenumbers.parse(text, self._region)
        except phonenumbers.NumberParseException:
            raise Refused(field, _UNREADABLE, FailureCode.INVALID) from None
        if number.extension:
            raise Refused(field, _EXTENSION, FailureCode.INVALID)
        # "Possible" and not "valid": validity follows the allocation tables of the library's release, and refuses
        # numbers that are allocated later. `is_possible_number` would also accept numbers without their area code,
        # which cannot be dialled from elsewhere.
        if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
            raise Refused(field, _IMPOSSIBLE, FailureCode.INVALID)
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _check_digits(field: str, text: str) -> None:
    """Raises `Refused` for a digit or a plus sign of another script, such as U+0665 ARABIC-INDIC DIGIT FIVE."""
    for place, character in enumerate(text, 1):
        if not character.isascii() and (character.isdecimal() or character == "\N{FULLWIDTH PLUS SIGN}"):
            rule = f"has U+{ord(character):04X} {name(character)} at position {place}: write it with + and 0 to 9"
            raise Refused(field, rule, FailureCode.INVALID)
