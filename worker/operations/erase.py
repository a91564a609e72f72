"""Erasing a contact: every record about it, in every place of a destination, leaves as discarded, and the books say so.

Records in a body cannot be pulled out of bytes that may be on their way: they are counted, and what comes back of them
as failures is erased by the next pass. Workers go on meanwhile and move records from place to place, so passes are made
until two in a row, or one during which nothing moved, find nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from unicodedata import normalize

import orjson
from email_validator import EmailNotValidError, validate_email

from contact_ingest.errors import SettingError
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.identity import digests
from contact_ingest.model.record import QueuedRecord
from contact_ingest.store.failures import Failures
from contact_ingest.store.lanes import cancel
from contact_ingest.store.scan import FailedTrace, RecordScan
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import BrokerQueue


@dataclass(frozen=True, slots=True, repr=False)
class DataSubject:
    """Who is meant: any one of these is enough. Addresses are compared without regard to letter case."""

    email: str = ""
    external_id: str = ""
    phone_number_id: str = ""
    anonymous_id: str = ""

    def __post_init__(self) -> None:
        if not any(getattr(self, field.name).strip() for field in fields(self)):
            raise SettingError("erase", "name the contact: EMAIL, --external-id, --phone-number-id or --anonymous-id")

    def __repr__(self) -> str:
        return "Subject()"

    @property
    def identities(self) -> tuple[str, ...]:
        """As the index of contacts in flight may know them."""
        others = ((name, getattr(self, name)) for name in ("external_id", "phone_number_id", "anonymous_id"))
        return (*(f"email:{form}" for form in self._forms()), *(f"{name}:{value}" for name, value in others if value))

    def matcher(self, rules: FieldMapping) -> "RecordMatcher":
        return RecordMatcher(self, rules)

    def _forms(self) -> tuple[str, ...]:
        """The address in whatever way it may have been written."""
        return tuple(sorted(_forms(self.email))) if self.email.strip() else ()


class RecordMatcher:
    """Whether records of one destination are about the subject."""

    def __init__(self, subject: DataSubject, rules: FieldMapping) -> None:
        self._rules = rules
        self._emails = frozenset(subject._forms())  # noqa: SLF001 - the two are one
        self._others = {
            name: value
            for name in ("external_id", "phone_number_id", "anonymous_id")
            if (value := getattr(subject, name))
        }
        # An address may be written with its domain in other letters than those it is asked for by: then its first part
        # is what to look for.
        first = {form.partition("@")[0] for form in self._emails}
        sought = {normalize(form, text) for text in first for form in ("NFC", "NFD")} | set(self._others.values())
        self._signs = tuple({orjson.dumps(text).decode()[1:-1].lower() for text in sought})

    def may_hold(self, text: bytes) -> bool:
        """A quick look: False is certain."""
        lower = text.decode(errors="replace").lower()
        return any(sign in lower for sign in self._signs)

    def is_about(self, raw: bytes) -> bool:
        """Whether a record, as enqueued, is about the subject."""
        if not self.may_hold(raw):
            return False
        return self._says_so(orjson.loads(raw)) or (
            not self._rules.is_empty and self._says_so(orjson.loads(self._rules.apply(raw)))
        )

    def _says_so(self, record: Any) -> bool:
        if not isinstance(record, Mapping):
            return False
        if any(_text(record.get(name)) == value for name, value in self._others.items()):
            return True
        return bool(self._emails) and any(not self._emails.isdisjoint(_forms(text)) for text in _addresses(record))


def _text(value: Any) -> str:
    """A number in the place of an identifier is refused by platforms, and lies among the failures."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _addresses(record: Mapping[str, Any]) -> Iterator[str]:
    others = record.get("alternate_emails")
    for value in (record.get("email"), *(others if isinstance(others, list) else ())):
        if isinstance(value, str):
            yield value


def _forms(text: str) -> set[str]:
    """An address as given and, where its letters or its domain can be written in two ways, in either."""
    folded = text.strip().lower()
    if folded.isascii() and "xn--" not in folded:
        return {folded}
    try:
        read = validate_email(folded, check_deliverability=False)
    except (EmailNotValidError, UnicodeError):
        return {folded}
    return {folded, read.normalized.lower(), f"{read.local_part}@{read.ascii_domain}".lower()}


