"""The README's examples run."""

import re
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from contact_ingest import enqueue
from contact_ingest.cli import app
from contact_ingest.config.settings import Destination
from contact_ingest.providers.registry import REGISTRY

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_examples_do_what_they_say(make_harness, sandbox):
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": "create"}})
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})

    harness.run_until_settled()

    stored = {contact["email"]: contact for contact in sandbox.contacts()}
    assert len(stored) == 10_001
    assert list(stored["ada@example.com"]["custom_fields"].values()) == ["pro"]


def test_the_configuration_example_is_accepted():
    for text in blocks("toml"):
        tables = tomllib.loads(text)["destinations"]
        assert {Destination(**table).platform for table in tables.values()} == set(REGISTRY)


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


SAMPLES = {
    "Text": "x",
    "numeric": 7,
    "shorttext": "x",
    "Number": 7,
    "Date": "2026-01-31",
    "string": "x",
    "number": 7,
    "boolean": True,
}
CELLS = {"`null`": None, '`""`': "", "`0`": 0, "`false`": False}


def cells():
    """The table of what null and the like mean: platform, type, value, what becomes of it."""
    rows = re.findall(r"^\| (sendgrid|loops|emarsys) \| (\w+) \| (.+) \|$", README, re.MULTILINE)
    for platform, kind, rest in rows:
        for heading, outcome in zip(CELLS, rest.split(" | "), strict=True):
            yield pytest.param(platform, kind, CELLS[heading], outcome, id=f"{platform}-{kind}-{heading.strip('`')}")


@pytest.fixture
def account(make_harness, sandbox):
    """An engine on one platform, whose account has a custom field `it` of this type."""

    def make(platform, kind):
        tables = {
            "sendgrid": {},
            "loops": {"platform": "loops", "api_key": "SG.test-key", "base_url": f"{sandbox.url}/api"},
            "emarsys": {
                "platform": "emarsys",
                "client_id": "sandbox-client",
                "client_secret": "sandbox-secret",
                "base_url": f"{sandbox.url}/api",
                "token_url": f"{sandbox.url}/oauth2/token",
            },
        }
        harness = make_harness(destinations={platform: tables[platform]})
        if platform == "emarsys":
            sandbox.dials(emarsys_fields=[{"id": 1001, "name": "it", "kind": kind}])
        else:
            sample = "2026-01-31" if kind in ("Date", "date") else SAMPLES[kind]
            harness.runtime.exchanger.send(harness.runtime.provider.create_field("it", sample), None)
        return harness

    return make


def stored(platform, sandbox):
    (contact,) = sandbox.contacts(platform)
    if platform == "loops":
        return contact.get("it")
    held = contact["custom_fields"] if platform == "sendgrid" else contact["fields"]
    return next((value for name, value in held.items() if name not in ("1", "3")), None)


@pytest.mark.parametrize(("platform", "kind", "value", "outcome"), list(cells()))
def test_null_empty_zero_and_false_mean_what_the_table_says(account, sandbox, platform, kind, value, outcome):
    harness = account(platform, kind)
    if outcome in ("resets", "empties"):
        enqueue({"email": "a@example.com", "custom_fields": {"it": SAMPLES.get(kind, "2026-01-31")}})
        harness.run_until_settled()
        assert stored(platform, sandbox) is not None
    enqueue({"email": "a@example.com", "custom_fields": {"it": value}})

    harness.run_until_settled()

    failed = [failure.stage for failure in harness.runtime.failures]
    assert failed == (["aggregate"] if outcome == "refused" else [])
    if outcome == "kept":
        assert str(stored(platform, sandbox)) == str(value)
    if outcome in ("resets", "empties"):
        assert stored(platform, sandbox) is None
