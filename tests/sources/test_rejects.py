"""Rejected lines are written for their owner only, and no repr shows a record."""

import os
import stat
from pathlib import Path

import orjson
import pytest
from support.source_files import read, rejects, rows

from contact_ingest.sources.cells import CellOptions
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.private_file import open_private
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


def rejects_of(tmp_path, path) -> str:
    """A file with the rejects of `path`, and of one record that only the platform's rules refuse."""
    target = str(tmp_path / "rejects.jsonl")
    with open_rejects(target, source=path) as out:
        for item in read(path):
            if isinstance(item, RejectedRow):
                write_reject(out, item)
        write_reject(out, RejectedRow(9, "last_name", "is too long", {"email": "x@example.com", "line": "l"}))
    return target


def test_a_rejects_file_is_read_back_after_its_records_were_repaired(put, tmp_path):
    table = put("people.csv", "email,phone,CITY\na@example.com,12,Rome\nb@example.com,,Oslo,x\n")
    path = rejects_of(tmp_path, table)

    untouched = read(path)
    assert [(item.line, item.field) for item in untouched if isinstance(item, RejectedRow)] == [
        (1, "phone"),
        (2, "record"),
    ]
    assert "repair it in the table, or write the record as an object" in rejects(untouched)[1][1]

    text = Path(path).read_text().replace('"12"', '"+15042345678"')
    text = text.replace('"b@example.com,,Oslo,x\\n"', '{"email": "b@example.com", "City": "Oslo"}')
    assert rows(read(put("repaired.jsonl", text))) == [
        (1, {"email": "a@example.com", "phone": "+15042345678", "city": "Rome"}),
        (2, {"email": "b@example.com", "city": "Oslo"}),
        (3, {"email": "x@example.com", "line": "l"}),
    ]


@pytest.mark.parametrize(
    ("text", "repair"),
    [
        ('{"email": "a@example.com", "email": "b@example.com"}', (r", \"email\": \"b@example.com\"", "")),
        ('{"email": "a@example.com", "n": 123456789012345678901}', ("123456789012345678901", "1")),
        ('{"email": "a@example.com", "phone": "12"}', (r"\"12\"", r"\"+15042345678\"")),
        ('{"email": "a@example.com"', ('com\\"', 'com\\"}')),
    ],
)
def test_a_json_record_is_read_back_from_its_text(put, tmp_path, text, repair):
    path = rejects_of(tmp_path, put("people.jsonl", text))
    assert len(rejects(read(path))) == 1

    repaired = Path(path).read_text().replace(*repair)
    found = read(put("repaired.jsonl", repaired))

    assert rejects(found) == []
    assert rows(found)[0][1]["email"] == "a@example.com"


def test_no_repr_shows_what_is_in_a_record(put):
    found = read(put("people.csv", "email,city\nbob@example.com,Rome\nbob@example.com,Rome,x\n"))

    assert [type(item) for item in found] == [SourceRow, RejectedRow]
    assert "bob" not in repr(found)
    assert "Rome" not in repr(found)


def test_a_private_file_replaces_what_was_there_and_follows_no_link(tmp_path):
    theirs, link = tmp_path / "theirs", tmp_path / "link"
    theirs.write_text("theirs")
    theirs.chmod(0o644)
    link.symlink_to(theirs)

    with pytest.raises(OSError, match="is a link"), open_private(link):
        pass
    with theirs.open() as reader, open_private(theirs) as out:
        out.write(b"private")
        out.flush()
        assert reader.read() == "theirs"

    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600
    assert theirs.read_text() == "private"


def test_a_private_file_that_is_continued_is_taken_from_others(tmp_path):
    path = tmp_path / "rejects.jsonl"
    path.write_text("1\n")
    path.chmod(0o664)

    with open_private(path, appending=True) as out:
        out.write(b"2\n")

    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("1\n2\n", 0o600)


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with open_private(pipe) as out:
            out.write(b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)


def test_rejects_and_exports_refuse_a_link(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SourceError, match="is a link: name the file itself"):
        open_rejects(str(link), source="-")
    assert not (tmp_path / "elsewhere").exists()


CONSENT = ["sub=subscribed", "News=mailing_lists.cl1", "Tips=mailing_lists.cl2"]


