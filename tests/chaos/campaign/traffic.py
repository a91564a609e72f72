"""The campaign's contacts: made up from a seed, the same calls in the same order for the same seed, and what the
checker has to know of each record.

Every value is unique in its field, so that what is seen at the platform tells which record it came from.
"""

import random
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

#: Custom fields of the account, and their types.
CUSTOM = {"plan": "Text", "visits": "Number"}
TEXTS = ("first_name", "city", "address_line_1", "postal_code", "plan")
#: The one in the campaign's own process, and the one that is killed.
PRODUCERS = IMMORTAL, MORTAL = "immortal", "mortal"
#: What is seen of a contact that has joined the list of the second lane.
JOINED = "joined"
HOT, BOTH_LANES = 12, 8
#: So many calls about the same few contacts; then they are left alone, and what went wrong with them stays to be seen.
EPOCH = 12
#: Records of a large call: one script of the door, and more than one body.
BULK = 480
#: Ways to be bad: the field, its value, and what the failure may be called.
BAD: tuple[tuple[str, str | None, str], ...] = (
    ("last_name", "x" * 51, "too_long"),
    ("phone", "201-555-0123", "bad_phone"),
    ("last_name", "[[fail-import]]", "import_error"),
    ("city", None, "null"),
    ("last_name", "[[reject-named]]", "bad_identifier"),
    ("last_name", "[[fail-import]]", "import_error"),
    ("last_name", "[[reject-silent]]", "http_400"),
    ("last_name", "[[reject-index]]", "bad_identifier"),
    ("last_name", "[[fail-import]]", "import_error"),
    ("nickname", "custom and unknown", "unknown_field"),
    ("last_name", "[[fail-unnamed]]", "import_error"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """One record as it is enqueued, whose it is, and the codes it may fail as if it is bad on purpose."""

    record: dict[str, Any]
    may_fail_as: frozenset[str] = frozenset()

    @property
    def contact(self) -> str:
        return str(self.record["email"])

    def fields(self, *, listed: bool) -> dict[str, Any]:
        """What the checker looks for, flat; an identifier says who it is and not what."""
        own = {name: value for name, value in self.record.items() if name not in ("email", "custom_fields")}
        return {**own, **self.record.get("custom_fields", {}), **({JOINED: True} if listed else {})}


@dataclass(frozen=True, slots=True)
class Call:
    """Records that are enqueued together, with the key that makes a repeat count nothing. `listed`: in the lane whose
    contacts join a list; `cancelled`: somebody changes his mind at once."""

    key: str
    made: tuple[Made, ...]
    listed: bool = False
    cancelled: bool = False


class Traffic:
    """An endless row of calls."""

    def __init__(self, seed: int, name: str) -> None:
        self._draw = random.Random(f"{seed} {name}")
        self._name = name
        self._number = 0
        self._bad = self._hot_calls = self._both_calls = 0
        self._mend: deque[tuple[str, str]] = deque()

    def __iter__(self) -> Iterator[Call]:
        kinds = {self._fresh: 30, self._hot: 34, self._in_both_lanes: 14, self._planted: 12, self._mended: 6}
        kinds |= {self._rivals: 2, self.regretted: 2, self._bulk: 1}
        while True:
            make = self._draw.choices(list(kinds), list(kinds.values()))[0]
            if (call := make()) is not None:
                yield call

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _call(self, *made: Made, listed: bool = False, cancelled: bool = False) -> Call:
        return Call(f"{self._name}-{self._next()}", made, listed, cancelled)

    def _value(self, name: str) -> Any:
        if name == "visits":
            return self._next()
        # An empty text is a value too.
        return "" if name == "city" and self._draw.random() < 0.05 else f"{name[:5]} no. {self._next()} å東"

    def _person(self, email: str, *names: str) -> Made:
        record: dict[str, Any] = {"email": email}
        for name in names:
            (record.setdefault("custom_fields", {}) if name in CUSTOM else record)[name] = self._value(name)
        return Made(record)

    def _address(self, kind: str) -> str:
        return f"{self._name}-{self._next()}@{kind}.example"

    def newer(self, names: Mapping[str, Collection[str]], *, listed: bool) -> Call:
        """One more record of each contact, which sets the same fields anew."""
        return self._call(*(self._person(email, *fields) for email, fields in names.items()), listed=listed)

    def _fresh(self) -> Call:
        count, listed = self._draw.randint(8, 40), self._draw.random() < 0.3
        names = ("first_name", "city", "visits") if self._draw.random() < 0.5 else ("first_name", "address_line_1")
        return self._call(*(self._person(self._address("fresh"), *names) for _ in range(count)), listed=listed)

    def _bulk(self) -> Call:
        """More than one body holds."""
        names = ("first_name", "address_line_1", "city", "postal_code")
        return self._call(*(self._person(self._address("bulk"), *names) for _ in range(BULK)))

    def _hot(self) -> Call:
        self._hot_calls += 1
        epoch = self._hot_calls // EPOCH
        chosen = self._draw.sample(range(HOT), self._draw.randint(3, 8))
        return self._call(
            *(
                self._person(f"{self._name}-{epoch}-{number}@hot.example", *self._draw.sample((*TEXTS, "visits"), 2))
                for number in chosen
            )
        )

    def _in_both_lanes(self) -> Call:
        self._both_calls += 1
        epoch = self._both_calls // EPOCH
        chosen = self._draw.sample(range(BOTH_LANES), self._draw.randint(2, 5))
        listed = self._draw.random() < 0.5
        names = self._draw.sample(TEXTS[:3], 2)
        people = (self._person(f"{self._name}-{epoch}-{number}@both.example", *names) for number in chosen)
        return self._call(*people, listed=listed)

    def _planted(self) -> Call:
        """One bad record among good ones of its body; some are mended by a newer record later on."""
        field, value, code = BAD[self._bad % len(BAD)]
        self._bad += 1
        email = self._address("bad")
        text = f"{value}{self._next()}" if value and value.startswith("[[") else value
        record: dict[str, Any] = {"email": email, "first_name": self._value("first_name")}
        record |= {"custom_fields": {field: text}} if code == "unknown_field" else {field: text}
        if code != "unknown_field" and self._draw.random() < 0.4:
            self._mend.append((email, field))
        good = [self._person(self._address("fresh"), "first_name", "city") for _ in range(self._draw.randint(0, 4))]
        return self._call(*good, Made(record, frozenset({code})))

    def _mended(self) -> Call | None:
        if len(self._mend) < 2:
            return None
        email, field = self._mend.popleft()
        record = {"email": email, "first_name": self._value("first_name"), field: self._value(field)}
        if field == "phone":
            record[field] = f"+1201555{self._next() % 10_000:04d}"
        return self._call(Made(record))

    def _rivals(self) -> Call:
        """One address, two external ids: whoever comes first is the contact, and the other one fails."""
        email = self._address("rival")
        pair = [{"email": email, "external_id": f"{email}/{i}", "first_name": self._value("x")} for i in "ab"]
        return self._call(*(Made(record, frozenset({"import_error"})) for record in pair))

    def regretted(self) -> Call:
        people = [self._person(self._address("regretted"), "first_name") for _ in range(3)]
        return self._call(*people, cancelled=True)


def fingerprint(seed: int, calls: int = 500) -> dict[str, str]:
    """What tells the beginning of one producer's traffic from another's."""
    return {
        name: sha256("".join(f"{call}" for call in islice(Traffic(seed, name), calls)).encode()).hexdigest()[:16]
        for name in PRODUCERS
    }
