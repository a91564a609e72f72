"""Identifiers at every platform: two given values are two contacts, unless they are one address."""

import sys
from unicodedata import normalize

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import provider_emarsys, provider_loops, provider_sendgrid

from contact_ingest.errors import Refused
from contact_ingest.model.verdicts import RowError

KELVIN = "\u212a"
#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLATFORMS = {
    "sendgrid": provider_sendgrid.sendgrid(),
    "loops": provider_loops.loops(),
    "emarsys": provider_emarsys.emarsys(),
    "emarsys by external_id": provider_emarsys.emarsys(identity=provider_emarsys.EXTERNAL),
}
#: Platform, and an identifier of it that is any text.
OPAQUE = [
    ("sendgrid", "external_id"),
    ("sendgrid", "anonymous_id"),
    ("loops", "external_id"),
    ("emarsys by external_id", "external_id"),
]
TABLE = provider_sendgrid.FIELDS


def prepared(platform, **record):
    return PLATFORMS[platform].prepare(orjson.dumps(record), TABLE)


@pytest.mark.parametrize("platform", ["sendgrid", "loops", "emarsys"])
@pytest.mark.parametrize(
    "odd",
    [
        f"{KELVIN}ate@example.com",
        "kate@ex\uff41mple.com",
        "kate@example\uff0ecom",
        "kate@example.com\u00a0",
        "kate@example.com\x1f",
    ],
)
def test_an_address_that_only_looks_like_another_is_refused_by_code_point(platform, odd):
    with pytest.raises(Refused, match=r"^email: .*U\+[0-9A-F]{4} ") as caught:
        prepared(platform, email=odd)
    assert "kate" not in str(caught.value)
    assert prepared(platform, email="Kate@Example.com").identities == ("email:kate@example.com",)


@pytest.mark.parametrize("platform", ["sendgrid", "loops", "emarsys"])
def test_both_spellings_of_a_domain_are_one_contact(platform):
    one = prepared(platform, email="Ann@Bücher.example")
    other = prepared(platform, email="Ann@xn--bcher-kva.example")
    assert one.identities == other.identities == ("email:ann@xn--bcher-kva.example",)
    assert one.encoded == other.encoded


def test_alternate_addresses_are_checked_before_they_are_folded_too():
    kept = orjson.loads(prepared("sendgrid", email="a@x.org", alternate_emails=["B@Bücher.example"]).encoded)
    assert kept["alternate_emails"] == ["b@xn--bcher-kva.example"]
    with pytest.raises(Refused, match=r"alternate_emails: .*U\+212A KELVIN SIGN at position 1"):
        prepared("sendgrid", email="a@x.org", alternate_emails=[f"{KELVIN}@x.org"])


@pytest.mark.parametrize(
    "number",
    ["+49301234\u0665\u0666", "+\uff14\uff1930123456", "\uff0b4930123456", "+4930123456\u00a0", "+4930123456\n"],
)
def test_a_number_with_digits_of_another_script_is_refused(number):
    for name in ("phone_number_id", "phone", "phone_number"):
        with pytest.raises(Refused, match=r"is not in E\.164 form"):
            prepared("sendgrid", **{"email": "a@x.org", name: number})


@pytest.mark.parametrize(("platform", "name"), OPAQUE)
@PATIENT
@given(values=st.lists(st.text(min_size=1, max_size=50), min_size=2, max_size=2, unique=True))
def test_an_identifier_that_is_no_address_is_sent_as_it_was_given(platform, name, values):
    found = [prepared(platform, **{name: value}) for value in values]
    assert [done.identities for done in found] == [(f"{name}:{value}",) for value in values]
    assert all(value in orjson.loads(done.encoded).values() for done, value in zip(found, values, strict=True))


@pytest.mark.parametrize(("platform", "name"), OPAQUE)
@pytest.mark.parametrize(
    "other", ["\uff11\uff12", "\u0661\u0662", "12 ", " 12", "12\u00a0", "012", "1\u06602", f"{KELVIN}-12", "K-12"]
)
def test_an_identifier_that_only_looks_like_another_is_another_contact(platform, name, other):
    assert {prepared(platform, **{name: value}).identities for value in ("12", "k-12", other)} == {
        *((f"{name}:{value}",) for value in ("12", "k-12", other))
    }


@pytest.mark.parametrize(
    ("given_value", "found"),
    [
        ("kate@example.com", [0]),
        (" KATE@example.com ", [0]),
        (f"{KELVIN}ate@example.com", []),
        ("kate@example.com\u00a0", []),
        ("ann@Bücher.example", [1]),
        ("ann@xn--bcher-kva.example", [1]),
        ("ann@b\uff55cher.example", []),
    ],
)
@pytest.mark.parametrize("platform", ["sendgrid", "emarsys"])
def test_a_reply_blames_nobody_for_an_address_that_only_looks_like_theirs(platform, given_value, found):
    if platform == "sendgrid":
        given_value = given_value.strip(" ")
    rows = [prepared(platform, email=email).encoded for email in ("Kate@example.com", "ann@bücher.example")]
    assert PLATFORMS[platform].find_rows(rows, [RowError("x", "y", given_value)]) == [found]


def test_an_error_file_blames_nobody_for_an_address_that_only_looks_like_theirs():
    emails = ("Kate@example.com", "ann@bücher.example", "bob@example.com")
    rows = [prepared("sendgrid", email=email).encoded for email in emails]
    lines = ["email,error", f"{KELVIN}ate@example.com,bad", "ann@Bücher.example,bad", "BOB@example.com,bad"]
    found = PLATFORMS["sendgrid"].read_error_file("\n".join(lines).encode(), rows)
    assert PLATFORMS["sendgrid"].find_rows(rows, found) == [[1], [2]]


def test_every_digit_of_another_script_is_refused_in_a_number():
    digits = [chr(code) for code in range(0x80, sys.maxunicode + 1) if chr(code).isdigit()]
    assert {normalize("NFKC", digit) for digit in digits} >= set("0123456789")
    for digit in digits:
        with pytest.raises(Refused):
            prepared("sendgrid", phone_number_id=f"+4930123{digit}56")
