"""JSON: objects one a line, or an array of them. Keys that no mapping names stay as they are.

A broken line, or a broken element that still ends where it should, costs itself only. Values are left to the door
and the platform, but for telephone numbers and for numbers too large to be kept exactly.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from contact_ingest.errors import Refused
from contact_ingest.sources.byte_stream import BOM, DAMAGED, MAX_LINE, Stream
from contact_ingest.sources.columns import rename_keys
from contact_ingest.sources.phones import PHONE_FIELDS, Phones
from contact_ingest.sources.rows import WHOLE, Reject, Row, SourceError, readable

#: An array is held in memory as a whole; above this the remedy is one object a line.
MAX_ARRAY_BYTES = 200_000_000

_TOO_LONG = f"a line longer than {MAX_LINE:,} bytes"
_TAIL = "the array is broken here: nothing from this line on could be read"
_INEXACT = "a number too large to be kept exactly: write it as text"
_TOO_DEEP = "nested too deeply: no platform takes that"
_LARGEST = 2.0**63
#: No platform takes a contact of so many levels, and a reject must be written down as it was read.
DEEPEST = 200
_BLANK = re.compile(r"[ \t\r\n]*")
# Finds where an element ends, and no more: orjson is the judge of what it is, and reads it.
_EXTENT = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)


class Objects:
    """The objects of a JSON file. `unseen_columns` are the mapped keys that no object has had so far."""

    ignored_columns: tuple[str, ...] = ()

    def __init__(self, stream: Stream, mapping: Mapping[str, str], phones: Phones, *, array: bool) -> None:
        self._stream = stream
        self._mapping = mapping
        self._phones = phones
        self._unseen = set(mapping)
        if not array and stream.head == b"{":
            raise SourceError(stream.name, "one object over several lines: write an array, or each object on one line")
        self._text = _whole(stream) if array else None

    @property
    def unseen_columns(self) -> frozenset[str]:
        return frozenset(self._unseen)

    def __iter__(self) -> Iterator[Row | Reject]:
        return self._by_line() if self._text is None else self._by_element(self._text)

    def _by_line(self) -> Iterator[Row | Reject]:
        readline = self._stream.body.readline
        number = 0
        while data := readline(MAX_LINE):
            number += 1
            if number == 1:
                data = data.removeprefix(BOM)
            if not data.endswith(b"\n"):
                if len(data) >= MAX_LINE:
                    while (rest := readline(MAX_LINE)) and not rest.endswith(b"\n"):
                        pass
                    yield Reject(number, WHOLE, _TOO_LONG)
                    continue
                if self._stream.damaged:
                    yield Reject(number, WHOLE, DAMAGED, _text(data))
                    return
            if not data.isspace():
                yield self._row(data, number)
        if self._stream.damaged:
            yield Reject(number + 1, WHOLE, DAMAGED)

    def _by_element(self, text: str) -> Iterator[Row | Reject]:
        position = _skip(text, 0)
        if not text.startswith("[", position):
            raise SourceError(self._stream.name, "is neither a JSON array nor one JSON object a line")
        line, counted = 1, 0
        ended = text.startswith("]", _skip(text, position + 1))
        if ended:
            position = _skip(text, position + 1)
        while not ended:
            position = _skip(text, position + 1)
            line, counted = line + text.count("\n", counted, position), position
            try:
                _, end = _EXTENT.raw_decode(text, position)
            except (ValueError, RecursionError):
                break
            yield self._row(text[position:end], line)
            position = _skip(text, end)
            ended = text.startswith("]", position)
            if not ended and not text.startswith(",", position):
                break
        else:
            position = _skip(text, position + 1)
        if position < len(text) or not ended or self._stream.damaged:
            line += text.count("\n", counted, position)
            yield Reject(line, WHOLE, DAMAGED if self._stream.damaged else _TAIL)

    def _row(self, data: bytes | str, line: int) -> Row | Reject:
        try:
            record = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            return Reject(line, WHOLE, _flaw(data, error.colno), _text(data))
        if not isinstance(record, dict):
            return Reject(line, WHOLE, f"an object is expected, {type(record).__name__} found", _text(data))
        try:
            if self._mapping:
                self._unseen.difference_update(record)
                rename_keys(record, self._mapping)
            self._check(record)
        except Refused as refused:
            return Reject(line, refused.field, refused.rule, _text(data))
        return Row(line, record)

    def _check(self, record: dict[str, Any]) -> None:
        for field in PHONE_FIELDS:
            number = record.get(field)
            if isinstance(number, str) and number:
                record[field] = self._phones.e164(field, number)
        for field, value in record.items():
            if isinstance(value, float | dict | list) and (flaw := _flaw_in(value)):
                raise Refused(field, flaw)


def _flaw_in(value: Any) -> str:
    """What is wrong with a value: too many levels, or a number that JSON wrote as an integer beyond 64 bits, which
    reading rounds without a word. Empty if nothing is."""
    waiting, depth = [value], 0
    while waiting:
        depth += 1
        if depth > DEEPEST:
            return _TOO_DEEP
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


def _whole(stream: Stream) -> str:
    data = stream.body.read(MAX_ARRAY_BYTES + 1)
    if len(data) > MAX_ARRAY_BYTES:
        raise SourceError(
            stream.name,
            f"a JSON array of more than {MAX_ARRAY_BYTES // 1_000_000} MB: write JSON lines, one object a line "
            "(jq -c '.[]' does it)",
        )
    return data.removeprefix(BOM).decode("utf-8", "surrogateescape")


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match is not None else position


def _text(data: bytes | str) -> str:
    return readable(data if isinstance(data, str) else data.decode("utf-8", "surrogateescape"))


def _flaw(data: bytes | str, column: int) -> str:
    """What is wrong with data that is no JSON, without any of its content."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError:
        return "bytes that are not UTF-8: save the file as UTF-8 (iconv can)"
    return "a NUL byte" if "\0" in text else f"not valid JSON at column {column}"
