"""Made-up contacts of about 300 bytes, the same in every run; some need nothing changed on their way to SendGrid, some
need everything changed that is cheap to change.
"""

from typing import Any

#: The custom fields of the account that the mapped records are for: name to (id, type).
FIELDS = {"plan": ("e1_T", "Text"), "visits": ("e2_N", "Number")}


def plain(number: int) -> dict[str, Any]:
    """A record whose bytes can be sent as they are."""
    return {
        "email": f"person.{number:07d}@example.com",
        "first_name": f"First{number}",
        "last_name": f'Last "{number}"',
        "address_line_1": f"{number % 9999} North Some Street",
        "address_line_2": "Building C, second floor",
        "city": "Århus" if number % 3 else "Springfield",
        "state_province_region": "OH",
        "postal_code": f"{number % 100_000:05d}",
        "country": "United States",
        "phone_number": f"+1201555{number % 10_000:04d}",
    }


def mapped(number: int) -> dict[str, Any]:
    """A record with an upper-case address, a phone under the neutral name, and custom fields by name."""
    record = plain(number)
    record["email"] = record["email"].upper()
    record["phone"] = record.pop("phone_number")
    del record["address_line_2"]
    return {**record, "custom_fields": {"plan": "trial", "visits": number % 50}}
