"""`contact-ingest enqueue` of files from elsewhere: what it suggests, what its summary says, and rejects given back."""

import orjson
import pytest


def waiting(client):
    return [orjson.loads(raw)["email"] for raw in client.lrange("contact-ingest:{sendgrid}:waiting:sendgrid", 0, -1)]


def test_a_column_that_may_be_a_field_is_suggested_and_the_suggestion_works(cli, harness, client, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("E-mail,nick\na@example.com,x\n")

    refused = cli("enqueue", path)

    assert refused.code == 2
    assert "such as --map 'E-mail=email'" in refused.err
    assert cli("enqueue", path, "--map", "E-mail=email").code == 0
    assert waiting(client) == ["a@example.com"]


def test_the_summary_says_what_is_odd_about_a_file(cli, harness, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("sep=;\nemail;city;e\u00admail\na@example.com\n")

    said = cli("enqueue", path)

    assert said.code == 0
    assert r"ignored columns: e\u00admail" in said.out
    assert "1 row has fewer cells than the header, the first on line 3: these count as empty" in said.out


def test_a_rejects_file_is_given_back_and_a_dry_run_says_the_same(cli, harness, client, tmp_path):
    path, rejects = tmp_path / "people.csv", tmp_path / "rejects.jsonl"
    path.write_text("email,phone,first_name\na@example.com,12,A\n,,B\n")
    assert cli("enqueue", path, "--rejects", rejects).code == 1

    repaired = (
        rejects.read_text().replace('"12"', '"+15042345678"').replace('{"first_', '{"email":"b@example.com","first_')
    )
    (tmp_path / "repaired.jsonl").write_text(repaired)

    assert cli("enqueue", tmp_path / "repaired.jsonl", "--dry-run").code == 0
    assert cli("enqueue", tmp_path / "repaired.jsonl").code == 0
    assert waiting(client) == ["a@example.com", "b@example.com"]


FILES = {
    "people.csv": "email\na@example.com\nb@example.com\n",
    "people.jsonl": '{"email": "a@example.com"}\n{"email": "b@example.com"}\n\n',
    "people.json": '[{"email": "a@example.com"},\n{"email": "b@example.com"}\n]',
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("start", ["5", "900", "17:3"])
def test_a_start_beyond_the_end_of_the_file_is_an_error(cli, harness, tmp_path, name, start):
    path = tmp_path / name
    path.write_text(FILES[name])

    for options in ((), ("--dry-run",)):
        said = cli("enqueue", path, "--from-line", start, *options)

        assert (said.code, said.out) == (2, "")
        assert f"--from-line {start}: the file has 3 lines" in said.err


def test_a_start_behind_the_records_of_a_line_is_an_error(cli, harness, tmp_path):
    path = tmp_path / "people.json"
    path.write_text('[{"email": "a@example.com"}, {"email": "b@example.com"}]')

    assert "line 1 of the file has 2 records" in cli("enqueue", path, "--from-line", "1:3").err
    assert cli("enqueue", path, "--from-line", "1:2").code == 0


@pytest.mark.parametrize("name", FILES)
def test_a_run_that_stopped_after_its_last_record_can_go_on(cli, harness, tmp_path, name):
    path = tmp_path / name
    path.write_text(FILES[name])

    assert cli("enqueue", path, "--from-line", "4").code == 0


def test_a_field_of_another_platform_is_not_suggested(cli, harness, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("email,Opt-in,User Group\na@example.com,1,x\n")

    said = cli("enqueue", path)

    assert "--map 'Opt-in=custom_fields.Opt-in'" in said.out
    for field in ("opt_in", "user_group"):
        assert f"={field}'" not in said.out
