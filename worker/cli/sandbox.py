"""`sandbox`: runs the strict stand-in of the platforms in the foreground, to send to without an account."""

import contextlib
import importlib
import io
import json as jsonlib
import os
import socket
from typing import Annotated, Any

import typer

from contact_ingest.cli.demo.platforms import emarsys_variables, loops_variables, sendgrid_variables
from contact_ingest.cli.output import examples, printable
from contact_ingest.errors import SettingError

NEEDS = "needs more packages: pip install 'contact-ingest[demo]'"
ANY_KEY = "SG.sandbox"


def register(app: typer.Typer) -> None:
    app.command(
        "sandbox",
        epilog=examples("sandbox --port 8025", "sandbox --dial rate_5xx=0.1 --dial job_seconds=[0.5,2]"),
    )(sandbox)


def sandbox(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free port.")] = 0,
    key: Annotated[str | None, typer.Option("--key", help="Accept this API key only; otherwise any.")] = None,
    dial: Annotated[
        list[str] | None, typer.Option("--dial", metavar="NAME=JSON", help="Make something go wrong; repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON: url and pid.")] = False,
) -> None:
    """Run a stand-in of the platforms on this machine, until Ctrl-C."""
    dials = dict(map(_dial, dial or []))
    try:
        server = importlib.import_module("contact_ingest.sandbox.server")
        wrong = importlib.import_module("contact_ingest.sandbox.dials").DialError
    except ImportError:
        raise SettingError("sandbox", NEEDS) from None
    try:
        listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    except OSError as problem:
        raise SettingError("--port", f"{port}: {os.strerror(problem.errno or 0)}") from None
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    # The server prints its address as JSON when it is ready. Connections made before that wait in the socket.
    silenced = contextlib.nullcontext() if json else contextlib.redirect_stdout(io.StringIO())
    try:
        if not json:
            _greet(url, key)
        with silenced:
            server.serve(fd=listening.detach(), keys=[key] if key else [], dials=dials)
    except wrong as problem:
        raise SettingError("--dial", str(problem)) from None


def _greet(url: str, key: str | None) -> None:
    """Print the address and the variables to export, in one piece: a reader of the pipe gets all of it or nothing."""
    made = (sendgrid_variables, loops_variables, emarsys_variables)
    variables = (item for make in made for item in make(url, key or ANY_KEY).items())
    exports = "".join(f"\nexport {name}={printable(value)}" for name, value in variables)
    typer.echo(f"The sandbox listens on {url} until Ctrl-C. For the programs that send to it:{exports}")


def _dial(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, jsonlib.loads(value)
    except ValueError:
        raise SettingError("--dial", f"{name}: the value is not JSON") from None
