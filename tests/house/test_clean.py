"""The tree passes its tools, and a closed list that grows fails the type check until every `match` knows it."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from support.product import ROOT

#: What is added to each closed list, where it is defined, and how: the text that is there, and the text instead.
GROWN = {
    "NewVerdict": ("model/verdicts.py", r"^Verdict = (.+)$", r"class NewVerdict: ...\n\n\nVerdict = \1 | NewVerdict"),
    "NewReport": ("model/verdicts.py", r"^JobReport = (.+)$", r"class NewReport: ...\n\n\nJobReport = \1 | NewReport"),
    "BatchState.NEW": ("model/batch.py", r"^(class BatchState\(StrEnum\):)$", r'\1\n    NEW = "new"'),
    "Stage.NEW": ("model/stage.py", r"^(class Stage\(StrEnum\):)$", r'\1\n    NEW = "new"'),
}


def run(*command, cwd=ROOT):
    return subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_the_tree_is_clean_for(command):
    done = run(*command)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """What mypy says of a copy of the product in which every closed list has one member more. One run for all lists.

    The tree's own cache is copied with it, so mypy reads again only what depends on the changed files: a few seconds
    where it has run before, about 20 where it has not.
    """
    folder = tmp_path_factory.mktemp("grown")
    # The links are followed: in the copy, `tasks` is a folder of the package.
    shutil.copytree(ROOT / "worker", folder / "contact_ingest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    for place, pattern, instead in GROWN.values():
        path = folder / "contact_ingest" / place
        text, count = re.subn(pattern, instead, path.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, f"{place} does not read as this test expects"
        path.write_text(text)
        os.utime(path)
    return run("mypy", "contact_ingest", cwd=folder).stdout


@pytest.mark.parametrize("name", GROWN)
def test_a_closed_list_that_grows_fails_the_type_check_until_every_match_knows_it(complaints, name):
    refused = [line for line in complaints.splitlines() if "assert_never" in line and name in line]

    assert refused, complaints
