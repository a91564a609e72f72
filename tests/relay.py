"""A TCP relay in front of a Redis server: it can speak TLS to its clients, and change what the server says.

It runs in a thread of its own and is gone with its `with` block.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self


def unchanged(reply: bytes) -> bytes:
    return reply


class Relay:
    """Passes everything on; `rewrite` sees each piece that comes back. `connections` counts those that were made."""

    def __init__(
        self,
        target_port: int,
        *,
        tls: ssl.SSLContext | None = None,
        rewrite: Callable[[bytes], bytes] = unchanged,
    ) -> None:
        self._target_port = target_port
        self._tls = tls
        self._rewrite = rewrite
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # broken handshakes are what some tests are about
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._server: asyncio.Server | None = None
        self.connections = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._tls)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, to_there = await asyncio.open_connection("127.0.0.1", self._target_port)

        async def requests() -> None:
            while piece := await reader.read(1 << 16):
                to_there.write(piece)
                await to_there.drain()

        async def replies() -> None:
            while piece := await there.read(1 << 16):
                writer.write(self._rewrite(piece))
                await writer.drain()

        ways: list[asyncio.Task[Any]] = [asyncio.ensure_future(requests()), asyncio.ensure_future(replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, to_there):
                end.transport.abort()  # a TLS client that has gone would be waited for
