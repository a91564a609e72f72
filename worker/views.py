"""Parts of a body as row ranges, and how a refused body is searched for the record that spoils it.

A part is a list of half-open row ranges of the root's body: no bytes are copied until a request is built. `Search` is
the whole state of a bisect: what goes out next (`send`), the other half of what is known to hold a bad record
(`rest`), and what is not suspected at the moment (`aside`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]


def size(ranges: Ranges) -> int:
    return sum(stop - start for start, stop in ranges)


def rows(ranges: Ranges) -> Iterable[int]:
    for start, stop in ranges:
        yield from range(start, stop)


def union(*parts: Ranges) -> Ranges:
    """All rows of disjoint parts, in order, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(span for part in parts for span in part):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        elif start < stop:
            joined.append((start, stop))
    return tuple(joined)


def without(ranges: Ranges, gone: Iterable[int]) -> Ranges:
    left = list(ranges)
    for row in gone:
        for at, (start, stop) in enumerate(left):
            if start <= row < stop:
                left[at : at + 1] = [span for span in ((start, row), (row + 1, stop)) if span[0] < span[1]]
                break
    return tuple(left)


def halves(ranges: Ranges) -> tuple[Ranges, Ranges]:
    """The first half of the rows, the larger one if they are odd, and the rest."""
    want = (size(ranges) + 1) // 2
    first: list[tuple[int, int]] = []
    second: list[tuple[int, int]] = []
    for start, stop in ranges:
        cut = min(stop, start + want)
        if start < cut:
            first.append((start, cut))
        if cut < stop:
            second.append((cut, stop))
        want -= cut - start
    return tuple(first), tuple(second)


@dataclass(frozen=True, slots=True)
class Search:
    """What a batch still has to send, and what is known of it. Without `rest` and `aside` it is a plain batch."""

    send: Ranges
    rest: Ranges = ()
    aside: Ranges = ()

    @property
    def all(self) -> Ranges:
        return union(self.send, self.rest, self.aside)

    @property
    def is_plain(self) -> bool:
        return not self.rest and not self.aside


def after_refusal(search: Search) -> Search:
    """`send` was refused and nobody was named. A single row is proved bad and leaves; of several, probe a half."""
    if size(search.send) <= 1:
        return Search(union(search.rest, search.aside))
    first, second = halves(search.send)
    return Search(first, second, union(search.rest, search.aside))


def after_acceptance(search: Search) -> Search:
    """`send` went through and leaves; if there was a rest, the bad record is in it."""
    if not search.rest:
        return Search(search.aside)
    if size(search.rest) == 1:
        return Search(search.rest, (), search.aside)
    first, second = halves(search.rest)
    return Search(first, second, search.aside)


def after_naming(search: Search, bad: Sequence[int]) -> Search:
    """The reply named rows of `send`: they leave, and all others are sent again at once."""
    return Search(without(search.all, bad))


def alone(search: Search, row: int) -> Search:
    """A hint points at a row: it goes alone, all others wait aside."""
    return Search(((row, row + 1),), (), without(search.all, [row]))


def slices(body: bytes, offsets: Sequence[int], ranges: Ranges) -> list[bytes]:
    """The bytes of some rows of a body, commas between them, without prefix and suffix."""
    parts: list[bytes] = []
    for start, stop in ranges:
        if parts:
            parts.append(b",")
        parts.append(body[offsets[start] : offsets[stop] - 1])
    return parts
