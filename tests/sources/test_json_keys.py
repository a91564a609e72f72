"""Keys that occur twice, and objects around the records: nothing of them is lost in silence."""

import json

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.source_files import mail, read, rejects, rows

from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow, SourceError

TWICE = "the key occurs twice in one object, and JSON does not say which counts: leave one out"
GOOD = '{"email": "z@example.com"}'


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"email": "a@example.com", "email": "b@example.com"}', "email"),
        ('{"email":"a@example.com","email":"a@example.com"}', "email"),
        ('{"external_id":"1","city":"x:y","external_id" :"2"}', "external_id"),
        ('{"email":"a@example.com","custom_fields":{"plan":"a","plan":"b"}}', "plan"),
        ('{"email":"a@example.com","custom_fields":{"p":1},"custom_fields":{"q":1}}', "custom_fields"),
        ('{"email":"a@example.com","list":[{"x":1,"x":{}}]}', "x"),
        ('{"email":"\\u003a","\\u0065mail":"b@example.com"}', "email"),
        ('{"a@example.com":1,"a@example.com":2}', "record"),
        ('{"email":"\\u003A\\u003a","city":"x","city":"x"}', "city"),
        ('{"email":"\\u003a","city":"x","city":"y"}', "city"),
        ('{"email":"\\u003A","external_id":"x","external_id":"y"}', "external_id"),
        ('{"subscribed":true,"email":"a@example.com","subscribed":false}', "subscribed"),
    ],
)
def test_a_key_given_twice_in_one_object_is_refused_and_the_rest_goes_on(put, text, field):
    for path in (put("a.jsonl", f"{text}\n{GOOD}"), put("a.json", f"[{text},\n{GOOD}]")):
        found = read(path)

        assert rejects(found) == [(1, TWICE)]
        assert (found[0].field, found[0].code) == (field, "given_twice")
        assert rows(found) == [mail(2, "z")]


KEY = st.sampled_from(["email", "city", "a:b", 'q"', "\\", ":", "plan", "é", "x y", '":'])
VALUE = st.recursive(
    st.one_of(st.integers(-9, 9), st.text('ab:"\\ é{}', max_size=5), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(KEY, inner), max_size=3).map(tuple)),
    max_leaves=8,
)


def written(value, ascii_only: bool, gaps: tuple[str, str]) -> str:
    """JSON text of a value; a tuple of pairs is an object, whose keys may repeat."""
    if isinstance(value, tuple):
        pairs = (f"{json.dumps(key, ensure_ascii=ascii_only)}{gaps[0]}:{gaps[1]}{written(item, ascii_only, gaps)}"
                 for key, item in value)  # fmt: skip
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item, ascii_only, gaps) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def repeats(value) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(repeats(item) for _, item in value)
    return isinstance(value, list) and any(map(repeats, value))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(KEY, VALUE), min_size=1, max_size=6).map(tuple),
    ascii_only=st.booleans(),
    gaps=st.tuples(st.sampled_from(["", " ", "\t"]), st.sampled_from(["", " "])),
)
def test_an_object_is_read_whole_or_refused_for_a_key_given_twice(put, pairs, ascii_only, gaps):
    text = written(pairs, ascii_only, gaps)
    (item,) = read(put("a.jsonl", text))

    if repeats(pairs):
        assert isinstance(item, RejectedRow)
        assert item.rule == TWICE
    elif isinstance(item, RejectedRow):
        assert "list of objects" in item.rule
    else:
        assert item.record == json.loads(text)


RECORDS = '[\n{"email": "a@example.com"},\n{"email": "b@example.com"}]'


@pytest.mark.parametrize(
    ("text", "lines", "notices"),
    [
        ('{"contacts": %s}', (2, 3), ()),
        ('{\n  "data": %s\n}\n', (3, 4), ()),
        ('\ufeff{"Result":%s,"contact_count":2,"_metadata":{"self":"x"}}', (2, 3), ("contact_count, _metadata",)),
        ('{"records":%s, "next": null}', (2, 3), ("next",)),
    ],
)
@pytest.mark.parametrize("name", ["people.json", "people", "people.json.gz"])
def test_an_array_that_is_the_first_entry_of_one_object_is_read_and_the_summary_says_so(
    put, name, text, lines, notices
):
    with open_source(put(name, text % RECORDS)) as source:
        assert source.format == "json"
        assert rows(source) == [mail(lines[0], "a"), mail(lines[1], "b")]
        key = json.loads((text % "[]").removeprefix("\ufeff"))
        said = [f"the records were read from the list '{next(iter(key))}' of the object"]
        assert list(source.notices) == said + [f"left out beside the records: {beside}" for beside in notices]


