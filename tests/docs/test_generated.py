"""The generated parts of the pages are what the generator gives now."""

import importlib.util
import sys

import pytest
from support.pages import ROOT


def generator():
    """`docs/generate.py` as a module: docs/ is no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()


@pytest.mark.parametrize("page", GENERATOR.PAGES)
def test_the_generated_parts_of_a_page_are_those_of_the_code(page):
    text = (ROOT / "docs" / page).read_text()

    assert GENERATOR.generated(page, text) == text, f"docs/{page} is out of date: run `{GENERATOR.COMMAND}`"


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="needs one region commands"):
        GENERATOR.generated("cli.md", "# a page without marks")


@pytest.mark.parametrize("group", GENERATOR.PAGES["sandbox.md"])
def test_every_dial_says_what_it_means(group):
    rows = [line.strip("| ").split(" | ") for line in GENERATOR.PAGES["sandbox.md"][group]().splitlines()[2:]]

    assert rows
    assert [row[0] for row in rows if not row[-1].strip("` ")] == []


def test_every_setting_says_what_it_means():
    rows = [line.strip("| ").split(" | ") for line in GENERATOR.settings().splitlines()[2:]]

    assert [row[0] for row in rows if len(row) < 5 or not row[4].strip()] == []
