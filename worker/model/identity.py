"""Who a record is about: identifiers, and their digests."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

#: Fields that may say who a contact is. Which of them count is the platform's to say.
IDENTIFIERS = ("email", "external_id", "phone_number_id", "anonymous_id")
DIGEST_BYTES = 8


def digests(key: bytes, names: Sequence[str]) -> tuple[bytes, ...]:
    """Eight bytes for each identity of a contact. The installation's own secret goes in as the salt (16 bytes), which
    keeps outsiders from choosing collisions at half the cost of a keyed digest: no second block."""
    return tuple([blake2b(name.encode(), salt=key, digest_size=DIGEST_BYTES).digest() for name in names])


def identities(record: Mapping[str, Any], identifiers: Sequence[str]) -> tuple[str, ...]:
    """Who a record is about, as far as can be told without the platform's rules."""
    found = ((name, record.get(name)) for name in identifiers)
    return tuple(f"{name}:{_folded(name, value)}" for name, value in found if isinstance(value, str) and value)


def _folded(name: str, value: str) -> str:
    return value.strip().lower() if name == "email" else value


def has_only_identifiers(record: Iterable[str]) -> bool:
    """Whether nothing but identifiers is left."""
    return all(name in IDENTIFIERS for name in record)


def contradict(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two records name different values for one kind of identifier."""
    kinds: dict[str, Any] = dict(identity.split(":", 1) for identity in one)
    return any(kinds.get(kind, value) != value for kind, value in (identity.split(":", 1) for identity in other))


def split_digests(keys: bytes) -> list[bytes]:
    return [keys[at : at + DIGEST_BYTES] for at in range(0, len(keys), DIGEST_BYTES)]
