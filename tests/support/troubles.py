"""What can go wrong on one connection through the proxy, and that connection, both ways."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

#: What a request can meet:
#: lose_reply   it arrives and acts; in the place of its reply the connection is closed
#: reset        after `after` bytes of it (at the latest in the place of its reply) the connection is reset
#: half_close   it arrives and acts; our side of the connection is shut, and the other one read on
#: black_hole   it is swallowed, and so is all that follows; the connection stays
#: swallow      it arrives and acts; the reply is swallowed, and the connection stays
#: drip         its reply comes byte by byte, with `pause_s` in between
#: truncate     its reply ends after `after` bytes
#: delay        it is kept back for `pause_s`
#: answer       it is swallowed, and `reply` is the answer: a gateway speaks in the server's place
Kind = Literal["lose_reply", "reset", "half_close", "black_hole", "swallow", "drip", "truncate", "delay", "answer"]

PIECE = 1 << 16
#: Closing with this says RST, not FIN.
AT_ONCE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Trouble:
    """What the next `left` requests with `pattern` in them meet; with `every`, the first and then every so many."""

    kind: Kind
    pattern: bytes = b""
    left: int = 1
    every: int = 1
    after: int = 0
    pause_s: float = 0.0
    reply: bytes = b""
    seen: int = 0

    def meets(self, piece: bytes) -> bool:
        if not self.left or self.pattern not in piece:
            return False
        self.seen += 1
        if self.seen % self.every != 1 % self.every:
            return False
        self.left -= 1
        return True


class Spoiler(Protocol):
    """What a connection asks its proxy."""

    struck: Counter[str]
    rewrite: Callable[[bytes], bytes]

    async def flow(self) -> None: ...
    def meet(self, piece: bytes) -> Trouble | None: ...


class Link:
    """One connection through the proxy, both ways, and the trouble that the request under way has met."""

    def __init__(self, proxy: Spoiler, writer: asyncio.StreamWriter, to_there: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writer = writer
        self._to_there = to_there
        self._trouble: Trouble | None = None
        self._passed = 0

    def abort(self, *, reset: bool = True) -> None:
        for end in (self._writer, self._to_there):
            sock = end.get_extra_info("socket")
            if reset and sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            end.transport.abort()

    async def run(self, reader: asyncio.StreamReader, there: asyncio.StreamReader) -> None:
        ways = [asyncio.ensure_future(self._requests(reader)), asyncio.ensure_future(self._replies(there))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Closed before anything is awaited: an await may be the last thing that a cancelled task does. A TLS client
            # that has gone would be waited for, so there nothing is said.
            for end in (self._writer, self._to_there):
                (end.transport.abort if end.get_extra_info("ssl_object") else end.close)()
            for way in ways:
                way.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*ways, return_exceptions=True)

    def _strike(self, trouble: Trouble) -> None:
        self._proxy.struck[trouble.kind] += 1

    async def _requests(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(PIECE):
            await self._proxy.flow()
            if (trouble := self._proxy.meet(piece)) is not None:
                self._trouble, self._passed = trouble, 0
                if trouble.kind in ("half_close", "black_hole", "delay"):
                    self._strike(trouble)
                await asyncio.sleep(trouble.pause_s if trouble.kind == "delay" else 0)
            if (met := self._trouble) is not None and met.kind in ("black_hole", "answer"):
                if met is trouble and met.kind == "answer":
                    await self._speak(met)
                continue
            if met is not None and met.kind == "reset" and self._passed + len(piece) >= met.after:
                self._to_there.write(piece[: met.after - self._passed])
                self._strike(met)
                await asyncio.sleep(0.005)  # what has passed arrives before the reset
                self.abort()
                return
            self._passed += len(piece)
            self._to_there.write(piece)
            await self._to_there.drain()
            if met is not None and met.kind == "half_close" and self._writer.can_write_eof():
                self._writer.write_eof()

    async def _speak(self, trouble: Trouble) -> None:
        """Answer in the server's place, and close our side: nothing else goes over this connection."""
        self._strike(trouble)
        self._writer.write(trouble.reply)
        await self._writer.drain()
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def _replies(self, there: asyncio.StreamReader) -> None:
        while piece := await there.read(PIECE):
            await self._proxy.flow()
            if not await self._answer(self._proxy.rewrite(piece)):
                return
        if self._trouble is not None and self._trouble.kind in ("swallow", "half_close", "black_hole"):
            await asyncio.Event().wait()  # the server has closed; our client is not told

    async def _answer(self, piece: bytes) -> bool:
        """Pass a piece of a reply on, or what trouble leaves of it; false where the connection is over."""
        trouble = self._trouble
        kind = "" if trouble is None else trouble.kind
        if kind in ("lose_reply", "reset", "swallow", "truncate", "drip"):
            self._strike(trouble)
        if kind == "reset":
            self.abort()
        if kind == "drip":
            self._trouble = None
            await self._drip(piece, trouble.pause_s)
        elif kind == "truncate":
            self._writer.write(piece[: trouble.after])
        elif kind in ("", "delay"):
            self._writer.write(piece)
            await self._writer.drain()
        return kind not in ("lose_reply", "reset", "truncate")

    async def _drip(self, piece: bytes, pause_s: float) -> None:
        for at in range(len(piece)):
            self._writer.write(piece[at : at + 1])
            await self._writer.drain()
            await asyncio.sleep(pause_s)
