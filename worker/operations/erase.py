"""Erasure: every record about one contact is removed from every place of a destination. The books count the removed
records as discarded.

Records in the body of a batch cannot be removed, because the bytes may be on their way to the platform. These records
are counted. A later pass erases those that come back as failures.

Workers go on meanwhile and move records between places. So `Eraser.erase` makes passes until two in a row find nothing,
or until one finds nothing while no record moved.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from unicodedata import normalize

import orjson

from contact_ingest.errors import SettingError
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.model.identity import BLANKS, digests, split_digests
from contact_ingest.model.lane import RecordId
from contact_ingest.model.letter_case import folded
from contact_ingest.model.record import QueuedRecord
from contact_ingest.providers.email_address import comparable, is_canonical
from contact_ingest.store.failures import FailedRecord, Failures
from contact_ingest.store.lanes import cancel
from contact_ingest.store.scan import RecordScan
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import BrokerQueue


@dataclass(frozen=True, slots=True, repr=False)
class DataSubject:
    """The contact to erase, by at least one identifier. A record with any of them is about the contact. E-mail
    addresses are compared without regard to letter case."""

    email: str = ""
    external_id: str = ""
    phone_number_id: str = ""
    anonymous_id: str = ""

    def __post_init__(self) -> None:
        if not any(getattr(self, field.name).strip() for field in fields(self)):
            raise SettingError("erase", "name the contact: EMAIL, --external-id, --phone-number-id or --anonymous-id")

    def __repr__(self) -> str:
        return "DataSubject()"

    @property
    def identities(self) -> tuple[str, ...]:
        """The identities under which the index of contacts in flight may hold the contact: `email:ada@example.com`."""
        others = ((name, getattr(self, name)) for name in ("external_id", "phone_number_id", "anonymous_id"))
        return (
            *(f"email:{form}" for form in self.email_forms),
            *(f"{name}:{value}" for name, value in others if value),
        )

    @property
    def email_forms(self) -> tuple[str, ...]:
        """All spellings of the e-mail address, in lower case; none if the contact is not named by one."""
        return tuple(sorted(_spellings(self.email))) if self.email.strip() else ()


class RecordMatcher:
    """Says whether a record is about the contact. `field_mapping` is that of the record's destination: a record may
    hold an identifier under another name."""

    def __init__(self, subject: DataSubject, field_mapping: FieldMapping) -> None:
        self._field_mapping = field_mapping
        self._emails = frozenset(subject.email_forms)
        self._others = {
            name: value
            for name in ("external_id", "phone_number_id", "anonymous_id")
            if (value := getattr(subject, name))
        }
        # The quick check looks for the part before the @: a record may spell the domain in another way.
        local_parts = {form.partition("@")[0] for form in self._emails}
        sought = {normalize(form, text) for text in local_parts for form in ("NFC", "NFD")} | set(self._others.values())
        self._needles = tuple({orjson.dumps(text).decode()[1:-1].lower() for text in sought})

    def may_hold(self, text: bytes) -> bool:
        """A quick check of JSON text. False is certain, True is not."""
        lower = text.decode(errors="replace").lower()
        return any(needle in lower for needle in self._needles)

    def is_about(self, raw: bytes) -> bool:
        """Whether a record, as JSON in the form in which it was enqueued, is about the contact."""
        if not self.may_hold(raw):
            return False
        return self._matches(orjson.loads(raw)) or (
            not self._field_mapping.is_empty and self._matches(orjson.loads(self._field_mapping.apply(raw)))
        )

    def _matches(self, record: Any) -> bool:
        if not isinstance(record, Mapping):
            return False
        if any(_text(record.get(name)) == value for name, value in self._others.items()):
            return True
        return bool(self._emails) and any(not self._emails.isdisjoint(_spellings(text)) for text in _addresses(record))


def _text(value: Any) -> str:
    """The value of an identifier as text. Platforms refuse a number as identifier, so such records lie among the
    failures, and must be found there."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _addresses(record: Mapping[str, Any]) -> Iterator[str]:
    """All e-mail addresses of a record."""
    others = record.get("alternate_emails")
    for value in (record.get("email"), *(others if isinstance(others, list) else ())):
        if isinstance(value, str):
            yield value


def _spellings(text: str) -> set[str]:
    """An e-mail address in lower case: as given, and as it is sent. A character that is no letter of the address, but
    would become one (U+212A KELVIN SIGN), stays as it is: the address of another person must not be meant."""
    given = text.strip(BLANKS)
    if given.isascii():
        return {given.lower()}
    forms = {folded(given), comparable(given)}
    return forms | {given.lower()} if is_canonical(given) else forms


#: Most passes of one erasure. If the last one still finds records, a producer keeps enqueueing them.
MOST_PASSES = 25

#: Called while records are read: the number of records read since the last call, and their lane.
Progress = Callable[[int, str], None]


@dataclass(slots=True)
class ErasureCounts:
    """What a pass found.

    `waiting`, `held` and `failed` are records that were erased, or would be; `held` includes records that are to be
    retried. The other numbers are out of reach for the moment: `in_flight` records in `bodies` bodies, `queued` records
    in messages of the broker, and `unknown` destinations where a request of unknown fate may still reach the platform.
    """

    waiting: int = 0
    held: int = 0
    failed: int = 0
    in_flight: int = 0
    bodies: int = 0
    queued: int = 0
    unknown: int = 0
    #: Whether the pass met a record to erase, even if the record moved on before it was erased.
    met: bool = False
    #: Whether any record of a destination moved during the pass.
    moved: bool = False

    @property
    def erased(self) -> int:
        return self.waiting + self.held + self.failed

    @property
    def is_clear(self) -> bool:
        """Whether no record about the contact is left or on its way."""
        return not (self.met or self.in_flight or self.queued or self.unknown)

    def take(self, other: "ErasureCounts") -> None:
        """Add the counts of another destination."""
        self.take_erased(other)
        self.in_flight += other.in_flight
        self.bodies += other.bodies
        self.unknown += other.unknown
        self.met |= other.met
        self.moved |= other.moved

    def take_erased(self, other: "ErasureCounts") -> None:
        """Add what another pass has erased. The other numbers are not sums: the last pass counts."""
        self.waiting += other.waiting
        self.held += other.held
        self.failed += other.failed


