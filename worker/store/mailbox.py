"""The queue of the bells, where the broker is a Redis: how long they have lain there, and the records that the one kind
of message carries which is no bell.

Reads kombu's messages and leaves them where they are: a message that is taken away is one that nobody acts upon.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

#: The task whose messages carry records.
CARRIER = "contacts.enqueue"
#: Messages read at a time.
PAGE = 50
#: How many of the oldest messages are looked at for one that has expired.
OLDEST = 50


class Mailbox:
    """What lies in the broker for one install."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._queue = f"{prefix}:broker:contacts"
        self._taken = f"{prefix}:broker:unacked"

    def __len__(self) -> int:
        return int(self._client.llen(self._queue))

    def overdue_s(self) -> float:
        """How long ago the oldest bell that nobody took has expired; 0 if none has. Whoever takes one that has expired
        drops it, so that it lies there says that none was taken for as long as bells last, and longer."""
        seconds, micros = self._client.time()
        oldest = self._client.lrange(self._queue, -OLDEST, -1)
        ends = [_expires_s(message) for message in map(_read, oldest) if message]
        now_s = seconds + micros / 1e6
        return float(max([0.0, *(now_s - end for end in ends if end is not None)]))

    def records(self) -> Iterator[bytes]:
        """Records that producers have sent by way of the broker and no worker has put into a lane yet."""
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
    """A stranger's message may be anything."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, Mapping) else None


def _expires_s(message: Mapping[str, Any]) -> float | None:
    headers = message.get("headers")
    text = headers.get("expires") if isinstance(headers, Mapping) else None
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None


def _carried(body: str) -> Iterator[bytes]:
    try:
        args, kwargs, *_ = orjson.loads(b64decode(body))
        given = args[0] if args else kwargs["records"]
    except (ValueError, TypeError, KeyError, IndexError):
        return
    for record in given if isinstance(given, list) else [given]:
        yield orjson.dumps(record)
