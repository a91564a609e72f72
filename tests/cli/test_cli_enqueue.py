"""`contact-ingest enqueue`: every record of a file is accounted for, and a stop loses and repeats nothing."""

import gzip
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import orjson
import pytest
from redis import Redis
from support.waiting import wait_until

from contact_ingest.engine import Engine, set_engine
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.sync.loader import DelayedInterrupt


def write_csv(path, count, *, bad=()):
    lines = ["email,first_name,shoe size"]
    lines += [f"{'' if i in bad else f'p{i}@example.com'},Name {i},42" for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def waiting(client, lane="sendgrid"):
    return [orjson.loads(raw)["email"] for raw in client.lrange(f"contact-ingest:{{sendgrid}}:waiting:{lane}", 0, -1)]


def rest_of(err):
    """The command that a stopped run has printed."""
    line = next(line for line in err.splitlines() if line.startswith("contact-ingest enqueue"))
    return shlex.split(line)[1:]


def start(url, *args, **more):
    env = {**os.environ, "REDIS_URL": url, "SENDGRID_API_KEY": "SG.secret-key", **more}
    return subprocess.Popen(
        [sys.executable, "-m", "contact_ingest", *args],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_file_of_good_records_is_accepted_and_the_exit_code_is_0(cli, harness, client, tmp_path):
    said = cli("enqueue", write_csv(tmp_path / "people.csv", 1200), "--to", "sendgrid")

    assert said.code == 0
    assert "1200 records accepted into lane sendgrid" in said.out
    assert "ignored columns: shoe size" in said.out
    assert said.err == ""
    assert waiting(client) == [f"p{i}@example.com" for i in range(1200)]


def test_the_json_receipt_has_a_fixed_shape_and_cancel_takes_it_back(cli, harness, tmp_path):
    said = cli("enqueue", write_csv(tmp_path / "people.csv", 700, bad={5}), "--json")

    receipt = orjson.loads(said.out)
    assert receipt == {
        "lane": "sendgrid",
        "accepted": 699,
        "ranges": [[0, 698]],
        "epoch": receipt["epoch"],
        "repeated_calls": 0,
        "refused": 1,
        "first_refused": [
            {"line": 7, "field": "record", "rule": receipt["first_refused"][0]["rule"], "code": "no_identifier"}
        ],
        "ignored_columns": ["shoe size"],
        "unseen_columns": [],
        "notices": ["to take an ignored column, give for example --map 'shoe size=custom_fields.shoe size'"],
        "stopped_before": None,
        "go_on": None,
    }
    assert len(receipt["epoch"]) == 16
    (tmp_path / "receipt.json").write_text(said.out)
    cancelled = cli("cancel", "--receipt", tmp_path / "receipt.json", "--json")
    assert orjson.loads(cancelled.out) == {"lane": "sendgrid", "discarded": 699}
    assert harness.books()["discarded"] == 699


def test_refused_records_exit_with_1_and_go_to_the_rejects_file_with_their_lines(cli, harness, tmp_path):
    path = write_csv(tmp_path / "people.csv", 1000, bad={3, 998})
    with path.open("a") as file:
        file.write("too,many,columns,here\n")

    said = cli("enqueue", path, "--rejects", tmp_path / "rejects.jsonl")

    assert said.code == 1
    rejects = [orjson.loads(line) for line in (tmp_path / "rejects.jsonl").read_bytes().splitlines()]
    assert [reject["line"] for reject in rejects] == [5, 1000, 1002]
    assert rejects[0]["record"] == {"first_name": "Name 3"}
    assert "3 records refused" in said.out
    assert "line 5: record:" in said.out
    assert harness.books()["accepted"] == 998


def test_no_contact_is_shown_on_the_terminal(cli, harness, tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text('{"first_name": "Zacharias"}\n{"email": "zacharias@example.com", "x": NaN}\n')

    said = cli("enqueue", path)

    assert said.code == 1
    assert "acharias" not in (said.out + said.err)


def test_columns_lists_and_gzip_are_understood(cli, harness, client, tmp_path):
    path = tmp_path / "people.csv.gz"
    path.write_bytes(gzip.compress(b"Adresse;Ort\na@example.com;Ulm\n"))
    lists = "00000000-0000-0000-0000-000000000001"

    said = cli("enqueue", path, "--map", "Adresse=email", "--map", "Ort=custom_fields.town", "--list", lists, "--json")

    lane = orjson.loads(said.out)["lane"]
    assert lane.startswith("sendgrid+")
    (raw,) = client.lrange(f"contact-ingest:{{sendgrid}}:waiting:{lane}", 0, -1)
    assert orjson.loads(raw) == {"email": "a@example.com", "custom_fields": {"town": "Ulm"}}


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["enqueue", "no-such-file.csv"], "no-such-file.csv"),
        (["enqueue", "people.csv", "--to", "nobody"], "destinations.nobody"),
        (["enqueue", "people.csv", "--map", "email"], "--map email"),
        (["enqueue", "people.csv", "--from-line", "x"], "--from-line"),
        (["enqueue", "people.csv", "--list", "x"], "list_ids"),
        (["enqueue", "people.csv", "--rejects", "people.csv"], "--rejects people.csv"),
    ],
)
def test_wrong_use_exits_with_2_and_names_what_to_mend(cli, harness, tmp_path, monkeypatch, args, named):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "people.csv", 3)

    said = cli(*args)

    assert said.code == 2
    assert said.err.startswith(f"error: {named}: ")
    assert said.err.count("\n") == 1
    assert harness.books()["accepted"] == 0


