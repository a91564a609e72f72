"""The README's examples run."""

import re
import tomllib
from pathlib import Path

import typer
from typer.testing import CliRunner

from worker.cli import app
from worker.settings import Destination

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_examples_do_what_they_say(make_engine, sandbox):
    engine = make_engine(destinations={"sendgrid": {"unknown_fields": "create"}})
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})

    engine.run_until_settled()

    stored = {contact["email"]: contact for contact in sandbox.contacts()}
    assert len(stored) == 10_001
    assert list(stored["ada@example.com"]["custom_fields"].values()) == ["pro"]


def test_the_configuration_example_is_accepted():
    for text in blocks("toml"):
        for table in tomllib.loads(text)["destinations"].values():
            table["api_key"] = table.pop("api_key_env")
            assert Destination(**table).platform == "sendgrid"


def test_every_command_line_in_the_readme_is_understood():
    runner = CliRunner()
    known = typer.main.get_command(app).commands
    for line in re.findall(r"`contact-ingest ([^`]+)`", README):
        name = line.split()[0]
        assert name in known, line
        options = [word for word in line.split() if word.startswith("--")]
        shown = "".join(
            runner.invoke(app, [*words, "--help"]).stdout
            for words in ([name], [w for w in line.split()[:2] if w.isalpha()])
        )
        assert [option for option in options if option not in shown] == [], line
