"""The command line: what it shows balances, its exit codes mean something, and it keeps secrets."""

import os
import signal
import subprocess
import sys

import orjson
import pytest
import typer
from support.people import person

from contact_ingest import cli as program
from contact_ingest import enqueue
from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.process import SandboxProcess

COMMANDS = sorted(typer.main.get_command(program.app).commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(cli, command):
    said = cli(command, "--help")

    assert said.code == 0
    assert f"contact-ingest {command}" in said.out.split("Options:")[1]


def test_no_command_and_a_wrong_command_exit_with_2(cli):
    assert cli("frobnicate").code == 2
    assert "enqueue" in cli().out + cli().err


@pytest.mark.parametrize("args", [["status"], ["batches"], ["failures"], ["retry", "--all"], ["flush"], ["resume"]])
def test_redis_that_does_not_answer_is_one_line_without_its_password(cli, harness, args):
    settings = harness.engine.settings
    secret = type(settings.redis_url)("redis://user:hunter2@127.0.0.1:1/0")
    set_engine(Engine(settings.model_copy(update={"redis_url": secret})))

    said = cli(*args)

    assert said.code == 2
    assert said.err == "error: REDIS_URL: Redis did not answer (ConnectionError)\n"
    assert said.out == ""


def test_a_wrong_password_is_told_apart_and_not_shown(cli, harness, redis_server):
    settings = harness.engine.settings
    secret = type(settings.redis_url)(redis_server.url.replace("redis://", "redis://nobody:hunter2@"))
    set_engine(Engine(settings.model_copy(update={"redis_url": secret})))

    said = cli("status")

    assert said.code == 2
    assert (
        said.err
        == "error: REDIS_URL: Redis refused (WRONGPASS): it does not accept the user and password of the address\n"
    )


def test_no_destination_and_a_wrong_setting_exit_with_2(tmp_path, redis_server):
    def status(**env):
        done = subprocess.run(
            [sys.executable, "-m", "contact_ingest", "status"],
            env={**os.environ, "REDIS_URL": redis_server.url, **env},
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stderr.decode()

    root = os.pathsep.join(sys.path)
    assert status(PYTHONPATH=root)[0] == 2
    assert status(PYTHONPATH=root)[1].startswith("error: SENDGRID_API_KEY: no destination is configured")
    code, err = status(PYTHONPATH=root, CONTACT_INGEST_NONSENSE="1", SENDGRID_API_KEY="SG.very-secret")
    assert code == 2
    assert err.startswith("error: CONTACT_INGEST_NONSENSE: no such setting")
    assert "SG.very-secret" not in err


def test_nothing_that_is_shown_holds_the_key_or_an_address(cli, failed):
    for args in (["status"], ["batches"], ["batch", 1], ["failures"], ["retry", "--all", "--dry-run"], ["flush"]):
        for more in ([], ["--json"]):
            said = cli(*args, *more)
            assert "SG." not in said.out + said.err
            assert "@" not in said.out + said.err


def test_a_defect_is_told_without_traceback_and_without_the_text_of_the_exception(cli, harness, client):
    enqueue(person(1))
    client.hset("contact-ingest:{sendgrid}:books:sendgrid", "failed", "p1@example.com")

    said = cli("status")

    assert said.code == 70
    assert said.err.startswith("error: ValueError at inspect.py:")
    assert "example.com" not in said.err


def test_a_keyspace_of_another_schema_is_not_written_to(cli, harness, client):
    enqueue(person(1))
    client.set("contact-ingest:schema", 999)

    assert cli("flush").err.startswith("error: CONTACT_INGEST_KEY_PREFIX: the keys under it are of schema 999")
    assert cli("flush").code == 2


def test_watching_ends_with_130_on_ctrl_c(harness, redis_server):
    enqueue(person(1))
    child = subprocess.Popen(
        [sys.executable, "-m", "contact_ingest", "status", "--watch", "--json"],
        env={**os.environ, "REDIS_URL": redis_server.url, "SENDGRID_API_KEY": "SG.x", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert orjson.loads(child.stdout.readline())["totals"]["waiting"] == 1
        enqueue(person(2))
        assert orjson.loads(child.stdout.readline())["totals"]["waiting"] in (1, 2)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    finally:
        child.kill()
    assert child.returncode == 130
    assert err == b""


def test_the_sandbox_says_where_it_is_and_what_to_set():
    child = subprocess.Popen(
        [sys.executable, "-m", "contact_ingest", "sandbox", "--key", "SG.mine", "--dial", "seed=7"],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        lines = [child.stdout.readline().decode().strip() for _ in range(3)]
        url = lines[1].removeprefix("export SENDGRID_BASE_URL=")
        running = SandboxProcess()
        running.url = url
        assert running.dials()["seed"] == 7
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
    finally:
        child.kill()
    assert url in lines[0]
    assert lines[2] == "export SENDGRID_API_KEY=SG.mine"
    assert out == b""


def test_the_sandbox_refuses_a_wrong_dial_by_name(cli):
    assert cli("sandbox", "--dial", "nonsense=1").err == "error: --dial: nonsense: no such dial\n"
    assert cli("sandbox", "--dial", "seed=x").err == "error: --dial: seed: the value is not JSON\n"
    assert cli("sandbox", "--dial", "nonsense=1").code == 2


def test_the_sandbox_without_its_packages_says_what_to_install(cli, monkeypatch):
    monkeypatch.delitem(sys.modules, "contact_ingest.sandbox.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    said = cli("sandbox")

    assert said.code == 2
    assert said.err == "error: sandbox: needs more packages: pip install 'contact-ingest[demo]'\n"
