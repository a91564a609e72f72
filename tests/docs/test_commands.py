"""Every command line that the pages show is one that the program takes."""

import re
from pathlib import Path

import pytest
import typer
from support.pages import PAGES, PROGRAM, ROOT, blocks, calls, code_spans, mentions, text_of

import benchmarks.__main__ as benchmarks
from contact_ingest.cli import app, output

#: Words that stand for a number that somebody puts there. What stands in brackets may be left out.
NUMBERS = {"ID", "N", "S", "BATCH_ID"}
GROUP = typer.main.get_command(app)


def resolve(words):
    """The name and the command that the words call, and the words left for it."""
    command, left, name = GROUP, list(words), PROGRAM
    while hasattr(command, "commands") and left and not left[0].startswith("-"):
        if left[0] not in command.commands:
            raise typer.BadParameter(f"{name} has no command {left[0]}")
        name = f"{name} {left[0]}"
        command = command.commands[left.pop(0)]
    return name, command, left


def problem(words, *, complete=True):
    """What the program would say of these words, or an empty text. Nothing is run. A call that is not `complete` may
    leave arguments out."""
    words = ["12" if word in NUMBERS else word for word in words if not word.startswith("[")]
    if not words or words[0] == "COMMAND" or "--help" in words or "--version" in words:
        return ""
    try:
        name, command, left = resolve(words)
        command.make_context(name, left, resilient_parsing=hasattr(command, "commands"))
    except Exception as wrong:  # noqa: BLE001 - the parser's own errors differ from release to release
        said = str(wrong)
        return "" if not complete and said.startswith("Missing ") else said or type(wrong).__name__
    return ""


def cases(found):
    return [pytest.param(where, words, id=f"{where} {' '.join(words)}"[:80]) for where, words in found]


@pytest.mark.parametrize(("where", "words"), cases(calls()))
def test_a_command_that_the_pages_show_is_understood(where, words):
    assert problem(words) == "", where


@pytest.mark.parametrize(("where", "words"), cases(mentions()))
def test_a_command_that_the_pages_mention_is_understood(where, words):
    assert problem(words, complete=False) == "", where


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flash"], "has no command flash"),
        (["flush", "--hard"], "--hard"),
        (["batch", "twelve"], "integer"),
        (["batch"], "Missing"),
        (["demo", "--to", "mars"], "mars"),
        (["failures", "import"], "has no command import"),
        (["failures", "export", "all.csv", "--contents"], "--contents"),
    ],
)
def test_a_command_line_that_is_none_is_found(words, said):
    assert said in problem(words)


def test_every_exit_code_is_explained():
    codes = {value for name, value in vars(output).items() if name.startswith("EXIT_")}
    page = text_of(ROOT / "docs" / "cli.md")

    assert [code for code in sorted(codes) if f"\n| {code} | " not in page] == []


def test_every_script_that_the_pages_run_with_python_exists():
    words = [line.split() for block in blocks() if block.info in ("sh", "text") for line in block.text.splitlines()]
    words += [span.split() for page in PAGES for span in code_spans(page)]
    scripts = {line[1] for line in words if len(line) > 1 and line[0] == "python" and not line[1].startswith("-")}

    assert scripts
    assert [name for name in sorted(scripts) if not (ROOT / Path(name)).exists()] == []


def test_the_benchmarks_that_the_pages_name_are_all_there_are():
    spans = [span for page in PAGES for span in code_spans(page)]
    named = {name for span in spans for name in re.findall(r"python -m benchmarks ([a-z_]+)", span)}

    assert named == set(benchmarks.NAMES)