def test_ctrl_c_waits_for_the_end_of_a_call_and_a_second_one_does_not():
    steps = []

    def call(*, interrupts):
        with DelayedInterrupt():
            for _ in range(interrupts):
                os.kill(os.getpid(), signal.SIGINT)
            steps.append("end")

    with pytest.raises(KeyboardInterrupt):
        call(interrupts=1)
    assert steps == ["end"]
    with pytest.raises(KeyboardInterrupt):
        call(interrupts=2)
    assert steps == ["end"]


def test_a_full_lane_stops_it_and_the_printed_command_goes_on_exactly(cli, make_harness, client, tmp_path):
    make_harness(max_lane_bytes=1_000_000)
    path = tmp_path / "people.jsonl"
    records = [{"email": f"p{i}@example.com", "city": "x" * 900} for i in range(2600)]
    records[40] = {"city": "nowhere"}
    records[2500] = {"city": "nowhere"}
    path.write_bytes(b"\n".join(map(orjson.dumps, records)))
    rejects = tmp_path / "rejects.jsonl"

    stopped = cli("enqueue", path, "--rejects", rejects)

    assert stopped.code == 4
    assert "lane sendgrid is full; stopped before line " in stopped.err
    before = len(waiting(client))
    assert 0 < before < 2600
    make_harness(max_lane_bytes=1_000_000_000)
    went_on = cli(*rest_of(stopped.err))
    assert went_on.code == 1
    assert waiting(client) == [record["email"] for record in records if "email" in record]
    assert [orjson.loads(line)["line"] for line in rejects.read_bytes().splitlines()] == [41, 2501]


def test_an_array_on_one_line_goes_on_at_the_right_record(cli, make_harness, client, tmp_path):
    make_harness(max_lane_bytes=1_000_000)
    path = tmp_path / "people.json"
    path.write_bytes(orjson.dumps([{"email": f"p{i}@example.com", "city": "x" * 900} for i in range(1700)]))

    stopped = cli("enqueue", path)
    make_harness(max_lane_bytes=1_000_000_000)
    went_on = cli(*rest_of(stopped.err))

    assert (stopped.code, went_on.code) == (4, 0)
    assert waiting(client) == [f"p{i}@example.com" for i in range(1700)]


def test_ctrl_c_exits_with_130_and_the_printed_command_goes_on_exactly(cli, harness, client, redis_server):
    lines = [orjson.dumps({"email": f"p{i}@example.com"}) + b"\n" for i in range(1700)]
    child = start(redis_server.url, "enqueue", "-", "--format", "jsonl")
    try:
        child.stdin.write(b"".join(lines[:1200]))
        child.stdin.flush()
        wait_until(lambda: len(waiting(client)) == 1000)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()

    assert child.returncode == 130
    assert b"1000 records accepted" in out
    assert b"interrupted; stopped before line 1001" in err
    assert b"Traceback" not in err
    went_on = start(redis_server.url, *rest_of(err.decode()))
    out, _ = went_on.communicate(b"".join(lines), timeout=20)
    assert went_on.returncode == 0
    assert b"700 records accepted" in out
    assert waiting(client) == [f"p{i}@example.com" for i in range(1700)]


def test_redis_that_goes_away_midway_exits_with_4_and_nothing_is_lost_or_counted_twice():
    lines = [orjson.dumps({"email": f"p{i}@example.com"}) + b"\n" for i in range(1700)]
    with EmbeddedServer() as server:
        child = start(server.url, "enqueue", "-", "--format", "jsonl", "--json")
        try:
            child.stdin.write(b"".join(lines[:700]))
            child.stdin.flush()

            with Redis.from_url(server.url) as client:
                wait_until(lambda: len(waiting(client)) == 500)
            server.stop()
            out, err = child.communicate(b"".join(lines[700:]), timeout=60)
        finally:
            child.kill()
        assert child.returncode == 4
        assert b"error: enqueue: Redis did not answer (ConnectionError); stopped before line 501" in err
        assert orjson.loads(out)["accepted"] == 500
        server.start()
        went_on = start(server.url, *rest_of(err.decode()))
        went_on.communicate(b"".join(lines), timeout=20)
        assert went_on.returncode == 0
        with Redis.from_url(server.url) as client:
            assert waiting(client) == [f"p{i}@example.com" for i in range(1700)]


