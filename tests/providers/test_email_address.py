"""Addresses: checked as they were given, then put into lower case, with the domain in ASCII."""

import sys
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contact_ingest.errors import Refused
from contact_ingest.model.identity import identities
from contact_ingest.providers.email_address import address, comparable
from contact_ingest.providers.refusal_text import counted

#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: Characters of which some step of Python or Unicode makes nothing but ASCII.
DISGUISES = [
    character
    for code in range(0x80, sys.maxunicode + 1)
    if not 0xD800 <= code <= 0xDFFF
    for character in [chr(code)]
    if any(
        form.isascii()
        for form in (
            character.lower(),
            character.upper(),
            character.casefold(),
            character.strip(),
            normalize("NFC", character),
            normalize("NFKC", character),
        )
    )
]


def sent(text):
    """The address as it is sent; None if it is refused."""
    try:
        return address(text, "email")
    except Refused:
        return None


def reason(text):
    with pytest.raises(Refused) as caught:
        address(text, "email")
    assert (caught.value.field, caught.value.code) == ("email", "bad_email")
    return str(caught.value)


@pytest.mark.parametrize(
    ("given_address", "expected"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.Example", "ann@xn--bcher-kva.example"),
        ("ann@bu\u0308cher.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--BCHER-KVA.example", "ann@xn--bcher-kva.example"),
        ("ann@straße.example.de", "ann@xn--strae-oqa.example.de"),
        ("ann@例え.jp", "ann@xn--r8jz45g.jp"),
        ("ann@müller.рф", "ann@xn--mller-kva.xn--p1ai"),
        ("ann@xn--mller-kva.xn--p1ai", "ann@xn--mller-kva.xn--p1ai"),
        ("Jörg@Müller.example.de", "jörg@xn--mller-kva.example.de"),
        ("JO\u0308RG@example.com", "jörg@example.com"),
        ("\u017fam@example.com", "\u017fam@example.com"),
        ("\u0130rem@example.com", "\u0130rem@example.com"),
    ],
)
def test_both_spellings_of_a_domain_are_one_address(given_address, expected):
    assert sent(given_address) == expected
    assert sent(expected) == expected
    assert comparable(f" {given_address}\r\n") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\u212aate@example.com", "has U+212A KELVIN SIGN at position 1"),
        ("kate@\u212aiwi.example", "has U+212A KELVIN SIGN at position 6"),
        ("o\u1fefneil@example.com", "has U+1FEF GREEK VARIA at position 2"),
        ("ann@\uff45xample.com", "has U+FF45 FULLWIDTH LATIN SMALL LETTER E at position 5"),
        ("ann@example\u3002com", "has U+3002 IDEOGRAPHIC FULL STOP at position 12"),
        ("ann@mes\u017fe.example", "has U+017F LATIN SMALL LETTER LONG S at position 8"),
        ("ann@ex\u00adample.com", "has U+00AD SOFT HYPHEN at position 7"),
        ("ann\u200b@example.com", "has U+200B ZERO WIDTH SPACE at position 4"),
        ("\ufeffann@example.com", "has U+FEFF ZERO WIDTH NO-BREAK SPACE at position 1"),
        ("ann@example.com\u00a0", "has U+00A0 NO-BREAK SPACE at position 16"),
        ("ann@example.com\u2028", "has U+2028 LINE SEPARATOR at position 16"),
        ("ann@example.com\x1c", "has U+001C CONTROL CHARACTER at position 16"),
        ("ann\u202e@example.com", "has U+202E RIGHT-TO-LEFT OVERRIDE at position 4"),
        ("ann smith@example.com", "has U+0020 SPACE at position 4"),
        ("ann,bob@example.com", "has U+002C COMMA at position 4"),
        ("ann@ex\u2603mple.com", "has U+2603 SNOWMAN at position 7"),
        ("ann\ue000@example.com", "has U+E000 UNNAMED CHARACTER at position 4"),
        ("ann@example.com ", "has a blank at its end"),
        ("\tann@example.com", "has a blank at its beginning"),
        ("ann@example.com\n", "has a blank at its end"),
    ],
)
def test_a_refusal_says_which_character_is_wrong(text, says):
    assert reason(text) == f"email: is not an e-mail address ({len(text)} characters): {says}"


@pytest.mark.parametrize(
    "text", ["ann", "ann@x", "a..b@example.com", "ann@", "@bücher.example", "a@bücher..example", "é"]
)
def test_an_address_without_a_wrong_character_is_refused_by_its_length_alone(text):
    assert reason(text) == f"email: is not an e-mail address ({counted(len(text), 'character')})"


def test_every_disguise_of_ascii_is_refused_or_stays_what_it_is():
    assert len(DISGUISES) > 1_000
    for character in DISGUISES:
        assert "xn--" in (sent(f"ann@a{character}b.example") or "xn--")
        for local in (f"{character}ate", f"k{character}te", f"kat{character}"):
            text = f"{local}@example.com"
            assert sent(text) in (None, text, text.replace(character, character.lower()))
            assert not (sent(text) or "é").isascii()
            assert not comparable(text).isascii()
            assert not identities({"email": text}, ("email",))[0].isascii()


#: Texts of all planes, with enough near relatives of an address that some are taken.
PARTS = st.text(min_size=1, max_size=6) | st.text(
    st.sampled_from("aKkßéÉö\u03a3\u03c3\u03c2.-xn" + "".join(DISGUISES[::40])), min_size=1
)
DOMAINS = st.builds(lambda part, end: part + end, PARTS, st.sampled_from([".example", ".de", ".рф", "\uff0ecom"]))
ADDRESSES = st.builds(lambda local, domain: f"{local}@{domain}", PARTS, DOMAINS) | st.text() | st.emails()


def steps_apart(text):
    """The text after the allowed steps alone, one by one: blanks trimmed, accents composed, letters in lower case where
    ASCII stays ASCII, the domain in ASCII."""
    local, at, domain = normalize("NFC", text.strip(" \t\r\n")).rpartition("@")
    local = normalize("NFC", "".join(c.lower() if c.lower().upper() == c else c for c in local))
    labels = [
        label.lower() if label.isascii() else "xn--" + normalize("NFC", label.lower()).encode("punycode").decode()
        for label in domain.split(".")
    ]
    return local + at + ".".join(labels)


@PATIENT
@given(text=ADDRESSES)
def test_an_address_changes_by_the_allowed_steps_alone(text):
    found = sent(text)
    if found is None:
        return
    assert found == steps_apart(text)
    assert sent(found) == comparable(text) == found
    local, domain = found.rsplit("@", 1)
    assert domain.isascii()
    given_local = text.rsplit("@", 1)[0]
    assert local.isascii() <= given_local.isascii()


@PATIENT
@given(text=ADDRESSES)
def test_no_step_makes_an_address_of_a_text_that_is_refused(text):
    if sent(text) is not None or sent(text.strip(" \t\r\n")) is not None:
        return
    named = identities({"email": text}, ("email",))
    for form in (comparable(text), *(identity.removeprefix("email:") for identity in named)):
        assert sent(form) is None
