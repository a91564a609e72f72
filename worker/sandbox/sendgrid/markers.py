"""Finds the records that a test made bad on purpose, by the marker texts they contain."""

from collections.abc import Iterator
from typing import Any

import msgspec

from contact_ingest.sandbox.sendgrid.dials import Markers


def marked_rows(contacts: list[dict[str, Any]], markers: Markers) -> Iterator[tuple[int, str]]:
    """The rows that have a marker, each with the name of its first marker. The contacts have passed `RowRules`."""
    names = {text: name for name, text in msgspec.to_builtins(markers).items()}
    for row, contact in enumerate(contacts):
        for text in _texts(contact):
            if "[[" in text:
                found = next((name for marker, name in names.items() if marker in text), None)
                if found:
                    yield row, found
                    break


def _texts(contact: dict[str, Any]) -> Iterator[str]:
    for value in contact.values():
        if type(value) is str:
            yield value
    for value in contact.get("custom_fields", {}).values():
        if type(value) is str:
            yield value
