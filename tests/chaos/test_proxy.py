"""The proxy spoils what it is told to spoil, and nothing else; each trouble is what a client sees of it."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
from support.proxy import Proxy
from support.waiting import wait_until

REPLY = b"0123456789"


class Parrot:
    """A server that notes what arrives, and answers each full line with `name` and ten digits."""

    def __init__(self, name: bytes = b"") -> None:
        self.name = name
        self.heard = b""
        self.ends: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        guests = []
        while True:
            try:
                guest, _ = self._listener.accept()
            except OSError:
                break
            guests.append(threading.Thread(target=self._talk, args=(guest,)))
            guests[-1].start()
        for thread in guests:
            thread.join()

    def _talk(self, guest: socket.socket) -> None:
        with guest:
            try:
                while piece := guest.recv(1 << 16):
                    self.heard += piece
                    if piece.endswith(b"\n"):
                        guest.sendall(self.name + REPLY)
                self.ends.append("closed")
            except ConnectionResetError:
                self.ends.append("reset")


@pytest.fixture
def parrot() -> Iterator[Parrot]:
    with Parrot() as server:
        yield server


@pytest.fixture
def proxy(parrot) -> Iterator[Proxy]:
    with Proxy(parrot.port) as made:
        yield made


class Client:
    """One connection; whatever is not there within a moment is not coming."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, request: bytes = b"a request\n") -> None:
        self.socket.sendall(request)

    def read(self, count: int = len(REPLY), within_s: float = 2.0) -> bytes:
        """What comes until `count` bytes are there or the connection ends. Raises `TimeoutError`."""
        self.socket.settimeout(within_s)
        found = b""
        while len(found) < count:
            piece = self.socket.recv(count - len(found))
            if not piece:
                break
            found += piece
        return found

    def ask(self, request: bytes = b"a request\n", count: int = len(REPLY), within_s: float = 2.0) -> bytes:
        self.send(request)
        return self.read(count, within_s)


@pytest.fixture
def client(proxy) -> Iterator[Client]:
    with Client(proxy.port) as made:
        yield made


def test_it_passes_everything_on_and_counts_connections(proxy, parrot, client):
    assert [client.ask() for _ in range(3)] == [REPLY] * 3
    assert (proxy.connections, sum(proxy.struck.values())) == (1, 0)


def test_a_lost_reply_acts_and_ends_the_connection(proxy, parrot, client):
    proxy.lose_replies(b"second")

    assert client.ask(b"first\n") == REPLY
    assert client.ask(b"second\n") == b""
    assert parrot.heard == b"first\nsecond\n"
    assert proxy.lost == 1


def test_an_answer_in_the_servers_place_acts_nowhere_and_ends_the_connection(proxy, parrot, client):
    trouble = proxy.answer(b"blocked", b"second", 2)

    assert client.ask(b"first\n") == REPLY
    assert client.ask(b"second\n", 99) == b"blocked"
    with Client(proxy.port) as other:
        other.send(b"the second one, ")
        assert other.ask(b"in two pieces\n", 99) == b"blocked"
    with Client(proxy.port) as third:
        assert third.ask(b"second\n") == REPLY
    assert parrot.heard == b"first\nsecond\n"
    assert (trouble.left, proxy.struck["answer"]) == (0, 2)


def test_a_trouble_can_be_forgiven_alone(proxy, client):
    first, second = (proxy.answer(word, b"request") for word in (b"first", b"second"))
    proxy.forgive(first)

    assert client.ask(count=99) == b"second"
    assert (first.left, second.left) == (1, 0)


def test_of_matching_requests_the_first_and_every_so_many_lose_their_replies(proxy):
    proxy.lose_replies(b"request", 2, every=3)

    answers = []
    for _ in range(8):
        with Client(proxy.port) as one:
            answers.append(one.ask())
    assert [i for i, answer in enumerate(answers) if not answer] == [0, 3]


def test_a_reset_in_mid_body_lets_only_so_many_bytes_arrive(proxy, parrot, client):
    proxy.spoil("reset", b"PUT", after=20)

    client.send(b"PUT " + b"x" * 96)
    with pytest.raises(ConnectionResetError):
        client.read()
    wait_until(lambda: parrot.ends)
    assert parrot.heard == b"PUT " + b"x" * 16
    assert proxy.struck == {"reset": 1}


