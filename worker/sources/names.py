r"""The names of columns and of JSON keys: the field that a name means, and the form in which a message shows a name.

One rule holds for columns and for keys. Letter case does not matter; a run of blanks, dashes or underscores inside a
name counts as one underscore; blanks and invisible characters at both ends do not count. `First Name`, `FIRST_NAME` and
`first-name` are `first_name`. `firstName` and `E-mail` are no field: such a name is never guessed, but a message may
suggest a mapping for it. A message shows an invisible character by its code point: `e\u200bmail`.
"""

import re
import unicodedata

from contact_ingest.model.record import CONSENT, FIELDS

CUSTOM = "custom_fields"
CUSTOM_PREFIX = CUSTOM + "."
#: Fields that need --map in a table: a column that happens to have one of these names usually means something else.
BY_NAME_ONLY = CONSENT | {"source", "user_group"}

#: Most characters of a name in a message.
_SHOWN = 60
# Characters that have no form of their own: format characters, fillers, variation selectors, the blank Braille pattern.
# Source: Default_Ignorable_Code_Point of the Unicode Character Database 14, checked 2026-11-25.
_INVISIBLE_CHARS = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{_INVISIBLE_CHARS}]")
_EDGES = re.compile(rf"^[\s\0-\x1f{_INVISIBLE_CHARS}]+|[\s\0-\x1f{_INVISIBLE_CHARS}]+$")
_SEPARATORS = re.compile(r"[\s_-]+")
_WORD = re.compile(r"[^\W_]+")
# Letters of these scripts look like Latin ones.
_LOOKALIKES = ("CYRILLIC ", "GREEK ", "ARMENIAN ", "CHEROKEE ", "FULLWIDTH ", "MATHEMATICAL ")
_LATIN_FOR = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u03bf\u03b1", "aceopxyijsoa"
)  # Cyrillic and Greek letters, and the Latin ones that look the same
#: What people call a field, in letters and digits only. A message suggests these; nothing is mapped by them.
_OTHER_WORDS = {
    "mail": "email",
    "emailaddress": "email",
    "mailaddress": "email",
    "givenname": "first_name",
    "forename": "first_name",
    "surname": "last_name",
    "familyname": "last_name",
    "zip": "postal_code",
    "zipcode": "postal_code",
    "postcode": "postal_code",
    "state": "state_province_region",
    "userid": "external_id",
}
_BY_LETTERS = {field.replace("_", ""): field for field in FIELDS - {CUSTOM}}


def trim(name: str) -> str:
    """The name without blanks and invisible characters at both ends."""
    name = name.strip()
    return name if name.isascii() and name.isprintable() else _EDGES.sub("", name)


def visible(name: str) -> str:
    r"""The beginning of a name for a message: `e\u200bmail`.

    Escaped are control and invisible characters, blanks other than a space, the replacement character, and letters of
    another script that look like Latin ones, in a word that has Latin letters.
    """
    if name.isascii() and name.isprintable():
        return name[:_SHOWN]
    text = _WORD.sub(lambda match: _show_foreign(match.group()), name[:_SHOWN])
    return "".join(_escaped(char) if _is_unseen(char) else char for char in text)


def safe_label(name: str) -> str:
    """The name of a JSON key as the field of a refusal; `record` for a name that may be somebody's data."""
    return name if name in FIELDS or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_. -]{0,99}", name) else "record"


def field_of_column(column: str) -> str | None:
    """The field that a column's name means without --map, if any."""
    field = field_of_key(column)
    return field if field is not None and field not in BY_NAME_ONLY else None


def field_of_key(key: str) -> str | None:
    """The field that a JSON key means, if any: `EMAIL` is `email`, `custom_fields.Plan` is `custom_fields.Plan`."""
    name = trim(key)
    plain = _SEPARATORS.sub("_", name).lower()
    if plain.startswith(CUSTOM_PREFIX) and plain != CUSTOM_PREFIX:
        return CUSTOM_PREFIX + name[len(CUSTOM_PREFIX) :].strip()
    return plain if plain in FIELDS else None


def likely_field(name: str) -> str | None:
    r"""The field that a name may mean, for a suggestion: `email` for `E-mail`, `e\u200bmail` or `Mail`."""
    letters = _letters(name)
    return _BY_LETTERS.get(letters) or _OTHER_WORDS.get(letters)


def disguised_field(name: str) -> str | None:
    """The field whose letters a name has, together with characters that a message shows by their code point."""
    return _BY_LETTERS.get(_letters(name)) if visible(name) != name[:_SHOWN] else None


def _letters(name: str) -> str:
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).casefold().translate(_LATIN_FOR)
    return "".join(_WORD.findall(text))


def _is_unseen(char: str) -> bool:
    return not char.isprintable() or char == "\ufffd" or _INVISIBLE.match(char) is not None


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _show_foreign(word: str) -> str:
    """The word, with every letter escaped that only looks like a Latin one, if the word has Latin letters as well."""
    if not any(char.isascii() and char.isalpha() for char in word):
        return word
    return "".join(
        _escaped(char) if not char.isascii() and unicodedata.name(char, "").startswith(_LOOKALIKES) else char
        for char in word
    )
