"""A short campaign, from a fixed seed: all faults of a run without a replica, a few of each, and no promise breaks.

The full one is `python tests/chaos/campaign`.
"""

import json
import subprocess
import sys
from typing import Any

import pytest
from support.processes import clean_environment
from support.product import ROOT
from support.servers import SWITCH

from contact_ingest.sandbox.redis_server import EmbeddedServer

COMMAND = [sys.executable, str(ROOT / "tests" / "chaos" / "campaign"), "--json", "--no-loss", "--runs", "1"]


def campaign(*more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *more], env=clean_environment(**_server()), cwd=ROOT, capture_output=True, text=True, check=False
    )


def _server() -> dict[str, str]:
    """The server that this run of the tests has chosen."""
    program = EmbeddedServer.default_program
    return {} if program is None else {SWITCH: str(program)}


#: A refusal of everything alike that begins in the middle of a search, or comes back a few seconds later, is blamed on
#: a row now and then. The full campaign counts it.
WITHOUT = ("--without", "quota", "--without", "list_gone")
PROMISES = ("lost", "stale", "foreign", "blamed", "oversize", "over_limit")


@pytest.mark.timeout(300)
def test_the_promises_hold_through_a_short_campaign():
    found = kept("sendgrid", "--seconds", "34", "--faults", "110")

    # It was no calm day.
    assert found["records"] > 2_000
    assert found["faults"] >= 60
    assert found["kinds"] >= 36
    assert found["kills"] >= 8
    assert len(found["at steps"]) >= 5
    assert found["samples of the books"] > 100
    assert found["recounts"] > 5


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("platform", "records"), [("loops", 150), ("emarsys", 800)])
def test_the_promises_hold_at_the_other_platforms(platform, records):
    found = kept(platform, "--seconds", "8", "--faults", "36")

    assert found["platforms"].keys() == {platform}
    assert found["records"] > records
    assert found["faults"] >= 20
    assert found["kinds"] >= 15


@pytest.mark.timeout(120)
@pytest.mark.parametrize("platform", ["sendgrid", "loops", "emarsys"])
def test_every_promise_that_is_broken_on_purpose_is_found(platform):
    done = campaign("--platform", platform, "--sabotage", "--seconds", "3", "--faults", "4")

    assert done.returncode == 1, done.stderr[-4000:]
    found = json.loads(done.stdout)
    broken = {name for name in PROMISES if found[name]}
    assert broken == {"lost", "stale", "foreign", "blamed"}
    assert found["wrongly delivered"] == found["stale"] + found["foreign"]


def kept(platform: str, *more: str) -> dict[str, Any]:
    """What a campaign tells that broke no promise."""
    done = campaign("--platform", platform, *WITHOUT, *more)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = dict(json.loads(done.stdout))
    assert {name: found[name] for name in PROMISES} == dict.fromkeys(PROMISES, 0)
    assert found["breaches"] == []
    return found


def test_the_same_seed_gives_the_same_schedule_and_the_same_traffic():
    once, again, other = (campaign("--dry-run", "--seed", seed).stdout for seed in ("7", "7", "8"))

    assert once == again
    assert once != other
    [[plan], [different]] = json.loads(once), json.loads(other)
    assert len(plan["faults"]) > 100
    assert plan["traffic"].keys() == different["traffic"].keys()
    assert not set(plan["traffic"].values()) & set(different["traffic"].values())


def test_a_campaign_of_all_platforms_has_runs_of_each_with_a_replica_and_without():
    plans = json.loads(campaign("--dry-run", "--runs", "9").stdout)

    kinds = [(plan["platform"], plan["replicated"]) for plan in plans]
    alone, replicated = False, True
    assert sorted(kinds) == sorted(
        (platform, mode) for platform in ("sendgrid", "loops", "emarsys") for mode in (alone, alone, replicated)
    )
    here = {plan["platform"]: {fault["kind"] for fault in plan["faults"]} for plan in plans}
    assert "job_pending" in here["sendgrid"] - here["loops"] - here["emarsys"]
    assert "tokens_revoked" in here["emarsys"] - here["loops"] - here["sendgrid"]
    assert {"gateway_page", "quota", "spelled"} <= here["sendgrid"] & here["loops"] & here["emarsys"]
