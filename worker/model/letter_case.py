"""Lower case for texts that are compared: names of fields, and addresses outside ASCII.

`str.lower` turns some characters into another letter: U+212A KELVIN SIGN into k, U+2126 OHM SIGN into omega. Texts of
two people would become one. `folded` changes a letter only if its upper-case form is that letter again.

    folded("Größe")   "größe"
    folded("\\u212a")  "\\u212a", and not "k"
"""


def folded(text: str) -> str:
    """The text in lower case. No character outside ASCII becomes a character of ASCII."""
    return text.lower() if text.isascii() else "".join(map(_folded_letter, text))


def _folded_letter(letter: str) -> str:
    lower = letter.lower()
    return lower if lower.upper() == letter else letter
