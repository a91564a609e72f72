"""The pages of the documentation as the tests of `tests/docs/` read them: README.md and docs/*.md.

A fenced block has an info string, such as `python` or `python fragment`. A *fragment* is shown and not run: a python
fragment has to compile, a toml fragment has to be TOML.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.product import ROOT

README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
PROGRAM = "contact-ingest"

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its page, the line of its first line of content, its info string and its content."""

    page: str
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def all_text() -> str:
    return "\n".join(map(text_of, PAGES))


@cache
def blocks(info: str | None = None) -> tuple[Block, ...]:
    """All blocks of all pages, or those with this info string, in the order in which they stand."""
    found = (
        Block(name_of(path), text_of(path).count("\n", 0, match.start()) + 2, match[1].strip(), match[2])
        for path in PAGES
        for match in _FENCE.finditer(text_of(path))
    )
    return tuple(block for block in found if info is None or block.info == info)


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text_of(path))


def code_spans(path: Path) -> list[str]:
    """What stands between single backticks."""
    return _CODE.findall(prose(path))


def links(path: Path) -> list[str]:
    return _LINK.findall(prose(path))


def anchors(path: Path) -> set[str]:
    """The headings of a page as addresses of a web page: lower case, hyphens, no punctuation."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(prose(path)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def mentions() -> Iterator[tuple[str, list[str]]]:
    """Every `contact-ingest ...` in a line of text, as (page, words behind the program's name)."""
    for path in PAGES:
        for span in code_spans(path):
            yield from ((name_of(path), words) for words in _commands(span))


def calls() -> Iterator[tuple[str, list[str]]]:
    """Every `contact-ingest ...` in a fenced block, as (where, words): somebody may copy it and run it."""
    for block in blocks():
        if block.info in ("sh", "text"):
            for line in block.text.splitlines():
                yield from ((str(block), words) for words in _commands(line))


def _commands(line: str) -> Iterator[list[str]]:
    """The calls of the program in one line of a shell; remarks, pipes and redirections end a call."""
    if PROGRAM not in line:
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = list(lexer)
    except ValueError:  # a line of output with an apostrophe, not a command
        return
    call: list[str] | None = None
    for word in [*words, ";"]:
        if call is not None and set(word) <= set("();<>|&"):
            yield call
            call = None
        elif call is not None:
            call.append(word)
        elif word == PROGRAM or word.endswith(f"/{PROGRAM}"):
            call = []
