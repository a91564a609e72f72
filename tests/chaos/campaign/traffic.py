"""The campaign's contacts: made up from a seed, the same calls in the same order for the same seed, and what the
checker has to know of each record.

Every value is unique in its field, but for consent and the empty text, so that what is seen at the platform tells which
record it came from.
"""

import random
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any

from dialects import LOOPS_LIST, OPTED_OUT, Bad, Dialect

#: The one in the campaign's own process, and the one that is killed.
PRODUCERS = IMMORTAL, MORTAL = "immortal", "mortal"
#: What is seen of a contact that has joined the list of the second lane.
JOINED = "joined"
HOT, BOTH_LANES = 12, 8
#: So many calls about the same few contacts; then they are left alone, and what went wrong with them stays to be seen.
EPOCH = 12
#: Records of a large call: one script of the door, and more than one body.
BULK = 480
IDENTIFIERS = ("email", "external_id")
#: Spellings of one domain, and how a platform is told of it.
SPELLINGS, ON_THE_WIRE = ("bücher.example", "xn--bcher-kva.example", "Bücher.example"), "xn--bcher-kva.example"
#: Letters that become an ASCII letter where case is folded or spelling is unified, and that letter.
FOREIGN_LETTERS = (("\u212a", "k"), ("\u017f", "s"), ("\uff41", "a"))


@dataclass(frozen=True, slots=True)
class Made:
    """One record as it is enqueued, whose it is, and the codes it may fail as if it is bad on purpose. `stays`: it
    fails and stays failed, whatever comes later."""

    record: dict[str, Any]
    may_fail_as: frozenset[str] = frozenset()
    who: str = ""
    stays: bool = False

    @property
    def contact(self) -> str:
        return self.who or str(self.record["email"])

    def fields(self, *, listed: bool) -> dict[str, Any]:
        """What the checker looks for, flat; an identifier says who it is and not what."""
        kept = (*IDENTIFIERS, "custom_fields", "mailing_lists")
        own = {name: value for name, value in self.record.items() if name not in kept}
        return {**own, **self.record.get("custom_fields", {}), **({JOINED: True} if listed else {})}


@dataclass(frozen=True, slots=True)
class Call:
    """Records that are enqueued together, with the key that makes a repeat count nothing. `listed`: in the lane whose
    contacts join a list; `cancelled`: somebody changes his mind at once."""

    key: str
    made: tuple[Made, ...]
    listed: bool = False
    cancelled: bool = False


def opted_out(name: str, number: int) -> str:
    """The address of a contact who had opted out before the campaign began."""
    return f"{name}-{number}@optout.example"


