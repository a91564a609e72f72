"""Every code has one owner and one sentence, and the code of the product uses no other."""

import ast
import re
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from contact_ingest.cli import app
from contact_ingest.model.failure_codes import (
    FAMILIES,
    FailureCode,
    http_code,
    reply_code,
    token_code,
    unexpected_code,
)

ROOT = Path(__file__).parents[2]
OWNER = ROOT / "worker" / "model" / "failure_codes.py"
#: The sandbox plays the platforms and shares nothing with the engine; the demonstration expects codes as a user does.
PRODUCT = [
    path
    for path in sorted([*ROOT.glob("worker/**/*.py"), *ROOT.glob("tasks/*.py")])
    if path != OWNER and not {"sandbox", "demo"} & set(path.relative_to(ROOT).parts)
]
#: What carries a code, and the position of the code among its arguments.
CARRIERS = {
    **dict.fromkeys(("RowError", "Rejected", "AllFailed", "Retry", "Stop", "FailureReason"), 0),
    **dict.fromkeys(("NotSent", "FateUnknown", "NoToken"), 0),
    "Refused": 2,
}
#: Codes that are plain English words too: such a text may mean something else.
WORDS = {
    "null",
    "empty",
    "write",
    "stopped",
    "reset",
    "closed",
    "connect",
    "pool",
    "invalid",
    "internal",
    "token",
    "dns",
    "tls",
}
#: A text that begins as a family of codes does.
FAMILY = re.compile(r"f['\"](http|reply|token|unexpected)_\{")


def literals_at_code_positions(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        given = node.args[CARRIERS[name] : CARRIERS[name] + 1] if name in CARRIERS else []
        given += [keyword.value for keyword in node.keywords if name in CARRIERS and keyword.arg == "code"]
        yield from (part for code in given for part in branches(code) if isinstance(part, ast.Constant | ast.JoinedStr))


def branches(expression):
    """What an expression may come to: both sides of a conditional one."""
    if isinstance(expression, ast.IfExp):
        return [*branches(expression.body), *branches(expression.orelse)]
    return [expression]


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_is_written_as_text(path):
    tree = ast.parse(path.read_text())
    codes = {code.value for code in FailureCode} - WORDS
    spelled = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in codes]
    made = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and FAMILY.match(ast.unparse(node))]

    assert [node.lineno for node in (*literals_at_code_positions(tree), *spelled, *made)] == []


def test_every_code_is_used():
    text = "".join(path.read_text() for path in PRODUCT)

    assert [code.name for code in FailureCode if not re.search(rf"\bFailureCode\.{code.name}\b", text)] == []


def test_every_code_has_one_plain_sentence():
    sentences = [*(code.sentence for code in FailureCode), *FAMILIES.values()]

    assert len(set(sentences)) == len(sentences)
    assert [text for text in sentences if not re.fullmatch(r"[A-Z][^.]*\.", text)] == []


def test_a_code_is_its_wire_value_wherever_it_goes():
    assert FailureCode.BAD_EMAIL == "bad_email"
    assert orjson.loads(orjson.dumps({"code": FailureCode.BAD_EMAIL})) == {"code": "bad_email"}
    assert f"{FailureCode.BAD_EMAIL}" == "bad_email"
    assert repr(FailureCode.BAD_EMAIL) == "'bad_email'"
    assert FailureCode("bad_email") is FailureCode.BAD_EMAIL


def test_the_families_are_what_their_makers_make():
    made = {http_code(503), reply_code(2004), token_code(503), token_code("deadline"), unexpected_code(KeyError())}

    assert made == {"http_503", "reply_2004", "token_503", "token_deadline", "unexpected_KeyError"}
    assert {code.partition("_")[0] for code in made} == {name.partition("_")[0] for name in FAMILIES}


def test_the_command_prints_every_code_with_its_sentence():
    shown = CliRunner().invoke(app, ["failures", "codes", "--json"])
    table = CliRunner().invoke(app, ["failures", "codes"])

    assert shown.exit_code == table.exit_code == 0
    assert orjson.loads(shown.output) == {**{code.value: code.sentence for code in FailureCode}, **FAMILIES}
    assert [name for name in (*FailureCode, *FAMILIES) if name not in table.output] == []
