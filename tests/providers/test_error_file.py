"""An import's error file in every shape that could come, and in many that should not."""

import csv
import gzip
import io
import random
import time

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contact_ingest.providers.error_file.columns import NO_REASON
from contact_ingest.providers.error_file.reader import MAX_PLAIN_BYTES, read

BATCH = frozenset({"ann@x.org", "o'brien@x.org", "müller@x.org", "+4930123456", "c-7", "12", "13", "14"})
REASONS = {"ann@x.org": "Invalid email address", "o'brien@x.org": "Suppressed, by the owner", "müller@x.org": "Odd"}

#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def found(content, batch=BATCH):
    content = content.encode() if isinstance(content, str) else content
    return {error.value: error.reason for error in read(content, batch.__contains__)}


def table(delimiter=",", *, header=("email", "error_message"), reverse=False, quoting=csv.QUOTE_MINIMAL, end="\r\n"):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    rows = [header, *REASONS.items()] if header else list(REASONS.items())
    writer.writerows(row[::-1] for row in rows) if reverse else writer.writerows(rows)
    return out.getvalue()


def test_the_errors_carry_a_code_and_show_nothing():
    (error,) = read(b"email,error\nann@x.org,bad\n", BATCH.__contains__)
    assert error.code == "import_error"
    assert "ann" not in repr(error)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ":", "^", "\x01", "~", "¦"])
@pytest.mark.parametrize("header", [None, ("email", "error_message"), ("E-MAIL", "Reason")])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_table_is_read_with_any_delimiter_and_without_header(delimiter, header, reverse):
    assert found(table(delimiter, header=header, reverse=reverse)) == REASONS


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_line_ends_and_quotes_do_not_matter(end, quoting):
    assert found(table(end=end, quoting=quoting)) == REASONS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda plain: gzip.compress(gzip.compress(plain))])
@pytest.mark.parametrize("text", [table(), orjson.dumps(list(REASONS.items())).decode()])
def test_byte_order_marks_and_compression_do_not_matter(encoding, pack, text):
    assert found(pack(text.encode(encoding))) == REASONS


def test_gzip_in_two_members_is_read_to_the_end():
    half = len(table()) // 2
    text = table().encode()
    assert found(gzip.compress(text[:half]) + gzip.compress(text[half:])) == REASONS


RECORDS = [{"email": who.upper() if who.isascii() else who, "error": why} for who, why in REASONS.items()]
KEYED = dict(REASONS)


@pytest.mark.parametrize(
    "document",
    [
        RECORDS,
        {"errors": RECORDS},
        {"data": {"results": {"failed": RECORDS}}, "count": 3},
        [{"contact": {"email": r["email"], "first_name": "A"}, "errors": [{"message": r["error"]}]} for r in RECORDS],
        [{"error": {"message": r["error"], "details": {"identifier": r["email"]}}} for r in RECORDS],
        [[r["email"], r["error"]] for r in RECORDS],
        KEYED,
        {"errors": KEYED},
        {who: {"errors": [why]} for who, why in REASONS.items()},
        [{"Row": n, "Identifier": r["email"], "Reason": r["error"]} for n, r in enumerate(RECORDS)],
    ],
)
def test_json_is_read_however_nested(document):
    assert found(orjson.dumps(document)) == REASONS
    assert found(orjson.dumps(document, option=orjson.OPT_INDENT_2)) == REASONS


def test_json_lines_are_read_past_a_broken_one():
    lines = [orjson.dumps(record) for record in RECORDS]
    assert found(b"\n".join([lines[0], b'{"email": "broken', b"", *lines[1:]])) == REASONS


@pytest.mark.parametrize("whole", [orjson.dumps(RECORDS), orjson.dumps({"errors": RECORDS}), table().encode()])
def test_of_a_file_that_is_cut_off_what_is_there_is_read(whole):
    cut = found(whole[:-6])
    assert set(cut) >= {"ann@x.org", "o'brien@x.org"}
    packed = gzip.compress(whole * 50)
    assert set(found(packed[:-20])) >= {"ann@x.org", "o'brien@x.org"}


def test_a_list_of_addresses_alone_has_no_reasons():
    expected = dict.fromkeys(REASONS, NO_REASON)
    assert found("\n".join(REASONS)) == expected
    assert found(orjson.dumps(list(REASONS))) == expected
    assert found(orjson.dumps({"invalid": list(REASONS)})) == expected


