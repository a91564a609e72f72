"""Hostile records by the thousand, the same ones for the same seed: as Python objects, as JSON text, as bytes that some
other producer's bug has left in a lane, and as messages to the task.

Each comes with the name of its kind. `CANARY` stands in every value that a log must never show.
"""

import datetime as dt
import decimal
import enum
import json
import random
import string
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

CANARY = "canary-7f3a"
#: Fields of every platform, of none, and of none that anybody should think of.
NAMES = (
    *("email", "external_id", "phone_number_id", "anonymous_id", "phone", "first_name", "last_name", "city", "country"),
    *("alternate_emails", "custom_fields", "subscribed", "mailing_lists", "opt_in", "source", "user_group", "line"),
    *(
        "",
        " ",
        "__proto__",
        "constructor",
        "email ",
        "E-Mail",
        "custom_fields.plan",
        "\0",
        "é",
        "=cmd",
        "a\nb",
        "x" * 300,
    ),
    f"{CANARY}@example.com",
)
CUSTOM = ("plan", "n", "d", "b", "favourite", "Plan", "", " ", "email", "id", "3", "31", f"{CANARY}@example.com", "\t")
TEXTS = (
    *("", " ", "\0", "a\0b", "\r\n", "\t=1+1", "=HYPERLINK(1)", "+1", "-1", "@x", "'", '"', "\\", "\\u0000", "null"),
    *(
        "\ufeff",
        "\u202e",
        "\u0130",
        "ß" * 60,
        "👩‍👩‍👧‍👦",
        "\U0010ffff",
        "\ufffe",
        "NaN",
        "1e999",
        "{{7*7}}",
        "<script>",
    ),
    *("' OR 1=1 --", "${jndi:ldap://x}", "%s%n", "../../etc/passwd", "a" * 51, "a" * 1_001, "٣", "²", "½"),
)
NUMBERS = (0, -0.0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 0.1, 1e308, 5e-324)
#: JSON of the text of which no encoder of ours would write.
LITERALS = (
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1" + "0" * 400,
        "9" * 25,
        "-0",
        "01",
        "1.",
        ".5",
        "0x10",
        "1e",
    ),
    *(
        "+1",
        "nul",
        "True",
        "'x'",
        '"\\ud800"',
        '"\\udfff\\ud800"',
        '"\\u00"',
        '"\\x41"',
        '"\n"',
        '"a',
        "undefined",
        "[1,]",
    ),
)


class Colour(enum.Enum):
    RED = f"{CANARY}-red"


class Awkward(Mapping[str, Any]):
    """A mapping that is none when it comes to it."""

    def __getitem__(self, name: str) -> Any:
        if name == "email":
            return f"{CANARY}@hostile.example"
        raise KeyError(f"{CANARY} {name}")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(CANARY)

    def __len__(self) -> int:
        return 1


class Undecided:
    """Neither true nor false, as an array of numbers is."""

    def __bool__(self) -> bool:
        raise ValueError(CANARY)


