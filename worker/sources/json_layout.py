"""Where the records of a JSON file are: in an array, one a line, or in an array inside one object.

    [{...}, {...}]
    {"contacts": [{...}, {...}]}
    {"result": [{...}], "contact_count": 1}

An array inside an object is read if it is the object's first entry. Of other objects, a message names the place of the
records.
"""

import re
from typing import Any

import orjson

from contact_ingest.model.record import FIELDS
from contact_ingest.sources.names import field_of_key, visible
from contact_ingest.sources.rows import SourceError

_BLANK = re.compile(r"[ \t\r\n]*")
# An object whose first entry is an array, up to the bracket of the array; the array is empty or begins with an object.
_WRAPPED = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"((?:[^"\\]|\\.)*)"[ \t\r\n]*:[ \t\r\n]*(?=\[[ \t\r\n]*(?:[{\]]|\Z))')
#: How deep in an object records are looked for.
_DEPTH = 3
#: A head of this many bytes may be the beginning of a longer line, so that its end tells nothing.
_LONG = 60_000
_SEVERAL_LINES = "one object over several lines: write an array, or each object on one line"


def skip_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match is not None else position


def is_one_object(head: bytes) -> bool:
    """Whether a file that begins with `head`, its first line, is one object around its records, or over several lines.

    A line that is a whole record, or that is merely cut off, is a JSON line.
    """
    ends_open = head.endswith((b"{", b"[")) or (head.endswith(b",") and not head.endswith(b"},"))
    if ends_open and len(head) < _LONG:
        return True
    match = _WRAPPED.match(head.decode("utf-8", "replace"))
    if match is None or field_of_key(match[1]) is not None:
        return False
    try:
        first = orjson.loads(head)
    except orjson.JSONDecodeError:  # the beginning of a long line
        return True
    return FIELDS.isdisjoint(first)


def find_array(name: str, text: str) -> tuple[int, str | None]:
    """The place of the array's bracket, and the key that it lies under in an object. `name` is the file's name.

    Raises `SourceError` if there is no array.
    """
    position = skip_blanks(text, 0)
    if text.startswith("[", position):
        return position, None
    match = _WRAPPED.match(text)
    if match is not None and field_of_key(match[1]) is None:
        return match.end(), match[1]
    if not text.startswith("{", position):
        raise SourceError(name, "is neither a JSON array nor one JSON object a line")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise SourceError(name, _SEVERAL_LINES) from None
    place = place_of_records(found)
    raise SourceError(name, f"{_SEVERAL_LINES}; {place}" if place else _SEVERAL_LINES)


def place_of_records(value: Any) -> str:
    """A sentence about the list of objects inside an object, and how to take it out; empty if there is none."""
    path = _path_to_objects(value, _DEPTH)
    if path is None:
        return ""
    shown = ".".join(map(visible, path))
    return f"a list of objects lies under '{shown}': take the records out, such as with jq -c '.{shown}[]'"


def entries_beside(rest: str) -> dict[str, Any] | None:
    """The other entries of an object, read from the comma behind its array: `, "contact_count": 1}`. None if broken."""
    try:
        found = orjson.loads("{" + rest[1:])
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _path_to_objects(value: Any, depth: int) -> tuple[str, ...] | None:
    if not isinstance(value, dict) or not depth:
        return None
    for key, inner in value.items():
        if has_objects(inner):
            return (key,)
    for key, inner in value.items():
        if (path := _path_to_objects(inner, depth - 1)) is not None:
            return (key, *path)
    return None