def given_back(tmp_path, path, **options):
    """The records in the rejects file of a table, and what is read when the file is given back as it is."""
    target = str(tmp_path / "rejects.jsonl")
    with open_rejects(target, source=path) as out:
        for item in read(path, **options):
            assert isinstance(item, RejectedRow)
            write_reject(out, item)
    records = [orjson.loads(line)["record"] for line in Path(target).read_bytes().splitlines()]
    return records, [(item.field, item.code) for item in read(target) if isinstance(item, RejectedRow)]


@pytest.mark.parametrize(
    ("row", "record", "fields"),
    [
        ("no,nein,", {"subscribed": False, "mailing_lists": {"cl1": "nein"}}, "mailing_lists.cl1"),
        ("no,yes,ja", {"subscribed": False, "mailing_lists": {"cl1": True, "cl2": "ja"}}, "mailing_lists.cl2"),
        ("ja,nein,0", {"subscribed": "ja", "mailing_lists": {"cl1": "nein", "cl2": False}}, "subscribed"),
        (",NULL,1", {"mailing_lists": {"cl1": "NULL", "cl2": True}}, "mailing_lists.cl1"),
        ("NULL,NULL,NULL", {"subscribed": "NULL", "mailing_lists": {"cl1": "NULL", "cl2": "NULL"}}, "subscribed"),
        ("\ufffd,\ufffd,on", {"subscribed": "\ufffd", "mailing_lists": {"cl1": "\ufffd", "cl2": "on"}}, "subscribed"),
    ],
)
def test_a_refused_cell_of_consent_is_kept_in_its_place_and_refused_again(put, tmp_path, row, record, fields):
    table = put("people.csv", f"email,sub,News,Tips\na@example.com,{row}\n")
    options = {"mapping": parse_mapping(CONSENT), "cells": CellOptions(clear="NULL", cleared=None)}

    records, refused = given_back(tmp_path, table, **options)

    assert records == [{"email": "a@example.com", **record}]
    assert [field for field, _ in refused] == [fields]


def test_a_repaired_word_of_consent_is_read_as_in_the_table(put):
    line = '{"line":2,"field":"subscribed","rule":"r","record":{"email":"a@example.com","subscribed":"yes",'
    path = put("repaired.jsonl", line + '"opt_in":"no","mailing_lists":{"cl1":"no","cl2":true}}}')

    record = {"email": "a@example.com", "subscribed": True, "opt_in": 2, "mailing_lists": {"cl1": False, "cl2": True}}
    assert rows(read(path)) == [(1, record)]


@pytest.mark.parametrize("field", ["external_id", "anonymous_id", "postal_code", "phone", "whatsapp", "unique_name"])
@pytest.mark.parametrize("cell", ["7.01E+12", "7,01235E+12", "1E+05"])
def test_a_rounded_code_that_is_given_back_unrepaired_is_refused_again(put, tmp_path, field, cell):
    table = put("people.csv", f'email,{field}\na@example.com,"{cell}"\n')

    records, refused = given_back(tmp_path, table)

    assert records == [{"email": "a@example.com", field: cell}]
    assert refused == [(field, "invalid")]


def test_a_code_that_was_repaired_is_taken_and_a_line_that_is_no_reject_is_read_as_json(put):
    record = '{"email":"a@example.com","external_id":"7012345678901"}'
    line = f'{{"line":2,"field":"external_id","rule":"r","record":{record}}}\n'
    path = put("mixed.jsonl", line + '{"email":"b@example.com","external_id":"1E+05"}\n')

    assert [row["external_id"] for _, row in rows(read(path))] == ["7012345678901", "1E+05"]


@pytest.mark.parametrize(
    ("contact", "field"),
    [
        ('{"email":"a@example.com","external_id":"7.01E+12"}', "external_id"),
        ('{"email":"a@example.com","mailing_lists":{"cl1":"nein"}}', "mailing_lists.cl1"),
        ('{"email":"a@example.com","postal_code":"#REF!"}', "postal_code"),
        ("null", "record"),
    ],
)
def test_a_line_of_exported_failures_is_checked_as_a_rejects_line(put, contact, field):
    about = '{"record":"sendgrid:7","lane":"sendgrid","code":"bad_email","stage":"aggregate"'

    (refused,) = read(put("failed.jsonl", f'{about},"contact":{contact},"mapped":null}}'))

    assert isinstance(refused, RejectedRow)
    assert refused.field == field
