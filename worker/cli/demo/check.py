"""Checks what the demonstration claims: the contacts in the sandbox field by field, the failures, and the books."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from contact_ingest.cli.demo.data import BadRecordKind, MadeUpPeople
from contact_ingest.cli.demo.platforms import DemoPlatform
from contact_ingest.engine import DestinationRuntime
from contact_ingest.model.failure import Failure
from contact_ingest.sandbox.process import SandboxProcess
from contact_ingest.store import books


@dataclass(slots=True)
class CheckResult:
    """What the check of one destination result. `wrong` is empty if every claim holds.

    `failed` counts the failures of each kind of bad record, `reasons` has one reason of each, `totals` are the books.
    """

    delivered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def check(
    people: MadeUpPeople,
    platform: DemoPlatform,
    sandbox: SandboxProcess,
    runtime: DestinationRuntime,
    custom_names: Mapping[str, str],
) -> CheckResult:
    result = CheckResult()
    _check_store(people, platform, sandbox, custom_names, result)
    _check_failures(people, platform.name, runtime, result)
    lanes = books.read(runtime.store)
    result.totals = books.totals(lanes)
    for lane in lanes:
        result.wrong += books.disagreements(runtime.store, lane.lane)
    if result.totals["accepted"] != people.records:
        result.wrong.append(f"{people.records} records were enqueued, the books say {result.totals['accepted']}")
    if result.totals["unattributed"]:
        result.wrong.append(f"{result.totals['unattributed']} failed rows were not attributed")
    return result


def _check_store(
    people: MadeUpPeople,
    platform: DemoPlatform,
    sandbox: SandboxProcess,
    custom_names: Mapping[str, str],
    result: CheckResult,
) -> None:
    """Check that every good contact arrived with every field as enqueued, and that no other contact arrived."""
    expected = people.expected(platform.name)
    differing = 0
    for contact in sandbox.contacts(platform.name):
        values = platform.values(contact)
        good = expected.pop(platform.email(values), None)
        if good is None:
            result.wrong.append("a contact arrived that should not have")
            continue
        want = platform.wanted(good, custom_names)
        if all(values.get(name, platform.absent) == value for name, value in want.items()):
            result.delivered += 1
        else:
            differing += 1
    if differing:
        result.wrong.append(f"{differing} contacts arrived with a field that differs")
    if expected:
        result.wrong.append(f"{len(expected)} good contacts did not arrive")


def _check_failures(people: MadeUpPeople, platform: str, runtime: DestinationRuntime, result: CheckResult) -> None:
    """Check that each bad record failed, at its stage and for its reason, and that no other record failed."""
    bad = people.failing(platform)
    for failed in runtime.failures:
        kind = bad.pop(str(orjson.loads(failed.raw)["email"]).lower(), None)
        if kind is None:
            result.wrong.append(f"{failed.id} failed and should not have: {failed.code}")
        elif not _is_right(kind, failed):
            result.wrong.append(f"{failed.id} failed as {failed.stage}/{failed.code}: {kind.name}")
        else:
            result.failed[kind.name] += 1
            result.reasons[kind.name] = f"{failed.code}: {failed.reason}"
    if bad:
        result.wrong.append(f"{len(bad)} bad records did not fail")


def _is_right(kind: BadRecordKind, failed: Failure) -> bool:
    return failed.stage == kind.stage and failed.code in kind.codes and bool(failed.reason)


def kinds_used(people: MadeUpPeople, platform: str) -> Counter[BadRecordKind]:
    """How many bad records there are of each kind that the platform refuses."""
    counted = Counter({kind: 0 for kind in people.kinds if platform in kind.at})
    counted.update(kind for kind in people.bad_kinds.values() if platform in kind.at)
    return counted
