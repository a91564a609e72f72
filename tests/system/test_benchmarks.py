"""Each benchmark runs at a tiny size, to its end, and prints its table. No test judges how fast anything is."""

import json
import os
import re
import subprocess
import sys

import pytest
from support.product import ROOT

#: Each benchmark, a size that is done in seconds, and steps that its table must have beside the yardstick.
BENCHMARKS = {
    "packing": (50, ("orjson.dumps, whole list", "ours: Body, contacts encoded before")),
    "aggregate": (50, ("orjson.loads + orjson.dumps, each", "prepare", "pack", "finish", "full round on a server")),
    "enqueue": (50, ("bare RPUSH, 1,000 at a time", "enqueue(record)", "Celery send_task, one a record")),
    "hot_contacts": (200, ("without updates", "hot contacts updated")),
    "bad_records": (150, ("requests a bad record", "slowest fresh record, s")),
    "lanes": (40, ("end of a batch, ms of Redis", "tick after it, ms of Redis", "recount of the books, s")),
    "backlog": (200, ("largest body, bytes / 6,000,000", "drained in, s")),
}


def run(name: str, *more: str) -> "subprocess.CompletedProcess[str]":
    contacts, _ = BENCHMARKS[name]
    command = [sys.executable, "-m", "benchmarks", name, "--contacts", str(contacts), "--rounds", "1", *more]
    # An address of the developer's, which must stay out of it: nothing listens there.
    foreign = {"REDIS_URL": "redis://127.0.0.1:9/0", "CELERY_BROKER_URL": "redis://127.0.0.1:9/0"}
    environment = {**os.environ, **foreign, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_at_a_tiny_size_and_prints_its_table(name):
    _, steps = BENCHMARKS[name]

    done = run(name)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("step ") for line in lines)
    assert any(line.startswith(("yardstick:", "yardsticks:")) for line in lines)
    for step in steps:
        row = next((line for line in lines if line.startswith(step + "  ")), "")
        assert any(sign.isdigit() for sign in row.removeprefix(step)), f"no figure beside {step}:\n{done.stdout}"


def test_a_benchmark_says_the_same_as_json():
    done = run("enqueue", "--json")

    assert done.returncode == 0, done.stderr
    (table,) = json.loads(done.stdout)["tables"]
    yardstick, _, ours, *_ = table["rows"]
    assert yardstick["ratio"] == 1
    assert ours["step"] == "enqueue(an iterable of all)"
    assert ours["µs/record"] > 0


def test_the_one_entry_point_lists_every_benchmark():
    command = [sys.executable, "-m", "benchmarks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0
    for name in BENCHMARKS:
        assert f"\n    {name} " in done.stdout
    assert subprocess.run([*command, "nothing"], cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_the_pages_name_benchmarks_that_there_are():
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    named = {name for page in pages for name in re.findall(r"python -m benchmarks (\w+)", page.read_text())}

    assert named
    assert named <= set(BENCHMARKS)
