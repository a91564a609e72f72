"""Tables of odd shape, as CSV: delimiters, quotes, line ends, headers, rows and cells."""

import random
import zlib
from typing import Any

from support.odd_cells import ABSENT, Bad, OddColumn, columns
from support.odd_file import MAX_RECORD_BYTES, RARE, OddFile, Outcome, compressed_or_not, outcome, place

_PLAIN = ("last_name", "first_name", "city")


class OddTable:
    """Writes one table."""

    def __init__(self, chance: random.Random, number: int, platform: str) -> None:
        self.chance = chance
        self.made = OddFile(f"odd{number}.csv", platform)
        self.dates = chance.choice([None, None, "dmy", "mdy"])
        self.delimiter = chance.choice([",", ",", ";", "\t", "|"])
        self.line_end = chance.choice(["\n", "\n", "\r\n", "\r"])
        self.quoting = chance.choice(["where needed", "everywhere", "mixed"])
        self.pieces: list[bytes] = []
        self.line = 1
        self.header_line = 0
        all_columns = columns(platform, self.dates)
        self.columns = [all_columns[0], *chance.sample(all_columns[1:], chance.randint(1, len(all_columns) - 1))]
        self.ignored = chance.randint(0, 2)

    def file(self) -> OddFile:
        made = self.made
        made.options += ["--region", "US", *(["--dates", self.dates] if self.dates else [])]
        made.options += ["--clear", "NULL"] if made.platform == "loops" else []
        made.kinds |= {f"delimiter {self.delimiter!r}", f"line end {self.line_end!r}", f"quotes {self.quoting}"}
        made.kinds |= {f"--dates {self.dates}"} if self.dates else set()
        self._beginning()
        self._header()
        faults = dict.fromkeys(self.chance.sample(range(30), 3), self._fault)
        for n in range(self.chance.randint(5, 25)):
            faults.get(n, self._row)(n)
        self._ending()
        content = b"".join(self.pieces)
        made.content = compressed_or_not(self.chance, made, content)
        if made.content != content and self.line_end == "\n" and self.chance.random() < 0.5:
            self._damage()
        return made

    def _damage(self) -> None:
        """Cut the compressed file off: the whole lines before the cut are read, and the rest is refused as one."""
        made = self.made
        cut = made.content[: -self.chance.randint(8, len(made.content) // 2)]
        lines = zlib.decompressobj(wbits=31).decompress(cut).count(b"\n")
        if lines > self.header_line:
            made.kinds.add("gzip, cut off")
            made.content = cut
            made.outcomes = [one for one in made.outcomes if one.line <= lines]
            made.outcomes.append(Outcome(lines + 1, "door", field="record", rule="damaged"))

    def _beginning(self) -> None:
        bom = self.chance.choice([0, 0, 1, 2])
        self.pieces.append(b"\xef\xbb\xbf" * bom)
        self.made.kinds |= {f"{bom} byte order marks"} if bom else set()
        if self.chance.random() < 0.2:
            self._write(f"sep={self.delimiter}")
            self.made.kinds.add("sep= line")
        if self.chance.random() < 0.2:
            self._write("")
            self.made.kinds.add("blank lines")

    def _header(self) -> None:
        names = []
        for number, column in enumerate(self.columns):
            if column.mapped:
                name = f"Col {number}"
                self.made.options += ["--map", f"{name}={column.field}"]
                self.made.kinds.add("mapped columns")
            else:
                name = self._dressed(column)
            names.append(name)
        names += ["Notes"] * self.ignored
        if self.ignored > 1:
            self.made.kinds.add("header twice, ignored")
        if self.chance.random() < 0.2:
            self._double(names)
        self.header_line = self._write(self.delimiter.join(self._quoted(name) for name in names))

    def _double(self, names: list[str]) -> None:
        """Give two columns one name, and map both by their places."""
        self.made.kinds.add("header twice, mapped")
        last = len(self.columns) - 1
        places = [at for at in sorted({0, last}) if not self.columns[at].mapped]
        for number, at in enumerate(places, 1):
            names[at] = "Twin"
            self.made.options += ["--map", f"Twin#{number}={self.columns[at].field}"]

    def _dressed(self, column: OddColumn) -> str:
        """The name of a column as people and programs write it."""
        plain = column.field
        if plain.startswith("custom_fields."):
            return plain
        name, kind = self.chance.choice(
            [
                (plain, ""),
                (plain.upper(), "header in capitals"),
                (plain.replace("_", " ").title(), "header in words"),
                (f"  {plain} ", "blanks at a header"),
                (f"\u00a0{plain}\u00a0", "no-break spaces at a header"),
                (f"\ufeff{plain}", "byte order mark at a header"),
                (f"{plain}\u200b", "zero-width space at a header"),
            ]
        )
        self.made.kinds |= {kind} if kind else set()
        return name

    def _cells(self, n: int) -> tuple[list[str], dict[str, Any], tuple[str, Bad] | None]:
        """The cells of a row, the contact they make, and what is wrong with one of them."""
        cells: list[str] = []
        contact: dict[str, Any] = {}
        wrong: tuple[str, Bad] | None = None
        for column in self.columns:
            text, value = column.cells(n, self.chance)
            while isinstance(value, Bad) and (wrong is not None or self.chance.random() < RARE):
                text, value = column.cells(n, self.chance)
            cells.append(text)
            if isinstance(value, Bad):
                wrong = (column.field, value)
                self.made.kinds.add(f"bad cell: {column.field}")
            elif value is not ABSENT:
                place(contact, column.sent_as, value)
        return cells, contact, wrong

    def _row(self, n: int, *, adds: str = "", drops_empty: bool = False) -> None:
        cells, contact, wrong = self._cells(n)
        cells += ["x"] * self.ignored
        if drops_empty:
            while len(cells) > 1 and not cells[-1]:
                cells.pop()
        line = self._write(self.delimiter.join(map(self._quoted, cells)) + adds)
        self.made.outcomes.append(outcome(line, contact, wrong))

    def _fault(self, n: int) -> None:
        """A row or a line that is odd by its form."""
        kind = self.chance.choice(
            ["blank line", "nobody", "too many", "surplus", "missing", "NUL", "not UTF-8", "quote", "huge"]
        )
        self.made.kinds.add(f"row: {kind}")
        match kind:
            case "blank line":
                self._write("")
            case "nobody":
                self._nobody()
            case "surplus":
                self._row(n, adds=self.delimiter * self.chance.randint(1, 4))
            case "missing":
                self._row(n, drops_empty=True)
            case "too many":
                self._broken(f"p{n}@example.com" + f"{self.delimiter}x" * (len(self.columns) + 3), "columns expected")
            case "NUL":
                self._broken(f"p{n}@example.com\0" + f"{self.delimiter}x" * (self._width - 1), "a NUL byte")
            case "not UTF-8":
                text = f"p{n}@example.com\udcfc" + f"{self.delimiter}x" * (self._width - 1)
                self._broken(text, "not UTF-8")
            case "quote":
                self._broken(f'"p{n}@example.com"x' + f"{self.delimiter}x" * (self._width - 1), "quot")
            case "huge":
                self._huge(n)

    def _nobody(self) -> None:
        """A row without an identifier."""
        text = self.delimiter.join("x" if column.field in _PLAIN else "" for column in self.columns)
        line = self._write(text + f"{self.delimiter}x" * self.ignored)
        if self.ignored or "x" in text:
            self.made.outcomes.append(Outcome(line, "door", field="record", rule="needs one of"))

    def _huge(self, n: int) -> None:
        """A row with a cell that is larger than a record may be."""
        texts = [at for at, column in enumerate(self.columns) if column.field in _PLAIN]
        if not texts:
            self._row(n)
            return
        cells = [f"p{n}@example.com"] + [""] * (self._width - 1)
        cells[texts[0]] = "x" * (MAX_RECORD_BYTES + 1)
        line = self._write(self.delimiter.join(cells))
        self.made.outcomes.append(Outcome(line, "door", field="record", rule="of a single record"))

    def _broken(self, text: str, rule: str) -> None:
        self.made.outcomes.append(Outcome(self._write(text), "door", field="record", rule=rule))

    @property
    def _width(self) -> int:
        return len(self.columns) + self.ignored

    def _quoted(self, cell: str) -> str:
        needs = any(char in cell for char in f'{self.delimiter}"\r\n') or cell != cell.strip()
        chosen = self.quoting == "everywhere" or (self.quoting == "mixed" and self.chance.random() < 0.5)
        if self.quoting == "where needed" and cell.startswith('="') and self.delimiter not in cell:
            return cell  # as spreadsheets write it
        return '"' + cell.replace('"', '""') + '"' if needs or chosen else cell

    def _write(self, text: str) -> int:
        """Write a line; returns its number."""
        self.pieces.append((text + self.line_end).encode("utf-8", "surrogateescape"))
        self.line += 1
        return self.line - 1

    def _ending(self) -> None:
        end = self.chance.choice(["", "no line end", "blank lines", "open quote"])
        if end == "no line end":
            self.pieces[-1] = self.pieces[-1].rstrip(b"\r\n")
        elif end == "open quote":
            self._broken('"p999@example.com' + f"{self.delimiter}x" * (self._width - 1), "broken quoting")
        elif end:
            self.pieces.append(self.line_end.encode() * 3)
        self.made.kinds |= {f"at the end: {end}"} if end else set()