def test_an_array_on_one_line_inside_an_object_is_read(put):
    text = orjson.dumps({"contacts": [{"email": f"p{i}@example.com", "city": "x" * 90} for i in range(2_000)]})

    assert len(rows(read(put("people.json", text)))) == 2_000


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"a": [{"email": "a@example.com"}], "b": [{"email": "b@example.com"}]}', "'b' beside 'a' holds objects too"),
        ('{"a": [{"email": "a@example.com"}], "b"}', "the array is broken here"),
        ('{"a": [{"email": "a@example.com"}]', "the array is broken here"),
        ('{"a": [{"email": "a@example.com"}]} x', "the array is broken here"),
        ('{"a": [{"email": "a@example.com"}', "the array is broken here"),
    ],
)
def test_what_lies_behind_the_array_is_read_or_refused(put, text, rule):
    found = read(put("people.json", text))

    assert rows(found) == [mail(1, "a")]
    ((line, said),) = rejects(found)
    assert line == 1
    assert said.startswith(rule)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"count": 1, "contacts": [{"email": "a@example.com"}]}, "contacts"),
        ({"results": {"items": [{"email": "a@example.com"}]}}, "results.items"),
        ({"data": {"page": {"rows": [{"email": "a@example.com"}]}}}, "data.page.rows"),
    ],
)
def test_a_list_elsewhere_in_an_object_is_named_with_the_way_to_take_it_out(put, value, place):
    with pytest.raises(SourceError) as caught:
        read(put("people.json", json.dumps(value, indent=2)))
    assert f"a list of objects lies under '{place}': take the records out, such as with jq -c '.{place}[]'" in str(
        caught.value
    )

    found = read(put("people.jsonl", json.dumps(value)))
    assert [(line, place in rule) for line, rule in rejects(found)] == [(1, True)]
    assert found[0].field == "record"


@pytest.mark.parametrize(
    "line",
    [
        {"custom": [{"n": 1}], "email": "a@example.com"},
        {"alternate_emails": ["b@example.com"], "email": "a@example.com"},
        {"email": "a@example.com", "custom_fields": {"x": [{"n": 1}]}},
    ],
)
def test_a_record_that_has_a_list_is_a_record(put, line):
    assert rows(read(put("people.json", json.dumps(line) + "\n" + json.dumps(line)))) == [(1, line), (2, line)]


@pytest.mark.parametrize("text", ["{}", '{"data": {}}', '{"contacts": []}', '{"odd": 1}'])
def test_one_object_without_records_is_one_record_or_none(put, text):
    for name in ("people.json", "people.jsonl"):
        assert len(read(put(name, text))) == (0 if text == '{"contacts": []}' and name == "people.json" else 1)


def test_byte_order_marks_in_the_middle_are_no_part_of_a_line(put):
    mark = b"\xef\xbb\xbf"
    lines = [mark * 2 + b'{"email":"a@example.com"}', mark + b'{"email":"b@example.com"}', b'{"email":"c@example.com"}']

    assert rows(read(put("people.jsonl", b"\n".join(lines)))) == [mail(1, "a"), mail(2, "b"), mail(3, "c")]
    assert rows(read(put("people.json", mark * 2 + b'[{"email":"a@example.com"}]'))) == [mail(1, "a")]


@pytest.mark.parametrize("value", ["K\ufffdln", ["x\ufffd@example.com"], {"town": "\ufffd"}])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("name", ["people.json", "people.jsonl"])
def test_text_that_a_program_before_could_not_decode_is_refused_by_field(put, value, ascii_only, name):
    text = json.dumps({"email": "a@example.com", "custom_fields" if isinstance(value, dict) else "city": value},
                      ensure_ascii=ascii_only)  # fmt: skip
    (reject,) = read(put(name, f"[{text}]" if name.endswith("json") else text))

    assert reject.field == ("custom_fields" if isinstance(value, dict) else "city")
    assert "U+FFFD" in reject.rule


def test_a_text_that_spells_the_escape_of_the_replacement_character_is_a_text(put):
    record = {"email": "a@example.com", "city": r"written \ufffd"}

    assert rows(read(put("people.jsonl", orjson.dumps(record)))) == [(1, record)]
