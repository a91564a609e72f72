"""The clock by which everything is due: that of the Redis server, in milliseconds.

A destination's clock is the server's clock plus an offset, the key `clock_offset`. The offset grows when the server's
clock is set back, so that the destination's clock never goes back (see `steady` in lua/common.lua). An account has a
clock of its own in the same way. Tests set the offset to let time pass.
"""

from typing import Any

from contact_ingest.store.keys import Keys
from contact_ingest.store.scripts import Store


class Clock:
    """The clock of one destination."""

    def __init__(self, store: Store) -> None:
        self._client = store.client
        self._keys = store.keys

    def now_ms(self) -> int:
        """The destination's clock: due times, leases and ages are measured by it."""
        return self._read()[0]

    def wall_ms(self) -> int:
        """The server's clock as it is, for moments that a platform reads or writes: `now_ms` runs ahead of it after the
        server's clock was set back."""
        now_ms, setback_ms = self._read()
        return now_ms - setback_ms

    def _read(self) -> tuple[int, int]:
        pipe = self._client.pipeline(transaction=False)
        request_now(pipe, self._keys)
        pipe.get(self._keys("clock_setback"))
        time, offset, setback = pipe.execute()
        return now_of(time, offset), int(setback or 0)


def request_now(pipe: Any, keys: Keys) -> None:
    """Put the two commands into a pipeline whose answers `now_of` takes: for reads that need the moment of their own
    transaction."""
    pipe.time()
    pipe.get(keys("clock_offset"))


def now_of(time: tuple[int, int], offset: bytes | None) -> int:
    """The clock in milliseconds, from the answers to `request_now`: (seconds, microseconds) and the offset."""
    seconds, micros = time
    return int(seconds) * 1000 + int(micros) // 1000 + int(offset or 0)


def server_s(client: Any) -> float:
    """The server's clock in seconds, without any offset: for what concerns workers and the broker, not a lane."""
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6
