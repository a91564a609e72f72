"""Why Redis refuses is told by its own word and with a remedy: to producers, by commands, by the doctor, in the log.

On every supported server, because each words its errors differently; a script's error most of all.
"""

import contextlib
import shutil
import threading

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from support.people import person
from support.processes import WorkerProcess
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest import StoreUnavailable
from contact_ingest.engine import set_engine
from contact_ingest.store.redis_server import describe_problem


@pytest.fixture
def server(server_kind):
    with server_kind.start("--appendonly", "no") as running:
        yield running


@pytest.fixture
def stage(server, sandbox, tmp_path):
    with Stage(server.url, sandbox.url, tmp_path) as made:
        set_engine(made.engine)
        yield made


def cannot_save(stage, server):
    """A save to a folder that is gone fails; until one works the server takes no writes."""
    stage.client.config_set("save", "3600 1")
    shutil.rmtree(server.directory)
    stage.client.set("one", "more")
    stage.client.bgsave()
    wait_until(lambda: stage.client.info("persistence")["rdb_last_bgsave_status"] == "err", 10)


def is_a_replica(stage, server):
    """Of a server that is not there."""
    stage.client.replicaof("127.0.0.1", 1)


def lacks_replicas(stage, server):
    stage.client.config_set("min-replicas-to-write", 1)


def asks_for_a_password(stage, server):
    stage.client.config_set("requirepass", "another")
    stage.engine.close()
    stage.client.connection_pool.disconnect()


TROUBLES = {
    "MISCONF": (cannot_save, "it cannot write to its disk"),
    "READONLY": (is_a_replica, "it is a replica"),
    "NOREPLICAS": (lacks_replicas, "too few replicas"),
    "NOAUTH": (asks_for_a_password, "it asks for a password"),
}


@pytest.fixture(params=TROUBLES)
def trouble(request, stage, server):
    """The server refuses: the word and a part of what is told."""
    stage.enqueue([person(1, last_name="Secret")])
    stage.runtime.schedule.tick(4)
    TROUBLES[request.param][0](stage, server)
    return f"Redis refused ({request.param}): {TROUBLES[request.param][1]}"


def test_a_producer_is_told_why(stage, trouble):
    with pytest.raises(StoreUnavailable) as told:
        stage.enqueue([person(2, last_name="Secret")])

    assert str(told.value).startswith(trouble)
    assert "Secret" not in str(told.value)


def test_commands_and_the_doctor_say_why(stage, trouble, cli):
    said = cli("pause", "--to", "sendgrid", "--why", "for a test")

    assert said.code == 2
    assert said.err.startswith(f"error: REDIS_URL: {trouble}")
    assert len(said.err.splitlines()) == 1
    if "NOAUTH" in trouble:
        assert trouble in cli("doctor").out
        assert trouble in cli("health").out


def test_the_log_of_a_worker_says_why(stage, trouble):
    with WorkerProcess(stage.environment(), stage.directory, pool="solo") as worker:
        wait_until(lambda: trouble in worker.log, 20, lambda: worker.log)
        worker.kill()
        assert "Secret" not in worker.log


def test_a_busy_server_is_told_from_a_silent_one(stage, server, cli):
    """A script of another program that does not end."""
    stage.client.config_set("lua-time-limit", 50)

    def keep_busy():
        with Redis.from_url(server.url) as other, contextlib.suppress(ResponseError):
            other.eval("while true do end", 0)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    wait_until(lambda: "BUSY" in cli("status").err, 10)

    said = cli("status")

    with Redis.from_url(server.url) as other:
        other.execute_command("SCRIPT", "KILL")
    busy.join()
    assert said.err.startswith("error: REDIS_URL: Redis refused (BUSY): a script of some program keeps it busy")


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (ResponseError("WRONGTYPE Operation against a key"), "Redis refused (WRONGTYPE)"),
        (ResponseError("ERR unknown command 'anna@example.com'"), "Redis refused (ResponseError)"),
        (
            ResponseError("Error running script (call to f_1): @user_script:1: -MISCONF Errors"),
            "Redis refused (MISCONF)",
        ),
        (ResponseError("CLUSTERDOWN The cluster is down"), "Redis refused (CLUSTERDOWN)"),
        (ResponseError("MASTERDOWN Link with MASTER is down"), "Redis refused (MASTERDOWN)"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "Redis refused (LOADING)"),
        (AuthenticationError("Authentication required."), "Redis refused (NOAUTH)"),
        (RedisConnectionError("Error 111 connecting to anna:secret@host"), "Redis did not answer (ConnectionError)"),
    ],
)
def test_no_word_of_the_server_but_its_first_is_told(problem, told):
    said = describe_problem(problem)

    assert said.startswith(told)
    assert "anna" not in said
