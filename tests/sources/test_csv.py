"""Tables: delimiters, quotes and encodings; a line that cannot be read is rejected by itself."""

import csv
import io
import tracemalloc

import pytest
from support.source_files import mail, read, rejects, rows

from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow, SourceError


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


def test_cells_that_a_row_lacks_at_its_end_are_empty_and_the_summary_counts_such_rows(put):
    path = put("people.csv", "email,city,country\na@example.com\nb@example.com,Rome\nc@example.com,Rome,IT\n")

    with open_source(path) as source:
        assert rows(source) == [
            mail(2, "a"),
            (3, {"email": "b@example.com", "city": "Rome"}),
            (4, {"email": "c@example.com", "city": "Rome", "country": "IT"}),
        ]
        assert source.notices == ("2 rows have fewer cells than the header, the first on line 2: these count as empty",)


@pytest.mark.parametrize("end", [",", ",,,,", ", ,", ',"",\t'])
def test_empty_cells_beyond_the_header_are_passed_over(put, end):
    assert rows(read(put("people.csv", f"email,city\na@example.com,Rome{end}\n"))) == [
        (2, {"email": "a@example.com", "city": "Rome"})
    ]


@pytest.mark.parametrize("end", [",x", ",,,x", ", ,0", ',"",x,'])
def test_a_cell_beyond_the_header_is_refused_with_its_line_and_the_rest_goes_on(put, end):
    path = put("people.csv", f"email,city\na@example.com,Rome{end}\nc@example.com,Rome\n")

    found = read(path)

    ((line, rule),) = rejects(found)
    assert (line, rule.split(",")[0]) == (2, "2 columns expected")
    assert "quote a cell that has the delimiter in its text" in rule
    assert found[0].raw == f"a@example.com,Rome{end}\n"
    assert rows(found) == [(3, {"email": "c@example.com", "city": "Rome"})]


@pytest.mark.parametrize(
    ("first", "delimiter"),
    [
        ("sep=;", ";"),
        ("SEP=,", ","),
        ('"sep=|"', "|"),
        ("\ufeffsep=;", ";"),
        ("sep=\t", "\t"),
        ("sep=#", "#"),
        ("sep=;;;;", ";"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_that_names_the_delimiter_is_honoured_and_is_no_header(put, first, delimiter, end):
    lines = [first, f"email{delimiter}city", f"a@example.com{delimiter}Rome; or, so"]
    lines[2] = lines[2] if delimiter not in ";," else f'a@example.com{delimiter}"Rome; or, so"'

    assert rows(read(put("people.csv", end.join(lines)))) == [(3, {"email": "a@example.com", "city": "Rome; or, so"})]


def test_a_delimiter_that_is_asked_for_wins_over_the_line_that_names_one(put):
    path = put("people.csv", "sep=;\nemail,city\na@example.com,Rome\n")

    assert rows(read(path, delimiter=",")) == [(3, {"email": "a@example.com", "city": "Rome"})]


def test_a_line_that_names_the_delimiter_and_nothing_below_it_is_an_error(put):
    with pytest.raises(SourceError, match="has no line with the names of the columns"):
        read(put("people.csv", "sep=;\n"))


@pytest.mark.parametrize(
    ("text", "opened", "lines"),
    [
        ('email,city\na@example.com,"Rome\nb@example.com,Oslo\nc@example.com,"\nd@example.com,Bonn\n', 2, 4),
        ('city;email;zip\nRome;a@example.com;1\n"Oslo;b@example.com;2\nUlm;c@example.com;"\nUlm;d@example.com\n', 3, 4),
        ('email\n"a@example.com\nb@example.com\nc@example.com"\nd@example.com\n', 2, 4),
        ('email,note\na@example.com,"x\ny",\nb@example.com,"Hi\nc@example.com,Hi"\nd@example.com,\n', 4, 5),
        ('external_id,city,zip\nr1,"Rome,1\nr2,Oslo,2\nr3,Ulm,3"\nr4,Bonn,4\n', 2, 4),
        ('email,note,city\na@example.com,"x\ny","Rome\nb@example.com,z,Oslo"\nd@example.com,,\n', 3, 4),
    ],
)  # fmt: skip
def test_a_stray_quote_that_swallowed_rows_is_suspected_aloud_with_the_line_it_opened_on(put, text, opened, lines):
    found = read(put("people.csv", text))

    ((_, rule),) = rejects(found)
    assert f"a quote opens on line {opened} and closes {lines - opened} lines below" in rule
    (reject,) = [item for item in found if isinstance(item, RejectedRow)]
    assert "c@example.com" in reject.raw or "b@example.com" in reject.raw or "r3" in reject.raw
    assert "example.com" not in rule
    assert rows(found)[-1][0] == len(text.splitlines())


@pytest.mark.parametrize(
    "note",
    ["Hi,\nplease call.\nAda, the boss\n", "Mail me:\nada@example.com\n", "1 High St\nTown, State\nUK", "\n\n\n"],
)
def test_a_text_over_several_lines_is_a_text(put, note):
    path = put("people.csv", f'email,custom_fields.note,city\na@example.com,"{note}",Rome\n')

    assert rejects(read(path)) == []
    assert rows(read(path))[0][1].get("custom_fields", {}).get("note", "") == note.strip()


def test_a_header_in_the_middle_is_refused_and_the_rest_of_the_joined_file_is_read(put):
    first, second = "\ufeffemail,city\na@example.com,Rome\n", "\ufeffEmail , City\n"
    joined = first + first.replace("a@", "b@") + '\ufeff"c@example.com",Oslo\n' + second

    found = read(put("people.csv", joined))

    assert rejects(found) == [(3, "the header once more: were files joined? leave this line out")]
    assert [record["email"][0] for _, record in rows(found)] == ["a", "b", "c", "E"]


def test_text_that_a_program_before_could_not_decode_is_refused_by_field(put):
    path = put("people.csv", "email,city,notes\na@example.com,K\ufffdln,\nb@example.com,K\u00f6ln,\ufffd\n")

    found = read(path)

    assert [(item.line, item.field) for item in found if isinstance(item, RejectedRow)] == [(2, "city")]
    assert "U+FFFD" in rejects(found)[0][1]
    assert rows(found) == [(3, {"email": "b@example.com", "city": "K\u00f6ln"})]


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
