"""The connection under a request: read the body, notice that the caller has gone, or close without a word.

uvicorn offers no way to drop a connection, so its protocol hands the means to the application in the ASGI scope.
"""

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "sandbox.connection"
#: Far above every platform's limit: what is larger is read and refused like any other, and more than this is not kept.
LARGEST_KEPT = 64_000_000


class Gone(Exception):  # noqa: N818 - says what happened
    """The caller has closed the connection, or this server is about to."""


class DroppableProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose application may abort the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"abort": self.abort}}

    def abort(self) -> None:
        self.transport.abort()


async def read_body(receive: Receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > LARGEST_KEPT:
            raise Gone
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection with nothing said, and return once the server knows: it would answer 500 otherwise."""
    scope["extensions"][EXTENSION]["abort"]()
    await until_gone(receive)
