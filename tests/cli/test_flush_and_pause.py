"""`flush`, `pause` and `resume`: exit codes say how it ended."""

import os
import pty
import subprocess
import sys

import orjson
import pytest
from support.command_line_lanes import attended, why
from support.in_process import pumping
from support.people import person

from contact_ingest import enqueue


def test_flush_waits_for_the_verdicts_and_exits_with_0_when_all_is_well(cli, make_harness):
    harness = make_harness(max_wait_s=3600)
    enqueue(person(i) for i in range(50))

    with pumping(harness):
        said = cli("flush", "--wait", "--timeout", 60, "--json")

    assert said.code == 0
    assert said.json["totals"]["delivered"] == 50
    assert said.json["timed_out"] is False


@pytest.mark.parametrize("mark", ["[[fail-import]]", "[[fail-unnamed]]"])
def test_flush_exits_with_1_when_a_record_failed_or_a_row_is_unattributed(cli, make_harness, mark):
    harness = make_harness(max_wait_s=3600)
    enqueue([person(i) for i in range(5)] + [person(9, last_name=mark)])

    with pumping(harness):
        said = cli("flush", "--wait", "--timeout", 60, "--json")

    assert said.code == 1
    assert said.json["totals"]["failed"] + said.json["totals"]["unattributed"] == 1


def test_flush_looks_at_the_flushed_lanes_alone(cli, make_harness):
    harness = make_harness(destinations={"a": {}, "b": {}}, max_wait_s=3600)
    enqueue(person(1), to="a")
    enqueue(person(1), to="b")

    with pumping(harness):
        said = cli("flush", "--to", "a", "--wait", "--timeout", 60, "--json")

    assert said.code == 0
    assert [lane["lane"] for lane in said.json["lanes"]] == ["a"]
    assert harness.books("b")["waiting"] == 1


def test_flush_exits_with_3_when_the_time_is_up(cli, harness):
    enqueue(person(1))

    said = cli("flush", "--wait", "--timeout", "0.3")

    assert said.code == 3
    assert said.err.splitlines() == [
        "warning: sendgrid: no worker is running",
        "error: flush: the time is up; 1 to go; sendgrid: no worker is running",
    ]


def test_progress_is_drawn_on_a_terminal_alone(harness, redis_server):
    enqueue(person(1))
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "contact_ingest", "flush", "--wait", "--timeout", "2", "--json"],
        env={**os.environ, "REDIS_URL": redis_server.url, "SENDGRID_API_KEY": "SG.x", "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    try:
        out, _ = child.communicate(timeout=30)
        drawn = os.read(ours, 65_536).decode()
    finally:
        child.kill()
        os.close(theirs)
        os.close(ours)

    assert "flush: 1 to go; sendgrid: no worker is running" in drawn
    assert orjson.loads(out)["timed_out"] is True


def test_a_flush_without_wait_only_makes_the_lanes_due(cli, make_harness):
    harness = make_harness(max_wait_s=3600)
    enqueue(person(1))

    assert cli("flush").code == 0

    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_a_pause_holds_a_destination_until_it_is_resumed_and_status_says_why(cli, harness):
    attended(harness)
    assert cli("pause", "--why", "list is being cleaned").code == 0
    enqueue(person(1))
    for _ in range(20):
        harness.pump()

    assert why(cli) == ("paused", "the destination is paused by hand: list is being cleaned")
    assert harness.books()["waiting"] == 1

    assert cli("resume").code == 0
    harness.run_until_settled()
    assert harness.books()["delivered"] == 1


def test_a_lane_is_paused_and_resumed_alone(cli, harness):
    attended(harness)
    enqueue(person(1))
    assert cli("pause", "--lane", "sendgrid").out == "sendgrid is paused.\n"
    assert why(cli) == ("paused", "paused by hand")
    assert "Lanes with a pause of their own stay paused: sendgrid" in cli("resume", "--to", "sendgrid").out

    cli("resume", "--lane", "sendgrid")

    harness.run_until_settled()
    assert why(cli)[0] == "idle"


def test_a_destination_must_be_named_where_there_are_several(cli, make_harness):
    make_harness(destinations={"a": {}, "b": {}})

    assert cli("pause").err == "error: --to: name a destination; there is: a, b\n"
    assert cli("pause", "--to", "c").code == 2
    assert cli("status", "--to", "c").code == 2
