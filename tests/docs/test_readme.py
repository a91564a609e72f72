"""The README is short, its two commands work, and each promise names the test that holds it."""

import re
import tomllib

import pytest
from support.pages import README, ROOT, blocks, text_of

TEXT = text_of(README)
PROMISES = re.findall(r"^(\d+)\. \*\*(.+?)\.\*\* .+ `(tests/\S+)`$", TEXT, re.MULTILINE)
LONGEST = 130


def test_the_readme_is_short():
    assert len(TEXT.splitlines()) <= LONGEST


def test_the_first_two_commands_are_the_demonstration_and_the_tests():
    first, second = (block.text for block in blocks("sh") if block.page == "README.md")

    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert first.endswith(" && .venv/bin/contact-ingest demo\n")
    assert second.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert second.endswith(" && .venv/bin/python -m pytest\n")


def test_the_extras_that_the_readme_names_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {extra for group in re.findall(r"'\.\[([a-z,]+)\]'", TEXT) for extra in group.split(",")}

    assert named == set(project["optional-dependencies"])


def test_ten_promises_stand_in_order_in_the_readme_and_in_full_in_the_page_on_reliability():
    full = re.findall(r"^\*\*(\d+)\. (.+?)\.\*\*", text_of(ROOT / "docs" / "reliability.md"), re.MULTILINE)

    assert [number for number, _, _ in PROMISES] == [str(number) for number in range(1, 11)]
    assert [(number, name) for number, name, _ in PROMISES] == full


@pytest.mark.parametrize(("number", "path"), [(number, path) for number, _, path in PROMISES])
def test_a_promise_names_a_file_of_tests(number, path):
    assert re.search(r"^(async )?def test_", (ROOT / path).read_text(), re.MULTILINE), number


def test_no_page_speaks_of_how_it_was_made():
    words = ("/" + "work/", "/" + "root/", "/" + "tmp/", "pypi" + ".org")

    assert [word for word in words for page in [README, *(ROOT / "docs").iterdir()] if word in text_of(page)] == []
