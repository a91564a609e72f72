"""A short campaign, from a fixed seed: all faults of a run without a replica, a few of each, and no promise breaks.

The full one is `python tests/chaos/campaign`.
"""

import json
import subprocess
import sys

import pytest
from support.processes import clean_environment
from support.product import ROOT

COMMAND = [sys.executable, str(ROOT / "tests" / "chaos" / "campaign"), "--json", "--no-loss", "--runs", "1"]


def campaign(*more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *more], env=clean_environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(300)
def test_the_promises_hold_through_a_short_campaign():
    done = campaign("--seed", "7", "--seconds", "34", "--faults", "90")

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert {name: found[name] for name in ("lost", "stale", "blamed", "oversize", "over_limit")} == {
        **dict.fromkeys(("lost", "stale", "blamed", "oversize", "over_limit"), 0)
    }
    assert found["breaches"] == []
    # It was no calm day.
    assert found["records"] > 2_000
    assert found["faults"] >= 50
    assert found["kinds"] >= 30
    assert found["kills"] >= 8
    assert len(found["at steps"]) >= 5
    assert found["samples of the books"] > 100
    assert found["recounts"] > 5


def test_the_same_seed_gives_the_same_schedule_and_the_same_traffic():
    once, again, other = (campaign("--dry-run", "--seed", seed).stdout for seed in ("7", "7", "8"))

    assert once == again
    assert once != other
    [[plan], [different]] = json.loads(once), json.loads(other)
    assert len(plan["faults"]) > 100
    assert plan["traffic"].keys() == different["traffic"].keys()
    assert not set(plan["traffic"].values()) & set(different["traffic"].values())
