"""Who may import whom, and who may speak which protocol."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.product import FILES, MODULES, NAME, ROOT, imported_names, importers, imports, package_of, relative

from contact_ingest.providers.registry import REGISTRY

#: Who may speak which protocol.
SPEAKERS = {
    "httpcore": {"worker/transport"},
    "celery": {"tasks"},
    "kombu": {"tasks"},
    "redis": {"worker/store", "worker/engine.py"},
    "starlette": {"worker/sandbox"},
    "uvicorn": {"worker/sandbox"},
    "phonenumbers": {"worker/sources"},
}
#: Who knows the exceptions of a library, to catch them, and nothing else of it.
CATCHERS = {"redis": {"worker/cli", "worker/operations/doctor", "worker/pipeline", "worker/transport/auth.py", "tasks"}}
#: Modules that one other module imports from another package, each with the reason why it lives where it does.
GUESTS = {
    "contact_ingest.config.logging": "the workers' log format is configuration; Celery's app is merely who applies it",
    "contact_ingest.packing.links": "it is pure, and says what the packer holds records by",
    "contact_ingest.providers.error_file.reader": "any platform may have such a file; columns.py belongs to it",
    "contact_ingest.store.integrity.lost_keys": "it reads raw keys, which only the store may know",
    "contact_ingest.store.integrity.marks": "it reads raw keys, which only the store may know",
    "contact_ingest.store.migrations.schema_3": "it moves raw keys, which only the store may know",
    "contact_ingest.store.scan": "it reads raw keys, which only the store may know",
    "contact_ingest.sync.loader": "the syncs to come resume as the command line does",
}
#: Files that may name a platform: those that implement one, and those that configure or show one.
NAMES_PLATFORMS = (
    "worker/providers/",
    "worker/sandbox/",
    "worker/config/destinations.py",
    "worker/cli/demo/",
    "worker/cli/sandbox.py",
    "worker/sources/platform_export.py",
)


def libraries(path):
    return {name.split(".")[0] for name in imported_names(path)}


def test_imports_follow_the_rooms():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", SPEAKERS)
def test_each_protocol_is_spoken_in_its_own_room(library):
    allowed = (*SPEAKERS[library], *CATCHERS.get(library, ()))
    speaking = {relative(path) for path in FILES if library in libraries(path)}

    assert speaking, "nobody speaks it: the list is out of date"
    assert [path for path in sorted(speaking) if not path.startswith(allowed)] == []


@pytest.mark.parametrize("library", CATCHERS)
def test_those_who_only_catch_a_librarys_exceptions_import_nothing_else_of_it(library):
    speaking = tuple(SPEAKERS[library])
    catching = [
        path
        for path in FILES
        if relative(path).startswith(tuple(CATCHERS[library])) and not relative(path).startswith(speaking)
    ]
    taken = {name for path in catching for name in imported_names(path) if name.split(".")[0] == library}

    assert {name for name in taken if not name.startswith(f"{library}.exceptions")} == set()


def test_the_product_is_imported_by_its_own_name():
    """`worker` and `tasks` are names that half the projects with Celery have already."""
    sources = [*FILES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]

    assert [relative(path) for path in sources if libraries(path) & {"worker", "tasks"}] == []


def test_no_modules_import_each_other_in_a_circle():
    """Modules that import nothing which is left are taken away until none is left. A circle would remain."""
    left = {module: set(used) for module, used in imports().items()}
    while free := {module for module, used in left.items() if not used & left.keys()}:
        left = {module: used for module, used in left.items() if module not in free}

    assert sorted(left) == []


def guests():
    """Modules with one importing module that lies in another package."""
    for module, users in importers().items():
        if len(users) != 1:
            continue
        (user,) = users
        # A package's `__init__` belongs to the package around it: that is who sees it.
        home = module.rpartition(".")[0] if MODULES[module].name == "__init__.py" else package_of(module)
        if not f"{home}.".startswith(f"{package_of(user)}."):
            yield module


def test_a_module_with_one_importer_lives_in_the_importers_package():
    found = set(guests())

    assert found - GUESTS.keys() == set(), "move them, or say why not"
    assert GUESTS.keys() - found == set(), "these are no exceptions any more"


def test_only_front_doors_use_the_public_interface():
    """Inside, everybody imports the module that is meant: the public names load what they need when they are used."""
    users = importers()[NAME]

    assert [user for user in users if not user.startswith((f"{NAME}.cli.", f"{NAME}.tasks."))] == []


def test_no_file_of_the_engine_names_a_platform():
    names = re.compile("|".join(REGISTRY), re.IGNORECASE)
    naming = [relative(path) for path in [*FILES, *ROOT.glob("worker/**/*.lua")] if names.search(path.read_text())]

    assert [path for path in naming if not path.startswith(NAMES_PLATFORMS)] == []
