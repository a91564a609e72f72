"""The examples of the pages run: Python against a server and the sandbox, TOML as settings."""

import ast
import inspect
import tomllib
from collections import defaultdict

import pytest
from support.pages import ROOT, blocks, text_of
from support.stage import KEY
from support.stand_in import client_of

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.providers.registry import REGISTRY, maker

KINDS = {"sh", "text", "python", "python fragment", "toml", "toml fragment", "json", "mermaid"}
#: The list that examples name.
SHOWN_LIST = "8d1b0a0e-3f7e-4b52-9d0f-0f4f6a3d2c11"


def by_page(info):
    found = defaultdict(list)
    for block in blocks(info):
        found[block.page].append(block)
    return found


def test_every_block_is_of_a_kind_that_is_checked():
    assert [str(block) for block in blocks() if block.info not in KINDS] == []


@pytest.fixture
def known_list(sandbox):
    """A list of the account; the platform gives its id, so the examples cannot know it."""
    with client_of(sandbox, token=KEY) as client:
        return client.post("/v3/marketing/lists", json={"name": "readers"}).json()["id"]


@pytest.fixture
def engine(make_harness, sandbox):
    """The destinations that the examples name."""
    return make_harness(
        destinations={
            "sendgrid": {},
            "newsletter": {"unknown_fields": "create"},
            "product": {"platform": "loops", "api_key": KEY, "base_url": f"{sandbox.url}/api"},
        }
    )


@pytest.mark.parametrize("page", by_page("python"))
def test_the_python_examples_of_a_page_do_what_they_say(page, engine, sandbox, known_list):
    names = {"__name__": "example"}
    for block in by_page("python")[page]:
        # Blank lines before it, so that a traceback names the line of the page.
        text = "\n" * (block.line - 1) + block.text.replace(SHOWN_LIST, known_list)
        code = compile(text, block.page, "exec")
        exec(code, names)

    names = engine.engine.destinations
    moving = ("waiting", "held", "batched")
    engine.run_until(lambda: not any(engine.books(name)[state] for name in names for state in moving))

    assert [engine.books(name)["failed"] for name in names if name != "product"] == [0, 0]
    engine.assert_books_balance()
    ada = next(contact for contact in sandbox.contacts() if contact["email"] == "ada@example.com")
    assert list(ada["custom_fields"].values()) == (["pro"] if '"plan": "pro"' in text_of(ROOT / page) else [])


@pytest.mark.parametrize("block", blocks("python fragment"), ids=str)
def test_a_python_fragment_compiles(block):
    compile(block.text, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", blocks("toml fragment"), ids=str)
def test_a_toml_fragment_is_toml(block):
    assert tomllib.loads(block.text)


def secrets(tables):
    """The variables that the tables of destinations name."""
    return {value for table in tables.values() for name, value in table.items() if name.endswith("_env")}


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_configuration_example_is_accepted(block, tmp_path, monkeypatch):
    path = tmp_path / "contact-ingest.toml"
    path.write_text(block.text)
    monkeypatch.setenv("CONTACT_INGEST_CONFIG", str(path))
    for name in secrets(tomllib.loads(block.text)["destinations"]):
        monkeypatch.setenv(name, "a-secret")

    engine = Engine(Settings.load())
    engine.validate()

    assert set(engine.destinations) == set(tomllib.loads(block.text)["destinations"])


def test_the_configuration_examples_show_every_platform_and_every_common_setting():
    tables = [table for block in blocks("toml") for table in tomllib.loads(block.text)["destinations"].values()]

    assert {table["platform"] for table in tables} == set(REGISTRY)
    assert set(Destination.model_fields) <= {name for table in tables for name in table}
    assert all(set(table) <= known(table["platform"]) for table in tables)


def known(platform):
    parameters = inspect.signature(maker(platform)).parameters
    return {*Destination.model_fields, *parameters, *(f"{name}_env" for name in parameters)}
