"""Field mapping: renames, drops and constants."""

import orjson
import pytest

from contact_ingest.model.field_mapping import FieldMapping


def applied(record, **rules):
    return orjson.loads(FieldMapping(**rules).apply(orjson.dumps(record)))


@pytest.mark.parametrize(
    ("record", "rules", "seen"),
    [
        ({"a": 1}, {"rename": {"a": "b"}}, {"b": 1}),
        ({"a": None}, {"rename": {"a": "b"}}, {"b": None}),
        ({"x": 1}, {"rename": {"a": "b"}}, {"x": 1}),
        ({"a": 1}, {"rename": {"a": "custom_fields.b"}}, {"custom_fields": {"b": 1}}),
        ({"custom_fields": {"a": 0}}, {"rename": {"custom_fields.a": "b"}}, {"b": 0}),
        ({"custom_fields": {"a": 1, "c": 2}}, {"drop": ("custom_fields.a",)}, {"custom_fields": {"c": 2}}),
        ({"custom_fields": {"a": 1}}, {"drop": ("custom_fields.a",)}, {}),
        ({"a": 1, "b": 2}, {"drop": ("a",)}, {"b": 2}),
        ({"a": ""}, {"constants": {"a": "x", "b": "y"}}, {"a": "", "b": "y"}),
        ({}, {"constants": {"custom_fields.a": False}}, {"custom_fields": {"a": False}}),
    ],
)
def test_a_record_is_seen_as_the_rules_say(record, rules, seen):
    assert applied(record, **rules) == seen


def test_without_rules_the_bytes_stay_the_same():
    raw = b'{"email":"a@example.com"}'

    assert FieldMapping().apply(raw) is raw
