"""Reads JSON objects: one a line (JSON lines), in an array, or in the array that is the first entry of one object.

    {"email": "ann@example.com"}                         a JSON line
    [{"email": "ann@example.com"}, ...]                  an array
    {"contacts": [{"email": "ann@example.com"}, ...]}    an object around an array
    {"line": 7, "field": "email", "rule": "...", "record": {...}}    a line of a rejects file: its record is read
    {"record": "news:7", "code": "...", "contact": {...}, ...}    a line of `failures export`: its contact is read

Keys that mean no field and that no mapping names stay as they are. A broken line is rejected by itself, and so is a
broken element of an array whose end can be found; the others are read. This module checks keys, telephone numbers,
depth, and numbers too large to be kept exactly. Everything else about values is left to `validate_record` and the
provider.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.record import FIELDS
from contact_ingest.sources.byte_stream import (
    BOM,
    DAMAGED,
    DECODED_WRONGLY,
    MAX_LINE,
    NOT_UTF8,
    REPLACEMENT,
    ByteStream,
    without_bom,
)
from contact_ingest.sources.cells import read_given_back
from contact_ingest.sources.json_keys import TOO_DEEP, KeyNames, refuse_key_given_twice
from contact_ingest.sources.json_layout import entries_beside, find_array, has_objects, place_of_records, skip_blanks
from contact_ingest.sources.names import safe_label, visible
from contact_ingest.sources.phones import PHONE_FIELDS, PhoneParser
from contact_ingest.sources.platform_export import is_exported, take_out_what_is_not_written
from contact_ingest.sources.rows import WHOLE_RECORD, RejectedRow, SourceError, SourceRow, escape_undecodable

#: An array is held in memory as a whole. A larger file has to be JSON lines.
MAX_ARRAY_BYTES = 200_000_000

_TOO_LONG = f"a line longer than {MAX_LINE:,} bytes"
_TAIL = "the array is broken here: nothing from this line on could be read"
_INEXACT = "a number too large to be kept exactly: write it as text"
_OF_A_TABLE = "a line of a table without its header: repair it in the table, or write the record as an object"
_LARGEST = 2.0**63
_SIMPLE = frozenset({str, int, bool, type(None)})
_CHECKED = frozenset({float, dict, list})
_are_fields = FIELDS.issuperset
#: Levels of objects and lists in a record. orjson can write a rejected record of this depth; no platform takes one.
DEEPEST = 200
#: The keys of a line of a rejects file, as `write_reject` writes it.
_OF_A_REJECT = {"line", "field", "rule", "record"}
#: Keys of a line of `failures export`, among others, as `Failure.public` gives them.
_OF_A_FAILURE = {"record", "lane", "code", "stage", "contact", "mapped"}
_FAILURES_STAY = (
    "the contacts of failed records were read: the failures stay recorded, and contact-ingest retry sends them again"
)
# Finds where an element of an array ends, and nothing else: orjson decodes the element and judges it.
_ELEMENT_END = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)


class JsonReader:
    """The records of a JSON file. `array` says that they are in an array, else they are JSON lines.

    The constructor finds the array, or raises `SourceError`.
    """

    def __init__(self, stream: ByteStream, mapping: Mapping[str, str], phones: PhoneParser, *, array: bool) -> None:
        self._stream = stream
        self._phones = phones
        self._mapping = mapping
        self._keys = KeyNames(mapping)
        self._read_only: set[str] = set()
        self._notices: list[str] = []
        #: How many lines have been read so far.
        self.lines = 0
        if not array and stream.head == b"{":
            raise SourceError(stream.name, "one object over several lines: write an array, or each object on one line")
        self._text = _read_array(stream) if array else None
        self._array, self._array_key = (0, None) if self._text is None else find_array(stream.name, self._text)
        if self._text is not None:
            self.lines = self._text.count("\n") + (not self._text.endswith("\n"))
        if self._array_key is not None:
            self._notices.append(f"the records were read from the list '{visible(self._array_key)}' of the object")

    @property
    def ignored_columns(self) -> tuple[str, ...]:
        """The read-only keys of contacts that a platform exported, so far."""
        return tuple(sorted(self._read_only))

    @property
    def unseen_columns(self) -> frozenset[str]:
        """The mapped keys that no object has had so far, as messages show them."""
        return frozenset(map(visible, self._keys.unseen))

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._notices)

    def __iter__(self) -> Iterator[SourceRow | RejectedRow]:
        return self._by_line() if self._text is None else self._by_element(self._text)

    def _by_line(self) -> Iterator[SourceRow | RejectedRow]:
        readline = self._stream.body.readline
        number = 0
        while data := readline(MAX_LINE):
            self.lines = number = number + 1
            if data.startswith(BOM):
                data = without_bom(data)
            if not data.endswith(b"\n"):
                if len(data) >= MAX_LINE:
                    while (rest := readline(MAX_LINE)) and not rest.endswith(b"\n"):
                        pass
                    yield RejectedRow(number, WHOLE_RECORD, _TOO_LONG)
                    continue
                if self._stream.damaged:
                    yield RejectedRow(number, WHOLE_RECORD, DAMAGED, _text(data))
                    return
            if not data.isspace():
                yield self._row(data, number)
        if self._stream.damaged:
            yield RejectedRow(number + 1, WHOLE_RECORD, DAMAGED)

    def _by_element(self, text: str) -> Iterator[SourceRow | RejectedRow]:
        position = self._array
        line, counted = 1, 0
        ended = text.startswith("]", skip_blanks(text, position + 1))
        if ended:
            position = skip_blanks(text, position + 1)
        while not ended:
            position = skip_blanks(text, position + 1)
            line, counted = line + text.count("\n", counted, position), position
            try:
                _, end = _ELEMENT_END.raw_decode(text, position)
            except (ValueError, RecursionError):
                break
            yield self._row(text[position:end], line)
            position = skip_blanks(text, end)
            ended = text.startswith("]", position)
            if not ended and not text.startswith(",", position):
                break
        line += text.count("\n", counted, position)
        flaw = self._flaw_of_end(text, position + 1) if ended else _TAIL
        if flaw or self._stream.damaged:
            yield RejectedRow(line, WHOLE_RECORD, DAMAGED if self._stream.damaged else flaw)

    def _flaw_of_end(self, text: str, position: int) -> str:
        """What is wrong with the text behind the array, or an empty text."""
        position = skip_blanks(text, position)
        if self._array_key is not None and position < len(text):
            beside = {} if text.startswith("}", position) else entries_beside(text[position:])
            if beside is None:
                return _TAIL
            for key, value in beside.items():
                if has_objects(value):
                    return (
                        f"'{visible(key)}' beside '{visible(self._array_key)}' holds objects too, which were not read"
                    )
            if beside:
                self._notices.append(f"left out beside the records: {', '.join(map(visible, beside))}")
                return ""
            position = skip_blanks(text, position + 1)
        elif self._array_key is not None:
            return _TAIL
        return _TAIL if position < len(text) else ""

    def _row(self, data: bytes | str, line: int) -> SourceRow | RejectedRow:
        try:
            record = _loads(data)
        except orjson.JSONDecodeError as error:
            return RejectedRow(line, WHOLE_RECORD, _syntax_flaw(data, error.colno), _text(data))
        if not isinstance(record, dict):
            return RejectedRow(line, WHOLE_RECORD, f"an object is expected, {type(record).__name__} found", _text(data))
        try:
            refuse_key_given_twice(data, record)
            is_given_back = False
            if not _are_fields(record):
                holder = _holder(record)
                is_given_back = holder is not None
                record = self._named(record if holder is None else self._given_back(record, holder))
            if self._mapping:
                self._keys.apply_mapping(record)
            if is_given_back:
                read_given_back(record)
            self._check(record)
            if _has_replacement(data):
                _refuse_replacement(record)
        except Refused as refused:
            return RejectedRow(line, refused.field, refused.rule, _text(data), refused.code)
        return SourceRow(line, record)

    def _given_back(self, line: dict[str, Any], holder: str) -> dict[str, Any]:
        """The record of a line of a rejects file or of `failures export`. Raises `Refused` if it is no object."""
        if holder == "contact" and _FAILURES_STAY not in self._notices:
            self._notices.append(_FAILURES_STAY)
        return _object_in(line[holder])

    def _named(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record of an object with keys that are no field's own name."""
        self._keys.name_fields(record)
        if is_exported(record):
            self._read_only |= take_out_what_is_not_written(record, self._mapping)
        if (
            FIELDS.isdisjoint(record)
            and self._mapping.keys().isdisjoint(record)
            and (place := place_of_records(record))
        ):
            raise Refused(WHOLE_RECORD, place, FailureCode.NO_IDENTIFIER)
        return record

    def _check(self, record: dict[str, Any]) -> None:
        for field in PHONE_FIELDS:
            if field in record and isinstance(number := record[field], str) and number:
                record[field] = self._phones.to_e164(field, number)
        for field, value in record.items():
            if type(value) in _CHECKED and (flaw := _value_flaw(value)):
                raise Refused(safe_label(field), flaw, FailureCode.INVALID)


