"""The command line as tests call it: in this process, with what it printed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pytest

from contact_ingest.cli import run


class Said(NamedTuple):
    """What one command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as one JSON value a line."""
        return [orjson.loads(line) for line in self.out.splitlines()]


def command_line(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`command_line(capsys)("status", "--json")` runs one command. Arguments may be paths and numbers."""

    def call(*args: object) -> Said:
        code = run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call