def test_a_reset_comes_with_the_reply_at_the_latest(proxy, parrot, client):
    proxy.spoil("reset", after=1_000)

    with pytest.raises(ConnectionResetError):
        client.ask()
    assert parrot.heard == b"a request\n"


def test_a_half_closed_connection_acts_answers_nothing_and_still_reads(proxy, parrot, client):
    proxy.spoil("half_close", b"first")

    assert client.ask(b"first\n") == b""
    client.send(b"more\n")
    wait_until(lambda: parrot.heard == b"first\nmore\n")


def test_a_black_hole_passes_nothing_on_and_keeps_the_connection(proxy, parrot, client):
    proxy.spoil("black_hole", b"first")

    with pytest.raises(TimeoutError):
        client.ask(b"first\n", within_s=0.2)
    with pytest.raises(TimeoutError):
        client.ask(b"again\n", within_s=0.1)
    assert parrot.heard == b""
    with Client(proxy.port) as other:
        assert other.ask() == REPLY


def test_a_swallowed_reply_acts_and_is_never_heard_of(proxy, parrot, client):
    proxy.spoil("swallow", b"first")

    with pytest.raises(TimeoutError):
        client.ask(b"first\n", within_s=0.2)
    assert parrot.heard == b"first\n"
    assert proxy.struck == {"swallow": 1}


def test_a_dripping_reply_comes_whole_but_slowly(proxy, client):
    proxy.spoil("drip", b"first", pause_s=0.02)

    began_s = time.monotonic()
    assert client.ask(b"first\n") == REPLY
    assert time.monotonic() - began_s >= 0.02 * (len(REPLY) - 1)
    began_s = time.monotonic()
    assert client.ask(b"next\n") == REPLY
    assert time.monotonic() - began_s < 0.1


def test_a_truncated_reply_ends_early(proxy, client):
    proxy.spoil("truncate", after=4)

    assert client.ask() == REPLY[:4]


def test_a_delayed_request_arrives_late(proxy, parrot, client):
    proxy.spoil("delay", pause_s=0.3)

    client.send()
    with pytest.raises(TimeoutError):
        client.read(within_s=0.1)
    assert parrot.heard == b""
    assert client.read() == REPLY


def test_who_connects_while_it_refuses_is_refused(proxy, client):
    assert client.ask() == REPLY
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        Client(proxy.port)
    assert client.ask() == REPLY, "connections that stand are kept"

    proxy.accept()
    with Client(proxy.port) as other:
        assert other.ask() == REPLY


def test_everybody_is_dropped_and_may_come_again(proxy, client):
    assert client.ask() == REPLY

    assert proxy.drop() == 1
    with pytest.raises(ConnectionResetError):
        client.read()
    with Client(proxy.port) as other:
        assert other.ask() == REPLY


def test_what_is_held_back_goes_on_or_is_dropped(proxy, parrot, client):
    assert client.ask() == REPLY
    proxy.hold()
    client.send(b"kept\n")
    with pytest.raises(TimeoutError):
        client.read(within_s=0.1)
    proxy.let_go()
    assert client.read() == REPLY

    proxy.hold()
    client.send(b"dropped\n")
    with pytest.raises(TimeoutError):
        client.read(within_s=0.1)
    proxy.drop()
    proxy.let_go()
    with Client(proxy.port) as other:
        assert other.ask(b"new\n") == REPLY
    assert parrot.heard == b"a request\nkept\nnew\n"


def test_new_connections_go_to_another_server_when_it_is_pointed_there(proxy, client):
    assert client.ask() == REPLY
    with Parrot(b"b") as second:
        proxy.point_at(second.port)

        with Client(proxy.port) as other:
            assert other.ask(count=11) == b"b" + REPLY
        assert client.ask() == REPLY


def test_with_its_server_gone_a_connection_ends_at_once(proxy):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = unused.getsockname()[1]
    proxy.point_at(nobody)

    with Client(proxy.port) as one:
        assert one.read() == b""


def test_calm_forgets_what_nobody_has_met(proxy, client):
    proxy.spoil("truncate", after=1)
    proxy.spoil("drip", pause_s=9)
    proxy.calm("drip")
    proxy.calm("truncate")

    assert client.ask() == REPLY


def test_a_client_that_resets_is_no_mistake(proxy, parrot):
    with Client(proxy.port) as one:
        assert one.ask() == REPLY
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: parrot.ends)

    with Client(proxy.port) as other:
        assert other.ask() == REPLY
