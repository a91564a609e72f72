"""The command line: what it shows balances, its exit codes mean something, and it keeps secrets."""

import os
import pty
import signal
import subprocess
import sys

import orjson
import pytest
import typer
from support.in_process import pumping
from support.people import person

from contact_ingest import cli as program
from contact_ingest import enqueue
from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.store.keys import BOOKS

COUNTS = {*BOOKS, "repeated", "dropped"}
COMMANDS = sorted(typer.main.get_command(program.app).commands)


def bad(number):
    return person(number, last_name="x" * 51)


def attended(harness):
    harness.engine.workers.heartbeat("worker-1", 2)
    return harness


def why(cli):
    (lane,) = cli("status", "--json").json["lanes"]
    return lane["state"], lane["why"]


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(cli, command):
    said = cli(command, "--help")

    assert said.code == 0
    assert f"contact-ingest {command}" in said.out.split("Options:")[1]


def test_no_command_and_a_wrong_command_exit_with_2(cli):
    assert cli("frobnicate").code == 2
    assert "enqueue" in cli().out + cli().err


# status


def test_status_reports_every_lane_and_the_totals_in_a_fixed_shape(cli, make_harness):
    harness = make_harness(destinations={"letters": {}, "news": {}, "unused": {}}, max_wait_s=3600)
    enqueue([person(i) for i in range(3)], to="news")
    enqueue([person(i) for i in range(2)], to="letters", list_ids=["00000000-0000-0000-0000-000000000001"])

    said = cli("status", "--json")

    report = said.json
    assert said.code == 0
    assert [lane["destination"] for lane in report["lanes"]] == ["letters", "news"]
    for lane in report["lanes"]:
        assert set(lane) == COUNTS | {
            *(
                "balanced",
                "lane",
                "destination",
                "oldest_waiting_s",
                "state",
                "why",
                "rate_per_s",
                "time_left_s",
                "next",
            )
        }
        assert lane["accepted"] == lane["waiting"] > 0
        assert lane["balanced"] is True
        assert lane["oldest_waiting_s"] >= 0
    assert set(report["totals"]) == COUNTS | {"balanced"}
    assert report["totals"]["waiting"] == 5
    assert harness.engine.destinations == ("letters", "news", "unused")


def test_status_says_when_no_worker_is_running(cli, harness):
    enqueue(person(1))

    assert why(cli) == ("unattended", "no worker is running")


def test_status_says_why_a_lane_waits(cli, make_harness):
    harness = attended(make_harness(max_wait_s=3600))
    enqueue(person(1))
    state, words = why(cli)
    assert state == "waiting"
    assert words.startswith("waiting for a fuller body, ")

    harness.runtime.schedule.flush("sendgrid")
    assert why(cli) == ("waiting", "about to be cut into a body")


def test_status_says_how_many_imports_are_pending_and_goes_idle_at_the_end(cli, harness, sandbox):
    attended(harness)
    sandbox.dials(job_seconds=[0.5, 0.5])
    enqueue(person(1))
    harness.run_until(lambda: why(cli)[0] == "importing")
    assert why(cli) == ("importing", "1 import pending at the platform")

    harness.run_until_settled()
    assert why(cli) == ("idle", "idle")
    (lane,) = cli("status", "--json").json["lanes"]
    assert lane["rate_per_s"] == 1
    assert lane["time_left_s"] == 0


def test_status_says_that_a_key_was_refused_and_when_it_is_tried_again(cli, harness, sandbox):
    attended(harness)
    sandbox.dials(auth_down=True)
    enqueue(person(1))
    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    state, words = why(cli)

    assert state == "stopped"
    assert words.startswith("stopped: ")
    assert "(unauthorized); probing again in " in words


def test_status_says_that_the_rate_limit_is_waited_for(cli, harness, sandbox):
    attended(harness)
    sandbox.dials(script=["429"])
    enqueue(person(1))
    harness.run_until(lambda: "wait_until" in harness.runtime.state.read())

    assert why(cli)[1].startswith("waiting for the rate limit, ")


def test_status_says_what_the_last_answer_was_while_a_batch_waits_to_go_again(cli, harness, sandbox):
    attended(harness)
    sandbox.dials(rate_5xx=1.0, seed=1)
    enqueue(person(1))
    harness.run_until(lambda: "was answered http_5" in why(cli)[1])

    assert why(cli)[0] == "sending"


