"""What the store is judged by: every record that was enqueued, who is newer than whom, and a platform that takes
requests in, applies jobs later and in any order, and minds that no older value of a field comes after a newer one.

Each value names the record that set it, so that whatever arrives can be traced back. Nothing here knows how the store
works: it is told which records are still on their lane, and sees what reaches the platform.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from support.peer import Answer, reply

from contact_ingest.errors import FateUnknown, NotSent
from contact_ingest.model.http_message import Request

#: Fields whose values are numbers of records.
FIELDS = ("city", "country", "line")
KINDS = ("email", "external_id")
#: How long a job that nobody can ask about may take to end.
ORPHAN_S = 600

Row = Mapping[str, Any]
#: Where a record was enqueued: its lane, and its number there.
Place = tuple[str, int]


class Crash(BaseException):
    """A worker dies at this point."""


def who(row: Row) -> tuple[str, str]:
    """Whom a row is about."""
    return row.get("email", ""), row.get("external_id", "")


def is_bad(row: Row) -> bool:
    return row.get("unique_name") == "bad"


def identities(row: Row) -> set[str]:
    return {f"{kind}:{row[kind]}" for kind in KINDS if kind in row}


@dataclass(slots=True)
class Record:
    """One that was enqueued. `bad` is one that breaks the platform's rule; `left` tells when it left its lane, in a
    body or refused; `gone` that it was discarded; `failed` that it has been among the failures."""

    number: int
    lane: str
    seq: int
    names: set[str]
    sets: set[str]
    bad: bool
    left: int | None = None
    gone: bool = False
    failed: bool = False

    def is_newer(self, other: "Record") -> bool:
        """Of the same contact, and newer. Of different contacts, neither is."""
        return self.shares(other) and self.is_behind(other)

    def shares(self, other: "Record") -> bool:
        return not self.names.isdisjoint(other.names)

    def contradicts(self, other: "Record") -> bool:
        """Whether both have an identifier, each with a value of its own."""
        return any(self.about[kind] != other.about[kind] for kind in self.about.keys() & other.about.keys())

    @property
    def about(self) -> dict[str, str]:
        return dict(name.split(":", 1) for name in self.names)

    def is_behind(self, other: "Record") -> bool:
        """On one lane the later number; on two the one that left later."""
        if self.lane == other.lane:
            return self.seq > other.seq
        return self.left is not None and other.left is not None and self.left > other.left


class Records:
    """All that were enqueued."""

    def __init__(self) -> None:
        self.all: list[Record] = []
        self._by_place: dict[Place, Record] = {}
        self._moment = 0

    def add(self, lane: str, seq: int, row: Row) -> None:
        made = Record(len(self.all), lane, seq, identities(row), set(FIELDS) & row.keys(), is_bad(row))
        self.all.append(made)
        self._by_place[lane, seq] = made

    def at(self, lane: str, seq: int) -> Record:
        return self._by_place[lane, seq]

    def may_be_refused(self, made_of: Collection[Place], row: Row) -> bool:
        """Whether a record made of these may stand refused as this row. It was bad, and is so still unless a newer one
        that is bad as well has taken the bad value from it since."""
        bad = [self._by_place[place] for place in made_of if self._by_place[place].bad]
        others = [record for place, record in self._by_place.items() if record.bad and place not in made_of]
        taken = (other.left is not None and other.is_behind(record) for record in bad for other in others)
        return bool(bad) and (is_bad(row) or any(taken))

    def see(self, on_lane: set[Place]) -> None:
        """A moment: what was on its lane and is no more has left."""
        self._moment += 1
        for place, record in self._by_place.items():
            if record.left is None and place not in on_lane:
                record.left = self._moment

    def note_failed(self, places: Collection[Place]) -> None:
        for place in places:
            self._by_place[place].failed = True

    def are_mixed(self, name: str) -> bool:
        """Whether identifiers tie people of this name who contradict each other. A failed one of them loses nothing to
        the others, so its late retry may put an older value over theirs."""
        tied = self._tied(name)
        return len({known.partition(":")[0] for known in tied}) < len(tied)

    def replaced(self, record: Record, field_: str) -> bool:
        """Whether a newer record of the same contact sets the field. Another record may tie the two."""
        return any(
            field_ in newer.sets and not newer.contradicts(record) and self._are_one(newer, record)
            for newer in self.all
            if newer.is_behind(record)
        )

    def _are_one(self, one: Record, other: Record) -> bool:
        if one.shares(other):
            return True
        ties = (tie for tie in self.all if tie.shares(one) and tie.shares(other))
        return any(not tie.contradicts(one) and not tie.contradicts(other) for tie in ties)

    def undisputed(self, name: str, field_: str) -> set[int]:
        """Records of which this value must stand: of those that say it of this identity, those that nobody is newer
        than who sets it too, whatever became of him. Merges may have tied anybody to him who is tied by a chain of
        identifiers."""
        tied = self._tied(name)
        setting = [record for record in self.all if field_ in record.sets and not record.names.isdisjoint(tied)]
        return {
            record.number
            for record in setting
            if name in record.names and not any(other.is_behind(record) for other in setting)
        }

    def _tied(self, name: str) -> set[str]:
        tied, more = {name}, {name}
        while more:
            near = (record.names for record in self.all if not record.names.isdisjoint(more))
            more = set().union(*near) - tied
            tied |= more
        return tied


@dataclass(slots=True)
class Job:
    rows: list[Row]
    #: Of whom it said that they failed, once it has ended.
    failed: list[Row] | None = None


@dataclass(slots=True)
class Platform:
    """`mood` is what comes of the next requests."""

    records: Records
    mood: str = "pending"
    jobs: dict[str, Job] = field(default_factory=dict)
    orphans: list[tuple[list[Row], float]] = field(default_factory=list)
    #: identity -> field -> the record whose value stands
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Whom it has named or refused alone, and records whose rows it has failed inside a job.
    blamed: set[tuple[str, str]] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    #: Rows that it has taken over, and rows that it has failed inside a job.
    applied: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        if request.method == "PUT":
            return self._upsert(orjson.loads(b"".join(request.body))["contacts"])
        if "/imports/" in request.url:
            return self._job(request.url.rpartition("/")[2])
        if request.endpoint == "error_file":
            return self._file(request.url.rpartition("/")[2])
        return reply(200, {"custom_fields": []})

    def _upsert(self, rows: list[Row]) -> Answer:
        mood = self.mood
        named = next((row for row in reversed(rows) if "email" in row), None)
        if mood == "rejected" or (mood == "named" and named is None):
            self.blamed |= {who(row) for row in rows if len(rows) == 1}
            return reply(400, {"errors": [{"message": "no"}]})
        if mood == "named" and named is not None:
            self.blamed.add(who(named))
            return reply(400, {"errors": [{"message": f"email '{named['email']}' is not valid"}]})
        if mood == "too_large":
            self.blamed |= {who(row) for row in rows if len(rows) == 1}
        found = {
            "too_large": reply(413),
            "limited": reply(429),
            "retry": reply(503),
            "stop": reply(401),
            "not_sent": NotSent("connect"),
            "crash": Crash(),
        }.get(mood)
        if found is not None:
            return found
        if mood in ("unknown", "unreadable", "gateway", "crash_after"):
            self.orphans.append((rows, 0))
            answers = {"unknown": FateUnknown("reset"), "unreadable": reply(202, b"<html>"), "gateway": reply(504)}
            return answers.get(mood, Crash())
        number = f"job-{len(self.jobs) + 1}"
        self.jobs[number] = Job(rows)
        return reply(202, {"job_id": number})

    def _job(self, number: str) -> Answer:
        job = self.jobs[number]
        said = {"retry": 503, "limited": 429, "stop": 401, "unreadable": 404}
        if self.mood in said or self.mood in ("pending", "rejected"):
            return reply(said.get(self.mood, 200), {"status": "pending"})
        if self.mood in ("crash", "not_sent", "unknown"):
            return {"not_sent": NotSent("connect"), "unknown": FateUnknown("reset")}.get(self.mood, Crash())
        if job.failed is None:
            bad = next((row for row in job.rows if "email" in row), job.rows[0]) if self.mood == "named" else None
            self.end(job, [] if bad is None else [bad] if "email" in bad else job.rows)
        return self._report(number, job)

    def _report(self, number: str, job: Job) -> Answer:
        assert job.failed is not None
        counts: dict[str, Any] = {"requested_count": len(job.rows)}
        if not job.failed:
            return reply(200, {"status": "completed", "results": counts})
        counts["errored_count"] = len(job.failed)
        if len(job.failed) == len(job.rows):
            return reply(200, {"status": "failed", "results": counts})
        counts["errors_url"] = f"https://example.com/{number}"
        return reply(200, {"status": "errored", "results": counts})

    def _file(self, number: str) -> Answer:
        if self.mood in ("crash", "retry"):
            return Crash() if self.mood == "crash" else reply(503)
        lines = [f"{row['email']},no" for row in self.jobs[number].failed or ()]
        return reply(200, "\n".join(["email,error", *lines]).encode())

    def end(self, job: Job, failed: list[Row]) -> None:
        job.failed = failed
        self.failed += failed
        self.blamed |= {who(row) for row in failed}
        self.dropped |= {int(row[name]) for row in failed for name in FIELDS if name in row}
        self._apply([row for row in job.rows if row not in failed])

    def _apply(self, rows: list[Row]) -> None:
        for row in rows:
            self.applied.append(row)
            for name in FIELDS:
                if name in row:
                    self._set(name, self.records.all[int(row[name])])

    def _set(self, name: str, record: Record) -> None:
        for identity in record.names:
            standing = self.values.setdefault(identity, {})
            before = standing.get(name)
            if before is not None:
                newer = self.records.all[before]
                may_be_older = record.failed and self.records.are_mixed(identity)
                assert may_be_older or not newer.is_newer(record), (
                    f"{name} of {record} was applied over that of {newer}"
                )
            standing[name] = record.number

    def grow_older(self, seconds: float) -> None:
        """Jobs that nobody can ask about end by themselves, at the latest when their contacts are about to be free."""
        self.orphans = [(rows, age_s + seconds) for rows, age_s in self.orphans]
        for at in reversed([at for at, (_, age_s) in enumerate(self.orphans) if age_s >= ORPHAN_S]):
            self.finish_orphan(at)

    def finish_orphan(self, at: int) -> None:
        self._apply(self.orphans.pop(at)[0])

    def abandon(self, followed: set[str]) -> None:
        """Jobs that nobody follows any more may still end by themselves."""
        for number, job in self.jobs.items():
            if job.failed is None and number not in followed:
                job.failed = []
                self.orphans.append((job.rows, 0))


def missing(records: Records, platform: Platform) -> Iterator[str]:
    """Values that should stand at the platform and do not, once all is delivered."""
    names = {name for record in records.all for name in record.names}
    for name in sorted(names):
        for field_ in FIELDS:
            wanted = records.undisputed(name, field_)
            lost = {n for n in wanted if records.all[n].gone or n in platform.dropped}
            stands = platform.values.get(name, {}).get(field_)
            may_be_older = stands is not None and records.all[stands].failed and records.are_mixed(name)
            if wanted - lost and stands not in wanted and not may_be_older:
                should = [records.all[number] for number in sorted(wanted)]
                found = None if stands is None else records.all[stands]
                yield f"{field_} of {name} should be by {should}, and is by {found}"


def unsaid(records: Records, platform: Platform, kept: Collection[Row] = ()) -> Iterator[str]:
    """What a record said and that is nowhere: neither at the platform nor among the records that are `kept`.

    A field counts as said if a newer record of the same contact sets it. Identifiers belong together.
    """
    arrived = {(name, int(row[name])) for row in (*platform.applied, *kept) for name in FIELDS if name in row}
    told = [identities(row) for row in (*platform.applied, *platform.failed, *kept)]
    told += [record.names for record in records.all if record.gone]
    for record in records.all:
        if record.gone:
            continue
        if not any(record.names <= names for names in told):
            yield f"the identifiers of {record}"
        if record.number not in platform.dropped:
            left = [name for name in sorted(record.sets) if (name, record.number) not in arrived]
            yield from (f"{name} of {record}" for name in left if not records.replaced(record, name))
