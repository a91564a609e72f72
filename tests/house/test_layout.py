"""The shape of the tree: how many rooms there are, and how large files, packages and functions may be."""

import ast
import re
import subprocess
import sys
import zipfile

import pytest
from support.product import EVERYTHING, FILES, ROOT, functions, relative, tree

#: The only modules at the top of `worker/`.
TOP = {"__init__.py", "__main__.py", "engine.py", "errors.py", "failpoints.py"}
MAX_FOLDERS, MAX_LINES, MAX_LUA_LINES, MAX_MODULES = 14, 400, 120, 15
#: Files that may be longer, each with its reason.
LONG: dict[str, str] = {}


def entries(folder):
    return [path for path in folder.iterdir() if path.name != "__pycache__" and not path.name.startswith(".")]


def test_the_top_of_the_worker_shows_few_rooms_and_five_modules():
    top = entries(ROOT / "worker")

    assert len([path for path in top if path.is_dir()]) <= MAX_FOLDERS, "links to folders count"
    assert {path.name for path in top if path.suffix == ".py"} == TOP
    assert {path.name for path in top if path.is_file() and path.suffix != ".py"} == {"py.typed", "__init__.pyi"}


def test_the_package_and_the_tasks_in_it_are_links():
    assert (ROOT / "contact_ingest").readlink().as_posix() == "worker"
    assert (ROOT / "worker" / "tasks").readlink().as_posix() == "../tasks"


def test_files_stay_small():
    lines = {relative(path): len(path.read_text().splitlines()) for path in EVERYTHING}
    # The head of a script describes its arguments, and that does not count.
    lua = {
        relative(path): sum(not line.startswith("--") for line in path.read_text().splitlines())
        for path in ROOT.glob("worker/**/*.lua")
    }

    assert {path: count for path, count in lines.items() if count > MAX_LINES and path not in LONG} == {}
    assert [path for path in LONG if lines.get(path, 0) <= MAX_LINES] == [], "these are no exceptions any more"
    assert {path: count for path, count in lua.items() if count > MAX_LUA_LINES} == {}


def test_a_package_can_be_taken_in_at_a_glance():
    """The command line may have more: it has one file for each command."""
    folders = {path.parent for path in FILES} - {ROOT / "worker" / "cli"}
    counts = {relative(folder): len(list(folder.glob("*.py"))) - 1 for folder in folders}

    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_the_folders_of_the_tests_are_no_packages():
    """They are found by path. A package called `worker` or `tasks` among them would hide the product's."""
    assert [relative(path) for path in ROOT.glob("tests/**/__init__.py")] == []
    assert not {"worker", "tasks"} & {path.name for path in entries(ROOT / "tests")}


@pytest.mark.parametrize("folder", ["config", "model", "packing", "providers", "sources"])
def test_tests_of_what_is_pure_need_no_server(folder):
    """Fixtures are arguments: whoever asks for one of these starts Redis or the sandbox."""
    servers = {"client", "redis_server", "sandbox", "sandbox_process", "harness", "make_harness", "stage"}
    asking = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in ROOT.glob(f"tests/{folder}/**/*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and servers & {arg.arg for arg in node.args.args}
    ]

    assert asking == []


def test_functions_stay_small_and_constructors_narrow():
    lengths = sorted(node.end_lineno - node.lineno + 1 for _, node in functions())
    wide = [
        f"{relative(path)}:{node.lineno}"
        for path, node in functions()
        if node.name == "__init__" and len(node.args.args) - 1 + len(node.args.kwonlyargs) > 6
    ]

    assert lengths[-1] < 60
    assert lengths[len(lengths) * 9 // 10] <= 30
    assert wide == []


def test_every_module_says_what_it_is_for():
    assert [relative(path) for path in EVERYTHING if not ast.get_docstring(tree(path))] == []


def test_nothing_is_left_unfinished():
    found = [
        f"{relative(path)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b|NotImplementedError|TYPE_CHECKING", line)
    ]

    assert found == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel that was built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


def test_the_wheel_installs_one_name(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info" not in name} == {"contact_ingest"}


def test_the_wheel_ships_every_module_every_script_and_the_types_marker(wheel):
    sources = [*FILES, *ROOT.glob("worker/**/*.lua")]
    wanted = {f"contact_ingest/{relative(path).removeprefix('worker/')}" for path in sources}

    assert wanted | {"contact_ingest/py.typed", "contact_ingest/tasks/celery.py"} <= wheel