def test_status_exits_with_1_when_the_books_do_not_balance(cli, harness, client):
    enqueue(person(1))
    client.hincrby("contact-ingest:{sendgrid}:books:sendgrid", "delivered", 1)

    said = cli("status", "--json")

    assert said.code == 1
    assert said.json["lanes"][0]["balanced"] is False
    assert said.json["totals"]["balanced"] is False


def test_the_books_balance_in_every_status_while_records_move(cli, harness):
    with pumping(harness):
        for start in range(0, 6000, 200):
            enqueue(person(i) for i in range(start, start + 200))
            said = cli("status", "--json")
            assert said.code == 0, said.json
        assert cli("flush", "--wait", "--timeout", 60).code == 0
    assert cli("status", "--json").json["totals"]["delivered"] == 6000


def test_the_status_table_has_a_row_for_each_lane_and_the_totals(cli, harness):
    assert "No lane has been used yet." in cli("status").out

    enqueue([person(i) for i in range(7)])
    said = cli("status")

    assert [line.split()[:3] for line in said.out.splitlines()[1:3]] == [["sendgrid", "7", "7"], ["total", "7", "7"]]
    assert "no worker is running" in said.out


# batches


def test_batches_are_listed_newest_first_and_one_is_told_in_full(cli, harness, client):
    for number in range(3):
        enqueue([person(number), person(number + 10)])
        harness.run_until_settled()

    rows = cli("batches", "--json").json["batches"]

    assert [row["batch"] for row in rows] == [3, 2, 1]
    assert rows[0]["state"] == "done"
    assert (rows[0]["rows"], rows[0]["delivered"], rows[0]["failed"], rows[0]["unattributed"]) == (2, 2, 0, 0)
    assert rows[0]["bytes"] > 50
    assert rows[0]["job"]
    assert len(cli("batches", "--limit", 2, "--json").json["batches"]) == 2
    assert cli("batches", "--state", "ready", "--json").json["batches"] == []
    assert "sendgrid" in cli("batches").out
    one = cli("batch", 2, "--json").json
    assert one["why"] == "ended: 2 delivered, 0 failed"
    assert one["created_at"].endswith("Z")
    assert one["ended_at"].endswith("Z")
    assert one["children"] == []
    assert "ended: 2 delivered, 0 failed" in cli("batch", 2).out


def test_a_batch_never_shows_its_error_file_or_its_contents(cli, harness, sandbox, client):
    sandbox.dials(rate_5xx=1.0, faults_on=["sendgrid.error_file"])
    enqueue([person(1), person(2, last_name="[[fail-import]]")])
    harness.run_until(lambda: client.hexists("contact-ingest:{sendgrid}:batch:1", "errors_url"))

    shown = [cli("batch", 1), cli("batch", 1, "--json"), cli("batches"), cli("batches", "--json")]

    for said in shown:
        assert said.code == 0
        assert "http" not in said.out
        assert "example.com" not in said.out


def test_a_split_batch_names_its_parts_and_they_their_parent(cli, harness, sandbox):
    sandbox.dials(hidden_byte_cap=70_000)
    enqueue(person(i, city="x" * 50) for i in range(1500))
    harness.run_until_settled()

    parent = cli("batch", 1, "--json").json

    assert len(parent["children"]) == 2
    assert parent["why"] == "its rows went on as 2 batches"
    child = cli("batch", parent["children"][0], "--json").json
    assert child["parent"] == 1
    assert child["root"] == 1


def test_a_batch_that_is_not_there_or_not_told_apart_exits_with_2(cli, make_harness):
    harness = make_harness(destinations={"a": {}, "b": {}})
    for name in ("a", "b"):
        enqueue(person(1), to=name)
    harness.run_until_settled()

    assert cli("batch", 99).err == "error: batch 99: there is none, or it was settled too long ago to be listed\n"
    assert cli("batch", 1).err == "error: --to: name a destination; a and b have one\n"
    assert cli("batch", 1, "--to", "b", "--json").json["destination"] == "b"


# failures and retry


