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

ROOT = Path(__file__).parent.parent
FOREIGN = {"REDIS_URL": "redis://127.0.0.1:1/0", "SENDGRID_API_KEY": "SG.real", "CONTACT_INGEST_NONSENSE": "1"}


def command(*options):
    return [sys.executable, "-m", "worker", "demo", *options]


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


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    log = tmp_path_factory.mktemp("demo") / "worker.log"
    done = subprocess.run(
        command("--contacts", "3000", "--bad", "12", "--json", "--log", str(log)),
        cwd=ROOT,
        env={**os.environ, **FOREIGN},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done, log.read_text()


def test_every_contact_arrives_every_bad_one_fails_for_its_reason_and_the_books_balance(demo):
    done, _ = demo
    result = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout + done.stderr
    assert result["wrong"] == []
    assert result["delivered"] == 2988
    assert sorted(result["failed"].values()) == [2] * 6
    assert result["balanced"] is True


def test_no_address_appears_in_any_log_and_the_info_lines_do(demo):
    done, log = demo

    assert "example.com" not in (log + done.stderr + done.stdout).lower()
    assert not re.search(r"person\.1\.\d", log.lower())
    assert "SG.demo" not in log
    assert re.search(r"INFO worker\.batches batch ended lane=sendgrid batch=\d+ rows=\d+ bytes=\d+ delivered=\d+", log)


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
