# ruff: noqa: INP001 - docs/ holds pages and this script; it is no package
"""The generated parts of the pages in this folder: settings, destinations, platforms, commands, keys, codes.

    python docs/generate.py

The script rewrites what stands between `<!-- generated: NAME ... -->` and `<!-- end: NAME -->` and leaves the rest of
each page alone. Input: the classes `Settings` and `Destination`, the providers' parameters, the Typer application, the
lists of `store/keys.py` and `model/failure_codes.py`, and the groups of dials with the comments above them.
`tests/docs/test_generated.py` compares the pages with what this script gives now.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from contact_ingest.cli import app
from contact_ingest.config.destinations import PLATFORM_VARIABLES, SECRETS
from contact_ingest.config.settings import ENV_PREFIX, Destination, Settings
from contact_ingest.model.failure_codes import FAMILIES, FailureCode
from contact_ingest.providers.registry import COMMON, REGISTRY, maker
from contact_ingest.sandbox.dials import TrafficDials
from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.loops.dials import LoopsDials
from contact_ingest.sandbox.sendgrid.dials import SendGridDials
from contact_ingest.store import keys

DOCS = Path(__file__).resolve().parent
COMMAND = "python docs/generate.py"
PROGRAM = "contact-ingest"
KINDS = {"int": "NUMBER", "float": "NUMBER", "Path": "FILE", "str": "TEXT"}
EXPIRES = {"never": "", "always": "yes", "until commit": "until the commit"}
UNITS = {"_s": "seconds", "_bytes": "bytes"}


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Every variable of `Settings`: name, default, unit, range, description."""
    rows = [
        (f"`{variable(name, field)}`", default_of(field), unit_of(name), range_of(field), sentence(field.description))
        for name, field in Settings.model_fields.items()
        if name != "destinations"
    ]
    return table(("variable", "default", "unit", "range", "meaning"), rows)


def destination() -> str:
    """Every setting that destinations of all platforms have."""
    rows = [
        (f"`{name}`", default_of(field), range_of(field), sentence(field.description))
        for name, field in Destination.model_fields.items()
    ]
    nested = Destination.model_fields["fields"].annotation
    for name, field in getattr(nested, "model_fields", {}).items():
        rows.append((f"`fields.{name}`", default_of(field), "", sentence(field.description)))
    return table(("setting", "default", "values", "meaning"), rows)


def platforms() -> str:
    """The settings of each platform: where each may stand, and its default."""
    rows = []
    for platform in sorted(REGISTRY):
        variables = PLATFORM_VARIABLES.get(platform, {})
        for name, parameter in inspect.signature(maker(platform)).parameters.items():
            if name in COMMON:
                continue
            files = f"`{name}`, `{name}_env`" if name in SECRETS else f"`{name}`"
            default = "" if parameter.default in (parameter.empty, None, "") else f"`{parameter.default}`"
            named = f"`{variables[name]}`" if name in variables else ""
            rows.append((platform, files, named, default, "yes" if name in SECRETS else ""))
    return table(("platform", "in the file", "variable", "default", "secret"), rows)


def key_table() -> str:
    """Every kind of key in Redis: base and name, type, what it holds, whether it lapses by itself."""
    bases = (("P", keys.INSTALL_KEYS), ("D", keys.DESTINATION_KEYS), ("A", keys.ACCOUNT_KEYS))
    rows = [
        (base, f"`{spec.pattern}`", spec.type, sentence(spec.holds), EXPIRES[spec.expires])
        for base, specs in bases
        for spec in specs
    ]
    return table(("base", "key", "type", "holds", "expires"), rows)


def codes() -> str:
    """Every code of a failure, a retry or a stop, with its sentence."""
    named = [(f"`{code.value}`", code.sentence) for code in FailureCode]
    families = [(f"`{pattern}`", text) for pattern, text in FAMILIES.items()]
    return table(("code", "meaning"), [*named, *families])


def dials(group: type[msgspec.Struct]) -> str:
    """Every dial of a group: its default as JSON, its values, and the comment above it."""
    meanings = dict(commented_fields(inspect.getsource(group)))
    defaults = msgspec.to_builtins(group())
    hints = get_type_hints(group)
    rows = [
        (
            f"`{name}`",
            f"`{shortened(json.dumps(defaults[name]))}`",
            ", ".join(f"`{json.dumps(choice)}`" for choice in get_args(hints[name])) if is_literal(hints[name]) else "",
            sentence(meanings.get(name, "")),
        )
        for name in group.__struct_fields__
    ]
    return table(("dial", "default", "values", "meaning"), rows)


def commented_fields(source: str) -> Iterator[tuple[str, str]]:
    """Each field of a class with the `#:` comment above it."""
    comment: list[str] = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("#:"):
            comment.append(line.removeprefix("#:").strip())
        elif found := re.match(r"(\w+): ", line):
            yield found[1], " ".join(comment)
            comment = []


def shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def commands() -> str:
    """Every command with its purpose, its arguments and options, and its examples."""
    return "\n\n".join(command_page(words, command) for words, command in every_command())


