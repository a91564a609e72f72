"""JSON files of odd shape: lines, arrays and wrapped arrays, with records and values that are odd."""

import random
from typing import Any

import orjson
from support.odd_cells import ABSENT, Bad, json_values
from support.odd_file import RARE, OddFile, Outcome, compressed_or_not, outcome, place


def odd_json(chance: random.Random, number: int, platform: str) -> OddFile:
    shape = chance.choice(["lines", "lines", "array", "array on one line", "array, indented", "wrapper"])
    made = OddFile(f"odd{number}.{'jsonl' if shape == 'lines' else 'json'}", platform, options=["--region", "US"])
    made.kinds |= {f"JSON: {shape}"}
    records = [_json_record(chance, n, made) for n in range(chance.randint(3, 20))]
    if shape == "wrapper" and not records[0][0].startswith(b"{"):
        records = records[1:]  # a list that begins with something else is no list of records
    text, lines = _laid_out(chance, made, shape, [text for text, _ in records])
    for line, (_, found) in zip(lines, records, strict=True):
        made.outcomes.append(Outcome(line, found.where, found.contact, found.field, found.rule))
    bom = chance.choice([0, 0, 1, 2])
    made.kinds |= {f"{bom} byte order marks"} if bom else set()
    made.content = compressed_or_not(chance, made, b"\xef\xbb\xbf" * bom + text)
    return made


def _json_record(chance: random.Random, n: int, made: OddFile) -> tuple[bytes, Outcome]:
    """The text of one record, and what becomes of it (without its line)."""
    shapes: list[tuple[str, bytes, str, str]] = [
        ("not an object", b"[1,2]", "record", "an object is expected"),
        ("nobody", b'{"first_name":"x"}', "record", "needs one of"),
        (
            "a number beyond 64 bits",
            b'{"email":"p%d@example.com","custom_fields":{"x":123456789012345678901234567890}}' % n,
            "custom_fields",
            "too large to be kept exactly",
        ),
        (
            "too deep",
            b'{"email":"p%d@example.com","custom_fields":{"x":%b}}' % (n, b"[" * 230 + b"]" * 230),
            "custom_fields",
            "nested too deeply",
        ),
        ("an identifier twice", b'{"email":"p%d@example.com","email":"q%d@example.com"}' % (n, n), "email", "twice"),
    ]
    if chance.random() < 0.15:
        kind, text, name, rule = chance.choice(shapes)
        made.kinds.add(f"JSON record: {kind}")
        return text, Outcome(0, "door", field=name, rule=rule)
    record: dict[str, Any] = {"email": f"P{n}@example.com"}
    contact: dict[str, Any] = {"email": f"p{n}@example.com"}
    wrong: tuple[str, Bad] | None = None
    for path, sent_as, values in json_values(made.platform):
        given, value = chance.choice(values)
        while isinstance(value, Bad) and (wrong is not None or chance.random() < RARE):
            given, value = chance.choice(values)
        if given is ABSENT:
            continue
        place(record, path, given)
        if isinstance(value, Bad):
            wrong = (".".join(path), value)
            made.kinds.add(f"bad value: {'.'.join(path)}")
        else:
            place(contact, sent_as, value)
    return orjson.dumps(record), outcome(0, contact, wrong)


def _laid_out(chance: random.Random, made: OddFile, shape: str, texts: list[bytes]) -> tuple[bytes, list[int]]:
    """The records as one text, and the line that each begins on."""
    if shape == "lines":
        return _json_lines(chance, made, texts)
    head, tail = (b'{"contacts":', b"}") if shape == "wrapper" else (b"", b"")
    if shape == "array on one line":
        return b"[" + b",".join(texts) + b"]", [1] * len(texts)
    if shape == "array, indented":
        return _indented(texts)
    return head + b"[\n" + b",\n".join(texts) + b"\n]" + tail, list(range(2, len(texts) + 2))


def _json_lines(chance: random.Random, made: OddFile, texts: list[bytes]) -> tuple[bytes, list[int]]:
    end = chance.choice([b"\n", b"\r\n"])
    pieces, lines, number = [], [], 1
    for text in texts:
        if chance.random() < 0.1:
            made.kinds.add("blank lines")
            pieces.append(chance.choice([b"", b"  "]) + end)
            number += 1
        pieces.append(text + end)
        lines.append(number)
        number += 1
    return b"".join(pieces), lines


def _indented(texts: list[bytes]) -> tuple[bytes, list[int]]:
    pieces, lines, number = [b"[\n"], [], 2
    for at, text in enumerate(texts):
        body = text
        if not text.startswith(b'{"email":"p') and text.startswith(b"{"):
            body = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2)
        piece = body + (b",\n" if at + 1 < len(texts) else b"\n")
        pieces.append(piece)
        lines.append(number)
        number += piece.count(b"\n")
    return b"".join([*pieces, b"]\n"]), lines