#: Passes that may find something new before it is said that somebody keeps bringing records of the contact.
MOST_PASSES = 25

Progress = Callable[[int, str], None]


@dataclass(slots=True)
class ErasureCounts:
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

    def take(self, other: "ErasureCounts") -> None:
        """Add what another destination says."""
        self.take_erased(other)
        self.in_flight += other.in_flight
        self.bodies += other.bodies
        self.unknown += other.unknown
        self.met |= other.met
        self.moved |= other.moved

    def take_erased(self, other: "ErasureCounts") -> None:
        """Add what another pass has erased; of the rest, what was seen last counts."""
        self.waiting += other.waiting
        self.held += other.held
        self.failed += other.failed


class DestinationEraser:
    """The records of one destination."""

    def __init__(self, store: Store, failures: Failures, rules: FieldMapping) -> None:
        self._store = store
        self._failures = failures
        self._rules = rules
        self._traces = RecordScan(store)

    def size(self) -> int:
        """How many records there are to look through, about."""
        return sum(map(self._traces.length, self._traces.lanes()))

    def matcher(self, subject: DataSubject) -> RecordMatcher:
        return subject.matcher(self._rules)

    def sweep(self, subject: DataSubject, told: Progress, *, erases: bool) -> ErasureCounts:
        """One pass over all places, in the direction in which records move. Without `erases` it only counts."""
        found, matcher = ErasureCounts(), self.matcher(subject)
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


class Eraser:
    """All destinations of an install, and its broker where that can be looked into."""

    def __init__(self, erasures: Iterable[DestinationEraser], broker_queue: BrokerQueue | None) -> None:
        self._erasures = list(erasures)
        self._broker_queue = broker_queue

    def size(self) -> int:
        return sum(each.size() for each in self._erasures)

    def look(self, subject: DataSubject, told: Progress) -> ErasureCounts:
        """Count the records about the contact, and change nothing."""
        return self._sweep(subject, told, erases=False)

    def erase(self, subject: DataSubject, told: Progress) -> ErasureCounts:
        """Passes until nothing more is found. What is out of reach is as the last of them saw it."""
        erased, quiet = ErasureCounts(), 0
        for _ in range(MOST_PASSES):
            last = self._sweep(subject, told, erases=True)
            erased.take_erased(last)
            quiet = 0 if last.met else quiet + 1
            if quiet == 2 or (quiet and not last.moved):
                break
        last.waiting, last.held, last.failed = erased.waiting, erased.held, erased.failed
        return last

    def _sweep(self, subject: DataSubject, told: Progress, *, erases: bool) -> ErasureCounts:
        found = ErasureCounts()
        # Before the lanes: a message taken meanwhile brings its records behind a look that was made.
        found.queued = self._queued(subject)
        for each in self._erasures:
            found.take(each.sweep(subject, told, erases=erases))
        return found

    def _queued(self, subject: DataSubject) -> int:
        matchers = [each.matcher(subject) for each in self._erasures]
        records = self._broker_queue.records() if self._broker_queue is not None else ()
        return sum(any(matcher.is_about(raw) for matcher in matchers) for raw in records)


def _matching(traces: Iterable[FailedTrace], matcher: RecordMatcher, names: frozenset[bytes]) -> Iterator[str]:
    """Failures that match, by what they say or by the identities they were filed under."""
    for trace in traces:
        keys = {trace.digests[at : at + 8] for at in range(0, len(trace.digests), 8)}
        if not keys.isdisjoint(names) or matcher.is_about(trace.blob.split(b"\n", 2)[1]):
            yield trace.id


def _rows(lines: bytes, matcher: RecordMatcher) -> int:
    """How many records of a body match."""
    if not matcher.may_hold(lines):
        return 0
    return sum(matcher.is_about(QueuedRecord.from_bytes(line).raw) for line in lines.split(b"\n"))


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
