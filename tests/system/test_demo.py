"""The demonstration, run as a stranger would: nothing of the environment is used, nothing is left behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from support.product import ROOT

from contact_ingest.cli.demo.check import check
from contact_ingest.cli.demo.platforms import KEY, LOOPS
from contact_ingest.cli.demo.scenarios import SCENARIOS
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.sandbox.redis_server import EmbeddedServer

FOREIGN = {"REDIS_URL": "redis://127.0.0.1:1/0", "SENDGRID_API_KEY": "SG.real", "CONTACT_INGEST_NONSENSE": "1"}


def command(*options):
    return [sys.executable, "-m", "contact_ingest", "demo", *options]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def family(pid):
    """A process and all that came of it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def run(log, *options):
    return subprocess.run(
        command("--json", "--log", str(log), *options),
        cwd=ROOT,
        env={**os.environ, **FOREIGN},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    log = tmp_path_factory.mktemp("demo") / "contact_ingest.log"
    done = run(log, "--contacts", "3000", "--bad", "12")
    return done, log.read_text()


def test_every_contact_arrives_every_bad_one_fails_for_its_reason_and_the_books_balance(demo):
    done, _ = demo
    result = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout + done.stderr
    assert result["wrong"] == []
    assert result["delivered"] == 2988
    assert sorted(result["failed"].values()) == [2] * 6
    assert result["balanced"] is True


def test_at_loops_contacts_arrive_one_by_one_and_bad_ones_fail_alone(tmp_path):
    done = run(tmp_path / "log", "--to", "loops", "--contacts", "20")
    result = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout + done.stderr
    assert result["wrong"] == []
    assert result["delivered"] == 14
    assert result["failed"] == {"a name that is too long": 2, "a 400 of Loops": 2, "a 409 of Loops": 2}
    assert result["books"]["failed"] == 6
    assert result["balanced"] is True


def test_at_emarsys_rows_refused_inside_a_success_fail_alone_and_a_race_is_won(tmp_path):
    done = run(tmp_path / "log", "--to", "emarsys", "--contacts", "300", "--bad", "12")
    result = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout + done.stderr
    assert result["wrong"] == []
    assert result["delivered"] == 291
    assert result["failed"] == dict.fromkeys(
        ("a name that is too long", "a row refused in a success", "a choice that is not there"), 3
    )
    assert result["balanced"] is True


def test_one_stream_into_three_platforms_fails_only_where_a_platform_refuses_and_three_books_balance(tmp_path):
    log = tmp_path / "log"
    done = run(log, "--to", "all", "--contacts", "20", "--bad", "7")
    result = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout + done.stderr
    assert result["wrong"] == []
    parts = result["destinations"]
    assert {name: part["delivered"] for name, part in parts.items()} == {"sendgrid": 16, "loops": 18, "emarsys": 18}
    assert {name: part["books"]["failed"] for name, part in parts.items()} == {"sendgrid": 4, "loops": 2, "emarsys": 2}
    assert [part["books"]["accepted"] for part in parts.values()] == [result["records"]] * 3
    assert [part["balanced"] for part in parts.values()] == [True] * 3
    assert "example.com" not in (log.read_text() + done.stderr + done.stdout).lower()


def test_a_field_that_differs_and_a_contact_too_many_are_found():
    people = SCENARIOS["loops"].people(20, 0, 1)
    want = [
        LOOPS.wanted(contact, {"plan": "plan", "visits": "visits"}) for contact in people.expected("loops").values()
    ]
    with SandboxProcess(key=KEY) as sandbox, EmbeddedServer() as server:
        names = LOOPS.add_fields(sandbox)
        parts = Engine(
            Settings.without_environment(
                redis_url=SecretStr(server.url), destinations={"loops": LOOPS.destination(sandbox.url)}
            )
        )
        sandbox.seed("loops", [{**want[0], "firstName": "Other"}, *want[1:-1], {"email": "stranger@example.com"}])
        found = check(people, LOOPS, sandbox, parts.runtime("loops"), names)
        parts.close()

    assert found.delivered == 18
    assert found.wrong[:3] == [
        "a contact arrived that should not have",
        "1 contacts arrived with a field that differs",
        "1 good contacts did not arrive",
    ]


def test_no_address_appears_in_any_log_and_the_info_lines_do(demo):
    done, log = demo

    assert "example.com" not in (log + done.stderr + done.stdout).lower()
    assert not re.search(r"person\.1\.\d", log.lower())
    assert "SG.demo" not in log
    assert re.search(
        r"INFO contact_ingest\.batches batch ended lane=sendgrid batch=\d+ rows=\d+ bytes=\d+ delivered=\d+", log
    )


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    child = subprocess.Popen(
        command("--contacts", "50000"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        lines = [child.stdout.readline() for _ in range(3)]
        pids = {pid for line in lines for pid in family(int(re.search(r"pid (\d+)", line)[1]))}
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()

    deadline = time.monotonic() + 20
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert len(pids) >= 3
    assert child.returncode == 130


def test_the_variables_that_the_sandbox_command_prints_make_a_destination_of_each_platform(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no configuration file
    child = subprocess.Popen(
        [sys.executable, "-m", "contact_ingest", "sandbox"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = re.search(r"http://\S+", child.stdout.readline())[0]
        for _ in range(8):
            name, _, value = child.stdout.readline().strip().removeprefix("export ").partition("=")
            monkeypatch.setenv(name, value)
        parts = Engine(Settings.load())
        parts.validate()
        for runtime in parts.runtimes():
            assert runtime.provider.probe().url.startswith(url)
    finally:
        child.kill()
        child.communicate()

    assert parts.destinations == ("emarsys", "loops", "sendgrid")
