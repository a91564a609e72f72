"""What the demonstration claims, checked: the sandbox's store field by field, the failures, the books."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from contact_ingest.cli.demo.data import Kind, People
from contact_ingest.cli.demo.platforms import Platform
from contact_ingest.engine import DestinationRuntime
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.store import books


@dataclass(slots=True)
class Findings:
    """What was found; `wrong` is empty if everything holds."""

    delivered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def check(
    people: People,
    platform: Platform,
    sandbox: SandboxProcess,
    runtime: DestinationRuntime,
    custom_names: Mapping[str, str],
) -> Findings:
    found = Findings()
    _check_store(people, platform, sandbox, custom_names, found)
    _check_failures(people, platform.name, runtime, found)
    lanes = books.read(runtime.store)
    found.totals = books.totals(lanes)
    for lane in lanes:
        found.wrong += books.disagreements(runtime.store, lane.lane)
    if found.totals["accepted"] != people.records:
        found.wrong.append(f"{people.records} records were enqueued, the books say {found.totals['accepted']}")
    if found.totals["unattributed"]:
        found.wrong.append(f"{found.totals['unattributed']} failed rows were not attributed")
    return found


def _check_store(
    people: People, platform: Platform, sandbox: SandboxProcess, custom_names: Mapping[str, str], found: Findings
) -> None:
    """Every good field of every good contact is there, and nobody else."""
    expected = people.expected(platform.name)
    differing = 0
    for contact in sandbox.contacts(platform.name):
        values = platform.values(contact)
        good = expected.pop(platform.email(values), None)
        if good is None:
            found.wrong.append("a contact arrived that should not have")
            continue
        want = platform.wanted(good, custom_names)
        if all(values.get(name, platform.absent) == value for name, value in want.items()):
            found.delivered += 1
        else:
            differing += 1
    if differing:
        found.wrong.append(f"{differing} contacts arrived with a field that differs")
    if expected:
        found.wrong.append(f"{len(expected)} good contacts did not arrive")


def _check_failures(people: People, platform: str, runtime: DestinationRuntime, found: Findings) -> None:
    """Each bad record failed alone, at its stage and for its reason; nobody else did."""
    bad = people.failing(platform)
    for failed in runtime.failures:
        kind = bad.pop(str(orjson.loads(failed.raw)["email"]).lower(), None)
        if kind is None:
            found.wrong.append(f"{failed.id} failed and should not have: {failed.about['code']}")
        elif not _is_right(kind, failed.about):
            found.wrong.append(f"{failed.id} failed as {failed.about['stage']}/{failed.about['code']}: {kind.name}")
        else:
            found.failed[kind.name] += 1
            found.reasons[kind.name] = f"{failed.about['code']}: {failed.about['reason']}"
    if bad:
        found.wrong.append(f"{len(bad)} bad records did not fail")


def _is_right(kind: Kind, about: Mapping[str, Any]) -> bool:
    return about["stage"] == kind.stage and about["code"] in kind.codes and bool(about["reason"])


def kinds_planted(people: People, platform: str) -> Counter[Kind]:
    """How many there are of each kind that the platform minds."""
    counted = Counter({kind: 0 for kind in people.kinds if platform in kind.at})
    counted.update(kind for kind in people.bad_ones.values() if platform in kind.at)
    return counted
