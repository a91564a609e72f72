"""`failures`, `failures codes` and `failures export`: records that failed, and why. Contents only where asked for."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Annotated, BinaryIO

import orjson
import typer

from contact_ingest.cli.csv_export import Sheet, custom_names
from contact_ingest.cli.options import (
    BatchOption,
    CodeOption,
    FailureOptions,
    LaneOption,
    SinceOption,
    ToOption,
    UntilOption,
    open_engine,
    runtimes_of,
)
from contact_ingest.cli.output import counted, examples, note, say, show_json, show_table
from contact_ingest.errors import SettingError
from contact_ingest.model.failure import Failure
from contact_ingest.model.failure_codes import FAMILIES, FailureCode
from contact_ingest.sources.private_file import open_private

FORMATS = ("jsonl", "csv")
#: Lines of a table without --limit.
LINES = 50
_COLUMNS = ("record", "code", "stage", "batch", "attempts", "last_at")

group = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


def register(app: typer.Typer) -> None:
    app.add_typer(
        group,
        name="failures",
        epilog=examples(
            "failures",
            "failures --code bad_email --since 2h",
            "failures --batch 12 --json",
            "failures export all.jsonl",
        ),
    )


@group.callback()
def failures(
    context: typer.Context,
    to: ToOption = None,
    lane: LaneOption = None,
    code: CodeOption = None,
    batch: BatchOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="List at most N.")] = None,
    contents: Annotated[bool, typer.Option("--contents", help="With --json: show the contacts too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the records that failed, the one that failed longest ago first.

    `failures export` writes them to a file, with their contents. `failures codes` explains the codes.
    """
    options = FailureOptions(lane=lane, code=code, batch=batch, since=since, until=until)
    if context.invoked_subcommand is not None:
        if options.any_given or to or limit or contents or json:
            word = context.invoked_subcommand
            raise SettingError(f"failures {word}", f"put the options after the word {word}")
        return
    if contents and not json:
        raise SettingError("--contents", "is for --json, or use failures export FILE")
    found = _find(to, lane, options)
    if json:
        for failed in islice(found, limit):
            show_json(failed.public(contents=contents))
        return
    most = limit or LINES
    rows = [failed.public(contents=False) for failed in islice(found, most)]
    if not rows:
        say("No failed record.")
        return
    show_table(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows], numbers=("batch", "attempts"))
    if next(found, None) is not None:
        note(f"There are more than these {most}: use --limit, or failures export FILE.")


@group.command("codes", epilog=examples("failures codes", "failures codes --json"))
def codes(
    json: Annotated[bool, typer.Option("--json", help="One JSON object: code and sentence.")] = False,
) -> None:
    """List every code that a failure, a batch or a stopped destination can show, and what each means."""
    told = {**{code.value: code.sentence for code in FailureCode}, **FAMILIES}
    if json:
        show_json(told)
        return
    show_table(("code", "meaning"), [[code, told[code]] for code in sorted(told)])


@group.command(
    "export",
    epilog=examples("failures export failed.jsonl", "failures export failed.csv", "failures export - --code bad_email"),
)
def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file, or - for standard output.")],
    to: ToOption = None,
    lane: LaneOption = None,
    code: CodeOption = None,
    batch: BatchOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="jsonl or csv; by the file's ending, else jsonl.")
    ] = None,
) -> None:
    """Write failed records with their contents, as JSON lines or as CSV. Only its owner can read the file.

    JSON lines lose nothing. In CSV, a cell that a spreadsheet could execute gets an apostrophe in front.
    """
    kind = format_name or ("csv" if file.lower().endswith(".csv") else "jsonl")
    if kind not in FORMATS:
        raise SettingError("--format", f"is one of {', '.join(FORMATS)}")
    options = FailureOptions(lane=lane, code=code, batch=batch, since=since, until=until)
    found = _find(to, lane, options)
    custom = custom_names(_find(to, lane, options)) if kind == "csv" else set()
    with _open_new(file) as out:
        written, changed = _write_sheet(out, found, custom) if kind == "csv" else (_write_lines(out, found), 0)
    note(f"{counted(written, 'failed record')} written.")
    if changed:
        note(f"{counted(changed, 'cell')} made text with an apostrophe: a spreadsheet could execute what it held.")


def _write_lines(out: BinaryIO, found: Iterator[Failure]) -> int:
    written = 0
    for failed in found:
        out.write(orjson.dumps(failed.public(contents=True), option=orjson.OPT_APPEND_NEWLINE))
        written += 1
    return written


def _write_sheet(out: BinaryIO, found: Iterator[Failure], custom: set[str]) -> tuple[int, int]:
    sheet, written = Sheet(out, custom), 0
    for failed in found:
        sheet.add(failed)
        written += 1
    sheet.close()
    return written, sheet.changed


def _find(to: str | None, lane: str | None, options: FailureOptions) -> Iterator[Failure]:
    """The failures that the options select. A wrong option raises now, not when the first failure is read."""
    chosen = [(runtime, options.filter_for(runtime)) for runtime in runtimes_of(open_engine(), to, lane)]
    return (failed for runtime, selected in chosen for failed in runtime.retrier.find(selected))


def _open_new(file: str) -> AbstractContextManager[BinaryIO]:
    if file == "-":
        return nullcontext(sys.stdout.buffer)
    try:
        return open_private(file)
    except OSError as problem:
        raise SettingError(file, problem.strerror or "cannot be written") from None
