"""`contact-ingest status`: its books balance, and it says why each lane waits."""

from support.command_line_lanes import attended, why
from support.in_process import pumping
from support.people import person

from contact_ingest import enqueue
from contact_ingest.store.keys import BOOKS

COUNTS = {*BOOKS, "repeated", "dropped"}


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