class Traffic:
    """An endless row of calls."""

    def __init__(self, seed: int, name: str, dialect: Dialect) -> None:
        self._draw = random.Random(f"{seed} {name}")
        self._name = name
        self._dialect = dialect
        self._number = 0
        self._bad = self._hot_calls = self._both_calls = self._consent_calls = 0
        self._mend: deque[tuple[str, str]] = deque()

    def __iter__(self) -> Iterator[Call]:
        kinds = {self._fresh: 30, self._hot: 34, self._in_both_lanes: 14, self._planted: 12, self._mended: 6}
        kinds |= {self.regretted: 2, self._bulk: 1}
        if self._dialect.external_id and not self._dialect.links:
            kinds[self._rivals] = 2
        if self._dialect.consent:
            kinds |= {self._consent: 10, self._opted_out: 4}
        while True:
            make = self._draw.choices(list(kinds), list(kinds.values()))[0]
            if (call := make()) is not None:
                yield call

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _call(self, *made: Made, listed: bool = False, cancelled: bool = False) -> Call:
        if listed and self._dialect.lists_in_record:
            made = tuple(replace(each, record={**each.record, "mailing_lists": {LOOPS_LIST: True}}) for each in made)
        return Call(f"{self._name}-{self._next()}", made, listed, cancelled)

    def _value(self, name: str) -> Any:
        if name == "visits":
            return self._next()
        if name == self._dialect.consent:
            return self._dialect.yes if self._draw.random() < 0.5 else self._dialect.no
        # An empty text is a value too.
        if name == "city" and self._dialect.empties and self._draw.random() < 0.05:
            return ""
        return f"{name[:5]} no. {self._next()} å東"

    def _person(self, email: str, *names: str) -> Made:
        record: dict[str, Any] = {"email": email}
        for name in names:
            self._put(record, name, self._value(name))
        return Made(record)

    def _put(self, record: dict[str, Any], name: str, value: Any) -> None:
        custom = name in self._dialect.custom or name == "nickname"
        (record.setdefault("custom_fields", {}) if custom else record)[name] = value

    def _address(self, kind: str) -> str:
        return f"{self._name}-{self._next()}@{kind}.example".lower()

    def _many(self, least: int, most: int) -> int:
        return max(1, self._draw.randint(least, most) // self._dialect.size)

    def newer(self, names: Mapping[str, Collection[str]], *, listed: bool) -> Call:
        """One more record of each contact, which sets the same fields anew."""
        return self._call(*(self._person(email, *fields) for email, fields in names.items()), listed=listed)

    def _fresh(self) -> Call:
        name, place, street, *_ = self._dialect.texts
        count, listed = self._many(8, 40), self._draw.random() < 0.3
        names = (name, place, "visits") if self._draw.random() < 0.5 else (name, street)
        return self._call(*(self._person(self._address("fresh"), *names) for _ in range(count)), listed=listed)

    def _bulk(self) -> Call:
        """More than one body holds."""
        count = BULK // self._dialect.size**2
        return self._call(*(self._person(self._address("bulk"), *self._dialect.texts[:4]) for _ in range(count)))

    def _hot(self) -> Call:
        self._hot_calls += 1
        epoch, names = self._hot_calls // EPOCH, (*self._dialect.texts, "visits")
        chosen = self._draw.sample(range(HOT), self._many(3, 8))
        return self._call(
            *(
                self._person(f"{self._name}-{epoch}-{number}@hot.example", *self._draw.sample(names, 2))
                for number in chosen
            )
        )

    def _in_both_lanes(self) -> Call:
        self._both_calls += 1
        epoch = self._both_calls // EPOCH
        chosen = self._draw.sample(range(BOTH_LANES), self._many(2, 5))
        listed = self._draw.random() < 0.5
        names = self._draw.sample(self._dialect.texts[:3], 2)
        people = (self._person(f"{self._name}-{epoch}-{number}@both.example", *names) for number in chosen)
        return self._call(*people, listed=listed)

    def _consent(self) -> Call:
        """People who change their minds: the last word counts."""
        self._consent_calls += 1
        epoch = self._consent_calls // EPOCH
        chosen = self._draw.sample(range(BOTH_LANES), self._many(2, 5))
        names = (self._dialect.texts[0], self._dialect.consent)
        return self._call(
            *(self._person(f"{self._name}-{epoch}-{number}@consent.example", *names) for number in chosen)
        )

    def _opted_out(self) -> Call:
        """News of a contact who has opted out, without a word on consent."""
        email = opted_out(self._name, self._draw.randrange(OPTED_OUT))
        return self._call(self._person(email, *self._dialect.texts[:2], "visits"))

    def _planted(self) -> Call:
        """One bad record among good ones of its body; some are mended by a newer record later on."""
        bad = self._dialect.bad[self._bad % len(self._dialect.bad)]
        self._bad += 1
        email, name, place = self._address("bad"), *self._dialect.texts[:2]
        made = self._bad_record(email, bad)
        if bad.code != "unknown_field" and self._draw.random() < 0.4:
            self._mend.append((email, bad.field))
        good = [self._person(self._address("fresh"), name, place) for _ in range(self._draw.randint(0, 4))]
        return self._call(*good, made)

    def _bad_record(self, email: str, bad: Bad) -> Made:
        marked = isinstance(bad.value, str) and bad.value.startswith("[[")
        record = {"email": email, self._dialect.texts[0]: self._value(self._dialect.texts[0])}
        self._put(record, bad.field, f"{bad.value}{self._next()}" if marked else bad.value)
        return Made(record, frozenset({bad.code, *(self._dialect.refusals if marked else ())}))

    def _mended(self) -> Call | None:
        if len(self._mend) < 2:
            return None
        email, field = self._mend.popleft()
        made = self._person(email, self._dialect.texts[0], field)
        if field == "phone":
            made.record[field] = f"+1201555{self._next() % 10_000:04d}"
        return self._call(made)

    def _rivals(self) -> Call:
        """One address, two external ids: whoever comes first is the contact, and the other one fails."""
        email = self._address("rival")
        pair = [{"email": email, "external_id": f"{email}/{i}", "first_name": self._value("x")} for i in "ab"]
        return self._call(*(Made(record, frozenset({"import_error"})) for record in pair))

    def regretted(self) -> Call:
        people = [self._person(self._address("regretted"), self._dialect.texts[0]) for _ in range(3)]
        return self._call(*people, cancelled=True)

    # --- what faults put among the rest

    def lone(self) -> Call:
        return self._call(self._person(self._address("lone"), *self._dialect.texts[:2]))

    def joining(self) -> Call:
        """A few who join the list of the second lane."""
        people = (self._person(self._address("joining"), *self._dialect.texts[:2]) for _ in range(5))
        return self._call(*people, listed=True)

    def contradiction(self) -> tuple[Call, Call]:
        """Two contacts of one address: the older one is bad and stays so, and the newer one must not take from it."""
        email, name = self._address("contradiction"), self._dialect.texts[0]
        bad = next(each for each in self._dialect.bad if each.code == "too_long")
        old, new = f"{email}/old", f"{email}/new"
        record = {"external_id": old, **self._bad_record(email, bad).record}
        older = Made(record, frozenset({bad.code}), f"id:{old}", stays=True)
        newer = {"external_id": new, **self._person(email, name, bad.field).record}
        return self._call(older), self._call(Made(newer, who=f"id:{new}"))

    def linked(self) -> tuple[Call, ...]:
        """One contact: by both identifiers, by the first alone, and by the second alone."""
        email, names = self._address("linked"), (*self._dialect.texts[:2], self._dialect.consent)
        both, first, second = (self._person(email, *names) for _ in range(3))
        both.record["external_id"] = second.record["external_id"] = f"{email}/id"
        second.record.pop("email")
        second.record[self._dialect.consent] = self._dialect.no
        return self._call(both), self._call(first), self._call(replace(second, who=email))

    def foreign_letter(self, ordinal: int) -> Call:
        """Two addresses that differ in a letter alone, which folding would make the same. The foreign one may be
        refused."""
        foreign, plain = FOREIGN_LETTERS[ordinal % len(FOREIGN_LETTERS)]
        email = self._address("letters")
        good = self._person(plain + email, *self._dialect.texts[:2])
        wrong = self._person(foreign + email, *self._dialect.texts[:2])
        pair = [good, replace(wrong, may_fail_as=frozenset({"bad_email", "bad_identifier"}))]
        return self._call(*(pair if ordinal % 2 else reversed(pair)))

    def spelled(self) -> tuple[Call, ...]:
        """One contact whose domain is written in several ways."""
        local = f"{self._name}-{self._next()}".lower()
        people = (self._person(f"{local}@{domain}", *self._dialect.texts[:2]) for domain in SPELLINGS)
        return tuple(self._call(replace(each, who=f"{local}@{ON_THE_WIRE}")) for each in people)


def fingerprint(seed: int, dialect: Dialect, calls: int = 500) -> dict[str, str]:
    """What tells the beginning of one producer's traffic from another's."""
    found = {}
    for name in PRODUCERS:
        digest = sha256()
        for call in islice(Traffic(seed, name, dialect), calls):
            told = (
                call.key,
                call.listed,
                call.cancelled,
                [(made.record, sorted(made.may_fail_as)) for made in call.made],
            )
            digest.update(repr(told).encode())
        found[name] = digest.hexdigest()[:16]
    return found
