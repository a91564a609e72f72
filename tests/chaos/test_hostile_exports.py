"""What was refused is written down so that a person can open it safely and read it back."""

import csv
import io

import orjson
import pytest

from contact_ingest import enqueue
from contact_ingest.cli import run
from contact_ingest.cli.csv_export import harmless
from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow


def test_a_record_of_too_many_levels_costs_its_line_alone_and_can_be_written_down(tmp_path):
    path = tmp_path / "people.jsonl"
    deep = b'{"email":"a@example.com","custom_fields":{"x":' + b"[" * 900 + b"]" * 900 + b"}}"
    path.write_bytes(deep + b'\n{"email":"b@example.com"}\n')

    with open_source(str(path)) as source:
        first, second = source

    assert isinstance(first, RejectedRow)
    assert (first.field, first.raw) == ("custom_fields", deep.decode() + "\n")
    assert second.record == {"email": "b@example.com"}


DANGEROUS = ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx", "\nx", " =1", '"=1', "'=1", "\u00a0=1", "\ufeff=1", "\x00=1"]
DANGEROUS += ["\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "\u200b@x", ' " =1']


@pytest.mark.parametrize("cell", DANGEROUS)
def test_a_cell_that_a_spreadsheet_could_execute_becomes_text(cell):
    assert harmless(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "Ada", "1", "a=b", "ada@example.com", "x\ty", "'", " Ada", "[1]", "ﬀ"])
def test_any_other_cell_stays_as_it_is(cell):
    assert harmless(cell) == cell


def test_failures_as_csv_have_a_column_for_each_field_and_can_be_read_back(harness, capsys, tmp_path):
    last_name = '=HYPERLINK("http://x","y")\n' + "x" * 60
    custom = {"=cmd": 1, "plan": "pro"}
    enqueue(
        {
            "email": "ada@example.com",
            "last_name": last_name,
            "custom_fields": custom,
            "alternate_emails": ["a@b.cd", "c@d.ef"],
        }
    )
    enqueue({"email": "bob@example.com", "phone": "+15046218927", "city": "x" * 70})
    harness.run_until_settled()
    assert harness.books()["failed"] == 2
    path = tmp_path / "failed.csv"

    assert run(["failures", "export", str(path)]) == 0

    said = capsys.readouterr().err
    rows = {row["email"]: row for row in csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""))}
    assert rows["ada@example.com"]["last_name"] == "'" + last_name
    assert rows["ada@example.com"]["custom_fields.plan"] == "pro"
    assert rows["ada@example.com"]["custom_fields.=cmd"] == "1"
    assert rows["ada@example.com"]["alternate_emails"] == "a@b.cd;c@d.ef"
    assert rows["bob@example.com"]["phone"] == "'+15046218927"
    assert rows["bob@example.com"]["code"] == "too_long"
    assert rows["bob@example.com"]["custom_fields.plan"] == ""
    assert "2 cells made text" in said
    assert path.stat().st_mode & 0o077 == 0
    raw = path.read_bytes()
    assert raw.startswith(b'\xef\xbb\xbf"record",')
    assert raw.count(b"\r\n") == 3


def test_the_form_of_an_export_follows_the_ending_unless_it_is_named(harness, tmp_path, capsys):
    enqueue({"email": "ada@example.com", "city": "x" * 70})
    harness.run_until_settled()

    assert run(["failures", "export", str(tmp_path / "a.csv"), "--format", "jsonl"]) == 0
    assert orjson.loads((tmp_path / "a.csv").read_bytes())["contact"]["email"] == "ada@example.com"
    assert run(["failures", "export", str(tmp_path / "a.txt"), "--format", "csv"]) == 0
    assert (tmp_path / "a.txt").read_text("utf-8-sig").startswith('"record"')
    assert run(["failures", "export", str(tmp_path / "a.txt"), "--format", "xml"]) == 2
    assert "--format" in capsys.readouterr().err
