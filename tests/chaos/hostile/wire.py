"""A server on loopback that does on the wire what no platform should, once to each contact, and is honest afterwards.

It speaks as Loops and as SendGrid. What it does wrong comes from outside, piece by piece; error files too.
"""

import itertools
import re
import socketserver
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

#: Pieces of an answer; a number repeats the piece before it.
Wire = Sequence[bytes | int]

_WHO = re.compile(rb'"email":"([^"]+)"')


def honest(body: bytes, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class HostileServer:
    """`wires` are the wrong answers to upserts, `files` the contents of error files; each by its kind. `met` counts how
    often each was given."""

    def __init__(self, wires: Mapping[str, Wire], files: Mapping[str, bytes]) -> None:
        self._wires = itertools.cycle(wires.items())
        self._files = itertools.cycle(files.items())
        self._lock = threading.Lock()
        self._fooled: set[bytes] = set()
        self.met: dict[str, int] = {}
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 30

            def handle(self) -> None:
                try:
                    while outer.answer(self.rfile, self.wfile):
                        pass
                except OSError:
                    pass  # whoever asked has had enough, which is what is wanted

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="hostile", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, asked: Any, out: Any) -> bool:
        """Read one request and answer it; False when the connection is to be closed."""
        line = asked.readline(65_536)
        if not line:
            return False
        method, path, _ = line.split(b" ", 2)
        length = 0
        while (header := asked.readline(65_536)).strip():
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = asked.read(length)
        if method == b"PUT":
            return self._upsert(path, body, out)
        out.write(self._look_up(path))
        return True

    def _upsert(self, path: bytes, body: bytes, out: Any) -> bool:
        found = _WHO.search(body)
        who = found[1] if found else body
        if path.startswith(b"/v3/"):
            out.write(honest(b'{"job_id":"job-1"}', status="202 Accepted"))
            return True
        with self._lock:
            fool = who not in self._fooled
            self._fooled.add(who)
            kind, wire = next(self._wires) if fool else ("", ())
        if not fool:
            out.write(honest(b'{"success":true,"id":"x"}'))
            return True
        self.met[kind] = self.met.get(kind, 0) + 1
        write(out, wire)
        return False

    def _look_up(self, path: bytes) -> bytes:
        if path.startswith(b"/v3/marketing/contacts/imports/"):
            url = f'"errors_url":"{self.url}/file"'
            return honest(b'{"status":"errored","results":{"errored_count":1,"requested_count":2,%b}}' % url.encode())
        if path.startswith(b"/file"):
            with self._lock:
                kind, content = next(self._files)
                self.met[kind] = self.met.get(kind, 0) + 1
            return honest(content, "text/csv")
        return honest(b"[]")


def write(out: Any, wire: Wire) -> None:
    last = b""
    for piece in wire:
        if isinstance(piece, int):
            for _ in range(piece):
                out.write(last)
        else:
            last = piece
            out.write(piece)
