"""The sandbox as a child process, for tests and for the demonstration.

The child runs for the length of a `with` block. It ends by itself if its owner is killed. This side needs the standard
library only.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

START_S = 30.0
STOP_S = 5.0
REPLY_S = 60.0
PAGE = 20_000


class SandboxProcess:
    """A running sandbox. `url` is its address; the methods use its pages under /sandbox."""

    def __init__(self, *, dials: Mapping[str, Any] | None = None, key: str | Sequence[str] | None = None) -> None:
        self._dials = dict(dials or {})
        self._keys = [key] if isinstance(key, str) else list(key or ())
        self._child: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.pid = 0

    def __enter__(self) -> Self:
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(self._command(), stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
        try:
            ready = json.loads(self._first_line())
        except BaseException:
            self.stop()
            raise
        self.url, self.pid = ready["url"], ready["pid"]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        finally:
            if child.stdout:
                child.stdout.close()

    def dials(self, **changes: Any) -> dict[str, Any]:
        """Change dials, all or none of them. Returns the positions of all dials."""
        body = json.dumps(changes).encode() if changes else None
        return dict(json.loads(self._ask("PUT" if changes else "GET", "/sandbox/dials", body)))

    def journal(self, after: int = 0) -> list[dict[str, Any]]:
        return list(json.loads(self._ask("GET", f"/sandbox/journal?after={after}")))

    def totals(self) -> dict[str, Any]:
        return dict(json.loads(self._ask("GET", "/sandbox/totals")))

    def contacts(self, account: str = "sendgrid") -> Iterator[dict[str, Any]]:
        """The contacts of an account, in the order of their creation, fetched page by page."""
        after = 0
        while page := self._ask("GET", f"/sandbox/contacts?account={quote(account)}&after={after}&limit={PAGE}"):
            for line in page.splitlines():
                contact = json.loads(line)
                yield contact
            after = contact["n"]

    def seed(self, account: str, contacts: Sequence[Mapping[str, Any]]) -> None:
        """Put contacts into an account past all rules, for a state that requests alone cannot bring about."""
        self._ask("POST", f"/sandbox/contacts?account={quote(account)}", json.dumps(list(contacts)).encode())

    def reset(self) -> None:
        """Forget every request and contact, and turn the dials back to their positions at the start."""
        self._ask("POST", "/sandbox/reset")

    def _command(self) -> list[str]:
        # -P: modules in the current directory must not shadow ours.
        command = [sys.executable, "-P", "-m", "contact_ingest.sandbox", "--port", "0", "--owner-pid", str(os.getpid())]
        for key in self._keys:
            command += ["--key", key]
        for name, value in self._dials.items():
            command += ["--dial", f"{name}={json.dumps(value)}"]
        return command

    def _first_line(self) -> bytes:
        assert self._child
        assert self._child.stdout
        line, until = b"", time.monotonic() + START_S
        with selectors.DefaultSelector() as ready:
            ready.register(self._child.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not ready.select(max(until - time.monotonic(), 0)):
                    raise TimeoutError("the sandbox did not start in time")
                piece = os.read(self._child.stdout.fileno(), 4096)
                if not piece:
                    raise RuntimeError("the sandbox ended before it was ready")
                line += piece
        return line

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, body, method=method)  # noqa: S310 - our own child on loopback
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=REPLY_S) as reply:
                return bytes(reply.read())
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                raise ValueError(f"{error.code}: {error.read().decode(errors='replace')}") from None
