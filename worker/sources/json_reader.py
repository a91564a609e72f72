"""Reads JSON objects, one a line (JSON lines) or in an array. Keys that no mapping names stay as they are.

A broken line is rejected by itself, and so is a broken element of an array whose end can be found; the others are read.
This module checks telephone numbers, depth, and numbers too large to be kept exactly. Everything else about values is
left to `validate_record` and the provider.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.sources.byte_stream import BOM, DAMAGED, MAX_LINE, ByteStream
from contact_ingest.sources.columns import rename_keys
from contact_ingest.sources.phones import PHONE_FIELDS, PhoneParser
from contact_ingest.sources.rows import WHOLE_RECORD, RejectedRow, SourceError, SourceRow, escape_undecodable

#: An array is held in memory as a whole. A larger file has to be JSON lines.
MAX_ARRAY_BYTES = 200_000_000

_TOO_LONG = f"a line longer than {MAX_LINE:,} bytes"
_TAIL = "the array is broken here: nothing from this line on could be read"
_INEXACT = "a number too large to be kept exactly: write it as text"
_TOO_DEEP = "nested too deeply: no platform takes that"
_LARGEST = 2.0**63
#: Levels of objects and lists in a record. orjson can write a rejected record of this depth; no platform takes one.
DEEPEST = 200
_BLANK = re.compile(r"[ \t\r\n]*")
# Finds where an element of an array ends, and nothing else: orjson decodes the element and judges it.
_ELEMENT_END = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)


class JsonReader:
    """The records of a JSON file. `unseen_columns` are the mapped keys that no object has had so far."""

    ignored_columns: tuple[str, ...] = ()

    def __init__(self, stream: ByteStream, mapping: Mapping[str, str], phones: PhoneParser, *, array: bool) -> None:
        self._stream = stream
        self._mapping = mapping
        self._phones = phones
        self._unseen_keys = set(mapping)
        if not array and stream.head == b"{":
            raise SourceError(stream.name, "one object over several lines: write an array, or each object on one line")
        self._text = _read_array(stream) if array else None

    @property
    def unseen_columns(self) -> frozenset[str]:
        return frozenset(self._unseen_keys)

    def __iter__(self) -> Iterator[SourceRow | RejectedRow]:
        return self._by_line() if self._text is None else self._by_element(self._text)

    def _by_line(self) -> Iterator[SourceRow | RejectedRow]:
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
        position = _skip_blanks(text, 0)
        if not text.startswith("[", position):
            raise SourceError(self._stream.name, "is neither a JSON array nor one JSON object a line")
        line, counted = 1, 0
        ended = text.startswith("]", _skip_blanks(text, position + 1))
        if ended:
            position = _skip_blanks(text, position + 1)
        while not ended:
            position = _skip_blanks(text, position + 1)
            line, counted = line + text.count("\n", counted, position), position
            try:
                _, end = _ELEMENT_END.raw_decode(text, position)
            except (ValueError, RecursionError):
                break
            yield self._row(text[position:end], line)
            position = _skip_blanks(text, end)
            ended = text.startswith("]", position)
            if not ended and not text.startswith(",", position):
                break
        else:
            position = _skip_blanks(text, position + 1)
        if position < len(text) or not ended or self._stream.damaged:
            line += text.count("\n", counted, position)
            yield RejectedRow(line, WHOLE_RECORD, DAMAGED if self._stream.damaged else _TAIL)

    def _row(self, data: bytes | str, line: int) -> SourceRow | RejectedRow:
        try:
            record = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            return RejectedRow(line, WHOLE_RECORD, _syntax_flaw(data, error.colno), _text(data))
        if not isinstance(record, dict):
            return RejectedRow(line, WHOLE_RECORD, f"an object is expected, {type(record).__name__} found", _text(data))
        try:
            if self._mapping:
                self._unseen_keys.difference_update(record)
                rename_keys(record, self._mapping)
            self._check(record)
        except Refused as refused:
            return RejectedRow(line, refused.field, refused.rule, _text(data))
        return SourceRow(line, record)

    def _check(self, record: dict[str, Any]) -> None:
        for field in PHONE_FIELDS:
            number = record.get(field)
            if isinstance(number, str) and number:
                record[field] = self._phones.to_e164(field, number)
        for field, value in record.items():
            if isinstance(value, float | dict | list) and (flaw := _value_flaw(value)):
                raise Refused(field, flaw, FailureCode.INVALID)


def _value_flaw(value: Any) -> str:
    """What is wrong with a value, or an empty text.

    Wrong are more than `DEEPEST` levels, and a number beyond 64 bits: orjson reads such an integer as a rounded float.
    """
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


def _read_array(stream: ByteStream) -> str:
    """The whole file as text."""
    data = stream.body.read(MAX_ARRAY_BYTES + 1)
    if len(data) > MAX_ARRAY_BYTES:
        raise SourceError(
            stream.name,
            f"a JSON array of more than {MAX_ARRAY_BYTES // 1_000_000} MB: write JSON lines, one object a line "
            "(jq -c '.[]' does it)",
        )
    return data.removeprefix(BOM).decode("utf-8", "surrogateescape")


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match is not None else position


def _text(data: bytes | str) -> str:
    """A record's text for the rejects file."""
    return escape_undecodable(data if isinstance(data, str) else data.decode("utf-8", "surrogateescape"))


def _syntax_flaw(data: bytes | str, column: int) -> str:
    """What is wrong with data that is not JSON, without quoting the data. `column` is orjson's, 1-based."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError:
        return "bytes that are not UTF-8: save the file as UTF-8 (iconv can)"
    return "a NUL byte" if "\0" in text else f"not valid JSON at column {column}"