class DestinationEraser:
    """Erases a contact at one destination."""

    def __init__(self, store: Store, failures: Failures, field_mapping: FieldMapping) -> None:
        self._store = store
        self._failures = failures
        self._field_mapping = field_mapping
        self._scan = RecordScan(store)

    def size(self) -> int:
        """About how many records a pass has to read."""
        return sum(map(self._scan.length, self._scan.lanes()))

    def matcher(self, subject: DataSubject) -> RecordMatcher:
        return RecordMatcher(subject, self._field_mapping)

    def run_pass(self, subject: DataSubject, progress: Progress, *, erases: bool) -> ErasureCounts:
        """One pass over all places, in the direction in which records move: waiting, to be retried, held, in bodies,
        failed. Without `erases` the pass only counts."""
        found, matcher = ErasureCounts(), self.matcher(subject)
        names = frozenset(digests(self._scan.salt(), subject.identities))
        before = self._scan.version()
        for lane in self._scan.lanes():
            for first, raws in self._scan.waiting(lane):
                progress(len(raws), lane)
                places = [first + at for at, raw in enumerate(raws) if raw and matcher.is_about(raw)]
                found.waiting += self._cancel(lane, places, erases=erases)
                found.met |= bool(places)
            retried = _matching(self._scan.retried(lane), matcher, names)
            aside = [RecordId.parse(record_id).seq for record_id in retried]
            aside += [entry.seq for entry in self._scan.held(lane) if matcher.is_about(entry.raw)]
            found.held += self._cancel(lane, aside, erases=erases)
            found.met |= bool(aside)
        for lines in self._scan.bodies():
            rows = _rows(lines, matcher)
            found.in_flight += rows
            found.bodies += bool(rows)
        failed = list(_matching(self._scan.failed(), matcher, names))
        found.failed += self._failures.discard(failed) if erases else len(failed)
        found.met |= bool(failed)
        found.unknown = int(not found.in_flight and self._scan.is_busy(list(names)))
        found.moved = self._scan.version() != before
        return found

    def _cancel(self, lane: str, places: list[int], *, erases: bool) -> int:
        return cancel(self._store, lane, list(_ranges(places))) if erases else len(places)


class Eraser:
    """Erases a contact at all destinations. `broker_queue` is None for a broker that cannot be read, as RabbitMQ."""

    def __init__(self, erasers: Iterable[DestinationEraser], broker_queue: BrokerQueue | None) -> None:
        self._erasers = list(erasers)
        self._broker_queue = broker_queue

    def size(self) -> int:
        return sum(eraser.size() for eraser in self._erasers)

    def look(self, subject: DataSubject, progress: Progress) -> ErasureCounts:
        """Count the records about the contact. Nothing is changed."""
        return self._run_pass(subject, progress, erases=False)

    def erase(self, subject: DataSubject, progress: Progress) -> ErasureCounts:
        """Make passes until they find nothing more. The counts of what is out of reach come from the last pass."""
        erased, quiet = ErasureCounts(), 0
        for _ in range(MOST_PASSES):
            last = self._run_pass(subject, progress, erases=True)
            erased.take_erased(last)
            quiet = 0 if last.met else quiet + 1
            if quiet == 2 or (quiet and not last.moved):
                break
        last.waiting, last.held, last.failed = erased.waiting, erased.held, erased.failed
        return last

    def _run_pass(self, subject: DataSubject, progress: Progress, *, erases: bool) -> ErasureCounts:
        found = ErasureCounts()
        # The broker comes before the lanes: a worker may take a message meanwhile and put its records into a lane.
        found.queued = self._queued(subject)
        for eraser in self._erasers:
            found.take(eraser.run_pass(subject, progress, erases=erases))
        return found

    def _queued(self, subject: DataSubject) -> int:
        """How many records in messages of the broker are about the contact."""
        matchers = [eraser.matcher(subject) for eraser in self._erasers]
        records = self._broker_queue.records() if self._broker_queue is not None else ()
        return sum(any(matcher.is_about(raw) for matcher in matchers) for raw in records)


def _matching(traces: Iterable[FailedRecord], matcher: RecordMatcher, names: frozenset[bytes]) -> Iterator[str]:
    """The ids of the failures that match, by the record or by the identity digests stored with the failure."""
    for trace in traces:
        keys = set(split_digests(trace.digests))
        if not keys.isdisjoint(names) or matcher.is_about(trace.failure.raw):
            yield trace.id


def _rows(lines: bytes, matcher: RecordMatcher) -> int:
    """How many records of a body match. `lines` holds the queued records of the body, one a line."""
    if not matcher.may_hold(lines):
        return 0
    return sum(matcher.is_about(QueuedRecord.from_bytes(line).raw) for line in lines.split(b"\n"))


def _ranges(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The places as closed ranges of neighbours: 1, 2, 3, 7 become (1, 3), (7, 7)."""
    first = last = -1
    for place in sorted(places):
        if place != last + 1 or first < 0:
            if first >= 0:
                yield first, last
            first = place
        last = place
    if first >= 0:
        yield first, last
