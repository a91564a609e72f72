"""The doctor's rounds and what they found."""

import socket

import orjson
import typer
from typer.testing import CliRunner

from contact_ingest.cli.doctor import register

KEY = "SG.test-key"
LANE = "sendgrid"


def run(*arguments: str):
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def wrong(*arguments: str) -> dict[str, tuple[str, str]]:
    """The findings of a round that has some: what each is about, what it says, and its remedy."""
    ended = run("doctor", "--json", *arguments)
    assert ended.exit_code == 1, ended.output
    found = [finding for finding in orjson.loads(ended.stdout)["findings"] if finding["level"] == "wrong"]
    assert all(finding["remedy"] for finding in found)
    return {finding["about"]: (finding["says"], finding["remedy"]) for finding in found}


def notes() -> dict[str, str]:
    found = orjson.loads(run("doctor", "--json").stdout)["findings"]
    return {finding["about"]: finding["says"] for finding in found if finding["level"] == "note"}


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
