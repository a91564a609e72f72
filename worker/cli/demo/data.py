"""The demonstration's contacts: made up, the same for the same seed, and a few of them bad on purpose.

Some contacts are enqueued as two records; the second one changes some fields. `expected` says what must arrive.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

CITIES = ("Springfield", "Århus", "São Paulo", "Kraków", "Portland", "東京", "Gdańsk", "Cleveland")


@dataclass(frozen=True, slots=True)
class BadRecordKind:
    """A way of making a record bad: `field` becomes `value`.

    The platforms `at` then fail the record at `stage`, with one of `codes` as the reason. A kind without codes is sent
    again and arrives.
    """

    name: str
    field: str
    value: str
    stage: str
    codes: tuple[str, ...]
    at: tuple[str, ...] = ("sendgrid",)

    def fails(self, platform: str) -> bool:
        return platform in self.at and bool(self.codes)


@dataclass(frozen=True)
class MadeUpPeople:
    """Made-up contacts; `bad` of them are bad, in the ways of `kinds` in turn. Their records have `fields`.

    One contact of every `second_record_every` is enqueued as two records.
    """

    contacts: int
    bad: int
    seed: int
    kinds: tuple[BadRecordKind, ...]
    fields: frozenset[str]
    second_record_every: int = 40

    @cached_property
    def bad_kinds(self) -> dict[int, BadRecordKind]:
        """The bad contacts by their number, and how each is bad: spread over the whole run, each kind in turn."""
        random_source = random.Random(self.seed)
        distance = self.contacts / max(1, self.bad)
        numbers = [int((n + random_source.random()) * distance) for n in range(self.bad)]
        kinds = [self.kinds[n % len(self.kinds)] for n in range(self.bad)]
        random_source.shuffle(kinds)
        return dict(zip(numbers, kinds, strict=True))

    @property
    def records(self) -> int:
        return self.contacts + sum(1 for number in range(self.contacts) if self._has_second_record(number))

    def email(self, number: int) -> str:
        return f"person.{self.seed}.{number:07d}@example.com"

    def stream(self) -> Iterator[dict[str, Any]]:
        """The records in the order of enqueueing. A second record comes 3 or 30,000 contacts after the first."""
        later: dict[int, list[dict[str, Any]]] = {}
        for number in range(self.contacts):
            yield self._first_record(number)
            if self._has_second_record(number):
                due = min(self.contacts - 1, number + (3 if number % 3 else 30_000))
                later.setdefault(due, []).append(self._second_record(number))
            yield from later.pop(number, ())
        for records in later.values():
            yield from records

    def failing(self, platform: str) -> dict[str, BadRecordKind]:
        """The contacts that must fail at a platform, by address, and how each must fail."""
        return {self.email(number): kind for number, kind in self.bad_kinds.items() if kind.fails(platform)}

    def expected(self, platform: str) -> dict[str, dict[str, Any]]:
        """Every good contact as it must arrive at a platform, by address, with neutral field names."""
        failing = self.failing(platform)
        found = {}
        for number in range(self.contacts):
            email = self.email(number)
            if email in failing:
                continue
            contact = self._first_record(number)
            if self._has_second_record(number):
                update = self._second_record(number)
                contact = {
                    **contact,
                    **update,
                    "custom_fields": {**contact["custom_fields"], **update["custom_fields"]},
                }
            contact["email"] = email
            found[email] = contact
        return found

    def _has_second_record(self, number: int) -> bool:
        return number % self.second_record_every == self.second_record_every // 2 and number not in self.bad_kinds

    def _first_record(self, number: int) -> dict[str, Any]:
        """The first record of a contact, made bad if the contact is a bad one."""
        record = self._record(number)
        if number in self.bad_kinds:
            kind = self.bad_kinds[number]
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

    def _second_record(self, number: int) -> dict[str, Any]:
        return self._kept(email=self.email(number), city="Moved", custom_fields={"plan": "paid"})

    def _kept(self, **fields: Any) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name in self.fields}