def every_command() -> Iterator[tuple[str, Any]]:
    """Each command of the application with the words that call it, groups included."""
    yield from _below(PROGRAM, typer.main.get_command(app))


def _below(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "hidden", False):
            continue
        yield f"{words} {name}", command
        if hasattr(command, "commands"):
            yield from _below(f"{words} {name}", command)


def command_page(words: str, command: Any) -> str:
    arguments = " ".join(placeholder(each) for each in command.params if each.param_type_name == "argument")
    usage = f"{words} [OPTIONS] {arguments}".rstrip()
    hints = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    rows = [
        (f"`{name_of(each)}`", values_of(each, hints), default_text(each), sentence(each.help))
        for each in command.params
        if each.name != "help"
    ]
    parts = [f"### `{words}`", paragraphs(command.help), f"```text\n{usage}\n```"]
    if rows:
        parts.append(table(("argument or option", "value", "default", "meaning"), rows))
    if lines := example_lines(command.epilog):
        parts.append("```sh\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts)


def placeholder(argument: Any) -> str:
    shown = argument.metavar or str(argument.name).upper()
    shown = shown if argument.required else f"[{shown}]"
    return f"{shown}..." if argument.nargs == -1 or getattr(argument, "multiple", False) else shown


def name_of(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or str(param.name).upper())
    return ", ".join(param.opts)


def values_of(param: Any, hints: Mapping[str, Any]) -> str:
    """What an option takes: its choices, its placeholder, or the kind of value. Empty for a switch."""
    if param.param_type_name == "argument" or getattr(param, "is_flag", False):
        return ""
    kinds = [kind for kind in flat(hints.get(param.name, str)) if isinstance(kind, type)]
    for kind in kinds:
        if issubclass(kind, Enum):
            return ", ".join(f"`{choice.value}`" for choice in kind)
    shown = param.metavar or next((KINDS[kind.__name__] for kind in kinds if kind.__name__ in KINDS), "TEXT")
    return f"`{shown}`" + (", repeatable" if getattr(param, "multiple", False) else "")


def flat(hint: Any) -> Iterator[Any]:
    """The types a hint is made of: the members of unions and lists, without annotations."""
    if get_origin(hint) in (Union, UnionType, list):
        for inner in get_args(hint):
            yield from flat(inner)
    else:
        yield hint


def default_text(param: Any) -> str:
    default = param.default
    default = default.value if isinstance(default, Enum) else default
    return "" if default in (None, False, "", 0, "0") or callable(default) else f"`{default}`"


def example_lines(epilog: str | None) -> list[str]:
    return [line.strip() for line in (epilog or "").splitlines() if line.strip().startswith(PROGRAM)]


def paragraphs(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\b\n", "")


def variable(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or f"{ENV_PREFIX}{name.upper()}")


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    found = field.get_default(call_default_factory=True)
    found = found.get_secret_value() if isinstance(found, SecretStr) else found
    if found is None or found in ("", ()) or found == {} or hasattr(found, "model_fields_set"):
        return ""
    return f"`{str(found).lower() if isinstance(found, bool) else found}`"


def unit_of(name: str) -> str:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def range_of(field: FieldInfo) -> str:
    if is_literal(field.annotation):
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    limits = ("ge", "gt", "le")
    bounds = {name: getattr(each, name) for each in field.metadata for name in limits if hasattr(each, name)}
    low = f"from {bounds['ge']:,}" if "ge" in bounds else f"above {bounds['gt']:,}" if "gt" in bounds else ""
    return f"{low} to {bounds['le']:,}" if "le" in bounds else low


def is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def sentence(text: str | None) -> str:
    """One line. Outside code a word in angle brackets would be a tag of HTML, which a reader does not see."""
    parts = " ".join((text or "").split()).split("`")
    return "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(parts))


#: The regions of each page, by the name between their marks.
PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "configuration.md": {"settings": settings, "destination": destination, "platforms": platforms},
    "cli.md": {"commands": commands},
    "redis.md": {"keys": key_table},
    "operations.md": {"codes": codes},
    "sandbox.md": {
        "traffic": lambda: dials(TrafficDials),
        "sendgrid": lambda: dials(SendGridDials),
        "loops": lambda: dials(LoopsDials),
        "emarsys": lambda: dials(EmarsysDials),
    },
}


def generated(page: str, text: str) -> str:
    """The text of a page with its regions as they are to be now. Raises `ValueError` for a region without marks."""
    for name, make in PAGES[page].items():
        begin, end = f"<!-- generated: {name}, by {COMMAND} -->", f"<!-- end: {name} -->"
        region = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if len(region.findall(text)) != 1:
            raise ValueError(f"docs/{page} needs one region {name}: {begin} ... {end}")
        made = f"{begin}\n\n{make()}\n\n{end}"
        text = region.sub(lambda _, made=made: made, text)  # type: ignore[misc]
    return text


def main() -> None:
    for page in PAGES:
        path = DOCS / page
        text = path.read_text(encoding="utf-8")
        made = generated(page, text)
        path.write_text(made, encoding="utf-8")
        sys.stdout.write(f"{path.name}: {'unchanged' if made == text else 'written'}\n")


if __name__ == "__main__":
    main()
