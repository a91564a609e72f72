"""A hundred files of odd shape: each is read right, or refused with line, field and rule. Nothing is left out."""

import sys
from collections import Counter

import orjson
import pytest
from support.odd_file import MAX_RECORD_BYTES
from support.odd_files import make
from support.stage import KEY

from contact_ingest.errors import Refused
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.encode import prepare

SEED = 20261125
FILES = make(SEED)
FIELDS = {
    "sendgrid": {"visits": ("e1_N", "Number"), "since": ("e2_D", "Date"), "code": ("e3_T", "Text")},
    "loops": {
        "seats": ("seats", "number"),
        "isadmin": ("isAdmin", "boolean"),
        "since": ("since", "date"),
        "planname": ("planName", "string"),
    },
}


@pytest.fixture
def destinations(make_harness, sandbox):
    """A destination of each platform whose field definitions a worker has fetched."""
    loops = {"platform": "loops", "api_key": KEY, "base_url": f"{sandbox.url}/api"}
    harness = make_harness(destinations={"sendgrid": {}, "loops": loops}, max_record_bytes=MAX_RECORD_BYTES)
    for name, fields in FIELDS.items():
        runtime = harness.engine.runtime(name)
        runtime.custom_fields.cache.keep_field_table(FieldTable(fields, runtime.clock.now_ms()))
    return harness.engine


def refusals(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def what_goes_out(runtime, raw):
    """The contact that the platform gets, or the refusal at aggregation."""
    try:
        return orjson.loads(
            prepare(runtime.provider, runtime.field_mapping, raw, runtime.custom_fields.cached()).encoded
        )
    except Refused as refused:
        return refused


def check_refusals(found, expected):
    """Each refusal names the line, the field and the rule; the order is that of the file."""
    assert [(one["line"], one["field"]) for one in found] == [(one.line, one.field) for one in expected]
    for one, right in zip(found, expected, strict=True):
        assert right.rule in one["rule"], right


@pytest.mark.parametrize("odd", FILES, ids=[odd.name for odd in FILES])
def test_a_file_of_odd_shape_is_read_right_or_refused(cli, destinations, client, tmp_path, odd):
    path = tmp_path / odd.name
    path.write_bytes(odd.content)
    command = ["enqueue", path, "--to", odd.platform, *odd.options, "--json", "--rejects"]

    dry = cli(*command, tmp_path / "dry.jsonl", "--dry-run")
    run = cli(*command, tmp_path / "run.jsonl")

    waiting = client.lrange(f"contact-ingest:{{{odd.platform}}}:waiting:{odd.platform}", 0, -1)
    if odd.unreadable is not None:
        about, rule = odd.unreadable
        assert (dry.code, run.code, waiting) == (2, 2, [])
        assert dry.err == run.err
        assert run.err.startswith(f"error: {about or path}: ")
        assert rule in run.err
        return
    at_door = [one for one in odd.outcomes if one.where == "door"]
    assert (dry.err, run.err) == ("", "")
    check_refusals(refusals(tmp_path / "run.jsonl"), at_door)
    check_refusals(refusals(tmp_path / "dry.jsonl"), [one for one in odd.outcomes if one.where != "sent"])
    assert (run.json["accepted"], run.json["refused"]) == (dry.json["would_accept"], dry.json["refused"])
    assert run.json["accepted"] + run.json["refused"] == len(odd.outcomes)
    accepted = [one for one in odd.outcomes if one.where != "door"]
    assert len(waiting) == len(accepted) == run.json["accepted"]
    for raw, right in zip(waiting, accepted, strict=True):
        found = what_goes_out(destinations.runtime(odd.platform), raw)
        if right.contact is None:
            assert isinstance(found, Refused), right
            assert (found.field, right.rule in found.rule) == (right.field, True)
        else:
            assert found == right.contact, right.line


def test_the_files_are_a_hundred_of_many_kinds_and_the_same_seed_gives_the_same(capsys):
    again = make(SEED)
    kinds = Counter(kind for odd in FILES for kind in odd.kinds)
    outcomes = Counter(one.where for odd in FILES for one in odd.outcomes)

    with capsys.disabled():
        sys.stdout.write(f"\n{len(FILES)} files, {sum(outcomes.values())} records: {dict(outcomes)}\n")
        sys.stdout.write("; ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) + "\n")

    assert again == FILES
    assert len(FILES) == 100
    assert len(kinds) > 60
    assert min(outcomes[where] for where in ("sent", "door", "aggregation")) > 100
