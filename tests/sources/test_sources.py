"""Files as people have them: every record is either a row with its line or a reject with its line, never neither."""

import csv
import gzip
import io
import os
import random
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.product import ROOT

from contact_ingest.errors import IngestError
from contact_ingest.model.record import FIELDS
from contact_ingest.sources import byte_stream, json_reader
from contact_ingest.sources.columns import BY_NAME_ONLY, parse_mapping
from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow, SourceError, SourceRow, open_rejects, write_reject

PEOPLE_HEADER = [
    "first_name",
    "last_name",
    "company_name",
    "address",
    "city",
    "county",
    "state",
    "zip",
    "phone1",
    "phone2",
    "email",
    "web",
]
PEOPLE_MAP = {
    "address": "address_line_1",
    "county": "custom_fields.county",
    "state": "state_province_region",
    "zip": "postal_code",
    "phone1": "phone",
}


@pytest.fixture
def put(tmp_path):
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


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


def read(path: str, **options) -> list[SourceRow | RejectedRow]:
    with open_source(path, **options) as source:
        return list(source)


def rows(found) -> list[tuple[int, dict]]:
    return [(item.line, item.record) for item in found if isinstance(item, SourceRow)]


def rejects(found) -> list[tuple[int, str]]:
    return [(item.line, item.rule) for item in found if isinstance(item, RejectedRow)]


def mail(line: int, name: str) -> tuple[int, dict]:
    return line, {"email": f"{name}@example.com"}


