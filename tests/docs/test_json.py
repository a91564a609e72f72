"""The JSON that docs/cli.md shows has the keys that the commands print."""

import json
import re
import shlex

import pytest
from support.pages import ROOT, text_of
from typer.testing import CliRunner

from contact_ingest import enqueue
from contact_ingest.cli import app

PAGE = text_of(ROOT / "docs" / "cli.md")
SHOWN = {
    line: json.loads(text)
    for line, text in re.findall(
        r"^### `contact-ingest ([^`\n]+)`\n\n```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
}
#: What a call needs beside the words of the heading.
MORE = {
    "enqueue --json": "FILE --to newsletter",
    "batch 12 --json": "",
    "retry --json": "--all --dry-run",
    "cancel --json": "newsletter 1",
}
#: Objects with names of the user's own: settings, destinations.
OWN_NAMES = {"settings", "destinations"}


def shape(value):
    """The keys of an object, and those of the objects inside; of a list its first element."""
    if isinstance(value, dict):
        return {name: None if name in OWN_NAMES else shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


@pytest.fixture
def used(make_harness):
    """A destination with one record delivered and one failed."""
    harness = make_harness(destinations={"newsletter": {}})
    enqueue([{"email": "ada@example.com"}, {"email": "grace@example.com", "first_name": "x" * 51}])
    harness.run_until_settled()
    assert harness.books()["failed"] == 1
    return harness


def test_the_page_shows_the_json_of_every_command_that_has_it():
    assert len(SHOWN) >= 9


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_prints_the_keys_that_the_page_shows(line, used, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text("email,Notes\nmax@example.com,x\n,x\n")
    words = [str(file) if word == "FILE" else word for word in shlex.split(f"{line} {MORE.get(line, '')}")]
    words = ["1" if word == "12" else word for word in words]

    done = CliRunner().invoke(app, words)

    printed = json.loads(done.stdout if "doctor" in line else done.stdout.splitlines()[0])
    assert shape(printed) == shape(SHOWN[line])
