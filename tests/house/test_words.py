"""One word for one thing: the five stages, the names that were given up, and words that belong to no program."""

import ast
import re
import subprocess

import pytest
from support.product import FILES, MODULES, NAME, ROOT, defined_names, imported_names, relative, tree

from contact_ingest.failpoints import FAILPOINTS, JOURNEY
from contact_ingest.model.failure import FailureStage
from contact_ingest.model.stage import Stage

#: What happens to a record, in order. Each list of the program that names stages uses these words.
STAGES = ("enqueue", "aggregate", "dispatch", "poll", "retry")
#: The other modules of `tasks/`: Celery's app and what all tasks share.
SHARED_TASKS = {"broker", "__init__", "celery", "consumer", "local_runner", "notify", "ticker"}
#: Names that modules had before the rooms were made. Some lie in a folder of that name now, or mean something else in
#: the sandbox: those are not in the list.
OLD_MODULES = """
    addresses bells bench chance checks checks_base checks_broker checks_destination checks_records checks_server
    checks_setup choices connections control courier definitions delivery demo_check demo_data demo_platforms
    demo_processes demo_report demo_scenes dense emails embedded emarsys_access emarsys_contact emarsys_fields
    emarsys_replies erasure error_columns error_files fleet gate intake items ledger lineage loading logs looks
    loops_contact loops_fields loops_replies mailbox memory objects outcome overview patience preparing probing replay
    retried rounds searching sendgrid_contact sendgrid_errors sendgrid_fields sendgrid_replies sendgrid_rows settling
    sites spreadsheet standby statuses steps stream subject superseding table terminal throttle traces tracking views
    waiting walk wire wiring wording
""".split()  # noqa: SIM905 - read as a paragraph
#: Names that classes and functions had.
OLD_NAMES = """
    Aggregation Append Appended Bell Bench Body Chance Child ClosedBody Courier Cut DEFECTS Definitions Delivery Desk
    Discreet Door Entry Erasure Everywhere FieldRules Filling Findings Fleet Gate Heard Idle Item LaneLook LaneRoom
    LaneRound Ledger Mailbox Mark Matcher Member Narrowed Pace Packed Patience Preparation Replay Retried Round Search
    Searching Signing Site Standby Standing Subject Superseding Terms Throttle Told Traces Tracking Transport Turn
    Unquoted Walk Which Why Wiring admit build_site departing hasten lane_round provider_site puzzled says_nothing
    search_fields site site_named site_of_lane sites step stretch stripped wired
""".split()  # noqa: SIM905 - read as a paragraph
#: What no file may speak of: places, hosts and papers of those who made it.
FOREIGN = re.compile(
    "|".join(
        (
            "/" + "work/",
            "/" + "root/",
            r"\bpypi" + r"\.org",
            "python" + "hosted",
            r"\b[Ii]ssue" + r" #?\d",
            "house" + r"\.md",
        )
    )
)


def test_each_stage_is_a_task_and_a_module_of_that_name():
    tasks = {path.stem for path in ROOT.glob("tasks/*.py")}

    assert tasks - SHARED_TASKS == set(STAGES)
    assert {path.stem for path in ROOT.glob("worker/pipeline/*.py")} >= set(STAGES)


def test_each_stage_names_its_celery_task():
    named = {path.stem: re.findall(r'name="contacts\.(\w+)"', path.read_text()) for path in ROOT.glob("tasks/*.py")}

    assert {stem: names for stem, names in named.items() if names} == {stage: [stage] for stage in STAGES}


def test_points_at_which_a_process_can_be_made_to_die_are_called_after_their_stage():
    """`tick` is the ticker's own; the rest are scripts of the store, before and after."""
    stages = [name.partition(".")[0] for name in JOURNEY]
    scripts = {name.partition(".")[0] for name in FAILPOINTS if name not in JOURNEY}

    assert set(stages) - {"tick"} <= set(STAGES)
    assert scripts <= {path.stem for path in ROOT.glob("worker/store/lua/*.lua")}


def test_those_points_are_all_in_the_code_and_no_others():
    text = "".join(path.read_text() for path in FILES if path.name != "failpoints.py")

    assert set(re.findall(r'failpoint\(\s*"([a-z_.]+)"', text)) == set(JOURNEY)


def test_sets_of_what_is_due_are_called_after_their_stage():
    sources = [*FILES, *ROOT.glob("worker/**/*.lua")]
    named = {name for path in sources for name in re.findall(r"\bdue:([a-z_]+)", path.read_text())}

    assert named == {"aggregate", "dispatch", "poll"}
    assert "due:aggregate" in (ROOT / "worker/store/keys.py").read_text()


def test_failures_say_their_stage_in_the_same_words():
    """A failure is found while a lane is aggregated, when a batch is dispatched, or when its import is polled."""
    written_out = {
        keyword.value.value
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "stage" and isinstance(keyword.value, ast.Constant)
    }

    assert tuple(Stage) == STAGES
    assert set(FailureStage) | written_out <= set(STAGES)


def test_no_module_has_the_name_it_was_given_up_for():
    stems = {path.stem: relative(path) for path in FILES}
    folders = {part for path in FILES for part in path.relative_to(ROOT).parts[:-1]}

    assert [stems.get(name, name) for name in OLD_MODULES if name in stems.keys() | folders] == []


@pytest.mark.parametrize("folder", ["worker", "tasks", "tests", "benchmarks"])
def test_nobody_imports_what_there_is_no_more(folder):
    """A name that is imported from inside a function fails only when that function runs."""
    missing = {
        f"{relative(path)}: {name}"
        for path in ROOT.glob(f"{folder}/**/*.py")
        for name in imported_names(path)
        if name.startswith(f"{NAME}.")
        and not any(name in (known, f"{known}.{name.rpartition('.')[2]}") for known in MODULES)
    }

    assert missing == set()


def test_no_class_or_function_has_an_old_name():
    assert [f"{relative(path)}: {name}" for path, name in defined_names() if name in OLD_NAMES] == []


def test_no_file_speaks_of_how_it_was_made():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    files = [name for name in listed if (ROOT / name).is_file()]

    assert files
    assert [name for name in files if FOREIGN.search((ROOT / name).read_text(errors="replace"))] == []
