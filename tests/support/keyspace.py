"""A live keyspace compared with store/keys.py: kinds of keys, their types, the fields of hashes, and what expires."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from contact_ingest.store.keys import Expiry, KeySpec, install_base, spec_of

#: Keys looked at in one round trip.
PAGE = 500


def assert_keyspace_is_listed(client: Any, prefix: str) -> set[str]:
    """Every key under the prefix is one that keys.py lists, and is as it says. Keys of the broker are not ours. Returns
    what was seen: patterns of keys, and `<pattern>.<field>` for fields of hashes."""
    seen: set[str] = set()
    wrong = list(differences(client, prefix, seen))
    assert not wrong, wrong
    assert seen, f"nothing lies under {prefix}"
    return seen


def differences(client: Any, prefix: str, seen: set[str] | None = None) -> Iterator[str]:
    """What keys.py does not say of the keys under a prefix, in words. Adds to `seen` what it does say."""
    noted: set[str] = set() if seen is None else seen
    broker = f"{install_base(prefix)}broker:".encode()
    found = (key for key in client.scan_iter(match=f"{prefix}:*", count=1000) if not key.startswith(broker))
    while page := list(islice(found, PAGE)):
        pipe = client.pipeline(transaction=True)
        for key in page:
            pipe.type(key)
            pipe.pttl(key)
            pipe.exists(key.rpartition(b":")[0])  # of a body: the batch it belongs to
        answers = iter(pipe.execute())
        for key, kind, ttl_ms, has_batch in zip(page, answers, answers, answers, strict=True):
            if kind != b"none":  # gone since the scan
                yield from _of_key(client, prefix, Live(key, kind.decode(), ttl_ms, bool(has_batch)), noted)


@dataclass(frozen=True, slots=True)
class Live:
    """A key as it lies there; `ttl_ms` is -1 where it does not expire."""

    key: bytes
    kind: str
    ttl_ms: int
    has_batch: bool

    @property
    def name(self) -> str:
        return self.key.decode(errors="backslashreplace")


def _of_key(client: Any, prefix: str, live: Live, seen: set[str]) -> Iterator[str]:
    spec = spec_of(prefix, live.name)
    if spec is None:
        yield f"{live.name}: not listed"
        return
    seen.add(spec.pattern)
    if live.kind != spec.type:
        yield f"{live.name}: a {live.kind}, listed as a {spec.type}"
    elif live.kind == "hash":
        yield from _of_fields(client, live.key, spec, seen)
    must = not live.has_batch if spec.expires is Expiry.UNTIL_COMMIT else spec.expires is Expiry.ALWAYS
    if live.ttl_ms >= 0 and not must:
        yield f"{live.name}: expires, and must not"
    if live.ttl_ms == -1 and must:
        yield f"{live.name}: does not expire, and must"


def _of_fields(client: Any, key: bytes, spec: KeySpec, seen: set[str]) -> Iterator[str]:
    for raw in client.hkeys(key):
        field = raw.decode(errors="backslashreplace")
        pattern = spec.field_pattern(field)
        if pattern is None:
            yield f"{key.decode(errors='backslashreplace')}: field {field} is not listed"
        else:
            seen.add(f"{spec.pattern}.{pattern}")
