"""Which account each living worker has for each destination, so that two accounts at once are noticed.

A worker writes digests of its accounts (`Provider.account`) into the hash `<prefix>:accounts`: `host:4711` ->
`{"newsletter": "1f2e3d4c5b6a7980"}`. Where a platform does not say which account a key belongs to, the digest covers
the key, so a new key of the same account cannot be told from another account. Two digests at the same time are refused
until a person accepts them; one after the other is a new key. The hash `state` of a destination keeps:

    account             the digest that was alone last
    accepted_accounts   digests that a person lets work side by side, with a space between
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.store.clock import Clock
from contact_ingest.store.keys import Keys, install_base
from contact_ingest.store.schedule import PROBE_FIRST_MS
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import GONE_S, WorkerInfo

#: What workers share of an account. A new account must not go on with it.
_CACHES = ("access_token", "custom_fields")


class WorkerAccounts:
    """The accounts of the workers of one keyspace."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._base = install_base(prefix)
        self._key = f"{self._base}accounts"
        self._store = Store(client, Keys(prefix, ""))

    def tell(self, worker: str, accounts: Mapping[str, str]) -> None:
        """Say which account a worker has for each destination. Goes through with full memory too."""
        text = orjson.dumps(dict(accounts), option=orjson.OPT_SORT_KEYS)
        if self._client.hget(self._key, worker) != text:
            self._store.run("write", "none", "HSET", "accounts", worker, text, base=self._base)

    def forget(self, workers: Collection[str]) -> None:
        if workers:
            self._client.hdel(self._key, *workers)

    def forget_others(self, known: Collection[str]) -> None:
        """Forget workers that no heartbeat is kept of any more."""
        self.forget({name.decode() for name in self._client.hkeys(self._key)} - set(known))

    def alive(self, members: Collection[WorkerInfo], me: str = "") -> dict[str, dict[str, list[str]]]:
        """Destination -> digest -> names of living workers. `me` counts as living."""
        found = {name.decode(): orjson.loads(text) for name, text in self._client.hgetall(self._key).items()}
        living = {member.name for member in members if member.silent_s < GONE_S} | {me}
        accounts: dict[str, dict[str, list[str]]] = {}
        for worker in sorted(found.keys() & living):
            for destination, digest in found[worker].items():
                accounts.setdefault(destination, {}).setdefault(digest, []).append(worker)
        return accounts


def is_conflict(digests: Collection[str], state: Mapping[str, str]) -> bool:
    """Whether these accounts must not work side by side. `state` is the hash of the destination."""
    return len(digests) > 1 and not set(digests) <= set(state.get("accepted_accounts", "").split())


def hold(store: Store, why: str) -> None:
    """Stop the destination and keep it from being probed, for as long as this is called every second."""
    fields = {"state": "stopped", "code": FailureCode.TWO_ACCOUNTS, "why": why}
    probe_at = Clock(store).now_ms() + PROBE_FIRST_MS
    changes = [part for name, value in fields.items() for part in ("HSET", "state", name, value)]
    store.run("write", "dispatch", *changes, "HSET", "state", "probe_at", probe_at)


def note_account(store: Store, digest: str, before: str) -> None:
    """Remember the account that is alone now. What was shared of another one is deleted."""
    if before:
        store.client.delete(*map(store.keys, _CACHES))
    store.run("write", "none", "HSET", "state", "account", digest)


def accept(store: Store, digests: Collection[str]) -> None:
    """Let these accounts work side by side."""
    store.run("write", "dispatch", "HSET", "state", "accepted_accounts", " ".join(sorted(digests)))
