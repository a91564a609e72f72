"""Files to read, and what was read of them."""

import random

from contact_ingest.sources.files import open_source
from contact_ingest.sources.rows import RejectedRow, SourceRow


def read(path: str, **options) -> list[SourceRow | RejectedRow]:
    with open_source(path, **options) as source:
        return list(source)


def rows(found) -> list[tuple[int, dict]]:
    return [(item.line, item.record) for item in found if isinstance(item, SourceRow)]


def rejects(found) -> list[tuple[int, str]]:
    return [(item.line, item.rule) for item in found if isinstance(item, RejectedRow)]


def mail(line: int, name: str) -> tuple[int, dict]:
    return line, {"email": f"{name}@example.com"}


def people(count: int, zeros: int) -> list[dict[str, str]]:
    chance = random.Random(7)
    made = []
    for number in range(count):
        code = chance.randrange(501, 10_000) if number < zeros else chance.randrange(10_000, 100_000)
        first, last = chance.choice(["Ana", "Bo", "Chloë", "Dov"]), f"Sample{number}"
        made.append(
            {
                "first_name": first,
                "last_name": last,
                "company_name": f"{last}, Sons & Co",
                "address": f"{number} N Example St #{chance.randrange(99)}",
                "city": "New Example",
                "county": "Orleans",
                "state": "LA",
                "zip": f"{code:05}",
                "phone1": f"504-555-{chance.randrange(10_000):04}",
                "phone2": f"504-555-{chance.randrange(10_000):04}",
                "email": f"person{number}@example.org",
                "web": f"https://{last.lower()}.example.com",
            }
        )
    return made