# --- tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_a_table_is_found(put, delimiter):
    lines = [["email", "first_name", "notes, or; other|marks"], ["ada@example.com", "Ada", "x"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(lines)

    found = read(put("people.csv", out.getvalue()))

    assert rows(found) == [(2, {"email": "ada@example.com", "first_name": "Ada"})]


def test_the_delimiter_that_shows_known_columns_wins_over_the_one_that_shows_more(put):
    found = read(put("people.csv", "email;last, first;a, b, c\na@example.com;x;y\n"))

    assert rows(found) == [mail(2, "a")]


def test_a_delimiter_that_is_asked_for_is_not_guessed(put):
    path = put("people.csv", "email#city\nada@example.com#Paris\n")

    assert rows(read(path, delimiter="#")) == [(2, {"email": "ada@example.com", "city": "Paris"})]


def test_tab_can_be_asked_for_by_name(put):
    path = put("people.csv", "email\tcity\nada@example.com\tParis\n")

    assert rows(read(path, delimiter="tab")) == [(2, {"email": "ada@example.com", "city": "Paris"})]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
def test_a_delimiter_that_cannot_be_one_is_refused(put, delimiter):
    with pytest.raises(SourceError, match=r"^--delimiter: give one character"):
        read(put("people.csv", "email\n"), delimiter=delimiter)


def test_a_single_column_is_a_table_too(put):
    assert rows(read(put("people.csv", "email\na@example.com\nb@example.com"))) == [mail(2, "a"), mail(3, "b")]


def test_quoted_line_breaks_are_kept_and_lines_are_counted_as_they_lie_in_the_file(put):
    path = put("people.csv", 'email,city\r\na@example.com,"New\r\nYork\n"\r\n\r\nb@example.com,"Rome, ""IT"""\r\n')

    assert rows(read(path)) == [
        (2, {"email": "a@example.com", "city": "New\r\nYork"}),
        (6, {"email": "b@example.com", "city": 'Rome, "IT"'}),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_column(put):
    assert rows(read(put("people.csv", b"\xef\xbb\xbfemail\na@example.com\n"))) == [mail(2, "a")]


def test_old_line_ends_are_line_ends(put):
    assert rows(read(put("people.csv", "email\ra@example.com\rb@example.com\r"))) == [mail(2, "a"), mail(3, "b")]


def test_cells_keep_leading_zeros_lose_the_blanks_around_them_and_empty_ones_are_absent(put):
    path = put("people.csv", 'email,postal_code,city,country\n a@example.com ,00501,   , "U S" \n')

    found = read(path)

    assert rows(found) == []
    assert rejects(found) == [(2, "broken quoting: ',' expected after '\"'")]
    path = put("people.csv", 'email,postal_code,city,country\n a@example.com ,00501,   , "U S"\n')
    assert rows(read(path)) == [(2, {"email": "a@example.com", "postal_code": "00501", "country": "U S"})]


def test_lines_without_anything_in_them_are_passed_over(put):
    path = put("people.csv", "\n\nemail,city\n\na@example.com,\n , \n,\n   \nb@example.com,\n,,,\n")

    assert [(item.line, item.record) for item in read(path)] == [mail(5, "a"), mail(9, "b")]


def test_a_row_with_the_wrong_number_of_columns_is_rejected_and_the_rest_goes_on(put):
    path = put("people.csv", "email,city\na@example.com\nb@example.com,Rome,x\nc@example.com,Rome\n")

    found = read(path)

    assert rejects(found) == [(2, "2 columns expected, 1 found"), (3, "2 columns expected, 3 found")]
    assert [item.raw for item in found[:2]] == ["a@example.com\n", "b@example.com,Rome,x\n"]
    assert rows(found) == [(4, {"email": "c@example.com", "city": "Rome"})]


def test_a_line_in_another_encoding_is_rejected_and_the_rest_goes_on(put):
    path = put("people.csv", b"email,city\na@example.com,K\xf6ln\nb@example.com,K\xc3\xb6ln\n")

    found = read(path)

    assert rejects(found) == [(2, "bytes that are not UTF-8: save the file as UTF-8 (iconv can)")]
    assert found[0].raw == "a@example.com,K\\udcf6ln\n"
    assert rows(found) == [(3, {"email": "b@example.com", "city": "Köln"})]


def test_a_line_with_a_nul_byte_is_rejected_and_the_rest_goes_on(put):
    found = read(put("people.csv", b"email\na\0@example.com\nb@example.com\n"))

    assert rejects(found) == [(2, "a NUL byte")]
    assert rows(found) == [mail(3, "b")]


def test_a_stray_quote_costs_one_line_not_the_lines_after_it(put):
    lines = [
        "email,city",
        'a@example.com,"Rome',
        *(f"n{i}@example.com,Oslo" for i in range(50)),
        'z@example.com,"Bo,nn"',
    ]

    found = read(put("people.csv", "\n".join(lines) + "\n"))

    assert [line for line, _ in rejects(found)] == [2]
    assert found[0].raw == 'a@example.com,"Rome\n'
    assert [line for line, _ in rows(found)] == list(range(3, 54))
    assert rows(found)[-1][1]["city"] == "Bo,nn"


def test_a_quote_that_never_closes_costs_one_line_even_at_the_end(put):
    found = read(put("people.csv", 'email,city\na@example.com,"Rome\nb@example.com,Oslo'))

    assert rejects(found) == [(2, "broken quoting: unexpected end of data")]
    assert rows(found) == [(3, {"email": "b@example.com", "city": "Oslo"})]


@pytest.mark.parametrize("name", ["people.csv", "people.jsonl"])
def test_a_line_too_long_to_be_a_contact_is_rejected_without_being_held(put, name, monkeypatch):
    monkeypatch.setattr(
        f"contact_ingest.sources.{'csv_reader' if name.endswith('csv') else 'json_reader'}.MAX_LINE", 100_000
    )
    first, last = ("email", "b@example.com") if name.endswith("csv") else ("{}", '{"email":"b@example.com"}')
    path = put(name, f"{first}\n{'x' * 30_000_000}\n{last}\n")

    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert [line for line, _ in rejects(found)] == [2]
    assert "longer than" in rejects(found)[0][1]
    assert rows(found)[-1] == mail(3, "b")
    assert peak < 3_000_000


def test_a_field_longer_than_a_table_can_hold_is_rejected_and_the_rest_goes_on(put):
    found = read(put("people.csv", f"email,city\na@example.com,{'x' * 200_000}\nb@example.com,\n"))

    assert [line for line, _ in rejects(found)] == [2]
    assert rows(found) == [mail(3, "b")]


# --- columns


def test_columns_named_like_a_field_are_taken_whatever_their_case_blanks_and_dashes(put):
    path = put(
        "people.csv", "EMAIL,First Name,last-name, Custom_Fields.Plan Type ,Nickname,\na@example.com,A,B,pro,x,y\n"
    )

    with open_source(path) as source:
        assert source.ignored_columns == ("Nickname", "(column 6, without a name)")
        assert rows(source) == [
            (
                2,
                {
                    "email": "a@example.com",
                    "first_name": "A",
                    "last_name": "B",
                    "custom_fields": {"Plan Type": "pro"},
                },
            )
        ]


def test_mapped_columns_become_fields_and_custom_fields_and_nothing_ignored_leaks_in(put):
    path = put("people.csv", "mail,age,city,junk\na@example.com,041,Rome,x\nb@example.com,,,x\n")
    mapping = parse_mapping(["mail=email", "age=custom_fields.age", "city="])

    with open_source(path, mapping=mapping) as source:
        assert source.ignored_columns == ("junk",)
        assert rows(source) == [(2, {"email": "a@example.com", "custom_fields": {"age": "041"}}), mail(3, "b")]


def test_several_addresses_in_a_cell_become_a_list(put):
    path = put("people.csv", "email,alternate_emails\na@example.com,b@example.com; c@example.com|d@example.com;\n")

    assert rows(read(path))[0][1]["alternate_emails"] == ["b@example.com", "c@example.com", "d@example.com"]


def test_every_neutral_field_can_be_a_column(put):
    names = sorted(FIELDS - BY_NAME_ONLY - {"custom_fields", "alternate_emails"})
    cells = ["+15042345678" if name.startswith("phone") else name for name in names]

    found = read(put("people.csv", f"{','.join(names)}\n{','.join(cells)}\n"))

    assert rows(found) == [(2, dict(zip(names, cells, strict=True)))]


@pytest.mark.parametrize("column", sorted(BY_NAME_ONLY))
def test_a_column_becomes_consent_or_a_source_only_when_it_is_mapped(put, column):
    path = put("people.csv", f"email,{column}\na@example.com,yes\n")

    with open_source(path) as source:
        assert rows(list(source)) == [(2, {"email": "a@example.com"})]
    assert column in source.ignored_columns


@pytest.mark.parametrize(
    ("header", "mapping", "message"),
    [
        ("a,b,email", {"fone": "phone"}, "--map fone=phone: the file has no column 'fone'; it has: a, b, email"),
        ("a,email", {"a": "email"}, "email would come from it and from 'a': leave one out, with --map 'a='"),
        ("E-Mail,email,email", {}, "column 'email': its name occurs twice in the header"),
        (
            "one,two",
            {},
            "no column is named like a field: say which is which with --map column=field; it has: one, two",
        ),
        ("custom_fields,email", {}, "name it with --map 'custom_fields=custom_fields.NAME'"),
        ("email\0,city", {}, "the header has a NUL byte"),
        ('email,"city', {}, "the header has broken quoting"),
    ],
)
def test_a_header_that_cannot_be_right_stops_at_opening_and_says_what_to_mend(put, header, mapping, message):
    path = put("people.csv", f"{header}\n")

    with pytest.raises(SourceError) as caught:
        open_source(path, mapping=mapping)

    assert message in str(caught.value)


@pytest.mark.parametrize("line", ["Ada,ada@example.com", "Ada,+1 504 621 8927", "Ada,00501"])
def test_a_table_without_a_header_is_recognised_and_none_of_its_content_repeated(put, line):
    with pytest.raises(SourceError, match="must name the columns") as caught:
        open_source(put("people.csv", f"{line}\n{line}\n"))

    assert "ada" not in str(caught.value).replace(str(put("people.csv", "")), "").lower()
    assert "504" not in caught.value.problem


@pytest.mark.parametrize("content", [b"", b"\n \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("name", ["people.csv", "people.json", "people.jsonl", "people"])
def test_an_empty_file_is_an_error_not_zero_contacts(put, name, content):
    with pytest.raises(SourceError, match="is empty"):
        open_source(put(name, content))


def test_a_header_alone_is_zero_contacts(put):
    assert read(put("people.csv", "email\n")) == []


def test_mapping_to_an_unknown_field_lists_the_known_ones():
    with pytest.raises(SourceError) as caught:
        parse_mapping(["fone=fone"])

    assert str(caught.value).startswith("--map fone=fone: there is no field 'fone'; the fields are address_line_1, ")
    assert all(field in str(caught.value) for field in FIELDS)


@pytest.mark.parametrize("option", ["phone", "=phone", "", "a=custom_fields.", "a=custom_fields.x\0b=c"])
def test_a_mapping_that_says_nothing_is_refused(option):
    with pytest.raises(SourceError, match=r"^--map "):
        parse_mapping([option])


def test_a_column_mapped_twice_is_refused_and_one_with_an_equals_sign_is_not():
    with pytest.raises(SourceError, match="mapped already"):
        parse_mapping(["a=email", "a=phone"])
    assert parse_mapping(["a=b=email"]) == {"a=b": "email"}


# --- objects


def test_json_lines_are_read_as_they_are(put):
    records = [{"email": "a@example.com", "odd": None, "city": ""}, {"custom_fields": {"n": 1.5, "list": [1, True]}}]
    path = put("people.jsonl", b"\xef\xbb\xbf" + b"\n\n".join(map(orjson.dumps, records)))

    assert rows(read(path)) == [(1, records[0]), (3, records[1])]


def test_broken_json_lines_are_rejected_by_line_and_the_rest_goes_on(put):
    lines = [b'{"a":1}', b'{"a":', b"[1]", b'"x"', b'{"a":"\xff"}', b'{"a":"\0"}', b'{"a":NaN}', b'{"b":2}']

    found = read(put("people.ndjson", b"\r\n".join(lines)))

    assert rows(found) == [(1, {"a": 1}), (8, {"b": 2})]
    assert [(line, rule.split(" at ")[0].split(":")[0]) for line, rule in rejects(found)] == [
        (2, "not valid JSON"),
        (3, "an object is expected, list found"),
        (4, "an object is expected, str found"),
        (5, "bytes that are not UTF-8"),
        (6, "a NUL byte"),
        (7, "not valid JSON"),
    ]


def test_an_array_is_read_with_the_lines_its_objects_begin_on(put):
    path = put(
        "people.json", '\ufeff\n[\n  {"email": "a@example.com"},\n  {\n    "email": "b@example.com"\n  }, 5\n]\n'
    )

    found = read(path)

    assert rows(found) == [mail(3, "a"), mail(4, "b")]
    assert rejects(found) == [(6, "an object is expected, int found")]


def test_an_array_element_that_is_no_json_costs_itself_only(put):
    path = put("people.json", b'[{"a": NaN}, {"a": "\\ud800"}, {"a": "\xff"},\n{"a": "line\nbreak"}, {"b": 2}]')

    found = read(path)

    assert [line for line, _ in rejects(found)] == [1, 1, 1, 2]
    assert rows(found) == [(3, {"b": 2})]


def test_an_array_element_with_an_absurd_number_costs_itself_only(put):
    found = read(put("people.json", '[{"a": ' + "9" * 10_000 + '}, {"b": 2}]'))

    assert [line for line, _ in rejects(found)] == [1]
    assert rows(found) == [(1, {"b": 2})]


@pytest.mark.parametrize(
    "end", ['{"b":', "", "{}", "{},", "{} {}", "{} x]", "{}] x", "{},]", "[" * 100_000, '{"a": 12, b}]']
)
def test_a_broken_array_delivers_what_came_before_and_says_where_it_broke(put, end):
    found = read(put("people.json", '[{"a":1},\n' + end))

    assert rows(found)[0] == (1, {"a": 1})
    assert rejects(found) == [(2, "the array is broken here: nothing from this line on could be read")]
    assert isinstance(found[-1], RejectedRow)


@pytest.mark.parametrize("text", ["[]", " [ ]\n"])
def test_an_empty_array_is_zero_contacts(put, text):
    assert read(put("people.json", text)) == []


def test_an_array_too_large_to_hold_names_json_lines_as_the_remedy(put, monkeypatch):
    monkeypatch.setattr(json_reader, "MAX_ARRAY_BYTES", 20)

    assert read(put("people.json", "[" + " " * 18 + "]")) == []
    with pytest.raises(SourceError, match="write JSON lines, one object a line"):
        open_source(put("people.json", "[" + " " * 19 + "]"))


@pytest.mark.parametrize(("text", "message"), [("5", "neither a JSON array"), ('{\n"a": 1\n}', "over several lines")])
def test_json_that_is_no_list_of_records_is_an_error(put, text, message):
    with pytest.raises(SourceError, match=message):
        read(put("people.json", text))


@pytest.mark.parametrize("name", ["people.json", "people.jsonl"])
@pytest.mark.parametrize("place", ['{"a":%s}', '{"a":{"b":[%s]}}'])
def test_numbers_that_reading_would_round_are_rejected_by_field(put, name, place):
    def file(number: str) -> str:
        text = place % number
        return put(name, f"[{text}]" if name.endswith("json") else text)

    found = read(file("123456789012345678901"))

    assert rejects(found) == [(1, "a number too large to be kept exactly: write it as text")]
    assert found[0].field == "a"
    assert isinstance(read(file("9223372036854775807"))[0], SourceRow)
    assert isinstance(read(file("0.5"))[0], SourceRow)


def test_mapping_renames_top_level_keys_and_leaves_unknown_ones(put):
    path = put(
        "people.jsonl",
        '{"mail":"a@example.com","email":"x","plan":"pro","drop":1,"odd":2}\n'
        '{"mail":"a@example.com","plan":"pro","drop":1,"odd":{"mail":1},"custom_fields":{"n":1}}\n'
        '{"plan":"pro","custom_fields":[1]}\n'
        '{"plan":"pro","custom_fields":{"plan":"x"}}\n',
    )
    mapping = {"mail": "email", "plan": "custom_fields.plan", "drop": "", "never": "city"}

    with open_source(path, mapping=mapping) as source:
        found = list(source)
        assert source.unseen_columns == {"never"}
        assert source.ignored_columns == ()

    assert rows(found) == [
        (2, {"email": "a@example.com", "odd": {"mail": 1}, "custom_fields": {"n": 1, "plan": "pro"}})
    ]
    assert [(item.line, item.field) for item in found if isinstance(item, RejectedRow)] == [
        (1, "email"),
        (3, "custom_fields"),
        (4, "custom_fields.plan"),
    ]


def test_a_mapping_may_swap_two_keys(put):
    path = put("people.jsonl", '{"city":"1","country":"2"}')

    assert rows(read(path, mapping={"city": "country", "country": "city"})) == [(1, {"city": "2", "country": "1"})]


# --- formats, gzip, standard input


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
    [("email\n".encode("utf-16"), "UTF-8"), (b"PK\x03\x04rest", "Excel"), (b"PAR1rest", "Parquet")],
)
def test_files_of_another_kind_are_named(put, content, remedy):
    with pytest.raises(SourceError, match=remedy):
        open_source(put("people.csv", content))


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


# --- telephone numbers


def test_national_numbers_become_international_with_a_region(put):
    path = put("people.csv", "email,phone,phone_number\na@example.com,504-621-8927,(856) 555-0100\n")

    record = rows(read(path, region="us"))[0][1]

    assert (record["phone"], record["phone_number"]) == ("+15046218927", "+18565550100")


def test_international_numbers_need_no_region_and_are_not_bent_to_one(put):
    path = put("people.jsonl", '{"phone_number_id":"+44 20 7946 0018"}\n{"phone":""}\n{"phone":null}\n')

    for region in (None, "US"):
        assert [record for _, record in rows(read(path, region=region))] == [
            {"phone_number_id": "+442079460018"},
            {"phone": ""},
            {"phone": None},
        ]


@pytest.mark.parametrize("name", ["people.csv", "people.jsonl"])
@pytest.mark.parametrize(
    ("region", "number", "remedy"),
    [
        (None, "504-621-8927", "a national number needs a region: give --region US (or the like), or write it as +…"),
        ("US", "621-8927", "international form"),
        ("US", "+1504621892712", "international form"),
        ("US", "call me", "not a telephone number"),
        ("US", "504-621-8927 x12", "an extension cannot be kept"),
        (None, "+999123456", "not a telephone number"),
    ],
)
def test_a_number_that_cannot_be_read_is_rejected_by_field_with_a_remedy_and_never_quoted(
    put, name, region, number, remedy
):
    line = orjson.dumps({"phone": number}).decode()
    path = put(
        name, f"phone\n{number}\n+15046218927\n" if name.endswith("csv") else f'{line}\n{{"phone":"+15046218927"}}'
    )

    found = read(path, region=region)

    reject = found[0]
    assert (reject.line, reject.field) == (2 if name.endswith("csv") else 1, "phone")
    assert remedy in reject.rule
    assert number not in reject.rule
    assert number in reject.raw
    assert rows(found)[0][1] == {"phone": "+15046218927"}


def test_a_number_of_a_range_nobody_has_allocated_yet_is_taken(put):
    assert rows(read(put("people.csv", "phone\n555-555-5555\n"), region="US")) == [(2, {"phone": "+15555555555"})]


@pytest.mark.parametrize("region", ["", "XX", "USA", "001"])
def test_an_unknown_region_is_an_error_that_names_the_option(put, region):
    with pytest.raises(SourceError, match=f"^--region {region}: is not a country"):
        open_source(put("people.csv", "email\n"), region=region)


def test_a_file_without_telephone_numbers_does_not_load_their_library(put):
    path = put("people.csv", "email\na@example.com\n")
    program = (
        "import sys; from contact_ingest.sources.files import open_source\n"
        f"with open_source({path!r}) as source: list(source)\n"
        "sys.exit('phonenumbers' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


# --- rejects and discretion


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
    found = read(put("people.csv", "email,city\nbob@example.com,Rome\nbob@example.com\n"))

    assert [type(item) for item in found] == [SourceRow, RejectedRow]
    assert "bob" not in repr(found)
    assert "Rome" not in repr(found)


# --- the whole


def people(count: int, zeros: int) -> list[dict[str, str]]:
    chance = random.Random(7)
    made = []
    for number in range(count):
        code = chance.randrange(501, 10_000) if number < zeros else chance.randrange(10_000, 100_000)
        first, last = chance.choice(["Ana", "Bo", "Chloë", "Dov"]), f"Sample{number}"
        made.append(
            {
                "first_name": first,
                "last_name": last,
                "company_name": f"{last}, Sons & Co",
                "address": f"{number} N Example St #{chance.randrange(99)}",
                "city": "New Example",
                "county": "Orleans",
                "state": "LA",
                "zip": f"{code:05}",
                "phone1": f"504-555-{chance.randrange(10_000):04}",
                "phone2": f"504-555-{chance.randrange(10_000):04}",
                "email": f"person{number}@example.org",
                "web": f"https://{last.lower()}.example.com",
            }
        )
    return made


def test_five_hundred_people_arrive_whole_with_the_zeros_of_their_postal_codes(put):
    made = people(500, 20)
    out = io.StringIO()
    writer = csv.DictWriter(out, PEOPLE_HEADER)
    writer.writeheader()
    writer.writerows(made)

    with open_source(put("people.csv", out.getvalue()), mapping=PEOPLE_MAP, region="US") as source:
        found = list(source)
        assert source.ignored_columns == ("company_name", "phone2", "web")

    assert rows(found) == [
        (
            line,
            {
                "first_name": person["first_name"],
                "last_name": person["last_name"],
                "address_line_1": person["address"],
                "city": "New Example",
                "custom_fields": {"county": "Orleans"},
                "state_province_region": "LA",
                "postal_code": person["zip"],
                "phone": "+1" + person["phone1"].replace("-", ""),
                "email": person["email"],
            },
        )
        for line, person in enumerate(made, 2)
    ]
    assert len(found) == 500
    assert sum(record["postal_code"].startswith("0") for _, record in rows(found)) == 20


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
COLUMNS = ["email", "city", "custom_fields.note", "unique_name"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.lists(TEXT, min_size=4, max_size=4), max_size=8), delimiter=st.sampled_from(",;\t|"))
def test_whatever_is_written_as_a_table_is_read_back(put, cells, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([COLUMNS, *cells])
    expected = []
    for row in cells:
        email, city, note, unique_name = (cell.strip() for cell in row)
        record = {"email": email, "city": city, "unique_name": unique_name, "custom_fields": note and {"note": note}}
        expected.append({field: value for field, value in record.items() if value})

    found = read(put("people.csv", out.getvalue()), delimiter=delimiter)

    assert [record for _, record in rows(found)] == [record for record in expected if record]
    assert rejects(found) == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.dictionaries(TEXT.filter(lambda key: not key.startswith("phone")), TEXT), min_size=1))
def test_whatever_is_written_as_json_is_read_back(put, records):
    lines = [orjson.dumps(record) for record in records]

    assert rows(read(put("people.jsonl", b"\n".join(lines)))) == list(enumerate(records, 1))
    assert rows(read(put("people.json", b"[" + b",\n".join(lines) + b"]"))) == list(enumerate(records, 1))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"a@example.com", b" ", b"\0", b"\xff", b'""'])))
def test_no_table_however_broken_stops_the_reader_or_goes_backwards(put, rest):
    found = read(put("people.csv", b"email,city\n" + b"".join(rest) + b"\nlast@example.com,Oslo\n"))

    lines = [item.line for item in found]
    assert lines == sorted(set(lines))
    assert any("last@example.com" in str(item.record if isinstance(item, SourceRow) else item.raw) for item in found)
