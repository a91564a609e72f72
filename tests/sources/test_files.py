"""Files: their format, gzip that is damaged, standard input, progress, and errors at opening."""

import bz2
import gzip
import lzma
import os
import random
import sys
import threading

import orjson
import pytest
from support.source_files import mail, read, rejects, rows

from contact_ingest.errors import IngestError
from contact_ingest.sources import byte_stream
from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import SourceError


@pytest.fixture
def standard_input(monkeypatch):
    """Feeds chunks into a real pipe that is standard input."""
    threads, files = [], []

    def feed(*chunks: bytes) -> None:
        reading, writing = os.pipe()
        files.append(os.fdopen(reading, encoding="utf-8"))
        monkeypatch.setattr(sys, "stdin", files[-1])

        def write() -> None:
            with os.fdopen(writing, "wb", buffering=0) as pipe:
                for chunk in chunks:
                    pipe.write(chunk)

        threads.append(threading.Thread(target=write))
        threads[-1].start()

    yield feed
    for file in files:
        file.close()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("name", "content", "format_name"),
    [
        ("a.csv", "email\na@example.com", "csv"),
        ("a.tsv", "email\na@example.com", "csv"),
        ("a.txt", "email\na@example.com", "csv"),
        ("A.CSV.GZ", "email\na@example.com", "csv"),
        ("a.json", ' [{"email":"a@example.com"}]', "json"),
        ("a.json", '\n{"email":"a@example.com"}', "jsonl"),
        ("a.jsonl", '{"email":"a@example.com"}', "jsonl"),
        ("a", '[{"email":"a@example.com"}]', "json"),
        ("a", '{"email":"a@example.com"}', "jsonl"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_format_is_known_by_the_name_or_the_content_and_gzip_by_its_first_bytes(
    put, name, content, format_name, pack
):
    with open_source(put(name, pack(content.encode()))) as source:
        assert source.format == format_name
        assert [record for _, record in rows(source)] == [{"email": "a@example.com"}]


def test_a_format_that_is_asked_for_wins_and_an_unknown_one_is_refused(put):
    path = put("people.csv", '{"email":"a@example.com"}')

    assert rows(read(path, format_name="jsonl")) == [mail(1, "a")]
    with pytest.raises(SourceError, match=r"^--format xml: is not one of csv, json, jsonl"):
        open_source(path, format_name="xml")


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("email\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("email\n".encode("utf-16-be"), "is UTF-16 without a byte order mark"),
        ('{"email": 1}'.encode("utf-16-le"), "is UTF-16 without a byte order mark"),
        ("\ufeffemail\n".encode("utf-16-be"), "is UTF-16: save"),
        ("email\n".encode("utf-32"), "is UTF-32: save"),
        ("\ufeffemail\n".encode("utf-32-be"), "is UTF-32: save"),
        ("email\n".encode("utf-32-le"), "is UTF-32 without"),
        ("email\n".encode("utf-32-be"), "is UTF-32 without"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\xd0\xcf\x11\xe0rest", "Excel"),
        (b"PAR1rest", "Parquet"),
        (gzip.compress(gzip.compress(b"email\n", mtime=0), mtime=0), "gzip twice"),
        (bz2.compress(b"email\n"), "bzip2: unpack it first"),
        (lzma.compress(b"email\n"), "xz: unpack it first"),
        (b"<!DOCTYPE html><html></html>", "web page"),
    ],
)
@pytest.mark.parametrize("name", ["people.csv", "people.json", "people"])
def test_files_of_another_kind_are_named(put, name, content, remedy):
    with pytest.raises(SourceError, match=remedy):
        open_source(put(name, content))


@pytest.mark.parametrize("marks", [1, 2, 3])
@pytest.mark.parametrize("quoted", ['"email"', "email"])
def test_byte_order_marks_are_no_part_of_a_file(put, marks, quoted):
    mark = b"\xef\xbb\xbf" * marks

    assert rows(read(put("people.csv", mark + f"{quoted},city\na@example.com,\n".encode()))) == [mail(2, "a")]
    assert rows(read(put("people.jsonl", mark + b'{"email":"a@example.com"}'))) == [mail(1, "a")]
    assert rows(read(put("people", mark + b'[{"email":"a@example.com"}]'))) == [mail(1, "a")]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_a_gzip_file_cut_short_at_any_byte_delivers_all_before_the_cut_and_one_reject(put, kind):
    records = [{"email": f"{random.Random(i).random()}@example.com"} for i in range(200)]
    if kind == "csv":
        plain = "\n".join(["email", *(record["email"] for record in records)]) + "\n"
    else:
        lines = [orjson.dumps(record).decode() for record in records]
        plain = "\n".join(lines) + "\n" if kind == "jsonl" else "[" + ",\n".join(lines) + "]"
    whole = gzip.compress(plain.encode())
    delivered = []
    for cut in range(len(whole) - 1, 200, -len(whole) // 40):
        found = read(put(f"people.{kind}.gz", whole[:cut]))
        got = [record for _, record in rows(found)]
        assert got == records[: len(got)]
        assert len(rejects(found)) == 1
        assert found[-1].rule == byte_stream.DAMAGED
        assert found[-1].line == len(got) + (2 if kind == "csv" else 1) or kind == "json"
        delivered.append(len(got))
    assert delivered[0] >= 199
    assert 0 < delivered[-1] < 30


def test_a_damaged_gzip_file_says_so_after_what_could_be_read(put):
    whole = bytearray(gzip.compress(b"email\na@example.com\n"))
    whole[-6] ^= 1

    found = read(put("people.csv", bytes(whole)))

    assert rows(found) == [mail(2, "a")]
    assert rejects(found) == [(3, byte_stream.DAMAGED)]


def test_a_gzip_file_damaged_in_its_middle_delivers_what_came_before(put):
    lines = [f"{random.Random(i).random()}@example.com\n" for i in range(20_000)]
    whole = bytearray(gzip.compress(("email\n" + "".join(lines)).encode()))
    middle = len(whole) // 2
    whole[middle : middle + 5_000] = b"\xff" * 5_000

    found = read(put("people.csv", bytes(whole)))

    assert rejects(found) == [(len(found) + 1, byte_stream.DAMAGED)]
    assert 5_000 < len(rows(found)) < 15_000


def test_a_gzip_file_damaged_at_its_beginning_is_an_error_not_an_empty_file(put):
    with pytest.raises(SourceError, match="damaged"):
        open_source(put("people.csv", b"\x1f\x8bnonsense"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("text", ["\nemail\n\na@example.com\n", '\n\n\n{"email":"a@example.com"}'])
def test_standard_input_is_read_in_whatever_pieces_it_arrives(standard_input, pack, text):
    standard_input(*(bytes([byte]) for byte in pack(text.encode())))

    with open_source("-") as source:
        assert source.size_bytes is None
        assert rows(source) == [mail(4, "a")]
        assert source.position_bytes == len(pack(text.encode()))
    assert not sys.stdin.buffer.closed


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_progress_counts_the_bytes_of_the_file_as_it_lies_on_the_disk(put, pack):
    content = pack(("email\n" + "".join(f"{random.random()}@example.com\n" for _ in range(60_000))).encode())
    path = put("people.csv", content)

    with open_source(path) as source:
        seen = [source.position_bytes for _ in source]
        assert source.size_bytes == source.position_bytes == len(content)

    assert seen == sorted(seen)
    assert 0 < seen[0] < len(content) * 0.7


@pytest.mark.parametrize("path", ["missing.csv", "."])
def test_a_file_that_cannot_be_opened_is_an_error_with_its_name(tmp_path, path):
    with pytest.raises(SourceError, match=r"^/.*: (No such file|Is a directory)"):
        open_source(str(tmp_path / path))


def test_an_error_at_opening_leaves_no_file_open(put):
    def lowest_free_descriptor() -> int:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    before = lowest_free_descriptor()
    for content in ("", "nothing\n", '"'):
        with pytest.raises(IngestError) as caught:
            open_source(put("people.csv", content))
        assert lowest_free_descriptor() == before, caught.value
