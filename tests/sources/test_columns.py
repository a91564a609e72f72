"""Columns: which become fields, by name or by mapping, and headers that cannot be right."""

import gzip

import pytest
from support.source_files import mail, read, rows

from contact_ingest.model.record import FIELDS
from contact_ingest.sources.cells import CellOptions
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.files import open_source
from contact_ingest.sources.names import BY_NAME_ONLY
from contact_ingest.sources.rows import SourceError


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
        assert rows(source) == [
            (2, {"email": "a@example.com", "custom_fields": {"age": {"cell": "041"}}}),
            mail(3, "b"),
        ]


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


@pytest.mark.parametrize("lacking", ["opt_in", "subscribed", "unique_name"])
def test_no_message_suggests_a_field_that_the_destination_lacks(put, lacking):
    column = lacking.replace("_", "").upper()
    path = put("people.csv", f"email,{column},nick,pet\na@example.com,1,x,y\n")
    lacks = {lacking, "custom_fields.pet"}

    def suggested(cells: CellOptions) -> str:
        with open_source(path, cells=cells) as source:
            return source.notices[0]

    assert f"--map '{column}={lacking}'" in suggested(CellOptions())
    assert suggested(CellOptions(lambda field: "there is no such field" if field in lacks else "")).endswith(
        f"give for example --map '{column}=custom_fields.{column}' --map 'nick=custom_fields.nick'"
    )


def test_a_table_without_a_field_that_the_destination_takes_gets_no_example(put):
    cells = CellOptions(lambda _field: "there is no such field")

    with pytest.raises(SourceError, match=r"with --map column=field; it has: E-mail, nick"):
        read(put("people.csv", "E-mail,nick\na,x\n"), cells=cells)
