"""JSON lines and JSON arrays: an element that cannot be read is rejected by itself."""

import orjson
import pytest
from support.source_files import mail, read, rejects, rows

from contact_ingest.sources import json_reader
from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow, SourceError, SourceRow


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
