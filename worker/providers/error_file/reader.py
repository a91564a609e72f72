"""Reads the list of failed rows that a platform offers for download. Its format is documented nowhere.

It may be gzip or plain, with any byte order mark; CSV with any delimiter, with or without a header; JSON as an array,
as lines, nested or cut off. A contact is found by content: by a text that is an identifier of the batch (`known` says
so). From garbage the reader takes what can be read, within bounded time and memory, and never raises. Which rows of the
batch are meant is for the provider to find.
"""

import csv
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from contact_ingest.model.verdicts import RowError
from contact_ingest.providers.error_file.columns import (
    MAX_CELL,
    Known,
    Row,
    has_known,
    is_known,
    is_of_another,
    is_outcome,
    is_plain,
    named,
    names_contact,
)
from contact_ingest.providers.json_guard import is_dense

#: Most rows with an identifier, most lines, and most unpacked bytes that are read.
MAX_ROWS = 50_000
MAX_LINES = 300_000
MAX_PLAIN_BYTES = 10_000_000
#: Bytes that are unpacked in one step.
PIECE = 65_536
#: Most cells of a row.
MAX_CELLS = 64
#: Most cells of all rows together: a cell takes a hundred bytes beside its text.
MAX_KEPT_CELLS = 600_000
#: Most values visited in one JSON document; most failed starts in a broken one; lines, and characters of each, that are
#: read to learn the delimiter.
MAX_NODES, MAX_FALSE_STARTS, SAMPLE_LINES, SAMPLE_CHARS = 2_000_000, 8, 200, 10_000

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_DELIMITERS = ",;\t|"
_BARRED = "\"'`@._-+\0\N{REPLACEMENT CHARACTER}"
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read(content: bytes, known: Known) -> list[RowError]:
    """The failed rows. `known` says of a text in lower case whether it is an identifier of the batch."""
    text = _text(_plain(content))
    return named(list(_bounded(_rows(text, known))), known)


def _bounded(rows: Iterable[Row]) -> Iterator[Row]:
    left = MAX_KEPT_CELLS
    for row in itertools.islice(rows, MAX_ROWS):
        left -= len(row)
        if left < 0:
            return
        yield row


def _plain(content: bytes) -> bytes:
    """The content unpacked, as far as it can be; also if it was packed twice."""
    for _ in range(2):
        if not content.startswith(b"\x1f\x8b"):
            break
        content = _inflate(content)
    return content[:MAX_PLAIN_BYTES]


def _inflate(packed: bytes) -> bytes:
    plain = bytearray()
    while packed.startswith(b"\x1f\x8b") and len(plain) < MAX_PLAIN_BYTES:
        member = zlib.decompressobj(wbits=31)
        for start in range(0, len(packed), PIECE):  # in steps: what comes before broken bytes is kept
            try:
                plain += member.decompress(packed[start : start + PIECE], MAX_PLAIN_BYTES - len(plain))
            except zlib.error:
                return bytes(plain)
            if member.eof or len(plain) >= MAX_PLAIN_BYTES:
                break
        if not member.eof:
            break
        packed = member.unused_data + packed[start + PIECE :]
    return bytes(plain)


def _text(plain: bytes) -> str:
    for bom, encoding in _BOMS:
        if plain.startswith(bom):
            return plain.decode(encoding, errors="replace")
    return plain.decode(errors="replace")


def _rows(text: str, known: Known) -> Iterator[Row]:
    """The rows that hold an identifier."""
    if text.lstrip()[:1] in ("[", "{"):
        if is_dense(text):
            return iter(())
        return itertools.chain.from_iterable(_json_rows(document, known) for document in _documents(text))
    return _csv_rows(text, known)


def _documents(text: str) -> Iterator[Any]:
    """The JSON documents of the text: one in all, one a line, or those that a broken file still holds."""
    try:
        whole = orjson.loads(text.encode())
    except orjson.JSONDecodeError:
        yield from _lines(text)
    else:
        yield whole


def _lines(text: str) -> Iterator[Any]:
    readable = 0
    for line in _split(text):
        try:
            document = orjson.loads(line.strip().rstrip(",").encode())
        except orjson.JSONDecodeError:
            continue
        readable += isinstance(document, dict | list)
        yield document
    if not readable:
        yield from _fragments(text)


def _fragments(text: str) -> Iterator[Any]:
    """The objects that can be read in a document that is cut off or broken."""
    decoder = json.JSONDecoder()
    at, false_starts = text.find("{"), 0
    while at >= 0 and false_starts < MAX_FALSE_STARTS:
        try:
            document, end = decoder.raw_decode(text, at)
            yield orjson.loads(orjson.dumps(document))
        except (ValueError, RecursionError, TypeError):
            false_starts += 1
            end = at + 1
        at = text.find("{", end)


