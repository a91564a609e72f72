"""`batches`, `failures`, `retry` and `cancel`: they show what is meant, move what is meant, and keep secrets."""

import orjson
from support.people import person

from contact_ingest import enqueue


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


def test_an_export_over_a_file_that_others_could_read_is_the_owners_alone(cli, failed, tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_text("old")
    path.chmod(0o644)

    assert cli("failures", "export", path).code == 0

    assert path.stat().st_mode & 0o777 == 0o600


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
