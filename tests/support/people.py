"""Made-up contacts for the tests."""

from typing import Any


def person(number: int, domain: str = "example.com", **more: Any) -> dict[str, Any]:
    return {"email": f"p{number}@{domain}", "first_name": f"Name {number}", **more}
