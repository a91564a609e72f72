"""The pages name what there is: paths and links that exist, and every word of the product somewhere."""

import ast
import re

import pytest
import typer
from support.pages import PAGES, PROGRAM, ROOT, all_text, anchors, code_spans, links, name_of, text_of

from contact_ingest.cli import app
from contact_ingest.config.destinations import PLATFORM_VARIABLES
from contact_ingest.config.settings import ENV_PREFIX, Destination, Settings
from contact_ingest.model import verdicts
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import FIELDS
from contact_ingest.operations.status import LaneState
from contact_ingest.providers import base
from contact_ingest.store import keys

FOLDERS = ("worker/", "tasks/", "tests/", "benchmarks/", "docs/", ".ci/")
STAGES = ("enqueue", "aggregate", "dispatch", "poll", "retry")


def paths_in(span):
    """The paths of the repository that a piece of code names."""
    return [word.partition("::")[0] for word in span.split() if word.startswith(FOLDERS)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_exists(page):
    named = [path for span in code_spans(page) for path in paths_in(span)]

    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page):
    lost = []
    for link in links(page):
        address, _, anchor = link.partition("#")
        target = (page.parent / address).resolve() if address else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)

    assert lost == []


def test_every_page_is_linked_from_the_readme():
    linked = {name_of((ROOT / link).resolve()) for link in links(ROOT / "README.md") if "://" not in link}

    assert {name_of(page) for page in PAGES[1:]} <= linked


def commands(group, prefix=""):
    for name, command in group.commands.items():
        yield f"{prefix}{name}"
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")


def variables():
    return [
        str(field.validation_alias or f"{ENV_PREFIX}{name.upper()}")
        for name, field in Settings.model_fields.items()
        if name != "destinations"
    ]


def key_families():
    """The kinds of keys, without the words in angle brackets behind them."""
    specs = [getattr(keys, name) for name in ("INSTALL_KEYS", "DESTINATION_KEYS", "ACCOUNT_KEYS")]
    return {spec.pattern for group in specs for spec in group}


NAMED = {
    "command": [f"{PROGRAM} {name}" for name in commands(typer.main.get_command(app))],
    "variable": variables(),
    "setting of a destination": list(Destination.model_fields),
    "field of a record": sorted(FIELDS),
    "stage": [*STAGES, *(f"contacts.{stage}" for stage in STAGES)],
    "book": list(keys.BOOKS),
    "key": sorted(key_families()),
    "script": sorted(path.stem for path in ROOT.glob("worker/store/lua/*.lua")),
    "code of a failure": [code.value for code in FailureCode],
    "state of a lane": [state.value for state in LaneState],
    "verdict": [kind.__name__ for kind in verdicts.Verdict.__args__],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMED.items() for name in names])
def test_every_word_of_the_product_is_in_the_pages(kind, name):
    assert re.search(
        rf"`[^`\n]*(?<![\w-]){re.escape(name)}(?![\w-])[^`\n]*`|\*\*{re.escape(name)}\*\*", all_text()
    ) or (name in text_of(ROOT / "docs" / "concepts.md")), f"no page names the {kind} {name}"


def members(protocol):
    """What a class that fulfils a protocol must have."""
    names = {name for each in protocol.__mro__ for name in (*vars(each), *vars(each).get("__annotations__", {}))}
    return {name for name in names if not name.startswith("_")}


def test_the_page_on_platforms_lists_the_members_of_the_core_and_of_each_capability():
    page = text_of(ROOT / "docs" / "adding-a-platform.md")
    core = set(re.findall(r"^\| `([a-z_]+)` \| ", page, re.MULTILINE))
    capabilities = re.findall(r"^\| `([A-Z]\w+)` \| ((?:`[a-z_]+`(?:, )?)+) \|", page, re.MULTILINE)

    assert "in under 120 lines" in page
    assert len((ROOT / "tests/support/toy.py").read_text().splitlines()) < 120
    assert core == members(base.Provider)
    assert {name for name, _ in capabilities} == {
        "ImportJobs",
        "CustomFields",
        "TableCells",
        "SameFields",
        "TokenAuth",
        "AccountLists",
        "FieldsInSettings",
    }
    for name, listed in capabilities:
        assert set(re.findall(r"`(\w+)`", listed)) == members(getattr(base, name)) - core


def test_the_acl_user_of_the_redis_page_may_do_what_the_tests_grant():
    from support import redis_acl  # noqa: PLC0415 - beside the comparison it is for

    page = text_of(ROOT / "docs" / "redis.md")
    blocks = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    block = next(text for text in blocks if "resetkeys" in text)
    words = block.split()

    assert {word[1:] for word in words if word.startswith("+")} == redis_acl.COMMANDS
    greetings = {f"+{command}" for commands in redis_acl.GREETINGS.values() for command in commands}
    assert all(command in page for command in greetings)
    granted = [
        channel.replace("&acl:", "&contact-ingest:") for channel in redis_acl.CHANNELS if channel.startswith("&")
    ]
    assert [word for word in words if word.startswith("&")] == granted
    assert all(f"+{command}" in page for command in redis_acl.COMMANDS_OF_THE_DOCTOR)


def test_every_variable_of_the_example_of_an_environment_exists():
    platforms = {name for names in PLATFORM_VARIABLES.values() for name in names.values()}
    found = re.findall(r"^#? ?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert "SENDGRID_API_KEY" in found
    assert set(found) <= {*variables(), *platforms, "COMPOSE_PROFILES"}


def test_the_codes_of_a_refusal_at_the_door_exist():
    page = text_of(ROOT / "docs" / "enqueue.md")
    codes = re.findall(r"^\| `([a-z_]+)` \| (?:is|has|holds) ", page, re.MULTILINE)

    assert len(codes) == 6
    assert set(codes) <= {code.value for code in FailureCode}


#: Words of this product that mean more here than elsewhere.
GLOSSARY = (
    *("lane", "books", "held", "batch", "root", "job", "verdict", "failure", "receipt", "lease", "fence", "permit"),
    *("probe", "claim", "wake-up", "ticker", "quarantine", "orphan", "unattributed", "breaker", "sandbox", "journal"),
    *("dials", "doctor", "superseded", "retention", "destination", "record", "contact", "poison", "fail point"),
)


@pytest.mark.parametrize("word", GLOSSARY)
def test_the_glossary_explains_a_word(word):
    rows = re.findall(r"^\| (\*\*.+?) \| .+ \|$", text_of(ROOT / "docs" / "concepts.md"), re.MULTILINE)

    assert any(f"**{word}**" in row for row in rows)


def subjects():
    """What the findings of the doctor are about, without the names of destinations and lanes."""
    for path in ROOT.glob("worker/operations/doctor/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
            if named and node.func.id in ("ok", "note", "wrong"):
                yield from literal(node.args[0])
            elif isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "about" for each in node.targets):
                yield from literal(node.value)


def literal(node):
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value.strip(": ") for part in parts if isinstance(part, ast.Constant)]
    return [text.removesuffix(" of") for text in texts if text]


@pytest.mark.parametrize("subject", sorted(set(subjects())))
def test_the_page_on_operations_explains_every_subject_of_the_doctor(subject):
    rows = re.findall(r"^\| (`.+?) \| ", text_of(ROOT / "docs" / "operations.md"), re.MULTILINE)

    assert any(f"`{subject}`" in row for row in rows)