@pytest.fixture
def failed(harness):
    """Two contacts that break a rule and one that the import refuses."""
    enqueue([person(1), bad(2), bad(3), person(4, last_name="[[fail-import]]")])
    harness.run_until_settled()
    assert harness.books()["failed"] == 3
    return harness


def test_failures_are_listed_without_contents_unless_asked_for(cli, failed):
    plain = cli("failures")
    lines = cli("failures", "--json").lines
    full = cli("failures", "--json", "--contents").lines

    assert "sendgrid:1" in plain.out
    assert len(lines) == 3
    assert {"record", "reason", "code", "stage", "destination", "batch", "attempts", "first_at", "last_at"} <= set(
        lines[0]
    )
    assert all("contact" not in line for line in lines)
    assert {line["contact"]["email"] for line in full} == {"p2@example.com", "p3@example.com", "p4@example.com"}
    assert "example.com" not in plain.out


def test_failures_can_be_narrowed(cli, failed):
    def codes(*args):
        return [line["code"] for line in cli("failures", "--json", *args).lines]

    assert codes("--code", "too_long") == ["too_long", "too_long"]
    assert len(codes("--limit", 1)) == 1
    assert len(codes("--batch", 1)) == 1
    assert len(codes("--since", "1h")) == 3
    assert codes("--until", "1h") == []
    assert codes("--since", "2099-01-01T00:00:00Z") == []
    assert len(codes("--until", "2099-01-01")) == 3
    assert cli("failures", "--since", "yesterday").code == 2
    assert cli("failures", "--lane", "nowhere").err.startswith("error: --lane: there is no lane nowhere")
    assert "more than these 1" in cli("failures", "--limit", 1).err


def test_an_export_has_the_contents_and_is_readable_by_its_owner_alone(cli, failed, tmp_path):
    path = tmp_path / "failed.jsonl"

    said = cli("failures", "export", path, "--code", "too_long")

    assert said.code == 0
    contacts = [orjson.loads(line)["contact"]["email"] for line in path.read_bytes().splitlines()]
    assert contacts == ["p2@example.com", "p3@example.com"]
    assert path.stat().st_mode & 0o077 == 0
    assert len(cli("failures", "export", "-").lines) == 3
    assert cli("failures", "--code", "too_long", "export", "-").code == 2


def test_retry_needs_to_be_told_what_and_can_only_count(cli, failed):
    assert cli("retry").err == "error: retry: name records, select some with an option, or say --all\n"

    counted = cli("retry", "--code", "too_long", "--dry-run", "--json")

    assert counted.json == {"retried": 2, "dry_run": True}
    assert failed.books()["failed"] == 3


def test_retry_moves_what_is_meant_and_nothing_else(cli, failed):
    assert cli("retry", "sendgrid:1", "--json").json == {"retried": 1, "dry_run": False}
    assert failed.books()["failed"] == 2
    assert cli("retry", "--batch", 1, "--json").json["retried"] == 1
    assert failed.books()["held"] == 2
    assert "1 failed record put back." in cli("retry", "--all").out
    assert failed.books()["failed"] == 0
    failed.assert_books_balance()


def test_retry_of_an_unknown_record_names_it_and_moves_nothing(cli, failed):
    said = cli("retry", "sendgrid:1", "sendgrid:977", "elsewhere:1")

    assert said.code == 2
    assert said.err == "error: retry: not among the failed records: sendgrid:977, elsewhere:1\n"
    assert failed.books()["failed"] == 3


# cancel, flush, pause, resume


def test_cancel_discards_what_still_waits(cli, make_harness):
    harness = make_harness(max_wait_s=3600)
    enqueue(person(i) for i in range(20))

    said = cli("cancel", "sendgrid", "0-4", "7", "18-999999999999")

    assert said.code == 0
    assert said.out.startswith("8 of 8 records discarded")
    assert harness.books()["discarded"] == 8
    assert cli("cancel", "nowhere", "1").code == 2
    assert cli("cancel", "sendgrid", "9-1").code == 2
    assert cli("cancel", "sendgrid").code == 2
    assert cli("cancel", "--receipt", "no-such-file").code == 2


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


# Errors and secrets


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
    assert said.err == "error: REDIS_URL: Redis refused (AuthenticationError)\n"


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


# sandbox


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
