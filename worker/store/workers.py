"""The workers of an installation (`Workers`), and what lies in the message broker for them (`BrokerQueue`).

A worker writes a heartbeat every second into the hash `<prefix>:workers`: `host:4711` -> `[1790000000.25, 4]`, which is
the moment in seconds of the server's clock, and how many exchanges it can have at once.
"""

import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from contact_ingest.store.clock import server_s
from contact_ingest.store.keys import Keys
from contact_ingest.store.scripts import Store

#: A worker without a heartbeat for so long counts as gone.
GONE_S = 15.0


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker: its name, how many exchanges it can have at once, and the seconds since its last heartbeat."""

    name: str
    slots: int
    silent_s: float


class Workers:
    """The workers of one keyspace."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._base = f"{prefix}:"
        self._key = f"{prefix}:workers"
        self._store = Store(client, Keys(prefix, ""))

    def heartbeat(self, name: str, slots: int) -> None:
        """Say that a worker lives. Goes through with full memory too, since a worker without heartbeats counts as gone.
        Workers that have been gone for long are forgotten."""
        heartbeat = orjson.dumps([self._now_s(), slots])
        self._store.run("write", "none", "HSET", "workers", name, heartbeat, base=self._base)
        gone = [member.name for member in self.members() if member.silent_s > 60 * GONE_S]
        if gone:
            self._client.hdel(self._key, *gone)

    def members(self) -> list[WorkerInfo]:
        """All workers that are not forgotten yet, those that are gone included."""
        now_s = self._now_s()
        found = self._client.hgetall(self._key)
        beats = ((name.decode(), *orjson.loads(heartbeat)) for name, heartbeat in found.items())
        return [WorkerInfo(name, slots, max(0.0, now_s - at_s)) for name, at_s, slots in beats]

    def slots(self) -> int:
        """How many exchanges the living workers can have at once; at least 1."""
        return max(1, sum(member.slots for member in self.members() if member.silent_s < GONE_S))

    def skew_s(self) -> float:
        """How far this machine's clock is ahead of the server's, in seconds."""
        return time.time() - self._now_s()

    def _now_s(self) -> float:
        return server_s(self._client)


#: The task whose messages carry records.
CARRIER = "contacts.enqueue"
#: Messages read at a time.
PAGE = 50
#: How many of the oldest messages are read to find one that has expired.
OLDEST = 50


class BrokerQueue:
    """The messages of one installation, where the broker is a Redis server."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._queue = f"{prefix}:broker:contacts"
        self._taken = f"{prefix}:broker:unacked"

    def __len__(self) -> int:
        return int(self._client.llen(self._queue))

    def overdue_s(self) -> float:
        """For how many seconds the oldest message in the queue has been expired; 0 if none has. A worker that takes an
        expired wake-up drops it. So one that still lies there says that no worker has taken messages for longer than a
        wake-up lasts."""
        oldest = self._client.lrange(self._queue, -OLDEST, -1)
        ends = [_expires_s(message) for message in map(_read, oldest) if message]
        now_s = server_s(self._client)
        return float(max([0.0, *(now_s - end for end in ends if end is not None)]))

    def records(self) -> Iterator[bytes]:
        """Records in messages of the task contacts.enqueue, which no worker has put into a lane yet."""
        for message in self._messages():
            headers, body = message.get("headers"), message.get("body")
            if isinstance(headers, Mapping) and headers.get("task") == CARRIER and isinstance(body, str):
                yield from _carried(body)

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        start = 0
        while found := self._client.lrange(self._queue, start, start + PAGE - 1):
            yield from filter(None, map(_read, found))
            start += PAGE
        # Taken by a worker and not acknowledged: [message, exchange, routing key].
        for text in self._client.hgetall(self._taken).values():
            yield from filter(None, [_read(text)])


def _read(text: bytes) -> Mapping[str, Any] | None:
    """A message, as kombu writes it; None for anything else that lies in the queue."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, Mapping) else None


def _expires_s(message: Mapping[str, Any]) -> float | None:
    """When a message expires, in Unix seconds; None if it does not say."""
    headers = message.get("headers")
    text = headers.get("expires") if isinstance(headers, Mapping) else None
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None


def _carried(body: str) -> Iterator[bytes]:
    """The records in the body of a message, each as JSON."""
    try:
        args, kwargs, *_ = orjson.loads(b64decode(body))
        given = args[0] if args else kwargs["records"]
    except (ValueError, TypeError, KeyError, IndexError):
        return
    for record in given if isinstance(given, list) else [given]:
        yield orjson.dumps(record)
