"""Official and community clients run against the sandbox unchanged but for the host.

The clients come from the package index and from npm, once a checkout. A client that cannot be had is skipped, with the
reason.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

SCRIPTS = Path(__file__).with_name("clients")
#: The arguments of pip that install each client, one line a call.
PYTHON_CLIENTS: dict[str, list[list[str]]] = {
    "sendgrid": [["sendgrid==6.12.5"]],
    "loops_sdk": [["loops-sdk==0.3.3"]],
    # pyloops asks for Python 3.12 and runs on 3.11.
    "pyloops": [["--ignore-requires-python", "pyloops==1.22.6"]],
    # python-emarsys imports itself to be built, and asks for a package that Python 3 does not need.
    "emarsys": [
        ["requests>=2.32", "setuptools>=65,<81", "wheel"],
        ["--no-build-isolation", "--no-deps", "python-emarsys==0.1"],
    ],
}
NODE_CLIENTS = ("@sendgrid/client@8.1.6", "loops@7.3.0")
INSTALL_S = 100
#: The shape of the contact in SendGrid's documentation: all fields, an empty one, and a custom field by its id.
DOCUMENTED = {
    "address_line_1": "12 Harbour St",
    "address_line_2": "",
    "alternate_emails": ["kim@example.com"],
    "city": "Hobart",
    "country": "AU",
    "email": "kim@example.com",
    "phone_number_id": "+61412000111",
    "external_id": "c-17",
    "anonymous_id": "a-17",
    "first_name": "Kim",
    "last_name": "Reed",
    "postal_code": "7000",
    "state_province_region": "TAS",
    "custom_fields": {"w1": "coffee"},
}

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def dials() -> dict[str, Any]:
    drink = {"id": "w1", "name": "drink", "kind": "Text"}
    return {"job_seconds": [0, 0], "custom_fields": [drink], "loops_lists": {"l1": "News"}}


def installed(folder: Path, commands: Sequence[Sequence[str]], environment: dict[str, str]) -> Path:
    """The folder, filled by the commands unless an earlier run has filled it. Skips the test if a command fails."""
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for command in commands:
            try:
                made = subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as problem:
                pytest.skip(f"the client cannot be installed: {type(problem).__name__}")
            if made.returncode:
                words = (made.stderr or made.stdout).strip().splitlines() or ["no reason given"]
                pytest.skip(f"the client cannot be installed: {words[-1][:100]}")
        done.touch()
    return folder


def answers_of(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def folder(request) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(request.config.cache.mkdir("clients")) / version


@pytest.fixture(scope="module")
def python(folder) -> Run:
    """Runs the script of a Python client."""

    def run(client: str, script: str, *arguments: str) -> dict[str, Any]:
        here = folder / client
        environment = {**os.environ, "PYTHONPATH": str(here), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(here), "--upgrade"]
        installed(here, [[*pip, *arguments] for arguments in PYTHON_CLIENTS[client]], environment)
        return answers_of([sys.executable, str(SCRIPTS / script), *arguments], environment)

    return run


@pytest.fixture(scope="module")
def node(folder) -> Run:
    """Runs a script with the JavaScript clients."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed")
    here = folder / "node"
    installed(here, [[npm, "install", "--silent", "--no-audit", "--no-fund", *NODE_CLIENTS]], dict(os.environ))
    environment = {**os.environ, "NODE_PATH": str(here / "node_modules")}
    return lambda script, *arguments: answers_of([node, str(SCRIPTS / script), *arguments], environment)


def assert_documented_contact_is_whole(found: dict[str, Any]) -> None:
    assert found["custom_fields"] == {"drink": "coffee"}
    assert {name: found[name] for name in DOCUMENTED if name != "custom_fields"} == {
        name: value for name, value in DOCUMENTED.items() if name != "custom_fields"
    }


def test_the_official_python_client_of_sendgrid_runs(python, sandbox):
    said = python("sendgrid", "official_sendgrid.py", sandbox.url, json.dumps(DOCUMENTED))
    assert said["field_ids"] == ["w1"]
    assert said["created_field"] == "Number"
    assert (said["accepted"], said["refused"], said["status"]) == (202, "contacts[0].identifier", "completed")
    assert said["found_by_id"] == 200
    assert_documented_contact_is_whole(said["found"])


def test_the_official_javascript_client_of_sendgrid_runs(node, sandbox):
    said = node("official_sendgrid.cjs", sandbox.url, json.dumps(DOCUMENTED))
    assert said["field_ids"] == ["w1"]
    assert (said["accepted"], said["refused"], said["status"]) == (202, "contacts[0].identifier", "completed")
    assert_documented_contact_is_whole(said["found"])


@pytest.mark.parametrize("header", ["Authorization: Bearer SG.sandbox", "authorization: Bearer SG.sandbox"])
def test_curl_sends_the_contact_of_the_documentation(sandbox, header):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is needed")
    body = json.dumps({"contacts": [DOCUMENTED]})
    command = [
        curl,
        "--silent",
        "--request",
        "PUT",
        "--url",
        f"{sandbox.url}/v3/marketing/contacts",
        "--header",
        header,
    ]
    command += ["--header", "Content-Type: application/json", "--data", body, "--write-out", "\n%{http_code}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    reply, _, status = ended.stdout.rpartition("\n")
    assert status == "202"
    assert set(json.loads(reply)) == {"job_id"}


def test_the_official_client_of_loops_runs(node, sandbox):
    said = node("official_loops.cjs", sandbox.url)
    assert said["key"]
    assert said["same"]
    assert said["found"] == {"userId": "u-1", "firstName": "Ann", "plan": None}
    assert (said["refused"], said["deleted"]) == (409, True)
    assert said["limited"] >= 4
    assert set(said["limits"]) == {10}


def test_the_package_loops_sdk_runs(python, sandbox):
    said = python("loops_sdk", "community_loops_sdk.py", sandbox.url)
    assert said["same"]
    assert said["found"] == {"firstName": "Ann", "plan": "team", "lists": {"l1": True}}
    assert (said["refused"], said["deleted"], said["lists"]) == (409, True, ["l1"])


def test_the_package_pyloops_runs(python, sandbox):
    said = python("pyloops", "community_pyloops.py", sandbox.url)
    assert said == {"saved": True, "same": True, "first_name": "Ann", "lists": ["l1"]}


def test_the_package_python_emarsys_runs(python, sandbox):
    said = python("emarsys", "community_emarsys.py", sandbox.url)
    assert said["same"]
    assert said["found"] == [{"1": "Ann", "2": "Lee", said_field(sandbox): "pro"}]
    assert (said["missing"], said["ids"], said["refused"], said["has_field"]) == ([2008], True, 2009, True)


def said_field(sandbox) -> str:
    """The id of the field that the client has created."""
    [contact, _] = httpx.get(f"{sandbox.url}/sandbox/contacts", params={"account": "emarsys"}).text.splitlines()
    return next(name for name, value in json.loads(contact)["fields"].items() if value == "pro")
