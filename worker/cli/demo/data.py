"""The demonstration's people: made up, the same for the same seed, a few of them bad on purpose.

Some contacts come as two records, the second newer in some fields; what must arrive of each is known beforehand.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

CITIES = ("Springfield", "Århus", "São Paulo", "Kraków", "Portland", "東京", "Gdańsk", "Cleveland")


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to be bad: what is done to the record, and how the failure must read, at the platforms that mind it. One
    without codes is sent again and arrives."""

    name: str
    field: str
    value: str
    stage: str
    codes: tuple[str, ...]
    at: tuple[str, ...] = ("sendgrid",)

    def fails(self, platform: str) -> bool:
        return platform in self.at and bool(self.codes)


@dataclass(frozen=True)
class People:
    """`contacts` people, `bad` of them bad in the ways of `kinds`; records have `fields`. Every `twice_every` contacts,
    one comes as two records."""

    contacts: int
    bad: int
    seed: int
    kinds: tuple[Kind, ...]
    fields: frozenset[str]
    twice_every: int = 40

    @cached_property
    def bad_ones(self) -> dict[int, Kind]:
        """Which contacts are bad and how: spread over the whole run, each kind in turn."""
        chance = random.Random(self.seed)
        stretch = self.contacts / max(1, self.bad)
        places = [int((place + chance.random()) * stretch) for place in range(self.bad)]
        kinds = [self.kinds[place % len(self.kinds)] for place in range(self.bad)]
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
            yield self._sent(number)
            if self._is_twice(number):
                due = min(self.contacts - 1, number + (3 if number % 3 else 30_000))
                later.setdefault(due, []).append(self._update(number))
            yield from later.pop(number, ())
        for records in later.values():
            yield from records

    def failing(self, platform: str) -> dict[str, Kind]:
        """Who must fail at a platform and how, by address."""
        return {self.email(number): kind for number, kind in self.bad_ones.items() if kind.fails(platform)}

    def expected(self, platform: str) -> dict[str, dict[str, Any]]:
        """Every good contact as it must arrive at a platform, by address, in the words of the records."""
        failing = self.failing(platform)
        found = {}
        for number in range(self.contacts):
            email = self.email(number)
            if email in failing:
                continue
            contact = self._sent(number)
            if self._is_twice(number):
                update = self._update(number)
                contact = {
                    **contact,
                    **update,
                    "custom_fields": {**contact["custom_fields"], **update["custom_fields"]},
                }
            contact["email"] = email
            found[email] = contact
        return found

    def _is_twice(self, number: int) -> bool:
        return number % self.twice_every == self.twice_every // 2 and number not in self.bad_ones

    def _sent(self, number: int) -> dict[str, Any]:
        """The first record of a contact, spoilt if the contact is bad."""
        record = self._record(number)
        if number in self.bad_ones:
            kind = self.bad_ones[number]
            record[kind.field] = kind.value
        return record

    def _record(self, number: int) -> dict[str, Any]:
        email = self.email(number)
        return self._kept(
            email=email.upper() if number % 7 == 0 else email,
            first_name=f"First{number}",
            last_name=f'Last "{number}"',
            address_line_1=f"{number % 9999} North Some Street",
            city=CITIES[number % len(CITIES)],
            state_province_region="OH",
            postal_code=f"{number % 100_000:05d}",
            country="United States",
            phone=f"+1201555{number % 10_000:04d}",
            custom_fields={"plan": "trial" if number % 2 else "", "visits": number % 50},
        )

    def _update(self, number: int) -> dict[str, Any]:
        return self._kept(email=self.email(number), city="Moved", custom_fields={"plan": "paid"})

    def _kept(self, **fields: Any) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name in self.fields}
