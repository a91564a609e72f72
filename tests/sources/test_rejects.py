"""Rejected lines are written for their owner only, and no repr shows a record."""

import stat
from pathlib import Path

import orjson
import pytest
from support.source_files import read

from contact_ingest.sources.rows import RejectedRow, SourceError, SourceRow, open_rejects, write_reject


def test_rejects_are_written_as_json_lines_for_their_owner_only(put, tmp_path):
    path = put("people.csv", b"email,city\na@example.com,K\xf6ln\n")
    rejected = str(tmp_path / "rejects.jsonl")

    with open_rejects(rejected, source=path) as out:
        for reject in read(path):
            write_reject(out, reject)
        write_reject(out, RejectedRow(9, "email", "is no address", {"email": "x"}))

    entries = [orjson.loads(line) for line in Path(rejected).read_bytes().splitlines()]
    assert [(entry["line"], entry["field"]) for entry in entries] == [(2, "record"), (9, "email")]
    assert entries[0]["record"] == "a@example.com,K\\udcf6ln\n"
    assert entries[1] == {"line": 9, "field": "email", "rule": "is no address", "record": {"email": "x"}}
    assert stat.S_IMODE(Path(rejected).stat().st_mode) == 0o600


def test_the_rejects_file_never_overwrites_the_file_being_read(put, tmp_path):
    path = put("people.csv", "email\n")
    link = tmp_path / "link.csv"
    link.symlink_to(path)

    for name in (path, str(link)):
        with pytest.raises(SourceError, match=r"^--rejects .*: is the file to be read"):
            open_rejects(name, source=path)
    with pytest.raises(SourceError, match=r"^--rejects .*: No such file or directory"):
        open_rejects(str(tmp_path / "none" / "x"), source=path)

    assert Path(path).read_text() == "email\n"


def test_no_repr_shows_what_is_in_a_record(put):
    found = read(put("people.csv", "email,city\nbob@example.com,Rome\nbob@example.com,Rome,x\n"))

    assert [type(item) for item in found] == [SourceRow, RejectedRow]
    assert "bob" not in repr(found)
    assert "Rome" not in repr(found)
