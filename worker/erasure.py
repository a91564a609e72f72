"""Erasing a contact: every record about it, in every place of a destination, leaves as discarded, and the books say so.

Records in a body cannot be pulled out of bytes that may be on their way: they are counted, and what comes back of them
as failures is erased by the next pass. Workers go on meanwhile and move records from place to place, so passes are made
until two in a row, or one during which nothing moved, find nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from worker.contact import Entry, digests
from worker.rules import FieldRules
from worker.store.failures import Failures
from worker.store.mailbox import Mailbox
from worker.store.scripts import Store
from worker.store.traces import FailedTrace, Traces
from worker.store.waiting import cancel
from worker.subject import Matcher, Subject

#: Passes that may find something new before it is said that somebody keeps bringing records of the contact.
MOST_PASSES = 25

Told = Callable[[int, str], None]


@dataclass(slots=True)
class Findings:
    """What a pass found. `waiting`, `held` (also what is to be tried again) and `failed` are records that were erased,
    or would be. The rest is out of reach for the moment: records in bodies, how many bodies those are, records in
    messages of the broker, and destinations where a request of unknown fate may still reach the platform."""

    waiting: int = 0
    held: int = 0
    failed: int = 0
    in_flight: int = 0
    bodies: int = 0
    queued: int = 0
    unknown: int = 0
    #: Whether there was anything to erase, though it may have moved on; whether records moved meanwhile.
    met: bool = False
    moved: bool = False

    @property
    def erased(self) -> int:
        return self.waiting + self.held + self.failed

    @property
    def is_clear(self) -> bool:
        """Nothing of the contact is left, nor on its way."""
        return not (self.met or self.in_flight or self.queued or self.unknown)

    def take(self, other: "Findings") -> None:
        """Add what another destination says."""
        self.take_erased(other)
        self.in_flight += other.in_flight
        self.bodies += other.bodies
        self.unknown += other.unknown
        self.met |= other.met
        self.moved |= other.moved

    def take_erased(self, other: "Findings") -> None:
        """Add what another pass has erased; of the rest, what was seen last counts."""
        self.waiting += other.waiting
        self.held += other.held
        self.failed += other.failed


class Erasure:
    """The records of one destination."""

    def __init__(self, store: Store, failures: Failures, rules: FieldRules) -> None:
        self._store = store
        self._failures = failures
        self._rules = rules
        self._traces = Traces(store)

    def size(self) -> int:
        """How many records there are to look through, about."""
        return sum(map(self._traces.length, self._traces.lanes()))

    def matcher(self, subject: Subject) -> Matcher:
        return subject.matcher(self._rules)

    def sweep(self, subject: Subject, told: Told, *, erases: bool) -> Findings:
        """One pass over all places, in the direction in which records move. Without `erases` it only counts."""
        found, matcher = Findings(), self.matcher(subject)
        names = frozenset(digests(self._traces.salt(), subject.identities))
        before = self._traces.version()
        for lane in self._traces.lanes():
            for first, raws in self._traces.waiting(lane):
                told(len(raws), lane)
                places = [first + at for at, raw in enumerate(raws) if raw and matcher.is_about(raw)]
                found.waiting += self._cancel(lane, places, erases=erases)
                found.met |= bool(places)
            retried = _matching(self._traces.retried(lane), matcher, names)
            aside = [int(record_id.rpartition(":")[2]) for record_id in retried]
            aside += [entry.seq for entry in self._traces.held(lane) if matcher.is_about(entry.raw)]
            found.held += self._cancel(lane, aside, erases=erases)
            found.met |= bool(aside)
        for lines in self._traces.bodies():
            rows = _rows(lines, matcher)
            found.in_flight += rows
            found.bodies += bool(rows)
        failed = list(_matching(self._traces.failed(), matcher, names))
        found.failed += self._failures.discard(failed) if erases else len(failed)
        found.met |= bool(failed)
        found.unknown = int(not found.in_flight and self._traces.is_busy(list(names)))
        found.moved = self._traces.version() != before
        return found

    def _cancel(self, lane: str, places: list[int], *, erases: bool) -> int:
        return cancel(self._store, lane, list(_ranges(places))) if erases else len(places)


class Everywhere:
    """All destinations of an install, and its broker where that can be looked into."""

    def __init__(self, erasures: Iterable[Erasure], mailbox: Mailbox | None) -> None:
        self._erasures = list(erasures)
        self._mailbox = mailbox

    def size(self) -> int:
        return sum(each.size() for each in self._erasures)

    def look(self, subject: Subject, told: Told) -> Findings:
        """Count the records about the contact, and change nothing."""
        return self._sweep(subject, told, erases=False)

    def erase(self, subject: Subject, told: Told) -> Findings:
        """Passes until nothing more is found. What is out of reach is as the last of them saw it."""
        erased, quiet = Findings(), 0
        for _ in range(MOST_PASSES):
            last = self._sweep(subject, told, erases=True)
            erased.take_erased(last)
            quiet = 0 if last.met else quiet + 1
            if quiet == 2 or (quiet and not last.moved):
                break
        last.waiting, last.held, last.failed = erased.waiting, erased.held, erased.failed
        return last

    def _sweep(self, subject: Subject, told: Told, *, erases: bool) -> Findings:
        found = Findings()
        # Before the lanes: a message taken meanwhile brings its records behind a look that was made.
        found.queued = self._queued(subject)
        for each in self._erasures:
            found.take(each.sweep(subject, told, erases=erases))
        return found

    def _queued(self, subject: Subject) -> int:
        matchers = [each.matcher(subject) for each in self._erasures]
        records = self._mailbox.records() if self._mailbox is not None else ()
        return sum(any(matcher.is_about(raw) for matcher in matchers) for raw in records)


def _matching(traces: Iterable[FailedTrace], matcher: Matcher, names: frozenset[bytes]) -> Iterator[str]:
    """Failures that match, by what they say or by the identities they were filed under."""
    for trace in traces:
        keys = {trace.digests[at : at + 8] for at in range(0, len(trace.digests), 8)}
        if not keys.isdisjoint(names) or matcher.is_about(trace.blob.split(b"\n", 2)[1]):
            yield trace.id


def _rows(lines: bytes, matcher: Matcher) -> int:
    """How many records of a body match."""
    if not matcher.may_hold(lines):
        return 0
    return sum(matcher.is_about(Entry.from_bytes(line).raw) for line in lines.split(b"\n"))


def _ranges(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Closed ranges of neighbours: what is not named must stay."""
    first = last = -1
    for place in sorted(places):
        if place != last + 1 or first < 0:
            if first >= 0:
                yield first, last
            first = place
        last = place
    if first >= 0:
        yield first, last
