"""Output of all commands: results go to standard output, notes and progress to standard error.

Text from outside is made printable and is never read as markup. The exit codes are explained in `cli/__init__.py`.
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

#: A progress bar appears after so long.
PROGRESS_AFTER_S = 1.0
#: The width of a table that goes into a file or a pipe: it is not folded to the terminal.
PIPE_COLUMNS = 240


def examples(*lines: str) -> str:
    """The epilog of a command's help. `\\b` tells click to keep the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  contact-ingest {line}" for line in lines)


def say(text: str) -> None:
    """Print one line on standard output."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """Print one line on standard error."""
    typer.echo(printable(text), err=True)


def counted(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_json(value: Mapping[str, Any]) -> None:
    typer.echo(orjson.dumps(value).decode())


def printable(text: str) -> str:
    """The text on one line, with a blank for every control character: a terminal must not obey it."""
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


class ProgressBar:
    """A progress bar on standard error, if that is a terminal and the work takes longer than `PROGRESS_AFTER_S`.

    `total` is in the unit of `show`; None if it is unknown.
    """

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

    def show(self, done: int, words: str) -> None:
        """Draw the bar at `done` of the total, with `words` beside it."""
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
