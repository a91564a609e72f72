"""Who a record is about: identifiers, identities, and their digests.

An identifier is a field such as `email`. An identity is a text such as `email:ann@example.com`. A digest is 8 bytes of
an identity, which is what Redis keeps of contacts in flight and of failed ones.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from contact_ingest.model.letter_case import folded

#: Fields that identify a contact. Each platform uses some of them.
IDENTIFIERS = ("email", "external_id", "phone_number_id", "anonymous_id")
#: What is trimmed at the edges of an address that is compared. `str.strip` would also trim what cannot be seen, such as
#: U+00A0 NO-BREAK SPACE, and make an address of another person of it.
BLANKS = " \t\r\n"
#: Length of a digest.
DIGEST_BYTES = 8


def digests(salt: bytes, names: Sequence[str]) -> tuple[bytes, ...]:
    """The digest of each identity.

    `salt` (16 bytes) is a secret kept in Redis: without it nobody can choose two identities that collide.
    A salt costs half of what a key costs, which would take a second block.
    """
    return tuple([blake2b(name.encode(), salt=salt, digest_size=DIGEST_BYTES).digest() for name in names])


def split_digests(joined: bytes) -> list[bytes]:
    """Digests that lie one after the other, as a list."""
    return [joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES)]


def identities(record: Mapping[str, Any], identifiers: Sequence[str]) -> tuple[str, ...]:
    """The identities of a record before the platform's rules: e-mail addresses in lower case and without blanks at the
    edges, other values as given."""
    found = ((name, record.get(name)) for name in identifiers)
    return tuple(f"{name}:{_normalized(name, value)}" for name, value in found if isinstance(value, str) and value)


def _normalized(name: str, value: str) -> str:
    return folded(value.strip(BLANKS)) if name == "email" else value


def has_only_identifiers(fields: Iterable[str], identifiers: Collection[str] = IDENTIFIERS) -> bool:
    """Whether a record sets nothing but identifiers. `fields` are the names of what it sets."""
    return all(name in identifiers for name in fields)


def contradict(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two contacts have no value of an identifier in common that both have; both are given by their identities.

    A contact may have several values of one identifier: an address as given, and as the platform writes it.
    """
    values = _values(one)
    return any(name in values and values[name].isdisjoint(found) for name, found in _values(other).items())


def names_all_of(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a contact has every identifier that another one has, with a value in common."""
    values = _values(one)
    return all(name in values and not values[name].isdisjoint(found) for name, found in _values(other).items())


def _values(names: Sequence[str]) -> dict[str, set[str]]:
    """Identifier to its values."""
    values: dict[str, set[str]] = {}
    for identity in names:
        name, _, value = identity.partition(":")
        values.setdefault(name, set()).add(value)
    return values
