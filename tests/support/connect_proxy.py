"""An HTTP proxy that opens tunnels (CONNECT), wherever they are asked for, to servers of this machine."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from functools import partial

from support.wire_server import Peer, Server


class ConnectProxy(Server):
    """`ports` maps what a tunnel is asked for, such as `api.example:443`, to a port of this machine. Whatever else is
    asked for is answered with `refusal`. `asked` keeps the heads of all requests."""

    def __init__(self, ports: Mapping[str, int], refusal: bytes = b"HTTP/1.1 403 Forbidden\r\n\r\n") -> None:
        super().__init__(self._tunnel)
        self._ports, self._refusal = ports, refusal
        self.asked: list[bytes] = []

    def _tunnel(self, peer: Peer) -> None:
        head = peer.read_head()
        self.asked.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        if method != "CONNECT" or target not in self._ports:
            peer.conn.sendall(self._refusal)
            return
        with socket.create_connection(("127.0.0.1", self._ports[target])) as far:
            peer.conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=partial(_pass_on, far, peer.conn), daemon=True)
            back.start()
            _pass_on(peer.conn, far)
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)  # the client is gone: the server's side ends too
            back.join(10)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
