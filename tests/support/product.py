"""The product as files: its modules, who imports whom, and its functions. What the tests of the house read.

A module is named as it is imported: `worker/store/keys.py` is `contact_ingest.store.keys`, `tasks/poll.py` is
`contact_ingest.tasks.poll`.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "contact_ingest"
#: Source files of the product. `worker/tasks` is a link to `tasks`, so it is left out here.
FILES = sorted(
    [*(path for path in ROOT.glob("worker/**/*.py") if "tasks" not in path.parts[-2:]), *ROOT.glob("tasks/*.py")]
)
#: All Python files of the repository that people read.
EVERYTHING = sorted([*FILES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])


def relative(path: Path) -> str:
    """A path as people write it, from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    """The parsed source of a file."""
    return ast.parse(path.read_text())


def module_name(path: Path) -> str:
    """The name under which a file is imported."""
    folder, *inner = path.relative_to(ROOT).with_suffix("").parts
    names = [NAME, *(["tasks"] if folder == "tasks" else []), *inner]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


MODULES = {module_name(path): path for path in FILES}


def package_of(module: str) -> str:
    """The package that a module lies in. A package lies in itself: its `__init__` is one of its files."""
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


def imported_names(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports, with the names that `from` takes out of a module."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def imports() -> dict[str, set[str]]:
    """Which modules of the product each module of the product imports; itself is left out."""
    found: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        names: set[str] = set()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                # `from package import module` imports the module; any other name comes from the package itself.
                names |= (inner & MODULES.keys()) or {node.module}
        found[module] = (names & MODULES.keys()) - {module}
    return found


def importers() -> dict[str, set[str]]:
    """The same the other way round: who imports each module."""
    return {module: {user for user, used in imports().items() if module in used} for module in MODULES}


def functions() -> Iterator[tuple[Path, "ast.FunctionDef | ast.AsyncFunctionDef"]]:
    """All functions and methods of the product."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def defined_names() -> Iterator[tuple[Path, str]]:
    """All classes and functions of the product, by name."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node.name