def test_prose_with_an_address_is_read():
    assert set(found("Line 3: ann@x.org is not valid\nLine 9: c-7 is not valid\n")) == {"ann@x.org", "c-7"}


def test_only_identifiers_of_the_batch_are_named():
    assert found("email,error\nzoe@x.org,bad\njoann@x.org,bad\nann@x.org.uk,bad\n") == {}
    assert found(orjson.dumps([{"email": "zoe@x.org", "error": "ann@x.org is fine"}])) == {}


def test_whichever_identifier_a_row_has_is_taken():
    text = "email,phone_number_id,external_id,error\nann@x.org,,,a\n,+4930123456,,b\n,,C-7,c\nnew@x.org,,c-7,d\n"
    assert found(text) == {"ann@x.org": "a", "+4930123456": "b", "C-7": "c", "c-7": "d"}


def test_row_numbers_and_codes_blame_nobody():
    assert found("row,email,code,error\n12,ann@x.org,13,bad\n13,zoe@x.org,14,bad\n") == {"ann@x.org": "bad"}
    assert found("12,ann@x.org,bad\n13,o'brien@x.org,bad\n14,zoe@x.org,bad\n") == {
        "ann@x.org": "bad",
        "o'brien@x.org": "bad",
    }
    rows = [{"row": "12", "external_id": "C-7", "message": "bad"}, {"row": "13", "external_id": "x", "message": "bad"}]
    assert found(orjson.dumps(rows)) == {"C-7": "bad"}
    assert found(orjson.dumps({"errors": {"12": "bad", "13": {"email": "ann@x.org", "error": "bad"}}})) == {
        "ann@x.org": "bad"
    }


@pytest.mark.parametrize("name", ["external_id", "External ID", "externalId", "anonymous_id", "identifier", "user_id"])
def test_numbers_that_are_identifiers_are_taken_from_a_column_that_is_named_so(name):
    assert found(f"row,{name},error\n1,14,bad\n2,12,worse\n") == {"14": "bad", "12": "worse"}
    assert found(f"row,{name},error\n13,14,bad\n14,12,worse\n") == {"14": "bad", "12": "worse"}
    assert found(orjson.dumps([{"row": "12", name: "14", "error": "bad"}])) == {"14": "bad"}
    assert found(orjson.dumps({name: ["12", "14"]})) == {"12": NO_REASON, "14": NO_REASON}


#: What may stand in an error file beside, or instead of, who is meant.
OTHER_COLUMNS = (
    *(
        "line",
        "Line",
        "line_number",
        "lineNumber",
        "row",
        "Row No.",
        "index",
        "#",
        "no",
        "position",
        "n",
        "id",
        "0",
        "",
    ),
    *("status", "status_code", "http_status", "code", "errorCode", "error_code", "count", "attempts", "total", "time"),
    *("external_id_count", "identifier_type", "userStatus", "identifierIndex", "contact", "contact_number", "value"),
    *("error", "message", "first_name", "postal_code", "phone", "phone_number_id", "email", "city"),
)


@pytest.mark.parametrize("name", OTHER_COLUMNS)
@pytest.mark.parametrize("values", [("12", "13", "14"), ("14", "14", "12"), ("anna", "anna", "anna")])
def test_numbers_and_words_in_any_other_column_blame_nobody(name, values):
    batch = frozenset({*map(str, range(1, 101)), "anna"})
    table = "\n".join([f"{name},why", *(f"{value},bad" for value in values)])
    assert found(table, batch) == {}
    assert found(orjson.dumps([{name: value, "why": "bad"} for value in values]), batch) == {}
    assert found(orjson.dumps({name: list(values), "why": "bad"}), batch) == {}
    assert found(orjson.dumps(dict.fromkeys(values, "bad")), batch) == {}


@pytest.mark.parametrize(
    "text",
    ["3,bad\n4,bad\n5,bad\n", "line,error\n3,bad\n4,bad\n", "status;reason\n40;gone\n", "Line 3: bad\nLine 4: bad\n"],
)
def test_a_file_of_line_numbers_alone_blames_nobody(text):
    assert found(text, frozenset(map(str, range(1, 101)))) == {}


def test_an_address_in_another_column_does_not_stand_for_the_contact_of_the_row():
    text = "email,duplicate_of,error\nzoe@x.org,ann@x.org,twice\no'brien@x.org,zoe@x.org,twice\n"
    assert found(text) == {"o'brien@x.org": "twice"}


