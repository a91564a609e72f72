"""What the demonstration claims, checked: the sandbox's store field by field, the failures, the books."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker.cli.demo_data import KINDS, Kind, People
from worker.sandbox.process import SandboxProcess
from worker.store import books
from worker.wiring import Site


@dataclass(slots=True)
class Findings:
    """What was found; `wrong` is empty if everything holds."""

    delivered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def check(people: People, sandbox: SandboxProcess, site: Site, field_ids: Mapping[str, str]) -> Findings:
    found = Findings()
    _check_store(people, sandbox, field_ids, found)
    _check_failures(people, site, found)
    lanes = books.read(site.store)
    found.totals = books.totals(lanes)
    for lane in lanes:
        found.wrong += books.disagreements(site.store, lane.lane)
    if found.totals["accepted"] != people.records:
        found.wrong.append(f"{people.records} records were enqueued, the books say {found.totals['accepted']}")
    if found.totals["unattributed"]:
        found.wrong.append(f"{found.totals['unattributed']} failed rows were not attributed")
    return found


def _check_store(people: People, sandbox: SandboxProcess, field_ids: Mapping[str, str], found: Findings) -> None:
    """Every good field of every good contact is there, and nobody else."""
    expected = people.expected()
    differing = 0
    for contact in sandbox.contacts():
        want = expected.pop(contact["email"], None)
        if want is None:
            found.wrong.append("a contact arrived that should not have")
            continue
        custom = {field_ids[name]: value for name, value in want.pop("custom_fields").items()}
        same = all(contact.get(name) == value for name, value in want.items())
        if same and _same_custom(contact.get("custom_fields", {}), custom):
            found.delivered += 1
        else:
            differing += 1
    if differing:
        found.wrong.append(f"{differing} contacts arrived with a field that differs")
    if expected:
        found.wrong.append(f"{len(expected)} good contacts did not arrive")


def _same_custom(stored: Mapping[str, Any], want: Mapping[str, Any]) -> bool:
    return all(stored.get(name) == value for name, value in want.items())


def _check_failures(people: People, site: Site, found: Findings) -> None:
    """Each bad record failed alone, at its stage and for its reason; nobody else did."""
    bad = {people.email(number): kind for number, kind in people.bad_ones.items()}
    for failed in site.failures:
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


def kinds_planted(people: People) -> Counter[str]:
    counted = Counter({kind.name: 0 for kind in KINDS})
    counted.update(kind.name for kind in people.bad_ones.values())
    return counted
