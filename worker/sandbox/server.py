"""Serves the sandbox in this process until SIGTERM, SIGINT or the end of its owner.

Once it accepts connections, it prints one line: {"url": "http://127.0.0.1:8025", "pid": 4711}. It prints nothing else.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import uvicorn

from contact_ingest.sandbox.app import Sandbox, build_sandbox
from contact_ingest.sandbox.connection import DroppableProtocol

KEEP_ALIVE_S = 75


class _Server(uvicorn.Server):
    """A uvicorn server that prints its address, stops at once, and ends when its owner ends."""

    def __init__(self, config: uvicorn.Config, served: Sandbox, owner_pid: int | None) -> None:
        super().__init__(config)
        self._served = served
        self._owner_pid = owner_pid

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as uvicorn does, but do not raise the signal again: a requested stop is a success."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets
        host, port = sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(json.dumps({"url": f"http://{shown}:{port}", "pid": os.getpid()}), flush=True)  # noqa: T201

    async def on_tick(self, counter: int) -> bool:
        # Compare the parent's id: PR_SET_PDEATHSIG fires when the parent's *thread* ends.
        orphaned = self._owner_pid is not None and os.getppid() != self._owner_pid
        return await super().on_tick(counter) or orphaned

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.middleware.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, DroppableProtocol):
                connection.abort()
        await asyncio.sleep(0)
        await super().shutdown(sockets)


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    fd: int | None = None,
    keys: Collection[str] = (),
    dials: Mapping[str, Any] | None = None,
    owner_pid: int | None = None,
) -> None:
    """Serve until a signal. `fd` is a listening socket to use; the server ends when the parent `owner_pid` ends."""
    gc.set_threshold(200_000, 20, 100)  # stored contacts are many and have no cycles
    served = build_sandbox(keys=keys, dials=dials)
    config = uvicorn.Config(
        served.app,
        http=DroppableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    _Server(config, served, owner_pid).run([_listener(host, port, fd)])


def _listener(host: str, port: int, fd: int | None) -> socket.socket:
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    # asyncio sets TCP_NODELAY only on sockets that were made with a protocol number. Without it, every reply waits
    # 40 ms for the caller to acknowledge the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
