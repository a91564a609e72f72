"""The command line: `contact-ingest`. Each module here registers one command, or two that belong together.

Exit codes: 0 all is well, 1 something is wrong or was refused, 2 wrong use, wrong settings or no Redis, 3 the time is
up or records are still in flight, 4 stopped midway, 70 a bug in this program, 130 interrupted. An error is one line on
standard error, without traceback and without contents.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import typer
from redis.exceptions import RedisError

from contact_ingest.cli import (
    batches,
    cancel,
    demo,
    doctor,
    enqueue,
    erase,
    failures,
    flush,
    migrate,
    pause,
    retry,
    sandbox,
    status,
)
from contact_ingest.cli.output import EXIT_INTERRUPTED, EXIT_UNEXPECTED, EXIT_USAGE, note
from contact_ingest.errors import IngestError
from contact_ingest.sandbox.redis_server import EmbeddedUnavailable
from contact_ingest.store.redis_server import describe_problem

PROGRAM = "contact-ingest"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Raw contact records in, platform imports followed to their end.",
    epilog="`contact-ingest COMMAND --help` explains a command and gives examples.",
)
for module in (demo, enqueue, status, batches, failures, retry, flush, migrate, pause, cancel, erase, doctor, sandbox):
    module.register(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(version(PROGRAM))
        raise typer.Exit


@app.callback()
def options(
    _version: bool = typer.Option(False, "--version", is_eager=True, callback=_show_version, help="Print the version."),
) -> None:
    """Raw contact records in, platform imports followed to their end."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        app(list(arguments), prog_name=PROGRAM)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (IngestError, EmbeddedUnavailable) as problem:
        note(f"error: {problem}")
        return EXIT_USAGE
    except RedisError as problem:
        note(f"error: REDIS_URL: {describe_problem(problem)}")
        return EXIT_USAGE
    except Exception as problem:  # noqa: BLE001 - the text of an unknown exception may quote a contact
        note(f"error: {type(problem).__name__} at {_code_line(problem)}: this is a bug, please report it")
        return EXIT_UNEXPECTED
    return 0


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def _code_line(problem: Exception) -> str:
    """The innermost line of this package in the traceback, such as `loader.py:120`."""
    found, trace = "an unknown line", problem.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("contact_ingest."):
            found = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
