"""The tables of docs/enqueue.md are true: which field each platform has, and what null and the like mean."""

import re

import orjson
import pytest
from pydantic import SecretStr
from support.pages import ROOT, text_of
from support.platform_api import post
from support.stage import KEY

from contact_ingest import enqueue
from contact_ingest.errors import Refused
from contact_ingest.model.record import FIELDS
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.providers import registry

PAGE = text_of(ROOT / "docs" / "enqueue.md")
PLATFORMS = ("sendgrid", "loops", "emarsys")
SECRETS = {
    "sendgrid": {"api_key": SecretStr("k")},
    "loops": {"api_key": SecretStr("k")},
    "emarsys": {"client_id": SecretStr("k"), "client_secret": SecretStr("k")},
}
#: Values of fields that are no plain text.
FIELD_SAMPLES = {
    "email": "a@example.com",
    "alternate_emails": ["b@example.com"],
    "phone": "+4930123456",
    "phone_number": "+4930123456",
    "subscribed": True,
    "mailing_lists": {"list": True},
    "opt_in": True,
    "custom_fields": {},
}


def field_rows():
    """The table below the heading Fields: name, then a cell for each platform."""
    section = PAGE.partition("\n## Fields\n")[2].partition("\n## ")[0]
    lines = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") if at == 0 else cell.strip() for at, cell in enumerate(line)] for line in lines]


def field_cells():
    for name, *cells in field_rows():
        for platform, cell in zip(PLATFORMS, cells, strict=True):
            yield pytest.param(platform, name, cell, id=f"{platform}-{name}")


def test_the_table_of_fields_has_every_field():
    assert {name for name, *_ in field_rows()} == FIELDS


@pytest.mark.parametrize(("platform", "name", "cell"), list(field_cells()))
def test_a_platform_has_the_fields_that_the_table_says(platform, name, cell):
    more = {"external_id_field": "1001"} if cell == "with `external_id_field`" else {}
    provider = registry.build(platform, **SECRETS[platform], **more)
    record = {"email": "a@example.com", name: FIELD_SAMPLES.get(name, "x")}

    try:
        provider.prepare(orjson.dumps(record), FieldTable({}, 1))
        has_it = True
    except Refused as refused:
        has_it = refused.code != "unknown_field"

    assert has_it == bool(cell)
    if more:
        with pytest.raises(Refused, match="external_id_field"):
            registry.build(platform, **SECRETS[platform]).prepare(orjson.dumps(record), FieldTable({}, 1))


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


def value_cells():
    """The table of what null and the like mean: platform, type, value, what becomes of it."""
    for platform, kind, rest in re.findall(r"^\| (sendgrid|loops|emarsys) \| (\w+) \| (.+) \|$", PAGE, re.MULTILINE):
        for heading, outcome in zip(CELLS, rest.split(" | "), strict=True):
            yield pytest.param(platform, kind, CELLS[heading], outcome, id=f"{platform}-{kind}-{heading.strip('`')}")


@pytest.fixture
def account(make_harness, sandbox):
    """An engine on one platform, whose account has a custom field `it` of this type."""

    def make(platform, kind):
        tables = {
            "sendgrid": {},
            "loops": {"platform": "loops", "api_key": KEY, "base_url": f"{sandbox.url}/api"},
            "emarsys": {
                "platform": "emarsys",
                "client_id": "sandbox-client",
                "client_secret": "sandbox-secret",
                "base_url": f"{sandbox.url}/api",
                "token_url": f"{sandbox.url}/oauth2/token",
            },
        }
        if platform == "emarsys":
            sandbox.dials(emarsys_fields=[{"id": 1001, "name": "it", "kind": kind}])
        elif platform == "loops":
            post(f"{sandbox.url}/api/v1/contacts/properties", {"name": "it", "type": kind})
        else:
            post(f"{sandbox.url}/v3/marketing/field_definitions", {"name": "it", "field_type": kind})
        return make_harness(destinations={platform: tables[platform]})

    return make


def stored(platform, sandbox):
    (contact,) = sandbox.contacts(platform)
    if platform == "loops":
        return contact.get("it")
    held = contact["custom_fields"] if platform == "sendgrid" else contact["fields"]
    return next((value for name, value in held.items() if name not in ("1", "3")), None)


@pytest.mark.parametrize(("platform", "kind", "value", "outcome"), list(value_cells()))
def test_null_empty_zero_and_false_mean_what_the_table_says(account, sandbox, platform, kind, value, outcome):
    harness = account(platform, kind)
    if outcome in ("resets", "empties"):
        enqueue({"email": "a@example.com", "custom_fields": {"it": SAMPLES.get(kind, "2026-01-31")}})
        harness.run_until_settled()
        assert stored(platform, sandbox) is not None
    enqueue({"email": "a@example.com", "custom_fields": {"it": value}})

    harness.run_until_settled()

    failed = [failure.public(contents=False)["stage"] for failure in harness.runtime.failures]
    assert failed == (["aggregate"] if outcome == "refused" else [])
    if outcome == "kept":
        assert str(stored(platform, sandbox)) == str(value)
    if outcome in ("resets", "empties"):
        assert stored(platform, sandbox) is None


def test_the_table_of_values_speaks_of_every_platform():
    assert {param.values[0] for param in value_cells()} == set(PLATFORMS) == set(registry.REGISTRY)