def _loads(data: bytes | str) -> Any:
    """The value that a line or an element holds. A byte order mark at the start of a line is no part of it: files that
    were joined have one in the middle."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if isinstance(data, str) or not data.startswith(BOM):
            raise
        return orjson.loads(without_bom(data))


def _holder(line: dict[str, Any]) -> str | None:
    """The key that holds the record, in a line of a rejects file or of `failures export`. None for other objects."""
    if line.keys() == _OF_A_REJECT:
        return "record"
    return "contact" if line.keys() >= _OF_A_FAILURE else None


def _object_in(record: Any) -> dict[str, Any]:
    """The record that was written down, also as text. Raises `Refused` if it is text that holds no object."""
    if isinstance(record, str):
        try:
            text, record = record, orjson.loads(record)
        except orjson.JSONDecodeError:
            raise Refused(WHOLE_RECORD, _OF_A_TABLE, FailureCode.UNREADABLE) from None
        if isinstance(record, dict):
            refuse_key_given_twice(text, record)
    if not isinstance(record, dict):
        raise Refused(WHOLE_RECORD, _OF_A_TABLE, FailureCode.UNREADABLE)
    return record


def _has_replacement(data: bytes | str) -> bool:
    """Whether the text has U+FFFD, as a character or as an escape."""
    if isinstance(data, bytes):
        return (not data.isascii() and b"\xef\xbf\xbd" in data) or (b"\\u" in data and b"\\ufffd" in data.lower())
    return (not data.isascii() and REPLACEMENT in data) or ("\\u" in data and "\\ufffd" in data.lower())


def _refuse_replacement(record: dict[str, Any]) -> None:
    for field, value in record.items():
        if REPLACEMENT in field or REPLACEMENT in (value if isinstance(value, str) else repr(value)):
            raise Refused(safe_label(field), DECODED_WRONGLY, FailureCode.UNREADABLE)


def _value_flaw(value: Any) -> str:
    """What is wrong with a value, or an empty text.

    Wrong are more than `DEEPEST` levels, and a number beyond 64 bits: orjson reads such an integer as a rounded float.
    """
    if isinstance(value, dict) and _SIMPLE.issuperset(map(type, value.values())):
        return ""
    waiting, depth = [value], 0
    while waiting:
        depth += 1
        if depth > DEEPEST:
            return TOO_DEEP
        inner: list[Any] = []
        for item in waiting:
            if isinstance(item, float) and not -_LARGEST < item < _LARGEST:
                return _INEXACT
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        waiting = [item for item in inner if isinstance(item, float | dict | list)]
    return ""


def _read_array(stream: ByteStream) -> str:
    """The whole file as text."""
    data = stream.body.read(MAX_ARRAY_BYTES + 1)
    if len(data) > MAX_ARRAY_BYTES:
        raise SourceError(
            stream.name,
            f"a JSON array of more than {MAX_ARRAY_BYTES // 1_000_000} MB: write JSON lines, one object a line "
            "(jq -c '.[]' does it)",
        )
    return without_bom(data).decode("utf-8", "surrogateescape")


def _text(data: bytes | str) -> str:
    """A record's text for the rejects file."""
    return escape_undecodable(data if isinstance(data, str) else data.decode("utf-8", "surrogateescape"))


def _syntax_flaw(data: bytes | str, column: int) -> str:
    """What is wrong with data that is not JSON, without quoting the data. `column` is orjson's, 1-based."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return "a NUL byte" if "\0" in text else f"not valid JSON at column {column}"
