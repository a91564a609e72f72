"""A Redis that is nearly full."""

from support.people import person


def large(number: int) -> dict[str, object]:
    """About 660 bytes."""
    return person(number, address_line_1="a" * 100, address_line_2="b" * 100, city="c" * 60, last_name="d" * 50) | {
        "state_province_region": "e" * 50,
        "postal_code": "f" * 50,
    }
