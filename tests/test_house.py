"""The rules of the house as failing tests: contracts, sizes, lint, types, and documents that keep up with the code."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer
import yaml

from contact_ingest.cli import app
from contact_ingest.config.settings import Destination, Settings
from contact_ingest.failpoints import JOURNEY
from contact_ingest.providers.registry import REGISTRY

ROOT = Path(__file__).parent.parent
PRODUCT = sorted([*ROOT.glob("worker/**/*.py"), *ROOT.glob("tasks/*.py")])
README = (ROOT / "README.md").read_text()
#: Who may speak which protocol. Exceptions of a library are part of its language: those who only catch are listed too.
SPEAKERS = {
    "httpx": {"worker/transport.py"},
    "celery": {"tasks"},
    "redis": {"worker/store", "worker/connections.py", "worker/wiring.py", "worker/sites.py"},
    "starlette": {"worker/sandbox"},
    "uvicorn": {"worker/sandbox"},
}
CATCHERS = {
    "redis": {
        "worker/courier.py",
        "worker/intake.py",
        "tasks/bells.py",
        "tasks/enqueue.py",
        "tasks/standby.py",
        "tasks/ticker.py",
        "worker/cli",
        "worker/checks",
        "worker/checks_base.py",
    },
}


def run(*command):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_the_tree_is_clean_for(command):
    done = run(*command)

    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_follow_the_rooms():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("library", SPEAKERS)
def test_each_protocol_is_spoken_in_its_own_room(library):
    allowed = (*SPEAKERS[library], *CATCHERS.get(library, ()))
    speaking = set()
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.split(".")[0] == library for name in names):
                speaking.add(relative(path))

    assert speaking, "nobody speaks it: the list is out of date"
    assert [path for path in speaking if not path.startswith(allowed)] == []


def test_no_file_of_the_engine_names_a_platform():
    allowed = (
        "worker/providers/",
        "worker/sandbox/",
        "worker/destinations.py",
        "worker/cli/demo",
        "worker/cli/sandbox.py",
    )
    names = re.compile("|".join(REGISTRY), re.IGNORECASE)
    naming = [relative(p) for p in [*PRODUCT, *ROOT.glob("worker/**/*.lua")] if names.search(p.read_text())]

    assert [path for path in naming if not path.startswith(allowed)] == []


def test_files_stay_small():
    assert [relative(p) for p in PRODUCT if len(p.read_text().splitlines()) > 250] == []
    assert [relative(p) for p in ROOT.glob("worker/**/*.lua") if len(p.read_text().splitlines()) > 120] == []


def functions():
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_functions_stay_small_and_constructors_narrow():
    lengths = sorted(node.end_lineno - node.lineno + 1 for _, node in functions())
    wide = [
        f"{relative(path)}:{node.lineno}"
        for path, node in functions()
        if node.name == "__init__" and len(node.args.args) - 1 + len(node.args.kwonlyargs) > 6
    ]

    assert lengths[-1] <= 60
    assert lengths[len(lengths) * 9 // 10] <= 30
    assert wide == []


def test_nothing_is_left_unfinished():
    found = [
        f"{relative(path)}:{number}"
        for path in PRODUCT
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b|NotImplementedError|TYPE_CHECKING", line)
    ]

    assert found == []


def test_every_module_says_what_it_is_for():
    bare = [relative(path) for path in PRODUCT if not ast.get_docstring(ast.parse(path.read_text()))]

    assert bare == []


def commands(group, prefix=""):
    for name, command in group.commands.items():
        yield f"{prefix}{name}"
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")


def test_the_readme_names_every_command_setting_provider_and_step():
    named = [*commands(typer.main.get_command(app)), *REGISTRY, *Destination.model_fields]
    own = [name for name, field in Settings.model_fields.items() if field.validation_alias is None]
    named += [name.upper() for name in own if name not in ("destinations", "traps")]

    assert [name for name in named if name not in README] == []


def test_the_readmes_first_two_commands_are_the_demonstration_and_the_tests():
    first, second, *_ = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    assert "contact-ingest demo" in first
    assert "pytest" in second


def test_every_reference_of_the_compose_file_resolves():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    example = (ROOT / ".env.example").read_text()

    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in volumes
        if "build" in service:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
        for name in service.get("environment", {}):
            assert name in README or name in example, name
    for service in ("redis",):
        command = services[service]["command"]
        assert command[command.index("--appendonly") + 1] == "yes"
        assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services["worker"]["restart"] == "unless-stopped"
    assert services["sandbox"]["profiles"] == ["sandbox"]


def test_the_dockerfile_copies_only_what_there_is():
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []


def test_the_wheel_ships_both_packages_the_scripts_and_the_types_marker(tmp_path):
    done = run("hatchling", "build", "-t", "wheel", "-d", str(tmp_path))

    assert done.returncode == 0, done.stderr
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    wanted = {relative(path) for pattern in ("**/*.py", "**/*.lua") for path in ROOT.glob(f"worker/{pattern}")}
    wanted |= {"worker/py.typed", "tasks/py.typed", "tasks/celery.py"}
    assert wanted <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"worker", "tasks"}


def test_pinned_versions_are_within_the_ranges_and_name_no_registry():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    pins = (ROOT / "constraints.txt").read_text()

    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines() if "==" in line}
    assert {re.split(r"[\[<>=]", name)[0].lower() for name in asked} - {project["name"]} <= pinned
    assert "://" not in pins


def test_the_steps_at_which_a_process_can_die_are_all_in_the_code():
    text = "".join(path.read_text() for path in PRODUCT if path.name != "steps.py")

    assert set(re.findall(r'step\("([a-z.]+)"\)', text)) == set(JOURNEY)


def test_no_file_of_the_repository_names_a_place_of_its_making():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    words = ("/" + "work/", "/" + "root/", "pypi" + ".org")
    found = [
        name
        for name in listed
        if (ROOT / name).is_file() and any(w in (ROOT / name).read_text(errors="replace") for w in words)
    ]

    assert found == []
