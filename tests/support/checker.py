"""What must have become of every record that was accepted, and what did: the judge of a run full of faults.

Pure: it is given the sequence of records enqueued, the platform's final store and journal, the books and the failures.
It knows nothing of how the product works, only what it promises:

lost        accepted, and in the end neither seen at the platform, itself or something newer, nor failed nor discarded
stale       a value is seen although a newer one of its field, of the same contact in the same lane, was accepted; of a
            contact in several lanes the last of any lane may be seen, but no failure over what came after it failed
foreign     a value is seen that no record of the contact had, or a contact that nobody sent: another contact's field,
            or consent that nobody gave
blamed      an innocent record that failed, at whatever moment, with a code that blames the record
oversize    a body over the cap in bytes or contacts
over_limit  a request that the platform's limiter refused

Values say which record they came from, so they should be unique within a contact's field; of one that is not, like an
empty one, it is believed that it came from whoever may be seen.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Codes that say that the platform gave no verdict: nobody is blamed, and a retry must deliver.
NO_VERDICT = frozenset({"no_verdict", "gave_up", "import_failed"})
KINDS = ("lost", "stale", "foreign", "blamed", "oversize", "over_limit")
#: What may stand at a platform and should not: older over newer, or another's.
WRONGLY_DELIVERED = ("stale", "foreign")
MISSING = object()


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted record. `id` is `lane:seq`; `at_s` when it was enqueued, at the earliest; `may_fail_as` the codes of
    one that is bad on purpose; `may_vanish` is said of one that somebody cancelled; `stays` of a bad one that nothing
    can mend or take over, so that it is among the failures in the end."""

    id: str
    contact: str
    fields: Mapping[str, Any]
    at_s: float = 0.0
    may_fail_as: frozenset[str] = frozenset()
    may_vanish: bool = False
    stays: bool = False

    @property
    def is_loose(self) -> bool:
        """Whether it may rightly be out of sight in the end."""
        return bool(self.may_fail_as) or self.may_vanish

    @property
    def lane(self) -> str:
        return self.id.rpartition(":")[0]

    @property
    def seq(self) -> int:
        return int(self.id.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure as it was seen at some moment, with the ids of the records merged into it."""

    id: str
    code: str
    merged: tuple[str, ...] = ()
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What there is when everything has come to rest. `contacts` are flat fields by contact, `failures` those that are
    left, `ever_failed` all that were seen on the way, `wrong_books` what samples and recounts complained about.
    `before` are contacts and fields that were there before the first record; `defaults` are fields that the platform
    gives to every new contact."""

    contacts: Mapping[str, Mapping[str, Any]]
    books: Mapping[str, Mapping[str, int]]
    journal: Sequence[Mapping[str, Any]] = ()
    failures: Sequence[Failed] = ()
    ever_failed: Sequence[Failed] = ()
    wrong_books: Sequence[str] = ()
    max_bytes: int = 6_000_000
    max_contacts: int = 30_000
    before: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken promise: which, what was seen, and the records it concerns."""

    kind: str
    what: str
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.what} {' '.join(self.ids[:10])}".rstrip()


@dataclass(slots=True)
class Verdict:
    records: int = 0
    breaches: list[Breach] = field(default_factory=list)
    #: Contacts that the platform received more often than needed.
    repeated: int = 0
    unattributed: int = 0
    discarded: int = 0

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(breach.kind for breach in self.breaches)
        return {kind: found[kind] for kind in KINDS}


def judge(history: Sequence[Sent], found: Found) -> Verdict:
    total: Counter[str] = Counter()
    for counts in found.books.values():
        total.update(counts)
    received = sum(entry["contacts"] for entry in found.journal)
    return Verdict(
        records=len(history),
        breaches=[
            *_contacts(history, found),
            *_foreign(history, found),
            *_vanished(history, found, total),
            *_books(history, found, total),
            *_blamed(history, found),
            *_requests(found),
        ],
        repeated=max(0, received - total["delivered"]),
        unattributed=total["unattributed"],
        discarded=total["discarded"],
    )


def _contacts(history: Sequence[Sent], found: Found) -> Iterator[Breach]:
    """Every field of every contact."""
    by_contact: defaultdict[str, list[Sent]] = defaultdict(list)
    for sent in history:
        by_contact[sent.contact].append(sent)
    failed = {id_ for failure in found.failures for id_ in (failure.id, *failure.merged)}
    failed_s: dict[str, float] = {}
    for failure in found.ever_failed:
        failed_s.setdefault(failure.id, failure.seen_s)
    for contact, records in by_contact.items():
        stored = found.contacts.get(contact, {})
        setters: defaultdict[str, list[Sent]] = defaultdict(list)
        for sent in records:
            for name in sent.fields:
                setters[name].append(sent)
        for name, those in setters.items():
            breach = _field(name, stored.get(name, MISSING), those, failed)
            yield from [breach] if breach else _over_newer(name, stored.get(name, MISSING), those, failed_s)


def _field(name: str, value: Any, setters: Sequence[Sent], failed: set[str]) -> Breach | None:
    """Whether the value seen is the last of one of the contact's lanes."""
    firm = [s for s in setters if not s.may_fail_as and not s.may_vanish and s.id not in failed]
    newest = {sent.lane: sent for sent in sorted(firm, key=lambda sent: sent.seq)}
    loose = [s for s in setters if s not in firm and (s.lane not in newest or s.seq > newest[s.lane].seq)]
    if any(sent.fields[name] == value for sent in (*newest.values(), *loose)) or (value is MISSING and not firm):
        return None
    if value is MISSING:
        return Breach("lost", f"no {name} was seen of", tuple(sent.id for sent in firm))
    older = [sent.id for sent in setters if sent.fields[name] == value]
    if not older:
        return Breach("foreign", f"{name} has a value that no record of the contact had, instead of", _ids(setters))
    return Breach("stale", f"{name} is of {older[0]}, and newer are", _ids(newest.values()))


def _over_newer(name: str, value: Any, setters: Sequence[Sent], failed_s: Mapping[str, float]) -> Iterator[Breach]:
    """A record that failed, was retried, and is seen although another lane brought something after its failure."""
    found = []
    for seen in setters:
        if seen.fields[name] != value:
            continue
        since_s = failed_s.get(seen.id, float("inf"))
        newer = [s for s in setters if s.lane != seen.lane and s.at_s > since_s and not s.is_loose]
        if not newer or any(sent.fields[name] == value for sent in newer):
            return  # the value may be of this one, and rightly so
        found.append(Breach("stale", f"{name} is of {seen.id}, which had failed before there were", _ids(newer)))
    yield from found[:1]


def _foreign(history: Sequence[Sent], found: Found) -> Iterator[Breach]:
    """Fields that no record of their contact has set, and contacts of whom nobody has sent a record."""
    names = {name for sent in history for name in sent.fields}
    own: defaultdict[str, set[str]] = defaultdict(set)
    for sent in history:
        own[sent.contact].update(sent.fields)
    for contact, stored in found.contacts.items():
        before = found.before.get(contact, {})
        if contact not in own and contact not in found.before:
            yield Breach("foreign", "a contact of whom nobody sent a record")
            continue
        for name in names & stored.keys() - own[contact]:
            if stored[name] is not None and stored[name] != before.get(name, found.defaults.get(name, MISSING)):
                ids = tuple(s.id for s in history if s.fields.get(name, MISSING) == stored[name])
                yield Breach(
                    "foreign", f"{name} was set at a contact none of whose records has it; its value is of", ids
                )


def _vanished(history: Sequence[Sent], found: Found, total: Mapping[str, int]) -> Iterator[Breach]:
    """What was cancelled or bad on purpose may be out of sight, if it was counted: as discarded, or as unattributed."""
    failed = {failure.id for failure in found.failures}
    last = {(sent.contact, sent.lane): sent.seq for sent in sorted(history, key=lambda sent: sent.seq)}
    hidden = [
        sent
        for sent in history
        if sent.is_loose
        and sent.id not in failed
        and last[sent.contact, sent.lane] == sent.seq  # a newer record takes it over
        and not _is_seen(sent, found.contacts.get(sent.contact, {}))
    ]
    counted = total["discarded"] + total["unattributed"]
    if len(hidden) > counted:
        what = f"{len(hidden)} records are out of sight, and {counted} counted as discarded or unattributed:"
        yield Breach("lost", what, _ids(hidden))
    cancelled = [sent for sent in hidden if sent.may_vanish]
    if len(cancelled) > total["discarded"]:
        what = f"{len(cancelled)} cancelled records are out of sight, and {total['discarded']} were discarded:"
        yield Breach("lost", what, _ids(cancelled))
    if total["unattributed"] and not any(sent.may_fail_as for sent in history):
        yield Breach("lost", f"{total['unattributed']} rows unattributed, and nothing bad was sent")
    if gone := [sent for sent in history if sent.stays and sent.id not in failed]:
        yield Breach("lost", "failed for good, and are no failures any more:", _ids(gone))


def _is_seen(sent: Sent, stored: Mapping[str, Any]) -> bool:
    return all(stored.get(name, MISSING) == value for name, value in sent.fields.items())


def _books(history: Sequence[Sent], found: Found, total: Mapping[str, int]) -> Iterator[Breach]:
    sent = Counter(each.lane for each in history)
    for lane in sorted({*sent, *found.books}):
        accepted = found.books.get(lane, {}).get("accepted", 0)
        if accepted != sent[lane]:
            yield Breach("lost", f"lane {lane}: {sent[lane]} records were accepted, the books say {accepted}")
    known = {each.id for each in history}
    if strangers := [failure.id for failure in found.failures if failure.id not in known]:
        yield Breach("lost", "failures of records that nobody sent:", tuple(strangers))
    for name in ("waiting", "held", "batched"):
        if total[name]:
            yield Breach("lost", f"{total[name]} records are {name} for ever")
    for complaint in found.wrong_books:
        yield Breach("lost", complaint)


def _blamed(history: Sequence[Sent], found: Found) -> Iterator[Breach]:
    codes = {sent.id: sent.may_fail_as for sent in history}
    told: set[tuple[str, str]] = set()
    for failure in (*found.ever_failed, *found.failures):
        if failure.code in NO_VERDICT or (failure.id, failure.code) in told:
            continue
        told.add((failure.id, failure.code))
        if not any(failure.code in codes.get(id_, ()) for id_ in (failure.id, *failure.merged)):
            yield Breach("blamed", f"failed as {failure.code}:", (failure.id,))
    for failure in found.failures:
        # Of one that is bad a platform may never say why.
        if failure.code in NO_VERDICT and not any(codes.get(id_) for id_ in (failure.id, *failure.merged)):
            yield Breach("lost", f"still failed as {failure.code} after all retries:", (failure.id,))


def _requests(found: Found) -> Iterator[Breach]:
    for entry in found.journal:
        if entry["bytes"] > found.max_bytes or entry["contacts"] > found.max_contacts:
            what = f"request {entry['n']} had {entry['bytes']} bytes, {entry['contacts']} contacts"
            yield Breach("oversize", what)
        if entry["note"] == "limit":
            yield Breach("over_limit", f"request {entry['n']} at {entry['endpoint']} was refused by the limiter")


def _ids(records: Iterable[Sent]) -> tuple[str, ...]:
    return tuple(sent.id for sent in records)
