"""A TCP proxy in front of a server, for everything that can go wrong on a wire: it loses replies, resets in mid-body,
half-closes, swallows, drips, cuts, delays, refuses, answers in the server's place, drops everybody, or points at
another server from now on. It can also speak TLS to its clients, and change what the server says.

It runs in a thread of its own and is gone with its `with` block. What struck is counted, by kind, in `struck`.
"""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Self
from urllib.parse import urlsplit

from support.troubles import Kind, Link, Trouble


def unchanged(reply: bytes) -> bytes:
    return reply


class Proxy:
    """Passes everything on but for what it is told to spoil. `target` is an address, or a port of this machine.
    `rewrite` sees each piece that comes back; `connections` counts those that were made."""

    def __init__(
        self,
        target: str | int,
        *,
        tls: ssl.SSLContext | None = None,
        rewrite: Callable[[bytes], bytes] = unchanged,
    ) -> None:
        parts = urlsplit(target if isinstance(target, str) else f"redis://127.0.0.1:{target}/0")
        self._scheme, self._path = parts.scheme, parts.path
        self._target = (parts.hostname, parts.port)
        self._tls = tls
        self.rewrite = rewrite
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_say_what_is_no_broken_connection)
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.connections = 0
        self.troubles: list[Trouble] = []
        self.struck: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{self._path}"

    @property
    def lost(self) -> int:
        """How many replies have been lost since `lose_replies`."""
        return self.struck["lose_reply"]

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_loop(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._in_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lose_replies(self, pattern: bytes, count: int = 1, *, every: int = 1) -> None:
        """Of the next requests that contain `pattern`, the first and then every so many lose their replies."""
        self.calm("lose_reply")
        self.struck["lose_reply"] = 0
        self.spoil("lose_reply", pattern, count, every=every)

    def spoil(
        self, kind: Kind, pattern: bytes = b"", count: int = 1, *, every: int = 1, after: int = 0, pause_s: float = 0.0
    ) -> Trouble:
        """Let the next `count` requests that contain `pattern` meet this trouble."""
        return self._add(Trouble(kind, pattern, count, every, after, pause_s))

    def answer(self, reply: bytes, pattern: bytes = b"", count: int = 1) -> Trouble:
        """Answer the next `count` requests that contain `pattern` with these bytes, in the server's place."""
        return self._add(Trouble("answer", pattern, count, reply=reply))

    def forgive(self, trouble: Trouble) -> None:
        """Forget one trouble."""
        self.troubles = [each for each in self.troubles if each is not trouble]

    def _add(self, trouble: Trouble) -> Trouble:
        self.troubles.append(trouble)
        return trouble

    def calm(self, kind: Kind | None = None) -> None:
        """Forget the troubles of a kind that nobody has met yet, or of all kinds."""
        self.troubles = [each for each in self.troubles if kind is not None and each.kind != kind]

    def refuse(self) -> None:
        """Stop listening: whoever connects is refused."""
        self._in_loop(self._deafen())

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._in_loop(self._listen())

    def hold(self) -> None:
        """Keep back everything that comes, from whichever side."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    def drop(self) -> int:
        """Reset all connections, with what is still kept back on them; returns how many there were."""
        return int(self._in_loop(self._drop()))

    def point_at(self, port: int) -> None:
        """New connections go to another server of this machine; those that are open stay where they are."""
        self._target = ("127.0.0.1", port)

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _drop(self) -> int:
        links = list(self._links)
        for link in links:
            link.abort()
        return len(links)

    async def _close(self) -> None:
        await self._deafen()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # one turn of the loop, in which what was closed says so

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, to_there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()  # the server is gone, and so are we
            return
        link = Link(self, writer, to_there)
        self._links.add(link)
        try:
            await link.run(reader, there)
        except asyncio.CancelledError:
            pass  # the proxy ends: this connection too, and a task that says so would be reported as an error
        finally:
            self._links.discard(link)

    async def flow(self) -> None:
        """Go on at once, or when nothing is kept back any more."""
        await self._open.wait()

    def meet(self, piece: bytes) -> Trouble | None:
        return next((trouble for trouble in self.troubles if trouble.meets(piece)), None)


def _say_what_is_no_broken_connection(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Broken connections and handshakes are what this file is about; anything else is a mistake in it."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)
