"""A hundred files of odd shape from a seed, each with what is right: every record, or why it is refused.

`make(seed)` gives the files. The same seed gives the same files. Of twenty files twelve are CSV, five are JSON, and
three cannot be read at all. A file knows how many records it holds, and what becomes of each.
"""

import gzip
import random
from collections.abc import Iterator

from support.odd_file import OddFile
from support.odd_json import odd_json
from support.odd_tables import OddTable

FILES = 100


def make(seed: int, count: int = FILES) -> list[OddFile]:
    return [_file(random.Random(f"{seed}:{number}"), number) for number in range(count)]


def _file(chance: random.Random, number: int) -> OddFile:
    platform = chance.choice(["sendgrid", "sendgrid", "loops"])
    place = number % 20
    if place < 12:
        return OddTable(chance, number, platform).file()
    if place < 17:
        return odd_json(chance, number, platform)
    return _unreadable_file(number // 20 * 3 + place - 17, number)


def _unreadable() -> Iterator[tuple[str, bytes, list[str], tuple[str, str]]]:
    """Name, content, options; and the beginning of the error, empty for the file's name, with a part of its text."""
    table = "email,city\na@example.com,Ulm\n"
    yield "empty.csv", b"", [], ("", "is empty")
    yield "blank.csv", b"\xef\xbb\xbf \r\n\r\n", [], ("", "is empty")
    yield "wide.csv", table.encode("utf-16"), [], ("", "UTF-16")
    yield "wider.csv", table.encode("utf-32"), [], ("", "UTF-32")
    yield "book.xlsx", b"PK\x03\x04" + bytes(40), [], ("", "zip archive or an Excel workbook")
    yield "no_header.csv", b"a@example.com,Ulm\nb@example.com,Bonn\n", [], ("", "looks like data")
    yield "unknown.csv", b"who,where\na@example.com,Ulm\n", [], ("", "no column is named like a field")
    yield "twice.csv", b"email,email\na@example.com,b@example.com\n", [], ("column 'email'", "occurs twice")
    yield "rival.csv", b"email,E-Mail\na@example.com,x\n", ["--map", "E-Mail=email"], ("column 'E-Mail'", "email would")
    yield "mapped.csv", table.encode(), ["--map", "town=city"], ("--map town=city", "no column 'town'")
    yield "target.csv", table.encode(), ["--map", "city=town"], ("--map city=town", "no field 'town'")
    yield "quotes.csv", b'"email,city\na@example.com,Ulm\n', [], ("", "broken quoting")
    yield "platform.csv", table.encode(), ["--map", "city=user_group"], ("column 'city'", "user_group")
    yield "bad.gz", gzip.compress(table.encode(), mtime=0)[:12], [], ("", "damaged")
    yield "scalar.json", b'"email"\n', ["--format", "json"], ("", "JSON")


def _unreadable_file(which: int, number: int) -> OddFile:
    name, content, options, (about, rule) = list(_unreadable())[which]
    made = OddFile(f"odd{number}{name}", "sendgrid", content, options)
    made.unreadable = (about, rule)
    made.kinds.add(f"unreadable: {name}")
    return made