def _json_rows(document: Any, known: Known) -> Iterator[Row]:
    """The rows of a document. A row is an object or a list with an identifier directly in it, or in an object one level
    below; and a key that is an identifier, with what it leads to. A text in a list stands in the column of the list's
    own key. Below an object with an address of its own, what is named like another contact is no row."""
    waiting, seen = [("", document, False)], 0
    while waiting and seen < MAX_NODES:
        name, node, is_named = waiting.pop()
        seen += 1
        label = name if is_of_another(name) else ""
        if isinstance(node, dict):
            is_named = is_named or any(isinstance(v, str) and "@" in v and is_plain(key) for key, v in node.items())
            for key, value in node.items():
                if names_contact("", key, known):
                    yield [("identifier", key), *_leaves(value, "message")]
            inner = [(key, v) for key, v in node.items() if not (is_named and is_of_another(key))]
            near = [value for _, value in inner if isinstance(value, dict)]
            if any(is_known(value, known) for part in (node, *near) for value in part.values()):
                yield _leaves(node, label)
            inner = [(_within(label, key), value) for key, value in reversed(inner)]
        elif isinstance(node, list):
            direct = [value for value in node if names_contact(name, value, known)]
            if len(direct) == 1:
                yield _leaves(node, label)
            else:
                yield from ([(name, value)] for value in direct)
            inner = [(name, value) for value in reversed(node)]
        else:
            continue
        waiting.extend((key, value, is_named) for key, value in inner if isinstance(value, dict | list))


def _within(name: str, key: str) -> str:
    """The key's own name, or both where the outer one says that another contact is meant: `conflicts_with email`."""
    return f"{name} {key}"[:MAX_CELL] if is_of_another(name) else key


def _leaves(node: Any, name: str) -> Row:
    """The texts and numbers below a node, each with the nearest key."""
    found: Row = []
    waiting = [(name, node)]
    for _ in range(10 * MAX_CELLS):
        if not waiting or len(found) == MAX_CELLS:
            break
        key, value = waiting.pop()
        if isinstance(value, dict):
            inner = list(itertools.islice(value.items(), MAX_CELLS))
            waiting.extend((_within(key, own), item) for own, item in reversed(inner))
        elif isinstance(value, list):
            waiting.extend((key or str(place), item) for place, item in reversed(list(enumerate(value[:MAX_CELLS]))))
        elif isinstance(value, str) or type(value) is int:
            found.append((key, str(value)[:MAX_CELL]))
        elif isinstance(value, bool) and is_outcome(key):
            found.append((key, str(value).lower()))
    return found


def _csv_rows(text: str, known: Known) -> Iterator[Row]:
    """The rows of a CSV text. The delimiter is the one that separates out the most identifiers. Quotes count
    unless a stray quote hides rows."""
    sample = [line[:SAMPLE_CHARS] for line in itertools.islice(_split(text), SAMPLE_LINES)]
    others = Counter(
        char for line in sample for char in line if not (char.isalnum() or char.isspace() or char in _BARRED)
    )
    candidates = dict.fromkeys([*_DELIMITERS, *(char for char, _ in others.most_common(12)), " "])
    best = max(candidates, key=lambda mark: sum(has_known(cells, known) for cells in _cells(sample, mark, quoted=True)))
    counts = {way: sum(1 for _ in _bounded(_table(text, best, known, quoted=way))) for way in (True, False)}
    yield from _table(text, best, known, quoted=counts[True] >= counts[False])


def _table(text: str, delimiter: str, known: Known, *, quoted: bool) -> Iterator[Row]:
    return _labelled(_cells(_split(text), delimiter, quoted=quoted), known)


def _split(text: str) -> Iterator[str]:
    """Line by line out of the text itself: `io.StringIO` would take four bytes for each character of a copy."""
    return (match[0] for match in itertools.islice(_LINE.finditer(text), MAX_LINES))


def _cells(lines: Iterable[str], delimiter: str, *, quoted: bool) -> Iterator[list[str]]:
    if not quoted:
        yield from (line.rstrip("\r\n").split(delimiter, MAX_CELLS)[:MAX_CELLS] for line in lines)
        return
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            yield next(reader)[:MAX_CELLS]
        except StopIteration:
            return
        except csv.Error:  # a cell is too long: the reader goes on with the next line
            continue


def _labelled(table: Iterable[list[str]], known: Known) -> Iterator[Row]:
    """The rows that hold an identifier. A first line without one gives the columns their names."""
    names: list[str] = []
    for number, cells in enumerate(table):
        if has_known(cells, known):
            labels = itertools.chain(names, map(str, itertools.count(len(names))))
            yield [(label, cell.strip()[:MAX_CELL]) for label, cell in zip(labels, cells, strict=False)]
        elif number == 0:
            names = [cell.strip().strip("'\"")[:100] or str(place) for place, cell in enumerate(cells)]