def test_a_dry_run_applies_the_platforms_rules_and_writes_nothing(cli, harness, client, tmp_path):
    path = tmp_path / "people.jsonl"
    records = [
        {"email": "good@example.com"},
        {"email": "not an address"},
        {"email": "long@example.com", "last_name": "x" * 51},
        {"email": "own@example.com", "custom_fields": {"plan": "pro"}},
        {"first_name": "nobody"},
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, records)))

    said = cli("enqueue", path, "--dry-run", "--json", "--rejects", tmp_path / "rejects.jsonl")

    found = orjson.loads(said.out)
    assert said.code == 1
    assert (found["would_accept"], found["would_fail"], found["needs_fields"], found["refused"]) == (4, 2, 1, 1)
    assert [(r["line"], r["field"]) for r in found["first_failing"]] == [(2, "email"), (3, "last_name")]
    assert [(r["line"], r["field"]) for r in found["first_refused"]] == [(5, "record")]
    assert len((tmp_path / "rejects.jsonl").read_bytes().splitlines()) == 3
    assert client.keys("*") == []


def test_a_dry_run_does_without_redis(cli, make_harness, redis_server, tmp_path):
    harness = make_harness()
    gone = harness.engine.settings.model_copy(
        update={"redis_url": type(harness.engine.settings.redis_url)("redis://127.0.0.1:1/0")}
    )

    set_engine(Engine(gone))

    said = cli("enqueue", write_csv(tmp_path / "people.csv", 3), "--dry-run")

    assert said.code == 0
    assert "3 records would be accepted" in said.out


def large_file(tmp_path):
    """More than a lane of a megabyte takes."""
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps({"email": f"p{i}@example.com", "city": "x" * 59}) for i in range(20_000)))
    return path


def test_with_wait_a_file_goes_on_as_soon_as_there_is_room(cli, make_harness, tmp_path, sandbox):
    harness = make_harness(max_wait_s=60, max_lane_bytes=1_000_000)
    path, ends = large_file(tmp_path), threading.Event()

    def drain():
        while not ends.wait(0.05):
            harness.runtime.schedule.flush("sendgrid")
            harness.pump()

    thread = threading.Timer(0.5, drain)
    thread.start()
    try:
        said = cli("enqueue", path, "--wait", "60")
    finally:
        ends.set()
        thread.join()

    assert said.code == 0, said.err
    assert "20000 records accepted into lane sendgrid" in said.out
    assert "waiting for room: lane sendgrid is full" in said.err
    assert harness.books()["accepted"] == 20_000


def test_a_file_that_finds_no_room_in_time_stops_midway_and_says_how_to_go_on_with_the_same_patience(
    cli, make_harness, tmp_path
):
    harness = make_harness(max_wait_s=60, max_lane_bytes=1_000_000)
    path = large_file(tmp_path)
    began_s = time.monotonic()

    said = cli("enqueue", path, "--wait", "0.5")

    assert said.code == 4
    assert 0.5 <= time.monotonic() - began_s < 5
    assert "lane sendgrid is full; stopped before line" in said.err
    rest = rest_of(said.err)
    assert rest[rest.index("--wait") + 1] == "0.5"
    harness.runtime.schedule.flush("sendgrid")
    harness.run_until(lambda: harness.books()["waiting"] == 0)
    harness.engine.settings.__dict__["max_lane_bytes"] = 100_000_000
    assert cli(*rest).code == 0
    assert harness.books()["accepted"] == 20_000


def test_ctrl_c_ends_a_wait_for_room_at_once(redis_server, client, tmp_path):
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps({"email": f"p{i}@example.com", "city": "x" * 59}) for i in range(20_000)))
    environment = {"CONTACT_INGEST_MAX_LANE_BYTES": "1000000", "CONTACT_INGEST_MAX_WAIT_S": "60"}
    with start(redis_server.url, "enqueue", str(path), "--wait", "100", **environment) as process:
        assert b"waiting for room" in process.stderr.readline()
        asked_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert time.monotonic() - asked_s < 5
    first_line = int(rest_of(err.decode())[-1])
    assert client.llen("contact-ingest:{sendgrid}:waiting:sendgrid") == first_line - 1
