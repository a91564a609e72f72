"""What the commands share when they speak: results to standard output, remarks and progress to standard error.

Text that came from outside is made printable and never read as markup.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_TIMED_OUT = 3
EXIT_MIDWAY = 4
EXIT_UNEXPECTED = 70
EXIT_INTERRUPTED = 130

#: Nothing is drawn for what takes less.
PROGRESS_AFTER_S = 1.0
#: A table that goes into a file or a pipe is not folded.
PIPE_COLUMNS = 240


def examples(*lines: str) -> str:
    """The end of a command's help: `\\b` keeps the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  contact-ingest {line}" for line in lines)


def say(text: str) -> None:
    typer.echo(printable(text))


def note(text: str) -> None:
    """One line on standard error."""
    typer.echo(printable(text), err=True)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_json(value: Mapping[str, Any]) -> None:
    typer.echo(orjson.dumps(value).decode())


def printable(text: str) -> str:
    """One line that no terminal obeys."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    return made


def console() -> Console:
    out = Console()
    return out if out.is_terminal else Console(width=PIPE_COLUMNS)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    console().print(table(columns, rows, numbers=numbers))


class Bar:
    """Progress on a terminal's standard error, once something has lasted; elsewhere nothing at all."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._since_s = time.monotonic()
        self._shown: Progress | None = None
        self._console = Console(stderr=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()

    @property
    def is_drawn(self) -> bool:
        return self._console.is_terminal

    def at(self, done: int, words: str) -> None:
        if self._shown is None:
            if not self._console.is_terminal or time.monotonic() - self._since_s < PROGRESS_AFTER_S:
                return
            self._shown = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                *([BarColumn(), TimeRemainingColumn()] if self._total is not None else []),
                console=self._console,
                transient=True,
            )
            self._shown.add_task(self._what, total=self._total)
            self._shown.start()
        self._shown.update(self._shown.task_ids[0], completed=done, description=printable(f"{self._what}: {words}"))
