"""The demonstration's people: made up, the same for the same seed, a few of them bad on purpose.

Some contacts come as two records, the second newer in some fields; what must arrive of each is known beforehand.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

CITIES = ("Springfield", "Århus", "São Paulo", "Kraków", "Portland", "東京", "Gdańsk", "Cleveland")
#: Every so many contacts, one comes as two records.
TWICE_EVERY = 40


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to be bad: what is done to the record, and how the failure must read."""

    name: str
    field: str
    value: str
    stage: str
    codes: tuple[str, ...]


KINDS = (
    Kind("a name that is too long", "last_name", "x" * 51, "aggregate", ("too_long",)),
    Kind("a national phone number", "phone", "201-555-0123", "aggregate", ("bad_phone",)),
    Kind("a 400 that quotes the address", "last_name", "[[reject-named]]", "dispatch", ("bad_identifier",)),
    Kind("a 400 with a row number only", "last_name", "[[reject-index]]", "dispatch", ("bad_identifier",)),
    Kind("a 400 that names nobody", "last_name", "[[reject-silent]]", "dispatch", ("http_400",)),
    Kind("a row in the error file", "last_name", "[[fail-import]]", "import", ("import_error",)),
)


@dataclass(frozen=True)
class People:
    """`contacts` people, `bad` of them bad."""

    contacts: int
    bad: int
    seed: int

    @cached_property
    def bad_ones(self) -> dict[int, Kind]:
        """Which contacts are bad and how: spread over the whole run, each kind in turn."""
        chance = random.Random(self.seed)
        stretch = self.contacts / max(1, self.bad)
        places = [int((place + chance.random()) * stretch) for place in range(self.bad)]
        kinds = [KINDS[place % len(KINDS)] for place in range(self.bad)]
        chance.shuffle(kinds)
        return dict(zip(places, kinds, strict=True))

    @property
    def records(self) -> int:
        return self.contacts + sum(1 for number in range(self.contacts) if self._is_twice(number))

    def email(self, number: int) -> str:
        return f"person.{self.seed}.{number:07d}@example.com"

    def stream(self) -> Iterator[dict[str, Any]]:
        """The records in the order in which they are enqueued; a second one follows its first at some distance."""
        later: dict[int, list[dict[str, Any]]] = {}
        for number in range(self.contacts):
            record = self._record(number)
            if number in self.bad_ones:
                kind = self.bad_ones[number]
                record[kind.field] = kind.value
            yield record
            if self._is_twice(number):
                due = min(self.contacts - 1, number + (3 if number % 3 else 30_000))
                later.setdefault(due, []).append(self._update(number))
            yield from later.pop(number, ())
        for records in later.values():
            yield from records

    def expected(self) -> dict[str, dict[str, Any]]:
        """Every good contact as it must arrive, by address."""
        good = (number for number in range(self.contacts) if number not in self.bad_ones)
        found = {}
        for number in good:
            contact = self._record(number)
            if self._is_twice(number):
                update = self._update(number)
                contact = {
                    **contact,
                    **update,
                    "custom_fields": {**contact["custom_fields"], **update["custom_fields"]},
                }
            contact["email"] = self.email(number)
            contact["phone_number"] = contact.pop("phone")
            found[contact["email"]] = contact
        return found

    def _is_twice(self, number: int) -> bool:
        return number % TWICE_EVERY == TWICE_EVERY // 2 and number not in self.bad_ones

    def _record(self, number: int) -> dict[str, Any]:
        email = self.email(number)
        return {
            "email": email.upper() if number % 7 == 0 else email,
            "first_name": f"First{number}",
            "last_name": f'Last "{number}"',
            "address_line_1": f"{number % 9999} North Some Street",
            "city": CITIES[number % len(CITIES)],
            "state_province_region": "OH",
            "postal_code": f"{number % 100_000:05d}",
            "country": "United States",
            "phone": f"+1201555{number % 10_000:04d}",
            "custom_fields": {"plan": "trial" if number % 2 else "", "visits": number % 50},
        }

    def _update(self, number: int) -> dict[str, Any]:
        return {"email": self.email(number), "city": "Moved", "custom_fields": {"plan": "paid"}}