class Records:
    """A source of hostile records."""

    def __init__(self, seed: int, domain: str = "hostile.example") -> None:
        self._dice = random.Random(seed)
        self._domain = domain
        self._count = 0

    def email(self) -> str:
        self._count += 1
        return f"{CANARY}-{self._count}@{self._domain}"

    def good(self) -> dict[str, Any]:
        return {"email": self.email(), "first_name": CANARY, "city": "London"}

    def nested(self, depth: int) -> Any:
        value: Any = CANARY
        for _ in range(depth):
            value = [value] if self._dice.random() < 0.5 else {"x": value}
        return value

    def text(self) -> str:
        dice = self._dice
        if dice.random() < 0.6:
            return dice.choice(TEXTS)
        pool = string.printable if dice.random() < 0.5 else "".join(map(chr, range(0x20, 0x2FF)))
        return "".join(dice.choices(pool, k=dice.choice((1, 7, 60, 255, 300))))

    def value(self, depth: int = 2) -> Any:
        """Anything JSON has a word for."""
        dice = self._dice
        kind = dice.randrange(10)
        if kind < 4:
            return self.text()
        if kind < 6:
            return dice.choice(NUMBERS)
        if kind < 8 or depth == 0:
            return dice.choice((None, True, False, [], {}, ""))
        if kind == 8:
            return [self.value(depth - 1) for _ in range(dice.randrange(4))]
        return {dice.choice(CUSTOM): self.value(depth - 1) for _ in range(dice.randrange(4))}

    def plain(self) -> dict[str, Any]:
        """A JSON object of some fields with some values, most often of a contact of its own."""
        dice = self._dice
        record = {dice.choice(NAMES): self.value() for _ in range(dice.randrange(5))}
        if dice.random() < 0.8:
            record["email"] = self.email() if dice.random() < 0.7 else f"{CANARY}-{dice.randrange(50)}@{self._domain}"
        if dice.random() < 0.4:
            record["custom_fields"] = {dice.choice(CUSTOM): self.value() for _ in range(dice.randrange(1, 4))}
        return record

    def python(self) -> tuple[str, Any]:
        """What a program may hand to `enqueue`, JSON or not."""
        dice = self._dice
        strange: dict[str, Any] = {
            "no object": dice.choice((None, 1, CANARY, b"x", [], [{}], object(), ("email", CANARY))),
            "not finite": {**self.good(), "custom_fields": {"n": dice.choice((float("nan"), float("inf"), -1e999))}},
            "beyond 64 bits": {**self.good(), "custom_fields": {"n": dice.choice((10**400, 2**64, -(2**63) - 1))}},
            "lone surrogate": {**self.good(), "first_name": dice.choice(("\ud800", "a\udfffb", CANARY + "\udc80"))},
            "surrogate name": {**self.good(), "\ud800": 1},
            "nested": {
                **self.good(),
                "custom_fields": {"plan": self.nested(dice.choice((100, 200, 252, 253, 254, 999)))},
            },
            "no JSON type": {
                **self.good(),
                "city": dice.choice((b"x", {1}, object(), 1j, Undecided(), decimal.Decimal(1))),
            },
            "a type orjson knows": {
                **self.good(),
                "city": dice.choice((dt.date(1, 1, 1), uuid.UUID(int=1), Colour.RED)),
            },
            "undecided identifier": {"email": Undecided()},
            "names that are no text": {**self.good(), dice.choice((1, None, b"x", 1.5, (1,))): 1},
            "awkward mapping": Awkward(),
            "circle": _circle(self.good()),
            "odd": self.plain(),
            "good": self.good(),
        }
        kind = dice.choice((*strange, *["odd"] * 8, *["good"] * 6))
        return kind, strange[kind]

    def large(self, size: int) -> dict[str, Any]:
        return {**self.good(), "first_name": CANARY + "x" * size}

    def raw(self) -> tuple[str, bytes]:
        """What may lie in a lane though no door of ours would let it in. Never empty: that is a cancelled record."""
        dice = self._dice
        plain = json.dumps(self.good())
        kind = dice.choice(
            ("garbage", "cut", "literal", "twice", "no object", "bytes", "deep", "spaced", *["odd"] * 4, *["good"] * 4)
        )
        raws = {
            "good": plain.encode,
            "garbage": lambda: dice.randbytes(dice.randrange(1, 200)),
            "cut": plain[: dice.randrange(1, len(plain))].encode,
            "literal": (plain[:-1] + f', "custom_fields": {{"n": {dice.choice(LITERALS)}}}}}').encode,
            "twice": (plain[:-1] + f', "email": "{self.email()}"}}').encode,
            "no object": lambda: dice.choice(
                (b"null", b"[]", b"1", b'"x"', b"true", b"[[{}]]", b"\xef\xbb\xbf{}", b" ")
            ),
            "bytes": lambda: plain.encode().replace(
                b"London", dice.choice((b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\0"))
            ),
            "deep": lambda: self._deep(dice.choice((60, 251, 254, 255, 600, 1_020, 5_000, 100_000))),
            "spaced": lambda: plain.replace(",", dice.choice((",\n", ",\r\n", ", \t\n"))).encode(),
            "odd": lambda: json.dumps(self.plain(), ensure_ascii=dice.random() < 0.5).encode("utf-8", "replace"),
        }
        return kind, raws[kind]()

    def _deep(self, depth: int) -> bytes:
        opened, closed = (b"[", b"]") if self._dice.random() < 0.5 else (b'{"x":', b"}")
        head = f'{{"email":"{self.email()}","custom_fields":{{"plan":'.encode()
        return head + opened * depth + b"1" + closed * (depth - self._dice.choice((0, 0, 1))) + b"}}"

    def file(self) -> tuple[str, str, bytes]:
        """A file for the command line: kind, ending, content."""
        dice = self._dice
        lines = [self.raw()[1] for _ in range(dice.randrange(1, 30))]
        kind = dice.choice(("jsonl", "json", "csv"))
        if kind == "jsonl":
            return kind, ".jsonl", b"\n".join(lines) + dice.choice((b"", b"\n", b"\0", b'{"email":'))
        if kind == "json":
            return kind, ".json", b"[" + b",".join(lines) + dice.choice((b"]", b"", b",]", b"]]"))
        header = dice.choice(
            (b"email,first_name,phone\n", b"\xef\xbb\xbfemail;city;phone\r\n", b'"email"\tcity\tphone\n')
        )
        cells = [dice.choice((self.email(), self.text(), '"', '"' * 3)).encode("utf-8", "replace") for _ in range(60)]
        rows = [b",".join(cells[at : at + 3]) for at in range(0, len(cells), 3)]
        return kind, ".csv", header + b"\n".join([*rows, *lines[:2]])

    def message(self) -> tuple[str, list[Any], dict[str, Any]]:
        """A message to `contacts.enqueue`, or to a wake-up: task, arguments, named ones. JSON all of it."""
        dice = self._dice
        odd = dice.choice(
            (
                None,
                1,
                "",
                f"{CANARY}@x",
                "x" * 1_000_000,
                "{sendgrid}",
                "a\nb",
                [CANARY],
                {CANARY: 1},
                True,
                "sendgrid+",
            )
        )
        task = dice.choice(("aggregate", "dispatch", "poll", "retry", "enqueue"))
        shape = dice.randrange(4)
        if shape == 0:
            return task, [odd], {}
        if shape == 1:
            return task, [], {CANARY: odd}
        if shape == 2:
            return task, [odd] * dice.randrange(8), {}
        return "enqueue", [self.plain()], {dice.choice(("to", "list_ids", "key")): odd}


def _circle(record: dict[str, Any]) -> dict[str, Any]:
    record["custom_fields"] = {"plan": record}
    return record
