"""The connection of a request: read the body, notice that the caller has closed it, or close it without a reply.

uvicorn has no way to drop a connection. The protocol class here puts a function that does it into the ASGI scope.
"""

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "sandbox.connection"
#: Bytes of a body that are kept; the connection of a larger body is closed. Far above the limit of every platform.
MAX_KEPT_BYTES = 64_000_000


class CallerGone(Exception):  # noqa: N818 - says what happened
    """The caller has closed the connection, or this server is about to close it."""


class DroppableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol; the application can abort the connection with `hang_up`."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"abort": self.abort}}

    def abort(self) -> None:
        self.transport.abort()


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request. Raises `CallerGone`."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_KEPT_BYTES:
            raise CallerGone
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection without a reply. Returns once uvicorn knows: it would answer 500 otherwise."""
    scope["extensions"][EXTENSION]["abort"]()
    await wait_until_gone(receive)