@PATIENT
@given(
    ids=st.lists(st.integers(1, 100).map(str), unique=True, max_size=8),
    beside=st.lists(st.sampled_from(OTHER_COLUMNS), unique=True, max_size=4),
    place=st.integers(0, 4),
    name=st.sampled_from(["external_id", "External Id", "externalId", "identifier", "anonymous_id", None]),
    delimiter=st.sampled_from(",;\t|"),
    as_json=st.booleans(),
    data=st.data(),
)
def test_small_numbers_name_the_rows_of_the_identifier_column_and_no_other(
    *, ids, beside, place, name, delimiter, as_json, data
):
    batch = frozenset(map(str, range(1, 101)))
    names = [*beside[:place], *([name] if name else []), *beside[place:]]
    numbers = st.integers(1, 100).map(str)
    rows = [[who if column is name else data.draw(numbers) for column in names] for who in ids]
    if as_json:
        content = orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])
    else:
        content = "\n".join(map(delimiter.join, [names, *rows]))
    assert set(found(content, batch)) == (set(ids) if name else set())


def test_a_stray_quote_hides_no_rows():
    rows = "".join(f"u{n}@x.org,{chr(34) if n == 3 else ''}bad\n" for n in range(500))
    assert len(found(rows, frozenset(f"u{n}@x.org" for n in range(500)))) == 500


def test_reasons_are_short_and_without_addresses():
    reasons = found("email,error\nann@x.org,'ann@x.org' is " + "b" * 3_000 + "\n")
    assert len(reasons["ann@x.org"]) <= 1_000
    assert reasons["ann@x.org"].startswith("'<address>' is b")


def test_a_column_called_reason_is_believed_before_a_longer_one():
    text = "email,address_line_1,reason\nann@x.org,A very long street name in a long town,Blocked\n"
    assert found(text) == {"ann@x.org": "Blocked"}
    assert found("email,address_line_1,reason\nann@x.org,A very long street,\n") == {"ann@x.org": NO_REASON}


def test_a_value_named_twice_is_told_once_with_its_reason():
    assert found(orjson.dumps([{"email": "ann@x.org"}, {"email": "ann@x.org", "error": "bad"}])) == {"ann@x.org": "bad"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00" + b"\x00" * 100,
        b"PK\x03\x04rubbish",
        b"<html><body>Sign in</body></html>",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'"' * 200_000,
        b"," * 200_000,
        b"\x00" * 200_000,
        b'{"email": "\\ud800"}',
        b'[{"email": "\\ud800"}, {"email": NaN',
        b"null",
        b"{}",
    ],
)
def test_garbage_names_nobody_and_raises_nothing(content):
    assert found(content) == {}


def test_html_around_a_table_is_no_obstacle():
    assert set(found("<html><tr><td>ann@x.org</td><td>bad</td></tr></html>")) <= {"ann@x.org"}


@PATIENT
@given(content=st.binary(max_size=300))
def test_any_bytes_are_survived(content):
    assert set(found(content)) <= {*BATCH, *(text.upper() for text in BATCH)}
    assert set(found(gzip.compress(content))) == set(found(content))


@PATIENT
@given(text=st.text(st.sampled_from('[]{}",:;\n\t\r\\ @.+-axorgnc71234\x00\ufeff'), max_size=300))
def test_any_text_that_looks_like_a_file_is_survived(text):
    assert all(value.lower() in BATCH for value in found(text))


@PATIENT
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(sorted(BATCH)) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["email", "errors", "row", "12"]), inner)
        ),
    )
)
def test_any_json_is_survived(document):
    assert all(value.lower() in BATCH for value in found(repr(document).replace("'", '"')))


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"a,b\n" * (MAX_PLAIN_BYTES // 2)),
        gzip.compress(b"x" * (2 * MAX_PLAIN_BYTES)),
        gzip.compress(b'{"a":' * 10_000_000),
        gzip.compress(b'{"a":1,"' * 5_000_000),
    ],
    ids=["rows", "one line", "nesting", "broken"],
)
def test_a_file_that_unpacks_to_far_too_much_is_read_in_bounded_time(content):
    began = time.monotonic()
    assert found(content) == {}
    assert time.monotonic() - began < 60


def test_thirty_thousand_rows_are_quick():
    rng = random.Random(1)
    rows = [f"user{rng.randrange(10**9)}@mail{n}.org" for n in range(30_000)]
    text = "".join(f"{n},{who},Invalid email address\n" for n, who in enumerate(rows, 2))
    began = time.monotonic()
    assert len(found("row,email,message\n" + text, frozenset(rows))) == 30_000
    assert time.monotonic() - began < 10
