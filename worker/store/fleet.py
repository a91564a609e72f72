"""The workers that live, and the server they share."""

import time
from dataclasses import dataclass
from typing import Any

import orjson

from worker.store.keys import Keys
from worker.store.scripts import Store

#: A worker that has not been heard of for so long is gone.
GONE_S = 15.0


@dataclass(frozen=True, slots=True)
class Member:
    """A worker: name, pool size, seconds since it was last heard of."""

    name: str
    slots: int
    silent_s: float


class Fleet:
    """Who works on this keyspace."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._base = f"{prefix}:"
        self._key = f"{prefix}:workers"
        self._store = Store(client, Keys(prefix, ""))

    def beat(self, name: str, slots: int) -> None:
        """Goes through with full memory too: a worker that cannot say that it lives counts as gone."""
        beat = orjson.dumps([self._now_s(), slots])
        self._store.run("write", "none", "HSET", "workers", name, beat, base=self._base)
        gone = [member.name for member in self.members() if member.silent_s > 60 * GONE_S]
        if gone:
            self._client.hdel(self._key, *gone)

    def members(self) -> list[Member]:
        now_s = self._now_s()
        found = self._client.hgetall(self._key)
        beats = ((name.decode(), *orjson.loads(beat)) for name, beat in found.items())
        return [Member(name, slots, max(0.0, now_s - at_s)) for name, at_s, slots in beats]

    def slots(self) -> int:
        return max(1, sum(member.slots for member in self.members() if member.silent_s < GONE_S))

    def skew_s(self) -> float:
        """How far this machine's clock is from the server's."""
        return time.time() - self._now_s()

    def _now_s(self) -> float:
        seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6
